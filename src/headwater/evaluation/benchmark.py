"""A model on held-out problems: k samples each, graded, counted by problem. Never used to choose anything."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from headwater.evaluation.estimate import mixed_share
from headwater.interfaces import Generator, Seeds, Verifier
from headwater.records import Grade, Group, Problem, Sampling, Verdict, rollouts_of
from headwater.verifiers.answers import refuse_share


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """Held-out problems with their answers, and how they are sampled. Its answers train nothing."""

    name: str
    problems: tuple[Problem, ...]
    answers: Mapping[str, str]
    samples: int
    sampling: Sampling


@dataclass(kw_only=True)
class Tally:
    """What was counted on the first problems of a benchmark; plain numbers, so that an evaluation can be taken up."""

    correct: list[int] = field(default_factory=list)
    ungraded: list[int] = field(default_factory=list)
    rollouts: int = 0
    tokens: int = 0
    truncated: int = 0
    logprob: float = 0.0

    def add(self, groups: Sequence[Group], verdicts: Mapping[str, Verdict | Grade]) -> None:
        """The next problems' responses, graded."""
        for group in groups:
            given = [verdicts[rollout.rollout_id].verdict for rollout in group.rollouts]
            self.correct.append(given.count(Verdict.CORRECT))
            self.ungraded.append(given.count(Verdict.UNGRADED))
            for rollout in group.rollouts:
                self.rollouts += 1
                self.tokens += len(rollout.response_ids)
                self.truncated += rollout.finish_reason == "length"
                self.logprob += sum(rollout.logprobs)

    def scores(self, benchmark: Benchmark) -> dict[str, Any]:
        """As plain data: right and ungraded counts by problem, lengths, truncation, entropy, mixed groups."""
        eight = min(8, benchmark.samples)
        return {
            "samples": benchmark.samples,
            "problems": [problem.problem_id for problem in benchmark.problems],
            "correct": self.correct,
            "ungraded": self.ungraded,
            "mixed_groups": mixed_share(np.array(self.correct), benchmark.samples, eight) if eight > 1 else 0.0,
            "response_tokens": self.tokens / self.rollouts,
            "truncated": self.truncated / self.rollouts,
            "entropy": -self.logprob / self.tokens,
        }


def evaluate(  # noqa: PLR0913
    benchmark: Benchmark,
    generator: Generator,
    verifier: Verifier,
    seed: int,
    *,
    ungraded_limit: float = 1.0,
    tally: Tally | None = None,
    piece: int | None = None,
    on_piece: Callable[[int], None] = lambda problems: None,
) -> dict[str, Any]:
    """A benchmark's scores. Raises GraderError when more than `ungraded_limit` of its responses have no verdict.

    Args: tally: what was counted of the first problems before. piece: problems gone through at a time, None for all.
    on_piece: told after each how many problems the tally holds.
    """
    tally = Tally() if tally is None else tally
    seeds = Seeds(run=seed, stream=f"evaluate/{benchmark.name}", step=0)
    while (made := len(tally.correct)) < len(benchmark.problems):
        problems = benchmark.problems[made : made + (piece or len(benchmark.problems))]
        groups = generator.generate(problems, benchmark.samples, benchmark.sampling, seeds)
        asked = {r.rollout_id: (benchmark.answers[r.problem_id], r.response_text) for r in rollouts_of(groups)}
        tally.add(groups, verifier.grade(asked))
        on_piece(len(tally.correct))
    refuse_share(sum(tally.ungraded), tally.rollouts, ungraded_limit, f"evaluation on {benchmark.name}")
    return tally.scores(benchmark)
