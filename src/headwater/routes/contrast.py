"""A contrast: two arms, the question they answer, and exactly what they differ in.

An arm that differs in more than its contrast declares is no control; it is refused before any compute.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise

from pydantic import Field

from headwater.errors import ContrastError, nearest
from headwater.routes.axes import with_labels, with_teacher
from headwater.routes.methods import flat
from headwater.routes.stages import Step
from headwater.routes.table import BY_NAME, Route
from headwater.value import Value


class Contrast(Value):
    """Two arms by name. `declares` lists every difference, as `differences` writes them."""

    name: str = Field(description="what is compared")
    treatment: str = Field(description="arm expected to be better")
    control: str = Field(description="arm it is held against")
    declares: tuple[str, ...] = Field(min_length=1, description="+stage, -stage, stage.field, student, teacher, labels")
    equal_updates: bool = Field(False, description="the student makes as many updates in both arms; checked")
    question: str = Field("", description="what the difference answers")


def differences(treatment: Route, control: Route) -> tuple[str, ...]:
    """What the treatment has more (+stage), less (-stage) or other (a stage.field, student, teacher, labels, order)."""
    found = [role for role in ("student", "teacher", "labels") if getattr(treatment, role) != getattr(control, role)]
    ours, theirs = _by_name(treatment), _by_name(control)
    found += [f"+{stage}" for stage in ours if stage not in theirs]
    found += [f"-{stage}" for stage in theirs if stage not in ours]
    shared = [stage for stage in ours if stage in theirs]
    if shared != [stage for stage in theirs if stage in ours]:
        found.append("order")
    for stage in shared:
        found += [
            f"{stage}.{key}"
            for key in ("pool", "budget", "replaces", "learner")
            if getattr(ours[stage], key) != getattr(theirs[stage], key)
        ]
        one, other = flat(ours[stage].settings), flat(theirs[stage].settings)
        found += [f"{stage}.{key}" for key in sorted({*one, *other}) if one.get(key) != other.get(key)]
    return tuple(found)


def _by_name(route: Route) -> dict[str, Step]:
    """The route's steps by stage; a stage that occurs again is named stage#2, stage#3, ..."""
    named: dict[str, Step] = {}
    for step in route.steps:
        times = sum(earlier.stage == step.stage for earlier in named.values()) + 1
        named[step.stage if times == 1 else f"{step.stage}#{times}"] = step
    return named


def check(contrasts: Iterable[Contrast], arms: Mapping[str, Route]) -> None:
    """Refuse any contrast whose arms differ in other things than it declares, or whose arm does not exist.

    Raises ContrastError naming the contrast, what it declares and what was found.
    """
    for contrast in contrasts:
        for name in (contrast.treatment, contrast.control):
            if name not in arms:
                known = f"{nearest(name, arms)}; there are {', '.join(sorted(arms))}"
                raise ContrastError(f"contrast {contrast.name!r}: no arm {name}{known}")
        found = differences(arms[contrast.treatment], arms[contrast.control])
        if set(found) != set(contrast.declares):
            raise ContrastError(
                f"contrast {contrast.name!r}: {contrast.treatment} against {contrast.control} declares "
                f"{', '.join(contrast.declares)}, but the arms differ in {', '.join(found) or 'nothing'}. "
                "Declare every difference or change an arm."
            )


def _contrast(name: str, arms: tuple[str, str], declares: str, question: str, *, equal: bool = False) -> Contrast:
    return Contrast(
        name=name,
        treatment=arms[0],
        control=arms[1],
        declares=tuple(declares.split()),
        question=question,
        equal_updates=equal,
    )


_BRIDGE = "+warm-up +on-policy-distillation"

