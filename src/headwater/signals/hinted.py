"""The teacher is the student itself, with the solution in its prompt (OPSD).

    T(. | s_t) = S0(. | prompt with the hint, y_<t),   loss_t = KL(S to T)(s_t)

arXiv 2601.18734: the same weights as the stage began with (`teacher: start`) see the worked solution, or the answer
alone, and the student does not. The hints are labels, read directly. Pitfalls: the hint leaks into what the student
says, reasoning shortens, the style drifts. The control is `wrong: true`, the hint of another problem of the step:
whatever it moves as well is no use of the solution (arXiv 2606.11709).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from headwater.batch import TeacherDistribution
from headwater.interfaces import Need, Workers
from headwater.records import Group, Message, Problem
from headwater.signals.divergence import Divergence, exact
from headwater.signals.grades import following


class Hinted(Divergence):
    """Distillation from the student's own start, which is told what the student is not."""

    reads_teachers: ClassVar[bool] = True

    direction: Literal["forward", "reverse", "jsd"] = Field(default="reverse", description="as in divergence")
    teacher: str = Field(default="start", description="who gets the hint, by name; start: the student as it began")
    hint: Literal["demonstration", "answer"] = Field(default="demonstration", description="what is in the prompt")
    template: str = Field(
        default="{prompt}\n\nA solution, for you alone:\n{hint}", description="the prompt with the hint, in words"
    )
    wrong: bool = Field(default=False, description="the control: the hint of another problem")

    @model_validator(mode="after")
    def _template_has_both(self) -> Self:
        if "{prompt}" not in self.template or "{hint}" not in self.template:
            raise ValueError("template: it must hold {prompt} and {hint}")
        return self

    @property
    def needs(self) -> frozenset[Need]:
        """A teacher, and every hint."""
        return super().needs | {Need.DEMONSTRATIONS if self.hint == "demonstration" else Need.ANSWERS}

    def asked(self, groups: Sequence[Group], workers: Workers) -> Sequence[TeacherDistribution]:
        """What the teacher says of each response behind the prompt with its hint."""
        whose = following(groups) if self.wrong else {}
        rollouts = []
        for group in groups:
            problem = group.problem
            hint = workers.answers.read(whose.get(problem.problem_id, problem.problem_id), self.hint)
            prompt = workers.written(self._told(problem, hint), "").prompt_ids
            rollouts += [replace(rollout, prompt_ids=prompt) for rollout in group.rollouts]
        found = workers.teacher(self.teacher).distributions(rollouts, workers.temperature)
        return [exact(one, "hinted") for one in found]

    def _told(self, problem: Problem, hint: str) -> Problem:
        """The problem with the hint in its prompt; of a conversation, in its last turn."""
        if isinstance(problem.prompt, str):
            return replace(problem, prompt=self._filled(problem.prompt, hint))
        *before, last = problem.prompt
        return replace(problem, prompt=(*before, Message(role=last.role, content=self._filled(last.content, hint))))

    def _filled(self, prompt: str, hint: str) -> str:
        return self.template.replace("{prompt}", prompt).replace("{hint}", hint)
