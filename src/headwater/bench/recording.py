"""Recorded responses of a job as headwater keeps them: a cache of the teacher's distributions, made before any side."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from headwater import cache
from headwater.bench.shapes import Batch
from headwater.engines.opening import open_engine
from headwater.engines.settings import EngineSettings
from headwater.models.choice import ModelSource
from headwater.records import Group, Problem, Rollout


def read_problems(job: dict[str, Any]) -> list[Problem]:
    """The prompts as problems of words."""
    prompts = json.loads(Path(job["prompts"]).read_text(encoding="utf-8"))
    return [Problem(problem_id=str(i), prompt=" ".join(f"w{t}" for t in ids)) for i, ids in enumerate(prompts)]


def record(job: dict[str, Any], directory: Path) -> None:
    """Write the cache of the teacher's distributions on the job's recorded responses."""
    problems, batch = read_problems(job), Batch(**job["batch"])
    teacher = open_engine(EngineSettings()).teacher(ModelSource(path=job["teacher"]))
    prompts = json.loads(Path(job["prompts"]).read_text(encoding="utf-8"))
    responses = json.loads(Path(job["recorded"]).read_text(encoding="utf-8"))
    groups = []
    for i, problem in enumerate(problems):
        own = responses[i * batch.samples : (i + 1) * batch.samples]
        rollouts = (
            Rollout(
                rollout_id=f"{i}/{s}",
                problem_id=problem.problem_id,
                prompt_ids=tuple(prompts[i]),
                response_ids=tuple(ids),
                response_text="",
                logprobs=(0.0,) * len(ids),
                policy_version=-1,
                finish_reason="length",
            )
            for s, ids in enumerate(own)
        )
        groups.append(Group(problem=problem, rollouts=tuple(rollouts)))
    cache.write(directory, groups, teacher, temperature=1.0)
