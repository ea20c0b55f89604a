"""The house stays light and small: what runs without torch, how long a file is, and the walk through it."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from headwater.models.family import build
from headwater.models.shape import QwenShape
from headwater.problems.arithmetic import VOCABULARY, problem_set

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "headwater"
MOST_LINES, MOST_STOPS = 400, 12
LONGER: set[str] = set()
"""Files that are still to be parted."""
LIGHT = [
    "headwater.errors",
    "headwater.records",
    "headwater.fingerprint",
    "headwater.store",
    "headwater.ledger",
    "headwater.problems.arithmetic",
    "headwater.problems.pools",
    "headwater.verifiers.extract",
    "headwater.verifiers.typed",
    "headwater.verifiers.grading",
    "headwater.data.verifying",
    "headwater.evaluation.estimate",
    "headwater.evaluation.verdict",
    "headwater.report",
    "headwater.report.page",
    "headwater.report.terminal",
    "headwater.routes.recipe",
    "headwater.plan",
]
HEAVY = ("torch", "transformers", "ray", "vllm")


def imported(names):
    """The modules that a fresh process holds after importing these."""
    code = f"import sys\nfor name in {list(names)!r}: __import__(name)\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_grading_imports_no_computer_algebra():
    names = ["headwater.verifiers.grading", "headwater.data.verifying", "headwater.verifiers.second"]
    assert not {"torch", "sympy", "mpmath", "scipy", "math_verify", "pebble"} & imported(names)


def test_values_grading_statistics_and_report_import_no_torch():
    assert not set(HEAVY) & imported(LIGHT)


COMMANDS = [
    ["--help"],
    ["status", "none"],
    ["init", "lab", "--to", "mine.yaml"],
    ["init", "mine", "--student", "model", "--teacher", "model", "--labels", "labels.jsonl"],
    ["plan", "lab", "--routes", "all"],
]


@pytest.mark.parametrize("arguments", COMMANDS, ids=lambda arguments: " ".join(arguments[:2]))
def test_what_only_looks_loads_no_torch_transformers_datasets_or_scipy(arguments, tmp_path):
    """In a whole process, and not only among the imports of files: a command may load them on its way."""
    build(QwenShape(), VOCABULARY, 0).save(tmp_path / "model")
    problems, answers = problem_set(32, 1)
    rows = [{"problem": problem.prompt, "answer": answers[problem.problem_id]} for problem in problems]
    (tmp_path / "labels.jsonl").write_text("\n".join(map(json.dumps, rows)))
    code = f"""
import os, sys
from headwater.cli import app
os.chdir({str(tmp_path)!r})
try:
    app({arguments!r}, exit_on_error=False, print_error=False)
except Exception as error:
    print(type(error).__name__, file=sys.stderr)
print("LOADED", *sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not {*HEAVY, "datasets", "scipy", "peft"} & set(done.stdout.rpartition("LOADED")[2].split())
    assert done.stderr.strip() == ("InputError" if arguments[0] == "status" else "")


@pytest.mark.parametrize("name", ["headwater", "headwater.cli"])
def test_the_command_answers_without_loading_torch(name):
    assert not set(HEAVY) & imported([name])


MANY = ("torch.distributed", "ray", "vllm")
"""What is for several processes, or several GPUs."""


def named(path):
    """The modules that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from (node.module, *(f"{node.module}.{alias.name}" for alias in node.names))


def test_only_the_cluster_engine_knows_of_several_processes():
    users = {
        path.relative_to(PACKAGE).parent.as_posix()
        for path in PACKAGE.rglob("*.py")
        if any(name == many or name.startswith(f"{many}.") for name in named(path) for many in MANY)
    }
    assert users == {"engines/cluster"}


def test_an_engine_of_one_process_needs_none_of_it():
    assert not {"ray", "vllm"} & imported(["headwater.engines.local"])


def test_no_file_is_over_400_lines():
    lines = {path.relative_to(PACKAGE): path.read_text().count("\n") for path in PACKAGE.rglob("*.py")}
    assert {str(path) for path, n in lines.items() if n > MOST_LINES} <= LONGER


def test_the_walk_from_the_command_to_a_tokens_gradient_has_twelve_stops_that_are_there():
    text = (ROOT / "ARCHITECTURE.md").read_text()
    [walk] = re.findall(r"^## [^\n]*token's gradient\n(.*?)^## ", text, re.MULTILINE | re.DOTALL)
    stops = re.findall(r"^\d+\. `([\w/]+\.py)`: `(\w+)`", walk, re.MULTILINE)
    assert 6 < len(stops) <= MOST_STOPS
    assert len(re.findall(r"^\d+\. ", walk, re.MULTILINE)) == len(stops)
    for file, name in stops:
        assert re.search(rf"^ *(def|class) {name}\b", (PACKAGE / file).read_text(), re.MULTILINE), (file, name)


def test_every_file_that_the_page_of_the_house_names_is_there():
    named = set(re.findall(r"`([\w./]+\.py)`", (ROOT / "ARCHITECTURE.md").read_text()))
    named -= {"signals/NAME.py", "samplers/NAME.py"}
    assert len(named) > 60
    for name in named:
        assert (ROOT / name).exists() or list(PACKAGE.rglob(name)), name
