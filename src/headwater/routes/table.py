"""R1 to R8 and the transfer endpoints, as values: a route is an edit of another.

Source: arXiv 2605.12483, the routes and the transfer grid. 1H and 2H are the two halves of the labelled pool.
`axes.py` makes them with other teachers.
"""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field

from headwater.errors import InputError
from headwater.routes.methods import TABLE
from headwater.routes.stages import (
    Step,
    on_policy_distillation,
    student_rl,
    teacher_rl,
    teacher_sample_sft,
    teacher_sft,
    warm_up,
)
from headwater.value import Value


class Route(Value):
    """A named sequence of stages. `teacher` and `student` say which of the recipe's models teaches and is taught."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", description="how tables and contrasts call it")
    title: str = Field("", description="what it isolates, in a few words")
    teacher: str = Field("teacher", description="the model that teaches, by name (student = same size)")
    student: str = Field(
        "student", description="the model that is taught, by name (teacher = a fresh copy of the teacher's raw model)"
    )
    labels: int | None = Field(None, ge=2, description="labels of the nested pool that it has; null: the whole pool")
    steps: tuple[Step, ...] = Field(min_length=1, description="stages in order")

    def role(self, step: Step) -> str:
        """Who learns in a step: student, teacher, or another model by name."""
        return step.learner or TABLE[step.stage].learner

    def rename(self, name: str, title: str) -> Self:
        """The same steps under another name."""
        return self.model_copy(update={"name": name, "title": title})

    def edit(self, stage: str, **changes: Any) -> Self:
        """One stage with some fields replaced. Raises InputError when the route lacks the stage."""
        self._place(stage)
        steps = [Step(**{**s.model_dump(), **changes}) if s.stage == stage else s for s in self.steps]
        return self._with(*steps)

    def without(self, stage: str) -> Self:
        """The route less one stage."""
        place = self._place(stage)
        return self._with(*self.steps[:place], *self.steps[place + 1 :])

    def swap(self, stage: str, step: Step) -> Self:
        """The route with another stage in one's place."""
        place = self._place(stage)
        return self._with(*self.steps[:place], step, *self.steps[place + 1 :])

    def _with(self, *steps: Step) -> Self:
        if not steps:
            raise InputError(f"route {self.name}: no stage would be left")
        return self.model_copy(update={"steps": steps})

    def _place(self, stage: str) -> int:
        names = [step.stage for step in self.steps]
        if stage not in names:
            raise InputError(f"route {self.name}: no stage {stage}; it has {', '.join(names)}")
        return names.index(stage)


def _bridge(pool: Literal["pool", "1H", "2H"]) -> tuple[Step, Step]:
    return warm_up(pool), on_policy_distillation(pool)


R1 = Route(name="R1", title="direct GRPO on the cold student", steps=(student_rl("pool"),))
R1_DOUBLE = R1.edit("student-rl", budget=2).rename("R1-double", "direct GRPO, twice the updates")
R3 = Route(
    name="R3-full",
    title="all labels upstream: RL'd teacher, bridge",
    steps=(teacher_rl("pool"), *_bridge("pool")),
)
R5 = Route(
    name="R5-half",
    title="fresh labels after the bridge",
    steps=(teacher_rl("1H"), *_bridge("1H"), student_rl("2H")),
)
R7 = R5.edit("student-rl", pool="1H").rename("R7", "replay: more updates instead of fresh labels")
R8 = R5.without("warm-up").rename("R8", "no warm-up before OPD")
R6 = R5.swap("teacher-rl", teacher_sft("1H")).rename("R6", "SFT'd teacher instead of an RL'd one")
R6_REPLAY = R6.edit("student-rl", pool="1H").rename("R6-replay", "R6 with replay instead of fresh labels")
R2 = (
    R5.without("warm-up")
    .swap("on-policy-distillation", teacher_sample_sft("1H"))
    .rename("R2", "teacher-sample SFT instead of the bridge")
)
R5_BRIDGE = R5.without("student-rl").rename("R5-bridge", "R5 before its student RL")
R6_BRIDGE = R6.without("student-rl").rename("R6-bridge", "R6 before its student RL")
RAW_BRIDGE = R3.without("teacher-rl").rename("raw-bridge", "raw teacher, bridge")


