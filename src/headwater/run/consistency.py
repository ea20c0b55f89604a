"""Whether what a run folder holds belongs together: results and inputs, commits and ledger, steps asked and done.

Every file is checked against its own hash by the store; these checks are about what no single hash can say.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from headwater.errors import HeadwaterError, InputError, IntegrityError
from headwater.fingerprint import fingerprint
from headwater.ledger import Ledger
from headwater.plan.graph import Graph
from headwater.plan.node import Node
from headwater.store import FileEntry, Manifest, Store, measure

REMARKS = ("model/README.md", "metrics.jsonl", "audit.json")
"""Files of a node that say something about its result and are read by no other node."""


def inputs(node: Node, store: Store) -> dict[str, str]:
    """Role -> digest of what that parent made; of a model of one's own, the digest of its directory.

    A node is named by its parents' names, not by their bytes: so each commit notes the bytes as well. That
    is the key of the teacher's cache: weights, tokenizer and template are files of its parent.
    """
    found = {}
    for role, parent in node.parents.items():
        head = store.result(parent)
        if head is not None:
            found[role] = _digest(head.files)
    directory = Path(str(node.settings["path"])) if "path" in node.settings else None
    if directory is not None and directory.is_dir():
        files = sorted(path for path in directory.rglob("*") if path.is_file())
        found["path"] = _digest({path.relative_to(directory).as_posix(): measure(path) for path in files})
    return found


def _digest(files: Mapping[str, FileEntry]) -> str:
    return fingerprint({name: entry.sha256 for name, entry in files.items() if name not in REMARKS})


def settle_ledger(ledger: Ledger, store: Store) -> None:
    """Bring the ledger in step with the commits, at the start of a run.

    A crash leaves the uses of steps that were never committed: they go, also those of nodes that this run does
    not make again. Raises IntegrityError for a broken chain, and when the uses of a committed step are gone;
    InputError for a file that another folder holds as well (cp -l): what is written here would be written there.
    """
    path = ledger.path
    if path.is_file() and path.stat().st_nlink > 1:
        raise InputError(
            f"ledger: {path} has a second name (a hard link), where this run's label uses would appear too; give the "
            f"folder a copy of its own: cp {path} {path}.own && mv {path}.own {path}"
        )
    ledger.verify()
    committed: dict[str, str | None] = dict.fromkeys(ledger.heads())
    for node in store.nodes():
        committed[node] = _head(store, node).about["ledger"]
    for stage, head in committed.items():
        ledger.rollback_to(stage, head)


def _head(store: Store, node: str) -> Manifest:
    head = store.head(node)
    if head is None:
        raise HeadwaterError(f"run: node {node} lost its head while the run held the lock")
    return head


def mixed(graph: Graph, store: Store) -> dict[str, str]:
    """Node -> the role of an input that is not what the node's result was made from."""
    found = {}
    for name, node in graph.nodes.items():
        head = store.head(name)
        if head is not None and (role := other_input(head, inputs(node, store))) is not None:
            found[name] = role
    return found


def other_input(head: Manifest, found: Mapping[str, str]) -> str | None:
    """The first role whose input is not what this commit was made from."""
    made_from = head.about.get("inputs", {})
    return next((role for role, digest in found.items() if made_from.get(role) != digest), None)


def refuse_mixed(graph: Graph, store: Store) -> None:
    """Raise IntegrityError for a result that was made from other inputs than those that are there now."""
    for name, role in mixed(graph, store).items():
        raise not_from_this(graph.nodes[name], role)


def not_from_this(node: Node, role: str) -> IntegrityError:
    """The error for a result, whole or begun, that comes from another input than the one that is there."""
    return IntegrityError(
        f"run: {node.title} (seed {node.seed}) was made from another {role} than the one that is there now; to make "
        f"it again from this one, and what comes from it: headwater run RECIPE --redo {node.fingerprint}"
    )


def redo(graph: Graph, store: Store, name: str) -> None:
    """Drop a node's result, and what has been begun from it; what is finished may prove to be the same again."""
    store.forget(name)
    dropped = {name}
    for child, node in graph.nodes.items():  # parents come first
        if dropped.intersection(node.parents.values()):
            dropped.add(child)
            head = store.head(child)
            if head is not None and not head.done:
                store.forget(child)


def refuse_unfinished(graph: Graph, store: Store) -> None:
    """Raise unless every node is done and has made exactly the steps that were asked: only then a run exits 0."""
    for name, node in graph.nodes.items():
        head = store.head(name)
        if head is None or not head.done or head.step != node.steps:
            made = "nothing" if head is None else f"{head.step} steps"
            raise HeadwaterError(
                f"run {graph.recipe.name}: {node.title} (seed {node.seed}) has committed {made} of {node.steps}; "
                "run the same command again"
            )
