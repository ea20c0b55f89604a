"""Recorded: states made earlier, by a teacher or in demonstrations, read as often as the schedule asks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import Field

from headwater.errors import InputError
from headwater.interfaces import At, Need, Sampler, Seeds, Workers
from headwater.records import Group, Problem, Rollout, Verdict
from headwater.verifiers.answers import UNGRADED_LIMIT, refuse_ungraded


class Recorded(Sampler):
    """`samples` of the recorded rollouts of each problem, other ones at each step when more were recorded.

    `temperature` is that of the recording, and scoring uses the same. `only_correct` keeps what the verifier accepts.
    """

    of: str = Field("teacher", description="the model whose rollouts were recorded, as it was before the stage")
    only_correct: bool = Field(False, description="keep right responses only: they are demonstrations, and labels")

    @property
    def needs(self) -> frozenset[Need]:
        """The recording; to choose the right responses, every answer and a verdict on it."""
        labels = {Need.ANSWERS, Need.VERIFIER} if self.only_correct else set()
        return frozenset({Need.RECORDED, *labels})

    @property
    def writer(self) -> str:
        """Whose rollouts they are."""
        return self.of

    def sample(self, problems: Sequence[Problem], workers: Workers, seeds: Seeds, at: At) -> list[Group]:
        """Recorded groups of these problems. A problem that was never recorded raises InputError."""
        missing = [problem.problem_id for problem in problems if problem.problem_id not in workers.recorded]
        if missing:
            raise InputError(
                f"recorded rollouts: {len(missing)} problems of this step were not recorded (first: {missing[0]}). "
                "Record the stage's pool first."
            )
        recorded = {problem.problem_id: workers.recorded[problem.problem_id] for problem in problems}
        if self.only_correct:
            recorded = self._right(recorded, workers)
        return [Group(problem=p, rollouts=self._draw(p.problem_id, recorded[p.problem_id], seeds)) for p in problems]

    def _draw(self, problem_id: str, rollouts: Sequence[Rollout], seeds: Seeds) -> tuple[Rollout, ...]:
        """`samples` of a problem's recorded responses, others at each step; all of them when there are no more."""
        if len(rollouts) <= self.samples:
            return tuple(rollouts)
        chosen = sorted(range(len(rollouts)), key=lambda i: seeds.of(problem_id, i))[: self.samples]
        return tuple(rollouts[i] for i in sorted(chosen))

    def _right(self, recorded: Mapping[str, Sequence[Rollout]], workers: Workers) -> dict[str, Sequence[Rollout]]:
        """Each problem's right responses. Raises GraderError when too many of the step have no verdict."""
        read = {problem_id: tuple(rollouts) for problem_id, rollouts in recorded.items()}
        responses: dict[str, tuple[str, str]] = {}
        for problem_id, rollouts in read.items():
            gold = workers.answers.read(problem_id, "answer")
            responses |= {rollout.rollout_id: (gold, rollout.response_text) for rollout in rollouts}
        verdicts = workers.verifier.grade(responses)
        refuse_ungraded(verdicts, UNGRADED_LIMIT, "demonstrations")
        return {
            problem_id: tuple(r for r in rollouts if verdicts[r.rollout_id].verdict is Verdict.CORRECT)
            for problem_id, rollouts in read.items()
        }
