"""R3-full as a benchmark: our side does all its stages from a finished run, and its student is measured."""

import sys
from pathlib import Path

import torch
from safetensors.torch import load_file

from bench import r3_full
from micro import FILE, headwater, micro


def test_our_side_goes_from_a_finished_run_to_a_student_that_is_measured(tmp_path):
    done = headwater("run", FILE, "--routes", "R3-full", "--runs", tmp_path / "runs", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    run = tmp_path / "runs" / "micro"
    job = r3_full.prepare(run, 0, tmp_path / "pair")
    assert len(job["problems"]) == micro().problems.labelled
    found = r3_full.run_side(sys.executable, "r3_headwater.py", job, tmp_path / "side", "float32")
    assert set(found["parts"]) == {"teacher RL", "recording", "warm-up", "OPD"}
    assert min(found["parts"].values()) > 0
    before, after = (
        load_file(Path(at) / "model.safetensors") for at in (job["models"]["student"], tmp_path / "side/student")
    )
    assert any(not torch.equal(before[name], after[name]) for name in before)  # the teacher finds no right answer here
    for role in ("student", "teacher"):
        measured = r3_full.accuracy(tmp_path / "side" / role, micro())
        assert 0 <= measured["mean"] <= 1
        assert measured["standard_error"] >= 0