def _as_long(route: Route) -> Route:
    """Teacher-sample SFT with the updates of the bridge in whose place it stands, instead of its own epochs."""
    long = route.edit("teacher-sample-sft", budget=0, replaces=("warm-up", "on-policy-distillation"))
    return long.rename(f"{route.name}-equal", f"{route.title} (the bridge's updates)")


R2_EQUAL = _as_long(R2)


def _endpoints() -> tuple[Route, ...]:
    """Teacher in {raw, SFT'd, RL'd, same size} x transfer, on the whole pool, without student RL."""
    found = []
    sources = {
        "raw": RAW_BRIDGE,
        "sft": R3.swap("teacher-rl", teacher_sft("pool")),
        "rl": R3,
        "same-size": R3.model_copy(update={"teacher": "student"}),
    }
    words = {
        "raw": "raw teacher",
        "sft": "SFT'd teacher",
        "rl": "RL'd teacher",
        "same-size": "RL'd same-size teacher",
    }
    for source, bridge in sources.items():
        teacher = words[source]
        if source in ("sft", "same-size"):
            found.append(bridge.rename(f"{source}-bridge", f"{teacher}, bridge"))
        opd = bridge.without("warm-up")
        found.append(opd.rename(f"{source}-opd", f"{teacher}, OPD only (stage removed)"))
        equal = opd.edit("on-policy-distillation", replaces=("warm-up",))
        found.append(equal.rename(f"{source}-opd-equal", f"{teacher}, OPD only (equal updates)"))
        imitation = opd.swap("on-policy-distillation", teacher_sample_sft("pool"))
        imitation = imitation.rename(f"{source}-sample-sft", f"{teacher}, teacher-sample SFT")
        found += [imitation, _as_long(imitation)]
    return tuple(found)


DEFAULT = (R1, RAW_BRIDGE, R3, R5, R7)
"""What the demo runs: the usual practice, the method, and the three controls that could explain it away."""

WARM_UP_ONLY = R3.without("on-policy-distillation").rename("rl-warm-up", "RL'd teacher, warm-up only (no OPD)")


def _literal(name: str, title: str, **signal: Any) -> Route:
    """R3-full whose OPD is the paper's own estimator: the sampled token's reward, by score function (its Table 10)."""
    literal = {"signal": {"kind": "sampled", **signal}}
    return R3.edit("on-policy-distillation", settings=literal).rename(f"R3-{name}", f"literal OPD: {title}")


LITERAL = (
    _literal("sampled", "the sampled token's reward"),
    _literal("sampled-baseline", "the sampled token's reward, with a baseline", baseline=True),
    _literal("returns-to-go", "returns to go, with a baseline", baseline=True, gamma=1.0),
)
"""R3-full with the sampled estimators of `signals/sampled.py` in place of exact reverse KL, a choice of ours."""

ALL = (
    *(R1, R1_DOUBLE, R2, R2_EQUAL, R3, R5_BRIDGE, R5, R6_BRIDGE, R6, R6_REPLAY, R7, R8, RAW_BRIDGE, WARM_UP_ONLY),
    *LITERAL,
    *_endpoints(),
)

COPY_BRIDGE = R3.model_copy(update={"student": "teacher"}).rename(
    "copy-bridge", "RL'd teacher, bridge into a fresh copy of the raw teacher"
)
"""The control in which student and teacher have one size; by name, in no table of the paper."""

BY_NAME = {route.name: route for route in (*ALL, COPY_BRIDGE)}

_PAPER = (
    "R1 raw-bridge sft-bridge same-size-bridge R3-full",  # direct GRPO, and the bridge from each teacher
    "same-size-opd rl-opd same-size-sample-sft same-size-sample-sft-equal rl-sample-sft rl-sample-sft-equal rl-warm-up",
    "R5-bridge R5-half R7 R6-bridge R6 R6-replay",  # the halves: after the bridge, fresh labels, replay
    "R8 R2 R2-equal",  # what stands before the same student RL
    "R3-sampled R3-sampled-baseline R3-returns-to-go",  # the estimator of its Table 10 beside exact reverse KL
)
PAPER = tuple(BY_NAME[name] for line in _PAPER for name in line.split())
"""The arms of the paper's tables; `routes: paper` adds direct GRPO on the larger models. See docs/paper.md."""
