"""A result of lm-evaluation-harness beside avg@k: in every form of the report, and only where it belongs.

results_micro_R7.json is what lm-eval 0.4.13 wrote of R7 of a run of micro.yaml (more pretraining, so that something is
right), without its account of the machine.
"""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headwater.errors import InputError, IntegrityError
from headwater.export.harness import take_in
from headwater.folder import HARNESS, RunFolder
from headwater.report import summarise
from micro import Finished, finished, headwater

RESULT = Path(__file__).with_name("results_micro_R7.json")
TASK, SAID = "micro_held_out", "25.0 ± 13.1"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    return finished(tmp_path_factory)


@pytest.fixture
def home(made: Finished, tmp_path: Path) -> Path:
    """A folder with a copy of the finished run under runs."""
    shutil.copytree(made.root, tmp_path / "runs" / "micro")
    return tmp_path


def edited(home: Path, edit: Callable[[Any], Any]) -> Path:
    """The result with something changed."""
    value = json.loads(RESULT.read_text(encoding="utf-8"))
    edit(value)
    (home / "results.json").write_text(json.dumps(value), encoding="utf-8")
    return home / "results.json"


def test_a_result_is_a_column_of_every_form_of_the_report_from_then_on(home: Path) -> None:
    before = headwater("report", "micro", "--markdown", cwd=home).stdout
    assert "lm-eval" not in before
    taken = headwater("report", "micro", "--harness", RESULT, cwd=home)
    assert taken.returncode == 0, taken.stderr
    assert taken.stderr == f"lm-eval: R7, seed 0: {SAID} % on held-out\n"
    assert "lm-eval %" in taken.stdout
    (row,) = (line for line in taken.stdout.splitlines() if line.startswith(" R7 "))
    assert "25.0" in row
    markdown = headwater("report", "micro", "--markdown", cwd=home).stdout.splitlines()
    place = [cell.strip() for cell in markdown[0].split("|")].index("lm-eval %")
    cells = {line.split("|")[1].strip(): line.split("|")[place].strip() for line in markdown[2:7]}
    assert cells == {name: SAID if name == "R7" else "–" for name in cells}
    arms = json.loads(headwater("report", "micro", "--json", cwd=home).stdout)["arms"]
    found = {arm["name"]: arm["scores"][0]["harness"] for arm in arms}
    assert found.pop("R7") == {"mean": 0.25, "standard_error": 0.1305582419667734, "version": "0.4.13"}
    assert set(found.values()) == {None}
    rows = list(csv.DictReader(io.StringIO(headwater("report", "micro", "--csv", cwd=home).stdout)))
    said = {row["arm"]: (row["lm_eval"], row["lm_eval_standard_error"]) for row in rows}
    assert said.pop("R7") == ("0.25", "0.1305582419667734")
    assert set(said.values()) == {("", "")}
    page = (home / "runs" / "micro" / "report.html").read_text(encoding="utf-8")
    assert f'data-name="lm-eval, %">{SAID}<' in page
    assert page.count('data-name="lm-eval, %"') == len(arms)


def test_without_a_result_no_report_speaks_of_it(made: Finished) -> None:
    assert not summarise(made.folder).harnessed
    assert made.folder.harness == {}


def test_a_second_result_takes_the_place_of_the_first_and_of_no_other(home: Path) -> None:
    folder = RunFolder(home / "runs" / "micro")
    take_in(folder, RESULT)
    take_in(folder, edited(home, lambda value: value.update(model_name="elsewhere/micro/models/raw-student-seed0")))
    again = edited(home, lambda value: value["results"][TASK].update({"exact_match,answer": 0.5}))
    take_in(folder, again)
    scores = {arm.name: arm.harness for arm in summarise(folder).arms if arm.harness is not None}
    assert scores == {"raw student": 0.25, "R7": 0.5}


def test_what_was_taken_in_is_verified_and_a_changed_byte_is_found(home: Path) -> None:
    folder = RunFolder(home / "runs" / "micro")
    take_in(folder, RESULT)
    assert folder.verify() == []
    path = folder.root / HARNESS
    path.write_text(path.read_text(encoding="utf-8").replace("0.25", "0.95"), encoding="utf-8")
    assert [str(path) in str(error) for error in folder.verify()] == [True]
    with pytest.raises(IntegrityError, match="seal"):
        summarise(folder)


WRONG: dict[str, tuple[Callable[[Any], Any], str]] = {
    "no result at all": (lambda value: value.clear(), r"is no result of lm-evaluation-harness \(results: field requ"),
    "another task": (
        lambda value: value.update(results={"gsm8k": value["results"][TASK]}),
        r"is of 'gsm8k', and this run's tasks are micro_held_out; `headwater export micro ARM --to lm-eval`",
    ),
    "a model of no run": (
        lambda value: value.update(model_name="Qwen/Qwen3-0.6B"),
        r"is of the model 'Qwen/Qwen3-0.6B', which is none of this run; it has .*micro/models/R7-seed0",
    ),
    "the same arm of another run": (
        lambda value: value.update(model_name="/home/me/runs/other/models/R7-seed0"),
        "which is none of this run",
    ),
    "a part of the problems": (
        lambda value: value["n-samples"][TASK].update(effective=4),
        r"is of 4 problems of micro_held_out, and the benchmark has 12; measure all of them \(no --limit\)",
    ),
    "other problems": (
        lambda value: value["configs"][TASK]["metadata"].update(digest="0" * 64),
        r"asks other problems than this run's held-out \(digest 000000000000, the run's [0-9a-f]{12}\); export",
    ),
    "an export of before": (
        lambda value: value["configs"][TASK]["metadata"].pop("digest"),
        "asks other problems than this run's held-out",
    ),
    "another score": (
        lambda value: value["results"][TASK].pop("exact_match,answer"),
        "micro_held_out.exact_match,answer: field required; measure the task",
    ),
    "no error": (
        lambda value: value["results"][TASK].update({"exact_match_stderr,answer": "N/A"}),
        "micro_held_out.exact_match_stderr,answer: input should be a valid number",
    ),
    "more than all": (
        lambda value: value["results"][TASK].update({"exact_match,answer": 25.0}),
        "micro_held_out.exact_match,answer: input should be less than or equal to 1",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_result_that_is_not_of_this_run_is_refused_and_nothing_is_kept(home: Path, what: str) -> None:
    edit, message = WRONG[what]
    folder = RunFolder(home / "runs" / "micro")
    with pytest.raises(InputError, match=message) as caught:
        take_in(folder, edited(home, edit))
    assert "\n" not in str(caught.value)
    assert not (folder.root / HARNESS).exists()


@pytest.mark.parametrize("name", ["missing.json", "report.html"])
def test_a_file_of_another_kind_is_refused_in_one_line(home: Path, name: str) -> None:
    done = headwater("report", "micro", "--harness", Path("runs") / "micro" / name, cwd=home)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "is no result of lm-evaluation-harness" in line
    assert line.endswith("give the results_*.json that it wrote under --output_path")