CONTRASTS = (
    _contrast(
        "upstream against direct",
        ("R3-full", "R1"),
        f"+teacher-rl {_BRIDGE} -student-rl",
        "Do labels spent on the teacher beat the same labels spent on the student?",
    ),
    _contrast(
        "direct against raw bridge",
        ("R1", "raw-bridge"),
        "+student-rl -warm-up -on-policy-distillation",
        "Is direct GRPO better than a bridge from a teacher without reward?",
    ),
    _contrast(
        "reward-shaped against raw teacher",
        ("R3-full", "raw-bridge"),
        "+teacher-rl",
        "Must reward shape the teacher (C1)?",
    ),
    _contrast(
        "fresh labels against replay",
        ("R5-half", "R7"),
        "student-rl.pool",
        "After the bridge: fresh labels, or only more updates?",
    ),
    _contrast(
        "upstream against direct, twice the updates",
        ("R3-full", "R1-double"),
        f"+teacher-rl {_BRIDGE} -student-rl",
        "Does direct GRPO catch up with twice the updates?",
    ),
    _contrast(
        "student RL after the bridge",
        ("R5-half", "R5-bridge"),
        "+student-rl",
        "Do held-out labels add to the bridge?",
    ),
    _contrast(
        "all labels upstream against half",
        ("R3-full", "R5-half"),
        "teacher-rl.pool warm-up.pool on-policy-distillation.pool -student-rl",
        "The same labels: all on the teacher, or half kept for the student?",
    ),
    _contrast("replay after the bridge", ("R7", "R5-bridge"), "+student-rl", "Do more updates alone add?"),
    _contrast(
        "fresh labels after the bridge against direct",
        ("R5-half", "R1"),
        f"+teacher-rl {_BRIDGE} student-rl.pool",
        "Half upstream, half after the bridge: better than all direct?",
    ),
    _contrast("warm-up before student RL", ("R5-half", "R8"), "+warm-up", "Is the warm-up needed (C2)?"),
    _contrast(
        "bridge against sample SFT before student RL",
        ("R5-half", "R2"),
        f"{_BRIDGE} -teacher-sample-sft",
        "Dense bridge, or off-policy hard tokens?",
    ),
    _contrast(
        "bridge against sample SFT before student RL, equal updates",
        ("R5-half", "R2-equal"),
        f"{_BRIDGE} -teacher-sample-sft",
        "Dense bridge, or as many updates on off-policy hard tokens?",
        equal=True,
    ),
    _contrast(
        "OPD only against sample SFT before student RL",
        ("R8", "R2"),
        "+on-policy-distillation -teacher-sample-sft",
        "Before student RL: the student's own states, or the teacher's tokens?",
    ),
    _contrast(
        "teacher RL against teacher SFT",
        ("R5-half", "R6"),
        "+teacher-rl -teacher-sft",
        "Is teacher RL needed?",
    ),
    _contrast(
        "student RL after an SFT'd teacher's bridge",
        ("R6", "R6-bridge"),
        "+student-rl",
        "Do held-out labels add to an SFT'd teacher's bridge?",
    ),
    _contrast(
        "fresh labels against replay, SFT'd teacher",
        ("R6", "R6-replay"),
        "student-rl.pool",
        "After an SFT'd teacher's bridge: fresh labels, or only more updates?",
    ),
    _contrast(
        "replay after an SFT'd teacher's bridge",
        ("R6-replay", "R6-bridge"),
        "+student-rl",
        "Do more updates alone add to an SFT'd teacher's bridge?",
    ),
    _contrast(
        "RL'd against SFT'd teacher",
        ("R3-full", "sft-bridge"),
        "+teacher-rl -teacher-sft",
        "The same labels on the teacher: by reward, or by imitation?",
    ),
    _contrast(
        "bridge against OPD only, stage removed",
        ("R3-full", "rl-opd"),
        "+warm-up",
        "Does the warm-up add to OPD?",
    ),
    _contrast(
        "bridge against OPD only, equal updates",
        ("R3-full", "rl-opd-equal"),
        "+warm-up on-policy-distillation.replaces",
        "Warm-up, or the same updates as more OPD?",
        equal=True,
    ),
    _contrast(
        "bridge against sample SFT, stages swapped",
        ("R3-full", "rl-sample-sft"),
        f"{_BRIDGE} -teacher-sample-sft",
        "Dense bridge, or the teacher's tokens alone?",
    ),
    _contrast(
        "bridge against sample SFT, equal updates",
        ("R3-full", "rl-sample-sft-equal"),
        f"{_BRIDGE} -teacher-sample-sft",
        "Dense bridge, or as many updates on the teacher's tokens alone?",
        equal=True,
    ),
    _contrast(
        "OPD only against sample SFT",
        ("rl-opd", "rl-sample-sft"),
        "+on-policy-distillation -teacher-sample-sft",
        "The student's own states, or the teacher's tokens?",
    ),
    _contrast(
        "bridge against warm-up only, stage removed",
        ("R3-full", "rl-warm-up"),
        "+on-policy-distillation",
        "Does OPD add to the warm-up?",
    ),
    _contrast(
        "SFT'd against raw teacher",
        ("sft-bridge", "raw-bridge"),
        "+teacher-sft",
        "Does imitating its own right answers shape a teacher enough?",
    ),
    _contrast(
        "larger against same-size teacher",
        ("R3-full", "same-size-bridge"),
        "teacher",
        "Does a larger teacher turn labels into more?",
    ),
    _contrast(
        "smaller student against a copy of the teacher",
        ("R3-full", "copy-bridge"),
        "student",
        "How much does the student's size cost?",
    ),
    _contrast(
        "same-size teacher against direct",
        ("same-size-bridge", "R1"),
        f"teacher +teacher-rl {_BRIDGE} -student-rl",
        "Does the detour pay without a larger teacher?",
    ),
    _contrast(
        "SFT'd teacher against direct",
        ("sft-bridge", "R1"),
        f"+teacher-sft {_BRIDGE} -student-rl",
        "Is an SFT'd teacher enough?",
    ),
    _contrast(
        "exact against sampled OPD",
        ("R3-full", "R3-sampled"),
        "on-policy-distillation.signal",
        "Is exact reverse KL better than the paper's own estimator, the sampled token's reward?",
    ),
    _contrast(
        "exact against sampled OPD with a baseline",
        ("R3-full", "R3-sampled-baseline"),
        "on-policy-distillation.signal",
        "Is exact reverse KL better than the sampled token's reward with less variance?",
    ),
    _contrast(
        "exact OPD against returns to go",
        ("R3-full", "R3-returns-to-go"),
        "on-policy-distillation.signal",
        "Is the KL of each state better than that of whole responses (eq. 2)?",
    ),
)


