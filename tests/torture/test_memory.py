"""A long stage does not grow: memory over many small steps of one process, fitted by a line."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

import tiny
from headwater.loop import Schedule, Stage
from headwater.records import StepRecord
from headwater.run.assemble import Labels, train
from headwater.samplers import OnPolicy
from headwater.signals import Divergence, Reward

PAGE = os.sysconf("SC_PAGE_SIZE")
PROBLEMS = tiny.problems(4)
SIGNALS = {"on-policy-distillation": Divergence(direction="reverse"), "student-rl": Reward()}


def resident() -> int:
    """Bytes of memory that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


@pytest.mark.parametrize(
    ("updates", "warm_up", "most"),
    [(300, 100, 40_000), pytest.param(2000, 200, 10_000, marks=pytest.mark.torture)],
)
@pytest.mark.parametrize("name", SIGNALS)
def test_memory_does_not_grow_with_the_steps(name: str, updates: int, warm_up: int, most: int) -> None:
    stage = Stage(
        name=name,
        learner="student",
        sampler=OnPolicy(samples=4, max_response_tokens=6),
        signal=SIGNALS[name],
        pool="pool",
        schedule=Schedule(updates=updates, problems=2),
        optimiser=tiny.STEADY.model_copy(update={"learning_rate": 1e-4}),
    )
    sizes: list[int] = []

    def note(record: StepRecord) -> None:
        sizes.append(resident())

    labels = Labels(answers={problem.problem_id: "1" for problem in PROBLEMS})
    train(stage, tiny.qwen(), PROBLEMS, teacher=tiny.qwen(seed=8), labels=labels, on_step=note)
    assert len(sizes) == updates
    slope = float(np.polyfit(np.arange(warm_up, updates), sizes[warm_up:], 1)[0])
    print(f"torture: {name}, {updates} steps: {slope / 1000:.2f} kB a step, {sizes[-1] / 1e6:.0f} MB at the end")
    assert slope < most
