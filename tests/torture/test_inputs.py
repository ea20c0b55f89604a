"""Recipes broken at every key, and hostile run names, at the command line: exit 2, one line, nothing written."""

from __future__ import annotations

import json
import random
import signal
import string
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headwater import cli
from headwater.errors import InputError
from headwater.routes.recipe import Recipe
from headwater.store import contained_name
from test_store import HOSTILE


@pytest.fixture(autouse=True)
def signals() -> Iterator[None]:
    """The command line takes over Ctrl-C and SIGTERM; give them back."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def refusal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: str) -> str:
    """What a command that must be refused says."""
    monkeypatch.setattr("sys.argv", ["headwater", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    said = capsys.readouterr()
    assert ended.value.code == 2, (arguments, said)
    assert said.out == ""
    assert len(said.err.splitlines()) == 1, said.err
    assert said.err.startswith("headwater: ")
    return said.err


def broken(value: Any, key: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """(path of a key, what cannot stand there) for every key of a recipe."""
    if isinstance(value, dict):
        yield (*key, "no such key"), 1
        for name, inner in value.items():
            yield from broken(inner, (*key, name))
        if key:
            yield key, "a text"
        return
    yield key, {"a": "mapping"}
    yield key, [["a", "list"]]
    if isinstance(value, int | float):
        yield key, "a text"
        yield key, -1e300


def recipes() -> Iterator[tuple[str, dict[str, Any]]]:
    """The recipe with one key broken."""
    for key, wrong in broken(Recipe().model_dump(mode="json")):
        recipe = Recipe().model_dump(mode="json")
        place = recipe
        for name in key[:-1]:
            place = place[name]
        place[key[-1]] = wrong
        yield key[-1], recipe


@pytest.mark.parametrize("stride", [5, pytest.param(1, marks=pytest.mark.torture)])
def test_a_recipe_broken_at_any_key_is_refused_by_that_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, stride: int
) -> None:
    count, path = 0, tmp_path / "my.yaml"
    for key, recipe in list(recipes())[::stride]:
        path.write_text(json.dumps(recipe))
        said = refusal(capsys, monkeypatch, "validate", str(path))
        assert key in said, said
        assert str(path) in said
        count += 1
    assert count >= 60
    assert list(tmp_path.iterdir()) == [path]
    print(f"torture: {count} recipes, each broken at one key: exit 2, one line, the key named")


def hostile_names(count: int) -> list[str]:
    """The list, and random ones that `contained_name` refuses."""
    chance = random.Random(8)
    alphabet = string.ascii_letters + "./\\-_ \n\t~$;:*?'\"`|&<>%#{}[]()\u202e\ud800é漢\0"
    names = dict.fromkeys(HOSTILE)
    while len(names) < count:
        name = "".join(chance.choice(alphabet) for _ in range(chance.randrange(1, 70)))
        try:
            contained_name(name)
        except InputError:
            names[name] = None
    return list(names)


@pytest.mark.parametrize("count", [100, pytest.param(500, marks=pytest.mark.torture)])
def test_hostile_run_names_are_refused_and_write_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    home = tmp_path / "a" / "b"
    (home / "runs").mkdir(parents=True)
    monkeypatch.chdir(home)
    names = hostile_names(count)
    for name in names:
        refusal(capsys, monkeypatch, "run", "lab", f"--name={name}")
        refusal(capsys, monkeypatch, "status", f"--run={name}")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "b", "runs"]
    print(f"torture: {len(names)} hostile run names, for `run` and for `status`: exit 2, one line, nothing written")
