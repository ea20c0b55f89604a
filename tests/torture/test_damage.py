"""Every byte of a finished run flipped in turn, and files cut short: found before use, with the file named.

Covered: `objects/`, `heads/`, `graph.json`, `timings.json`, `ledger.sqlite` and `models/`. Not covered, because
nothing reads them: `report.html`, `recipe.json` (an input like any other recipe), `lock` and `gate`. Of the
ledger some bytes mean nothing to SQLite; a flip there must change nothing that can be read.
"""

from __future__ import annotations

import os
import random
import shutil
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import pytest

from headwater.errors import IntegrityError
from headwater.folder import GRAPH, LEDGER, TIMINGS, RunFolder, model_folder, same_files
from headwater.ledger import Ledger
from headwater.store import Store
from micro import finished, headwater

HARMLESS = (LEDGER,)


@pytest.fixture
def root(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Path:
    """A copy of the finished micro run, writable."""
    root = Path(shutil.copytree(finished(tmp_path_factory).root, tmp_path / "runs" / "micro"))
    for path in root.rglob("*"):
        if path.is_file():
            path.chmod(0o644)
    return root


def uses(root: Path) -> dict[Path, Callable[[], object]]:
    """File -> the reading that must notice its damage before anything is done with it."""
    store, found = Store(root), dict[Path, Callable[[], object]]()

    def place(sha256: str) -> Path:
        return root / "objects" / sha256[:2] / sha256

    for node in store.nodes():
        head = store.head(node)
        assert head is not None
        found[root / "heads" / node] = found[place(head.sha256)] = lambda node=node: store.head(node)
        for name, entry in head.files.items():
            found[place(entry.sha256)] = lambda node=node, name=name: store.read(node, name)
    for arm in RunFolder(root).graph["arms"]:
        head, directory = store.head(arm["endpoint"]), model_folder(root, arm["name"], arm["seed"])
        assert head is not None
        for path in (path for path in directory.rglob("*") if path.is_file()):
            found[path] = lambda head=head, directory=directory: model(directory, head)
    found[root / GRAPH] = lambda: RunFolder(root).graph
    found[root / TIMINGS] = lambda: RunFolder(root).seconds
    found[root / LEDGER] = lambda: ledger(root, heads)
    heads = {node: head.about["ledger"] for node in store.nodes() if (head := store.head(node))}
    return found


def model(directory: Path, head: object) -> None:
    if not same_files(directory, head, "model/"):
        raise IntegrityError(f"{directory} differs")


def ledger(root: Path, heads: Mapping[str, str]) -> object:
    """Everything the ledger can say."""
    with Ledger(root / LEDGER) as opened:
        opened.verify(heads)
        return {stage: (opened.labels(stage), opened.counts(stage)) for stage in opened.heads()}, opened.digest()


def is_noticed(path: Path, use: Callable[[], object], whole: object) -> bool:
    """Whether the reading stops with the file's name; only where that is allowed may it read the same instead."""
    try:
        found = use()
    except IntegrityError as error:
        said = str(error)
        assert path.name in said or path.parent.name in said, said
        assert "\n" not in said
        return True
    assert path.name in HARMLESS, f"{path}: not noticed"
    assert found == whole, f"{path}: reads as something else"
    return False


@pytest.mark.parametrize("stride", [199, pytest.param(1, marks=pytest.mark.torture)])
def test_every_flipped_byte_is_noticed(root: Path, stride: int) -> None:
    chance, count, harmless = random.Random(5), Counter[str](), 0
    for path, use in uses(root).items():
        content, whole = path.read_bytes(), use()
        part = path.relative_to(root).parts[0]
        for at in range(chance.randrange(stride), len(content), stride):
            with path.open("r+b", buffering=0) as file:
                os.pwrite(file.fileno(), bytes([content[at] ^ 1 << chance.randrange(8)]), at)
            harmless += not is_noticed(path, use, whole)
            count[part] += 1
            with path.open("r+b", buffering=0) as file:  # a reader of a broken ledger may have written to it
                file.truncate(len(content))
                file.write(content)
    assert headwater("verify", "micro", cwd=root.parents[1]).returncode == 0
    print(f"torture: {count.total()} bytes flipped, {harmless} of them in the ledger's unused bytes: {dict(count)}")


@pytest.mark.parametrize("count", [50, pytest.param(1000, marks=pytest.mark.torture)])
def test_every_cut_is_noticed(root: Path, count: int) -> None:
    chance, found = random.Random(6), uses(root)
    files, harmless = [path for path in found if path.stat().st_size], 0
    for _ in range(count):
        path = chance.choice(files)
        content, whole = path.read_bytes(), found[path]()
        path.write_bytes(content[: chance.randrange(len(content))])
        harmless += not is_noticed(path, found[path], whole)
        path.write_bytes(content)
    assert harmless == 0
    print(f"torture: {count} cuts, all noticed")


@pytest.mark.parametrize("count", [4, pytest.param(100, marks=pytest.mark.torture)])
def test_the_command_line_names_the_file_and_exits_4(root: Path, count: int) -> None:
    chance = random.Random(7)
    files = [path for path in uses(root) if path.name != LEDGER]
    for _ in range(count):
        path = chance.choice(files)
        content = path.read_bytes()
        at = chance.randrange(len(content))
        path.write_bytes(content[:at] + bytes([content[at] ^ 1 << chance.randrange(8)]) + content[at + 1 :])
        done = headwater("verify", "micro", cwd=root.parents[1])
        assert done.returncode == 4, path
        assert path.name in done.stderr or path.parent.name in done.stderr
        path.write_bytes(content)
    print(f"torture: {count} times `headwater verify` exited 4 and named the file")


@pytest.mark.parametrize("part", [LEDGER, GRAPH, "heads"])
def test_a_run_that_is_damaged_is_not_gone_on_with(root: Path, part: str) -> None:
    path = root / part if (root / part).is_file() else min((root / part).iterdir())
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    before = {p: p.read_bytes() for p in root.rglob("*") if p.is_file() and p.name != "lock"}
    done = headwater("run", root / "recipe.json", cwd=root.parents[1])
    assert done.returncode == 4, done.stderr
    assert path.name in done.stderr
    assert len(done.stderr.splitlines()) == 1
    with suppress(FileNotFoundError):
        assert {p: p.read_bytes() for p in root.rglob("*") if p.is_file() and p.name != "lock"} == before
