"""Recorded: states made earlier, by a teacher or in demonstrations, read as often as the schedule asks."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from pydantic import Field

from headwater.errors import InputError
from headwater.interfaces import Sampler, Seeds, Workers
from headwater.records import Group, Problem, Verdict
from headwater.verifiers.ungraded import UNGRADED_LIMIT, refuse_ungraded


class Recorded(Sampler):
    """`samples` of the recorded rollouts of each problem, other ones at each step when more were recorded.

    `temperature` is that of the recording, and scoring uses the same. `only_correct` keeps what the verifier accepts.
    """

    only_correct: bool = Field(False, description="keep right responses only: they are demonstrations, and labels")

    @property
    def reads_labels(self) -> bool:
        """Choosing the right responses reads every answer."""
        return self.only_correct

    def sample(self, problems: Sequence[Problem], workers: Workers, seeds: Seeds) -> list[Group]:
        """Recorded groups of these problems. A problem that was never recorded raises InputError."""
        missing = [problem.problem_id for problem in problems if problem.problem_id not in workers.recorded]
        if missing:
            raise InputError(
                f"recorded rollouts: {len(missing)} problems of this step were not recorded (first: {missing[0]}). "
                "Record the stage's pool first."
            )
        groups = [workers.recorded[problem.problem_id] for problem in problems]
        if self.only_correct:
            groups = self._right(groups, workers)
        return [self._draw(group, seeds) for group in groups]

    def _draw(self, group: Group, seeds: Seeds) -> Group:
        """`samples` of the recorded responses, others at each step; all of them when there are no more."""
        if len(group.rollouts) <= self.samples:
            return group
        places = range(len(group.rollouts))
        chosen = sorted(places, key=lambda i: seeds.of(group.problem.problem_id, i))[: self.samples]
        return dataclasses.replace(group, rollouts=tuple(group.rollouts[i] for i in sorted(chosen)))

    def _right(self, groups: Sequence[Group], workers: Workers) -> list[Group]:
        """The groups with their right responses. Raises GraderError when too many of the step have no verdict."""
        responses: dict[str, tuple[str, str]] = {}
        for group in groups:
            gold = workers.answers.read(group.problem.problem_id, "answer")
            responses |= {rollout.rollout_id: (gold, rollout.response_text) for rollout in group.rollouts}
        verdicts = workers.verifier.grade(responses)
        refuse_ungraded(verdicts, UNGRADED_LIMIT, "demonstrations")
        return [
            dataclasses.replace(
                group,
                rollouts=tuple(r for r in group.rollouts if verdicts[r.rollout_id].verdict is Verdict.CORRECT),
            )
            for group in groups
        ]
