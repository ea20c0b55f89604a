"""A run folder as a reader sees it: the graph, verified results, and which labels each stage used. No torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headwater.errors import InputError, IntegrityError, nearest
from headwater.fingerprint import fingerprint
from headwater.ledger import Ledger
from headwater.store import REAL_DISK, Manifest, Store, measure

if TYPE_CHECKING:
    from datasets import Dataset

GRAPH = "graph.json"
RECIPE = "recipe.json"
"""The recipe with every default written out: a file that `headwater run` takes."""
STATE = "state.json"
"""Where a run stands while it works."""
TIMINGS = "timings.json"
"""Seconds by node, as measured; part of no identity."""
HARNESS = "harness.json"
"""What lm-evaluation-harness said of arms, by the measurement that it stands beside; there when it was taken in."""
LEDGER = "ledger.sqlite"
RESPONSES = "responses.parquet"
"""Of a node that samples: the responses it keeps to be read."""
SEAL = "sha256"
REWRITE = "delete the file; `headwater run` with the same recipe writes it anew"


def begun(root: Path) -> bool:
    """Whether there is a run."""
    return (root / GRAPH).is_file()


class RunFolder:
    """One run on disk, finished or not. Reads only; every result is checked against its manifest."""

    def __init__(self, root: Path):
        """Raises InputError when there is no run at `root`."""
        if not begun(root):
            near = nearest(root.name, [path.parent.name for path in root.parent.glob(f"*/{GRAPH}")])
            raise InputError(f"run: no run at {root} (no {GRAPH}){near}; start one with `headwater run lab`")
        self.root = root
        self._store = Store(root)

    @cached_property
    def graph(self) -> dict[str, Any]:
        """The graph of the run as plain data."""
        graph = read_sealed(self.root / GRAPH)
        if not {"name", "recipe", "nodes", "arms"} <= graph.keys():
            raise IntegrityError(f"{self.root / GRAPH}: not a graph; {REWRITE}")
        return graph

    @property
    def name(self) -> str:
        """The run's name."""
        return str(self.graph["name"])

    def holder(self) -> dict[str, Any] | None:
        """Who writes the run now: host, pid, and when it started in UTC; None when nobody does."""
        holder = self._store.holder()
        return None if holder is None else asdict(holder)

    def done(self, node: str) -> bool:
        """Whether the node is finished."""
        return self._store.result(node) is not None

    def step(self, node: str) -> int:
        """Steps committed so far."""
        head = self._store.head(node)
        return head.step if head is not None else 0

    def result(self, node: str, name: str) -> bytes | None:
        """One file of a finished node, verified; None when the node is not done or has no such file."""
        if name == "timing.json":
            seconds = self.seconds.get(node)
            return None if seconds is None else json.dumps({"seconds": seconds}).encode()
        head = self._store.result(node)
        if head is None or name not in head.files:
            return None
        return self._store.read(node, name)

    def arm(self, name: str, seed: int | None = None) -> dict[str, Any]:
        """An arm by name, of the first seed if none is given. Raises InputError when there is none."""
        arms = [arm for arm in self.graph["arms"] if seed is None or arm["seed"] == seed]
        found = next((arm for arm in arms if arm["name"] == name), None)
        if found is None:
            names = list(dict.fromkeys(str(arm["name"]) for arm in arms))
            of = "" if seed is None else f" of seed {seed}"
            raise InputError(f"run {self.name}: no arm {name:.60}{of}{nearest(name, names)}; it has {', '.join(names)}")
        return dict(found)

    def model(self, arm: Mapping[str, Any]) -> Path:
        """Where an arm's final model is handed out, every byte checked.

        Raises InputError when it is not made yet, IntegrityError when it differs from its commit.
        """
        directory = model_folder(self.root, arm["name"], arm["seed"])
        head = self._store.head(arm["endpoint"])
        if head is None or not head.done or not directory.exists():
            raise InputError(
                f"run {self.name}: {arm['name']}, seed {arm['seed']}, is not made yet; `headwater run` first"
            )
        if not same_files(directory, head, "model/"):
            raise IntegrityError(f"{directory}: differs from its commit; `headwater run` copies it anew")
        return directory

    def rollouts(self, arm: str, seed: int | None = None, benchmark: str | None = None) -> Dataset:
        """The responses of an arm's model to a benchmark, as a `datasets.Dataset` (`.to_pandas()` for a data frame).

        Of every seed if none is given, on the primary benchmark if none is given. Raises InputError for an arm, seed
        or benchmark that the run does not have, and where nothing is measured yet.
        """
        from datasets import Dataset, concatenate_datasets  # noqa: PLC0415  heavy, and only who asks pays for it

        tables = []
        for of_seed, raw in self._kept(arm, seed, benchmark):
            table = Dataset(_table(raw))
            tables.append(table.add_column("seed", [of_seed] * len(table)))
        return concatenate_datasets(tables)

    def responses(self, arm: str, seed: int | None = None, benchmark: str | None = None) -> list[dict[str, Any]]:
        """The same of one seed as plain rows; of the first that is measured if none is given."""
        return response_rows(self._kept(arm, seed, benchmark)[0][1])

    def _kept(self, arm: str, seed: int | None, benchmark: str | None) -> list[tuple[int, bytes]]:
        """Seed and file of an arm's responses; at least one."""
        chosen = benchmark or str(self.graph["benchmarks"][0]["name"])
        found = []
        self.arm(arm, seed)  # there is one, or it raises
        for entry in (e for e in self.graph["arms"] if e["name"] == arm and seed in (None, e["seed"])):
            if chosen not in entry["evaluation"]:
                names = ", ".join(entry["evaluation"])
                raise InputError(f"run {self.name}: no benchmark {chosen!r}; there are {names}")
            raw = self.result(entry["evaluation"][chosen], RESPONSES)
            if raw is not None:
                found.append((entry["seed"], raw))
        if not found:
            raise InputError(f"run {self.name}: no response of {arm} on {chosen} is kept; `headwater run` makes them")
        return found

    def origin(self, node: str) -> str | None:
        """What an imported model was when it was imported: a hub commit, or the digest of its directory."""
        head = self._store.head(node)
        found = head.about.get("inputs", {}).get("path") if head is not None else None
        return None if found is None else str(found)

    @cached_property
    def seconds(self) -> Mapping[str, float]:
        """Node -> how long it took, as far as the run has come."""
        return read_sealed(self.root / TIMINGS) if (self.root / TIMINGS).exists() else {}

    @property
    def harness(self) -> Mapping[str, Any]:
        """Evaluation node -> what lm-evaluation-harness said: mean, standard_error (shares of one) and its version."""
        return read_sealed(self.root / HARNESS) if (self.root / HARNESS).exists() else {}

    def labels(self, node: str) -> dict[str, set[str]]:
        """Use (one of `ledger.USES`) -> problems of which this stage made that use."""
        return self._ledger.labels(node)

    def piloted(self) -> set[str]:
        """Problems whose answers a pilot read, to choose a route before any arm was made."""
        stages = self._ledger.heads()
        return {problem for stage in stages for problem in self._ledger.labels(stage)["pilot"]}

    def ledger_digest(self) -> str:
        """One hash of every label use of the run.

        Raises IntegrityError when a chain is broken, or does not end where the commit of a finished node says.
        """
        heads = {node: self._store.result(node) for node in self._store.nodes()}  # before the ledger, which goes ahead
        self._ledger.verify({node: head.about["ledger"] for node, head in heads.items() if head})
        return self._ledger.digest()

    def verify(self) -> list[IntegrityError]:
        """Read every byte that the run relies on or has handed out; one error for each damaged file."""
        found = self._store.verify()
        for check in (
            lambda: self.graph,
            lambda: self.seconds,
            lambda: self.harness,
            self.ledger_digest,
            self._check_models,
        ):
            try:
                check()
            except IntegrityError as error:
                found.append(error)
        return found

    def _check_models(self) -> None:
        for arm in self.graph["arms"]:
            directory = model_folder(self.root, arm["name"], arm["seed"])
            head = self._store.result(arm["endpoint"])
            if head is not None and directory.exists() and not same_files(directory, head, "model/"):
                raise IntegrityError(f"{directory}: differs from its commit; `headwater run` copies it anew")

    @cached_property
    def _ledger(self) -> Ledger:
        path = self.root / LEDGER
        if not path.is_file():  # opening would make an empty one, and a reader makes nothing
            raise IntegrityError(f"ledger: {path} is missing; restore the file")
        return Ledger(path)


