"""The whole of R3-full on the lab family: headwater against the same stages scripted with TRL's trainers.

    python bench/r3_full.py runs/lab --peer-python /path/to/trl/venv/bin/python --json bench/results/r3-full.json

Both sides start from the pretrained pair of a finished `headwater run lab` and do teacher RL on the 256 labels, record
the teacher, warm up and distil the student: the same steps, batches, rollouts, rates and token limits. They take turns,
each round in a fresh process whose start is not counted; times are CPU seconds of one thread. The students are then
measured with headwater on the same held-out problems. Each round has a training seed of its own: from one pretrained
pair, students differ from seed to seed by more than the error over problems.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import headwater
from headwater.data.problems import RunData
from headwater.evaluation.estimate import average_at_k
from headwater.folder import RECIPE, RunFolder
from headwater.routes.recipe import Recipe, read_recipe
from headwater.routes.table import BY_NAME
from headwater.run import evaluate_model
from headwater.store import Store

HERE = Path(__file__).parent
ROUTE = "R3-full"


def prepare(run: Path, seed: int, directory: Path) -> dict[str, Any]:
    """What both sides need: two model directories, problems with their answers, and the numbers of the stages."""
    recipe = read_recipe(str(run / RECIPE))
    store = Store(run)
    nodes = RunFolder(run).graph["nodes"]
    models = {}
    for name, node in nodes.items():
        if node["kind"] in ("model", "pretrain") and node["seed"] == seed:
            role = node["settings"]["role"]
            models[role] = str(store.checkout(name, directory / role, "model/"))
    data = RunData(recipe.problems)
    problems = data.problems("pool", seed)
    return {
        "run": str(run),
        "seed": seed,
        "models": models,
        "problems": [{"id": p.problem_id, "prompt": p.prompt, "answer": data.answers[p.problem_id]} for p in problems],
        "stages": {step.stage: _numbers(recipe, step) for step in BY_NAME[ROUTE].steps},
        "cached_samples": recipe.cached_samples,
        "max_response_tokens": recipe.max_response_tokens,
        "kl_coefficient": recipe.reward.kl_coefficient,
    }


def _numbers(recipe: Recipe, step: Any) -> dict[str, Any]:
    stage = recipe.stage(BY_NAME[ROUTE], step)
    return {
        "updates": stage.schedule.updates,
        "problems": stage.schedule.problems,
        "samples": stage.sampler.samples,
        "optimiser": stage.optimiser.model_dump(),
    }


def run_side(python: str, script: str, job: dict[str, Any], out: Path, setting: str) -> dict[str, Any]:
    """One whole run of a side: CPU seconds by stage, and its student in `out`."""
    out.mkdir(parents=True)
    (out / "job.json").write_text(json.dumps(job), encoding="utf-8")
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(headwater.__file__).parent.parent),
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "TRL_EXPERIMENTAL_SILENCE": "1",
        "TORCHINDUCTOR_COMPILE_THREADS": "1",
    }
    with (out / "log").open("w") as log:
        command = [python, str(HERE / script), str(out / "job.json"), str(out), setting]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment, check=False)
    if done.returncode:
        sys.exit(f"{script} {setting} failed:\n{(out / 'log').read_text()[-2000:]}")
    measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return measured


def accuracy(model: Path, recipe: Recipe) -> dict[str, float]:
    """avg@k of a student on the lab's held-out problems, with its standard error over problems."""
    scores, _ = next(iter(evaluate_model(str(model), recipe).values()))  # the first is the primary benchmark
    estimate = average_at_k(scores["correct"], scores["samples"])
    return {"mean": estimate.mean, "standard_error": estimate.standard_error}


def main() -> None:
    """Take turns, measure the students, write the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("run", type=Path, help="folder of a finished `headwater run lab`")
    parser.add_argument("--peer-python", default=sys.executable, help="Python of TRL's environment")
    parser.add_argument("--ours", default="float32", help="float32 or bfloat16")
    parser.add_argument("--theirs", default="float32", help="float32, amp or default")
    parser.add_argument(
        "--repeat", type=int, default=1, help="whole runs of each side, each with a training seed of its own"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the lab run whose pretrained pair is taken")
    parser.add_argument("--updates", type=int, help="cut every stage to so many updates (to try settings)")
    parser.add_argument("--json", type=Path, help="where the figures go")
    options = parser.parse_args()
    recipe = read_recipe(str(options.run / RECIPE))
    rounds: dict[str, list[dict[str, Any]]] = {"headwater": [], "trl": []}
    with tempfile.TemporaryDirectory(prefix="headwater-r3-") as name:
        directory = Path(name)
        job = prepare(options.run, options.seed, directory)
        if options.updates:
            for stage in job["stages"].values():
                stage["updates"] = min(stage["updates"], options.updates)
        for number in range(options.repeat):
            for side, python, script, setting in (
                ("headwater", sys.executable, "r3_headwater.py", options.ours),
                ("trl", options.peer_python, "r3_trl.py", options.theirs),
            ):
                out = directory / f"{side}-{number}"
                seeded = {**job, "seed": options.seed + number}
                measured = run_side(python, script, seeded, out, setting)
                measured["accuracy"] = accuracy(out / "student", recipe)
                measured["teacher_accuracy"] = accuracy(out / "teacher", recipe)
                rounds[side].append({**measured, "setting": setting})
                print(json.dumps({"side": side, **rounds[side][-1]}), flush=True)
    seconds = {side: statistics.median(sum(r["parts"].values()) for r in done) for side, done in rounds.items()}
    ratio = seconds["trl"] / seconds["headwater"]
    print(f"headwater {seconds['headwater']:.1f} s, trl {seconds['trl']:.1f} s: {ratio:.2f} x")
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps({"seconds": seconds, "rounds": rounds}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
