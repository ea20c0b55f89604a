"""Recipes broken at every key, and hostile run names, at the command line: exit 2, one line, nothing written."""

from __future__ import annotations

import copy
import json
import random
import shutil
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
        if value:  # an empty mapping takes names of the user's own
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


FILES = {
    "student": {"path": "student"},
    "teacher": {"path": "teacher"},
    "problems": {
        "kind": "files",
        "labels": {"path": "labels.jsonl"},
        "benchmarks": {
            "first": {"source": {"path": "first.jsonl"}, "samples": 2, "grading": {"answer_type": "integer"}}
        },
    },
}
FAMILY = {**FILES, "problems": {"kind": "reasoning-gym", "labels": {"family": "chain_sum", "size": 300}}}
FAMILY["problems"] |= {"benchmarks": {"first": {"source": {"family": "chain_sum", "size": 9, "seed": 1}}}}
OWN_NAMES = {("problems", "benchmarks")}
"""Mappings whose keys a user chooses."""


def recipes() -> Iterator[tuple[str, dict[str, Any]]]:
    """A recipe of each kind of problems, with one key broken."""
    for data in ({}, FILES, FAMILY):
        whole = Recipe.model_validate(data).model_dump(mode="json")
        for key, wrong in broken(whole):
            if key[-1] == "no such key" and key[:-1] in OWN_NAMES:
                continue
            place = recipe = copy.deepcopy(whole)
            for name in key[:-1]:
                place = place[name]
            place[key[-1]] = wrong
            yield key[-1], recipe


@pytest.mark.parametrize("stride", [23, pytest.param(1, marks=pytest.mark.torture)])
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


TEXTS = [
    *(
        "",
        "null",
        "- a\n- b\n",
        "5",
        "name: [",
        "name:\tx\n\tseeds: [0]",
        "name: a\nname: b\n",
        "name: a\n---\nname: b\n",
    ),
    *("a: " + "[" * 5000 + "]" * 5000, "{a: " * 3000 + "1" + "}" * 3000, "name: " + "x" * 1_000_000),
    "a: &a [x,x,x,x,x,x,x,x,x]\n"
    + "".join(
        f"{new}: &{new} [{','.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
    ),
    *(
        "a: &a\n  b: *a\n",
        "<<: *nowhere\n",
        "%YAML 9.9\n---\nname: a\n",
        "name: !!python/object/apply:os.system [echo]",
    ),
    *("name: !mine x", "? [a]\n: 1", ".nan: 1", "1: 2", "null: 3", "name: a\0b", 'name: "\\ud800"', "\ufeffnope: 1"),
    *(
        "seeds: [1.5]",
        "seeds: [true]",
        "seeds: ['0']",
        f"seeds: [{'9' * 5000}]",
        "seeds: [0, 0]",
        "cached_samples: 1_0x",
    ),
    *("temperature: .inf", "temperature: .nan", "temperature: 0", "temperature: -0.0", "guard: {patience: 0}"),
    *("guard: {patience: 1e400}", "stages: {student_rl: {epochs: 0}}", "student: {shape: {hidden_size: 0}}"),
    *("student: {shape: {heads: 5, kv_heads: 3}}", "student: {path: [a]}", "engine: {device: 7}", "engine: null"),
    *("engine: []", "arms: 5", "arms: [{name: ../x, title: t, steps: []}]", "contrasts: [{treatment: R1}]"),
    *("problems: {kind: files}", "problems: {kind: files, labels: {path: nowhere}, benchmarks: {}}"),
    *("problems: {kind: files, labels: {path: a}, benchmarks: {b: null}}", "problems: {grading: {function: ../x}}"),
    "problems: {kind: files, labels: {path: a}, benchmarks: [b]}",
    "problems: {kind: files, labels: {path: a}, benchmarks: {../b: {source: {path: a}}}}",
    "problems: {kind: reasoning-gym, labels: {family: nonsense}, benchmarks: {a: {source: {family: nonsense}}}}",
]
BYTES = [bytes(range(256)) * 4, "name: caf\xe9".encode("latin1"), "name: a".encode("utf16")]


def test_a_file_that_is_no_recipe_is_refused_in_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "my.yaml"
    for content in (*(text.encode(errors="surrogatepass") for text in TEXTS), *BYTES):
        path.write_bytes(content)
        assert str(path) in refusal(capsys, monkeypatch, "validate", str(path)), content[:80]
    assert list(tmp_path.iterdir()) == [path]
    print(f"torture: {len(TEXTS) + len(BYTES)} files that are no recipe: exit 2, one line, the file named")


MODELS = {
    "config.json": [b"", b"[]", b"{" * 10_000, b"\xff\xfe", b'{"model_type": "nonsense"}', b'{"model_type": "qwen3"}'],
    "model.safetensors": [b"", b"\0" * 100, b"\xff" * 100, b"\x08\0\0\0\0\0\0\0[[[[[[[["],
    "pytorch_model.bin": [b"no safetensors"],
    "evil.py": [b"open('canary', 'w')"],
}
REMOTE = b'{"model_type": "mine", "auto_map": {"AutoConfig": "evil.C", "AutoModelForCausalLM": "evil.M"}}'


def test_a_directory_that_is_no_model_is_refused_in_a_line_and_runs_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    count = 0
    for config in (None, *MODELS["config.json"], REMOTE):
        for name in ("model.safetensors", "pytorch_model.bin", "evil.py"):
            for content in MODELS[name]:
                shutil.rmtree("model", ignore_errors=True)
                Path("model").mkdir()
                Path("model", name).write_bytes(content)
                if config is not None:
                    Path("model", "config.json").write_bytes(config)
                assert "model" in refusal(capsys, monkeypatch, "eval", "model")
                count += 1
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    print(f"torture: {count} directories that are no model: exit 2, one line, no code of theirs run")


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
