"""headwater's side of r3_full.py: the three stages and the recording through the public functions, in one process."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from headwater import Labels, LanguageModel, record, train
from headwater.bench.protocol import Memory, Parts, read_job
from headwater.data.problems import RunData
from headwater.engines.cpu import products
from headwater.engines.settings import EngineSettings
from headwater.folder import RunFolder
from headwater.records import Sampling
from headwater.routes.recipe import read_recipe
from headwater.routes.table import BY_NAME
from headwater.run.identity import PRODUCTS
from headwater.verifiers.grading import make_verifier


def main() -> None:
    """Run, print CPU seconds by stage, leave the student and the teacher behind."""
    torch.set_num_threads(1)
    job: dict[str, Any] = read_job(sys.argv[1])
    out, setting = Path(sys.argv[2]), sys.argv[3]
    recipe = read_recipe(str(Path(job["run"]) / "recipe.json"))
    products.keep(RunFolder(Path(job["run"])).graph["identity"].get(PRODUCTS, "default"))  # as the run does
    route = BY_NAME["R3-full"]
    stages = {step.stage: cut(recipe.stage(route, step), job) for step in route.steps}
    problems = list(RunData(recipe.problems).problems("pool", job["seed"]))
    labels = Labels(
        answers={row["id"]: row["answer"] for row in job["problems"]},
        verifier=make_verifier(recipe.problems.grading),
        ledger=str(out / "ledger.sqlite"),
    )
    teacher, student = (LanguageModel.load(job["models"][role]) for role in ("teacher", "student"))
    options = engine(setting)
    seed = job["seed"]
    memory, parts = Memory(), Parts()
    train(stages["teacher-rl"], teacher, problems, labels=labels, seed=seed, engine=options)
    parts.part("teacher RL")
    sampling = Sampling(temperature=recipe.temperature, max_response_tokens=job["max_response_tokens"])
    with tempfile.TemporaryDirectory() as cache:
        recorded = record(
            teacher, problems, Path(cache), samples=job["cached_samples"], sampling=sampling, engine=options
        )
        parts.part("recording")
        train(stages["warm-up"], student, problems, teacher=recorded, seed=seed, engine=options)
    parts.part("warm-up")
    train(stages["on-policy-distillation"], student, problems, teacher=teacher, seed=seed, engine=options)
    parts.part("OPD")
    student.save(out / "student")
    teacher.save(out / "teacher")
    print(json.dumps({**parts.measured, "memory": memory.measured}))


def cut(stage: Any, job: dict[str, Any]) -> Any:
    """The stage with the job's number of updates."""
    updates = job["stages"][stage.name]["updates"]
    return stage.model_copy(update={"schedule": stage.schedule.model_copy(update={"updates": updates})})


def engine(setting: str) -> EngineSettings:
    """The engine in a setting such as bfloat16."""
    return EngineSettings.model_validate({"precision": setting})


if __name__ == "__main__":
    main()