def response_rows(raw: bytes) -> list[dict[str, Any]]:
    """The rows of a `RESPONSES` file."""
    rows: list[dict[str, Any]] = _table(raw).to_pylist()
    return rows


def _table(raw: bytes) -> Any:
    from pyarrow import BufferReader, parquet  # noqa: PLC0415  a reader of scores alone does not pay for it

    # On this thread: pyarrow's own may still be starting when a short command ends, and would abort it.
    return parquet.read_table(BufferReader(raw), use_threads=False, pre_buffer=False)


def model_folder(root: Path, arm: str, seed: int) -> Path:
    """Where an arm's final model is handed out."""
    return root / "models" / f"{arm.replace(' ', '-')}-seed{seed}"


def same_files(directory: Path, manifest: Manifest, prefix: str) -> bool:
    """Whether the directory holds the manifest's files under the prefix, byte for byte."""
    wanted = {name.removeprefix(prefix): e for name, e in manifest.files.items() if name.startswith(prefix)}
    return all((directory / name).is_file() and measure(directory / name) == e for name, e in wanted.items())


def seal(value: Mapping[str, Any]) -> dict[str, Any]:
    """The same JSON object with a hash of itself, so that a reader finds a changed byte."""
    return {**value, SEAL: fingerprint(value)}


def read_sealed(path: Path) -> dict[str, Any]:
    """What `seal` was given, read from a file; IntegrityError names the file when it is not what was written."""
    try:
        text = path.read_text(encoding="utf-8")
        value = json.loads(text)
        # Another spelling of the same value is not what was written either.
        if value.pop(SEAL, None) != fingerprint(value) or text != _json_text(seal(value)):
            raise ValueError("its content does not match its seal")
    except (OSError, ValueError, AttributeError, TypeError, RecursionError) as error:
        raise IntegrityError(f"{path}: {error}; {REWRITE}") from error
    return value


def write_json(path: Path, value: Any) -> None:
    """Replace a JSON file as a whole; the new one outlasts a power cut."""
    temporary = path.with_name(f"{path.name}.new")
    REAL_DISK.unlink(temporary)
    REAL_DISK.create(temporary, [_json_text(value).encode()])
    REAL_DISK.sync(temporary)
    REAL_DISK.rename(temporary, path)
    REAL_DISK.sync(path.parent)


def _json_text(value: Any) -> str:
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
