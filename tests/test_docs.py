"""The documentation says what is there: its script runs, its links lead somewhere, its commands and recipes parse."""

import os
import re
import shlex
import sqlite3
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM, AutoTokenizer

import headwater as hw
from headwater.ledger import Ledger
from headwater.models.family import build
from headwater.models.shape import QwenShape
from headwater.problems.arithmetic import VOCABULARY
from headwater.routes.recipe import Recipe, read_recipe, shipped

ROOT = Path(__file__).parent.parent
PAGES = sorted(p for p in [ROOT / "README.md", ROOT / "ARCHITECTURE.md", *(ROOT / "docs").rglob("*.md")] if p.exists())
STUDENT = QwenShape(hidden_size=16, layers=1, heads=2, kv_heads=1, head_dim=8, ff_size=32)
TEACHER = QwenShape(hidden_size=24, layers=1, heads=2, kv_heads=1, head_dim=8, ff_size=32)

_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_TABLE = re.compile(r"(?:^\|.*\n)+", re.MULTILINE)
_CELL = re.compile(r"(?<!\\)\|")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def run(*command):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "COLUMNS": "200"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, check=False)


def fenced(page, *languages):
    """The fenced blocks of these languages."""
    return [text for language, text in _FENCE.findall(page.read_text(encoding="utf-8")) if language in languages]


def command_lines(program):
    """(page name, words) of every line in a shell block that runs the program."""
    for page in PAGES:
        for block in fenced(page, "", "bash", "sh", "console", "shell"):
            for line in block.replace("\\\n", " ").splitlines():
                text = line.strip().removeprefix("$ ")
                if text.split(" ")[0].split("/")[-1] == program:
                    yield page.name, shlex.split(text, comments=True)[1:]


@cache
def help_of(*command):
    done = run(sys.executable, "-m", "headwater.cli", *command, "--help")
    assert done.returncode == 0, done.stderr
    return done.stdout


# The script


@pytest.fixture
def models(tmp_path):
    """Directories of a tiny teacher and student."""
    for name, shape, seed in (("teacher", TEACHER, 1), ("student", STUDENT, 0)):
        build(shape, VOCABULARY, seed).save(tmp_path / name)
    return tmp_path / "teacher", tmp_path / "student"


def own_model(*arguments):
    return run(sys.executable, str(ROOT / "docs" / "own_model.py"), *map(str, arguments))


def assert_changed(before, after):
    AutoTokenizer.from_pretrained(after)
    old = AutoModelForCausalLM.from_pretrained(before).state_dict()
    new = AutoModelForCausalLM.from_pretrained(after).state_dict()
    assert old.keys() == new.keys()
    assert any(not torch.equal(old[name], new[name]) for name in old)
    assert all(bool(torch.isfinite(value).all()) for value in new.values())


def test_the_script_distills_a_teacher_into_a_student_of_ones_own(models, tmp_path):
    done = own_model(*models, tmp_path / "out", "--updates", 3)
    assert done.returncode == 0, done.stderr
    assert re.findall(r"^step (\d): kl \d+\.\d{4}$", done.stdout, re.MULTILINE) == ["0", "1", "2"]
    assert "reward" not in done.stdout
    assert_changed(models[1], tmp_path / "out")


def test_the_script_spends_labels_of_ones_own_when_asked(models, tmp_path):
    mine = tmp_path / "mine.jsonl"
    mine.write_text('{"prompt": "3 +4 :", "answer": "7"}\n{"prompt": "9 -2 :", "answer": "7"}\n', encoding="utf-8")
    done = own_model(*models, tmp_path / "out", "--updates", 1, "--rl-updates", 2, "--problems", mine, "--tokens", 8)
    assert done.returncode == 0, done.stderr
    assert re.findall(r"^step (\d): (kl|reward) \d", done.stdout, re.MULTILINE) == [
        ("0", "kl"),
        ("0", "reward"),
        ("1", "reward"),
    ]


def test_the_script_refuses_a_teacher_with_another_vocabulary(models, tmp_path):
    build(TEACHER, (*VOCABULARY, "x"), 1).save(tmp_path / "other")
    done = own_model(tmp_path / "other", models[1], tmp_path / "out")
    assert done.returncode == 2
    assert "different vocabularies" in done.stderr
    assert not (tmp_path / "out").exists()


# The pages


def anchors(page):
    """The anchors that a renderer gives a page's headings."""
    headings = _HEADING.findall(_FENCE.sub("", page.read_text(encoding="utf-8")))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_to_a_file(page):
    for link in _LINK.findall(_FENCE.sub("", page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name}: {link}"
        assert target.is_relative_to(ROOT), f"{page.name}: {link} leaves the repository"
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), f"{page.name}: {link}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_row_of_a_table_has_the_cells_of_its_heading(page):
    text = _FENCE.sub("", page.read_text(encoding="utf-8") + "\n")
    for table in _TABLE.findall(text):
        heading, *rows = table.splitlines()
        assert [row for row in rows if len(_CELL.findall(row)) != len(_CELL.findall(heading))] == []


