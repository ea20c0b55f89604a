"""Demonstrations: each problem's worked solution, as the learner would have to write it. They are labels."""

from __future__ import annotations

from collections.abc import Sequence

from headwater.interfaces import At, Need, Sampler, Seeds, Workers
from headwater.records import Group, Problem, Rollout


class Demonstrations(Sampler):
    """The worked solutions that a labels file maps to `demonstration`: one response a problem, whatever `samples` says.

    In place of `Recorded(only_correct=True)`, the teacher's own right responses, it makes teacher SFT the fine-tuning
    on given solutions of arXiv 2605.12483's R6. Left out: several solutions of one problem.
    """

    @property
    def needs(self) -> frozenset[Need]:
        """Every worked solution."""
        return frozenset({Need.DEMONSTRATIONS})

    def sample(self, problems: Sequence[Problem], workers: Workers, seeds: Seeds, at: At) -> list[Group]:
        """Each problem's solution, read through the ledger."""
        return [Group(problem=problem, rollouts=(self._written(problem, workers),)) for problem in problems]

    def _written(self, problem: Problem, workers: Workers) -> Rollout:
        return workers.written(problem, workers.answers.read(problem.problem_id, "demonstration"))
