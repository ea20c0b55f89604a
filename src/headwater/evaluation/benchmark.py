"""A model on held-out problems: k samples each, graded, counted by problem. Never used to choose anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from headwater.evaluation.estimate import mixed_share
from headwater.interfaces import Generator, Seeds, Verifier
from headwater.records import Grade, Problem, Rollout, Sampling, Verdict, rollouts_of
from headwater.verifiers.ungraded import refuse_ungraded


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """Held-out problems with their answers, and how they are sampled. Its answers train nothing."""

    name: str
    problems: tuple[Problem, ...]
    answers: Mapping[str, str]
    samples: int
    sampling: Sampling


def evaluate(
    benchmark: Benchmark, generator: Generator, verifier: Verifier, seed: int, *, ungraded_limit: float = 1.0
) -> dict[str, Any]:
    """Scores as plain data: right and ungraded counts by problem, lengths, truncation, entropy, mixed groups.

    Raises GraderError when more than `ungraded_limit` of the responses have no verdict.
    """
    seeds = Seeds(run=seed, stream=f"evaluate/{benchmark.name}", step=0)
    groups = generator.generate(benchmark.problems, benchmark.samples, benchmark.sampling, seeds)
    rollouts = rollouts_of(groups)
    verdicts = verifier.grade({r.rollout_id: (benchmark.answers[r.problem_id], r.response_text) for r in rollouts})
    refuse_ungraded(verdicts, ungraded_limit, f"evaluation on {benchmark.name}")
    correct = [_count(group.rollouts, verdicts, Verdict.CORRECT) for group in groups]
    tokens = sum(len(r.response_ids) for r in rollouts)
    eight = min(8, benchmark.samples)
    return {
        "samples": benchmark.samples,
        "problems": [problem.problem_id for problem in benchmark.problems],
        "correct": correct,
        "ungraded": [_count(group.rollouts, verdicts, Verdict.UNGRADED) for group in groups],
        "mixed_groups": mixed_share(np.array(correct), benchmark.samples, eight) if eight > 1 else 0.0,
        "response_tokens": tokens / len(rollouts),
        "truncated": sum(r.finish_reason == "length" for r in rollouts) / len(rollouts),
        "entropy": -sum(sum(r.logprobs) for r in rollouts) / tokens,
    }


def _count(rollouts: Sequence[Rollout], verdicts: Mapping[str, Verdict | Grade], which: Verdict) -> int:
    return sum(verdicts[rollout.rollout_id].verdict is which for rollout in rollouts)
