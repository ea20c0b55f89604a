"""Controls that must do nothing for the accuracy: a signal with what it reads taken away or mixed up.

    shuffled-teacher   at each token what the teacher says of another problem of the step
    shuffled-labels    each response graded against the answer of another problem of the step
    constant-reward    every response earns the same; `advantage` is then every token's, in place of the group's

What is left of the method is its machinery: sampling, the optimiser, the KL to the reference. A constant reward leaves
no group with a spread, so GRPO makes no step; with `advantage` it is the fixed negative advantage that arXiv 2608.31046
found to match a teacher (the wrapped reward must keep groups without spread). A self-teacher is no placebo of this
file: it is `{kind: divergence, direction: reverse, teacher: start}`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from pydantic import Field

from headwater.batch import Scored, ScoredRollout, TeacherDistribution
from headwater.interfaces import Answers, At, Need, Teacher, Verifier, Workers
from headwater.late import Tensor, torch
from headwater.records import Grade, Group, Rollout, Verdict
from headwater.signals.divergence import exact
from headwater.signals.grades import following
from headwater.signals.inner import Inner, Wrapper
from headwater.signals.policy import policy_of


class Placebo(Wrapper):
    """A wrapped signal whose teacher, labels or reward say nothing about the problem."""

    reads_teachers: ClassVar[bool] = True

    of: Inner = Field(description="the signal that is emptied")
    what: Literal["shuffled-teacher", "shuffled-labels", "constant-reward"] = Field(description="what is taken from it")
    advantage: float = Field(default=0.0, description="constant-reward: every token's advantage")

    @property
    def needs(self) -> frozenset[Need]:
        """What the wrapped one needs; a constant reward reads no answer."""
        without = {Need.ANSWERS, Need.VERIFIER} if self.what == "constant-reward" else set[Need]()
        return self.of.needs - without

    def score(self, groups: Sequence[Group], workers: Workers, at: At) -> Scored:
        """Score with workers that say what has nothing to do with the problem."""
        after = following(groups)
        if self.what == "shuffled-teacher":
            teachers = {name: Elsewhere(teacher, after) for name, teacher in workers.teachers.items()}
            return self.of.score(groups, replace(workers, teachers=teachers), at)
        if self.what == "shuffled-labels":
            return self.of.score(groups, replace(workers, answers=Others(workers.answers, after)), at)
        scored = self.of.score(groups, replace(workers, answers=NoneRead(), verifier=Content()), at)
        if self.advantage == 0:
            return scored
        return Scored(rollouts=tuple(self._fixed(member) for member in scored.rollouts), metrics=scored.metrics)

    def _fixed(self, member: ScoredRollout) -> ScoredRollout:
        policy = policy_of(member.target)
        target = replace(policy, advantage=torch.full_like(policy.advantage, self.advantage))
        return replace(member, target=target)


class Elsewhere(Teacher):
    """Says of each rollout what the teacher says of another problem's, from its beginning again where it is shorter."""

    def __init__(self, teacher: Teacher, after: Mapping[str, str]):
        self._teacher, self._after = teacher, after
        self.exact = teacher.exact

    def distributions(self, rollouts: Sequence[Rollout], temperature: float) -> list[TeacherDistribution]:
        """Another rollout's distributions, cut or repeated to this one's length."""
        said = self._teacher.distributions(rollouts, temperature)
        places: dict[str, list[int]] = {}
        for i, rollout in enumerate(rollouts):
            places.setdefault(rollout.problem_id, []).append(i)
        seen: dict[str, int] = {}
        found: list[TeacherDistribution] = []
        for rollout in rollouts:
            nth = seen[rollout.problem_id] = seen.get(rollout.problem_id, -1) + 1
            others = places[self._after[rollout.problem_id]]
            chosen = others[nth % len(others)]
            rows = torch.arange(len(rollout.response_ids)) % len(rollouts[chosen].response_ids)
            found.append(exact(said[chosen], "placebo").at(rows))
        return found

    def logprobs(self, rollouts: Sequence[Rollout], temperature: float) -> list[Tensor]:
        """This rollout's tokens under another's distributions."""
        said = self.distributions(rollouts, temperature)
        ids = (torch.tensor(rollout.response_ids)[:, None] for rollout in rollouts)
        return [exact(one, "placebo").logprobs().cpu().gather(-1, at)[:, 0] for one, at in zip(said, ids, strict=True)]


@dataclass(frozen=True)
class Others(Answers):
    """Reads another problem's label: it is that one which the ledger notes."""

    answers: Answers
    after: Mapping[str, str]

    def at(self, step: int) -> None:
        self.answers.at(step)

    def read(self, problem_id: str, use: str = "answer") -> str:
        return self.answers.read(self.after[problem_id], use)


class NoneRead(Answers):
    """An answer that nobody compares with."""

    def at(self, step: int) -> None:
        """Nothing is noted."""

    def read(self, problem_id: str, use: str = "answer") -> str:
        return ""


class Content(Verifier):
    """Rewards every response alike."""

    def grade(self, responses: Mapping[str, tuple[str, str]]) -> dict[str, Verdict | Grade]:
        return dict.fromkeys(responses, Grade(verdict=Verdict.CORRECT, reward=1.0))