def test_every_command_and_flag_in_the_pages_exists():
    commands = set(re.findall(r"^│ (\w+) ", help_of(), re.MULTILINE))
    quoted = list(command_lines("headwater"))
    assert quoted
    for page, words in quoted:
        options = [word.split("=")[0] for word in words if word.startswith("-")]
        if words[0].startswith("-"):
            assert words[0] in help_of(), f"{page}: headwater {shlex.join(words)}"
            continue
        assert words[0] in commands, f"{page}: headwater {shlex.join(words)}"
        known = {*re.findall(r"(?<!\S)--?[a-z][\w-]*", help_of(words[0])), "--help", "--debug"}
        unknown = set(options) - known
        assert not unknown, f"{page}: headwater {shlex.join(words)} has no {', '.join(unknown)}"


def test_every_make_target_in_the_pages_exists():
    rules = re.findall(r"^([a-z0-9][a-z0-9 -]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    targets = {target for rule in rules for target in rule.split()}
    asked = {word for _, words in command_lines("make") for word in words if "=" not in word}
    assert asked <= targets


def test_what_the_pages_hand_to_others_is_yaml_and_shell(tmp_path):
    """Manifests stand in blocks of yml, scripts begin with #!."""
    manifests = [text for page in PAGES for text in fenced(page, "yml")]
    scripts = [text for page in PAGES for text in fenced(page, "bash") if text.startswith("#!")]
    assert manifests and scripts
    for text in manifests:
        assert {"apiVersion", "kind", "spec"} <= yaml.safe_load(text).keys()
    for text in scripts:
        (tmp_path / "job.sh").write_text(text)
        done = run("bash", "-n", tmp_path / "job.sh")
        assert done.returncode == 0, done.stderr


def test_every_recipe_in_the_pages_is_valid(tmp_path):
    blocks = [(page, text) for page in PAGES for text in fenced(page, "yaml")]
    assert blocks
    for page, text in blocks:
        (tmp_path / "recipe.yaml").write_text(text, encoding="utf-8")
        read = read_recipe(str(tmp_path / "recipe.yaml"))
        assert len(read.all_contrasts()) >= len(read.contrasts), page.name


def test_every_override_in_the_pages_is_valid():
    for _, words in command_lines("headwater"):
        overrides = [words[i + 1] for i, word in enumerate(words) if word == "--set"]
        if overrides:
            read_recipe(words[1] if words[1] in shipped() else "lab", overrides)


def test_every_python_block_in_the_pages_compiles():
    for page in PAGES:
        for text in fenced(page, "python"):
            compile(text, page.name, "exec")


def test_every_query_in_the_pages_runs_on_a_ledger(tmp_path):
    with Ledger(tmp_path / "ledger.sqlite"):
        pass
    connection = sqlite3.connect(tmp_path / "ledger.sqlite")
    connection.create_function("readfile", 1, lambda path: '{"nodes": {}}')
    quoted = list(command_lines("sqlite3"))
    assert quoted
    for _, words in quoted:
        connection.execute(words[-1]).fetchall()
    connection.close()


# The stage pages

STAGE_PAGES = sorted((ROOT / "docs" / "stages").glob("*.md"))
SIGNALS = {
    "reward": hw.Reward(zero_variance="keep"),
    "divergence": hw.Divergence(direction="reverse"),
    "imitation": hw.Imitation(),
}


def rows(page, heading):
    """The cells of the table rows under a heading, without the table's head."""
    section = page.read_text(encoding="utf-8").split(f"## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def named(cell):
    """Names in backticks; one that starts with a dot belongs to the group of the name before."""
    names = re.findall(r"`([^`]+)`", cell)
    return [f"{names[0].rpartition('.')[0]}{name}" if name.startswith(".") else name for name in names]


def at(recipe, key):
    value = recipe
    for part in key.split("."):
        value = getattr(value, part)
    return value


@pytest.mark.parametrize("page", STAGE_PAGES, ids=lambda page: page.stem)
def test_every_setting_of_a_stage_page_has_the_stated_default_and_lab_value(page):
    default, lab = Recipe(), read_recipe("lab")
    for cell, *stated, _meaning in rows(page, "Settings"):
        keys = named(cell)
        for index, key in enumerate(keys):
            first, second = (text.split(", ")[index] if ", " in text else text for text in stated)
            assert at(default, key) == value_of(first), f"{key}: {at(default, key)}"
            assert at(lab, key) == value_of(first if second == "same" else second), f"lab: {key}: {at(lab, key)}"


def value_of(text):
    """What a cell states: a number, a word, true or false; none is None."""
    if re.fullmatch(r"[\d.]+e-?\d+", text):
        return float(text)
    return None if text == "none" else yaml.safe_load(text)


@pytest.mark.parametrize("page", STAGE_PAGES, ids=lambda page: page.stem)
def test_the_metrics_of_a_stage_page_are_those_that_a_step_records(page):
    row = next(
        line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith(("| teacher", "| stud"))
    )
    signal = next(name for name in SIGNALS if name in row)
    stage = hw.Stage(
        name="tiny",
        learner="student",
        sampler=hw.OnPolicy(samples=2, max_response_tokens=4),
        signal=SIGNALS[signal],
        pool="mine",
        schedule=hw.Schedule(updates=1, problems=1),
        optimiser=hw.Optimiser(),
    )
    problem = hw.Problem(problem_id="a", prompt="3 +4 :", source="tiny")
    (record,) = hw.train(
        stage,
        build(STUDENT, VOCABULARY, 0),
        [problem],
        teacher=build(TEACHER, VOCABULARY, 1),
        labels=hw.Labels(answers={"a": "7"}),
    )
    stated = [name for cell, *_ in rows(page, "What to watch") for name in named(cell)]
    assert sorted(stated) == sorted(record.metrics)
