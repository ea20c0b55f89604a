"""The same benchmark in lm-evaluation-harness: what the task asks, how it finds answers, and a real run of it."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from headwater.errors import InputError
from headwater.export.harness import take_in
from headwater.export.lm_eval import PATTERNS, export
from headwater.folder import RunFolder
from headwater.report import summarise
from headwater.verifiers.extract import find_answer
from micro import Finished, finished


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    return finished(tmp_path_factory)


def test_the_task_has_every_problem_with_its_gold_and_the_runs_own_limits(made: Finished, tmp_path: Path) -> None:
    command = export(made.folder, made.folder.arm("R7"), tmp_path)
    task = yaml.safe_load((tmp_path / "micro_held_out.yaml").read_text())
    rows = [json.loads(line) for line in (tmp_path / "micro_held_out.jsonl").read_text().splitlines()]
    assert len(rows) == 12
    assert task["generation_kwargs"]["max_gen_toks"] == 14
    assert "--tasks micro_held_out" in command
    assert str(made.folder.model(made.folder.arm("R7"))) in command


@pytest.mark.parametrize(
    ("extractor", "text"),
    [
        ("boxed", r"so \boxed{3} no, \boxed{\frac{1}{2}}"),
        ("tag", "<answer>4</answer> then <answer> 5 </answer>"),
        ("number", "3 apples and 1,000 pears, so -7"),
        ("number", "it is 3.5"),
    ],
)
def test_the_answer_is_found_where_headwater_finds_it(extractor: str, text: str) -> None:
    found = re.findall(PATTERNS[extractor], text)[-1]
    assert found == find_answer(text, extractor, "####", "")


def test_a_benchmark_that_is_not_there_is_refused(made: Finished, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no benchmark 'aime'; the run has held-out"):
        export(made.folder, made.folder.arm("R7"), tmp_path, "aime")


def test_the_harness_itself_runs_the_task(made: Finished, tmp_path: Path) -> None:
    pytest.importorskip("lm_eval", reason="`make integration` installs it")
    words = shlex.split(export(made.folder, made.folder.arm("R7"), tmp_path))
    done = subprocess.run(
        [sys.executable, "-m", *words, "--device", "cpu", "--batch_size", "4"],
        capture_output=True, text=True, check=False, cwd=tmp_path, timeout=500,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    written = next((tmp_path / "results").rglob("results_*.json"))
    results = json.loads(written.read_text())
    score = results["results"]["micro_held_out"]["exact_match,answer"]
    assert 0 <= score <= 1
    assert results["n-samples"]["micro_held_out"]["effective"] == 12
    copy = RunFolder(shutil.copytree(made.root, tmp_path / "runs" / "micro"))
    assert take_in(copy, written).startswith("lm-eval: R7, seed 0: ")
    assert next(arm.harness for arm in summarise(copy).arms if arm.name == "R7") == score