def declared_for(arms: Mapping[str, Route]) -> tuple[Contrast, ...]:
    """The paper's contrasts whose two arms are both run, with each teacher, and each teacher against the one before.

    With fewer labels than the whole pool only those against direct GRPO are made: which route makes most of few labels.
    """
    teachers = list(dict.fromkeys(("teacher", *(arm.teacher for arm in arms.values() if arm.teacher != "student"))))
    sizes = dict.fromkeys(arm.labels for arm in arms.values() if arm.labels is not None)
    found: dict[tuple[str, str], Contrast] = {}
    for size in (None, *sizes):
        for contrast in (c for c in CONTRASTS if size is None or c.control == "R1"):
            for model in teachers:
                pair = [with_teacher(BY_NAME[name], model) for name in (contrast.treatment, contrast.control)]
                treatment, control = (with_labels(route, size) for route in pair)
                said = [f" ({model})"] * (model != "teacher") + [f" ({size} labels)"] * (size is not None)
                made = _between(contrast, treatment, control, "".join(said))
                found.setdefault((treatment.name, control.name), made)
    bridges = [with_teacher(BY_NAME["R3-full"], model) for model in teachers]
    for before, after in pairwise(bridges):
        found[after.name, before.name] = _between(_ANOTHER_TEACHER, after, before, f" ({after.teacher})")
    return tuple(contrast for pair, contrast in found.items() if set(pair) <= arms.keys())


_ANOTHER_TEACHER = _contrast(
    "another teacher", ("R3-full", "R3-full"), "teacher", "Do the same labels make more of another teacher?"
)


def _between(contrast: Contrast, treatment: Route, control: Route, name: str) -> Contrast:
    """A contrast of the table between its arms on an axis; an arm that the axis leaves alone has its usual teacher."""
    differs = [role for role in ("teacher",) if getattr(treatment, role) != getattr(control, role)]
    return contrast.model_copy(
        update={
            "name": contrast.name + name,
            "treatment": treatment.name,
            "control": control.name,
            "declares": tuple(dict.fromkeys((*differs, *contrast.declares))),
        }
    )
