"""Recorded: states made earlier, by a teacher or in demonstrations, read as often as the schedule asks."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from pydantic import Field

from headwater.errors import InputError
from headwater.interfaces import Sampler, Seeds, Workers
from headwater.records import Group, Problem, Verdict


class Recorded(Sampler):
    """The recorded rollouts of each problem; `only_correct` keeps those that the verifier accepts."""

    samples: int = Field(8, ge=1, description="recorded responses to each problem")
    temperature: float = Field(1.0, gt=0, description="at which they were recorded; scoring uses the same")
    only_correct: bool = Field(False, description="keep right responses only: they are demonstrations, and labels")

    @property
    def reads_labels(self) -> bool:
        """Choosing the right responses reads every answer."""
        return self.only_correct

    def sample(self, problems: Sequence[Problem], workers: Workers, seeds: Seeds) -> list[Group]:
        """The recorded groups of these problems. A problem that was never recorded raises InputError."""
        missing = [problem.problem_id for problem in problems if problem.problem_id not in workers.recorded]
        if missing:
            raise InputError(
                f"recorded rollouts: {len(missing)} problems of this step were not recorded (first: {missing[0]}). "
                "Record the stage's pool first."
            )
        groups = [workers.recorded[problem.problem_id] for problem in problems]
        return [self._right(group, workers) for group in groups] if self.only_correct else groups

    def _right(self, group: Group, workers: Workers) -> Group:
        gold = workers.answers.read(group.problem.problem_id, "answer")
        verdicts = workers.verifier.grade({r.rollout_id: (gold, r.response_text) for r in group.rollouts})
        right = tuple(r for r in group.rollouts if verdicts[r.rollout_id] is Verdict.CORRECT)
        return dataclasses.replace(group, rollouts=right)
