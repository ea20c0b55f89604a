"""What a finished pilot measured, read from the nodes of its run folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from headwater.advice.levels import GROWTH, Measured, extrapolated, lead, mixed_groups, pass_rate
from headwater.advice.pilot import RL_ROUTES, Pilot
from headwater.advice.rule import Evidence, Levels
from headwater.errors import InputError
from headwater.folder import RunFolder

HALF, WHOLE = 0.5, 1.0
"""Of the labels."""
GROUP = 8
"""Responses of a group of which it is said whether it is mixed, at most."""


def evidence(pilot: Pilot, folder: RunFolder) -> Evidence:
    """The evidence of a pilot. Raises InputError where a node is not made."""
    scores = {name: _json(folder, node, "scores.json") for name, node in pilot.nodes.items() if name in pilot.measured}
    rates = {name: pass_rate(found["correct"], found["samples"]) for name, found in scores.items()}
    mixed = {
        name: mixed_groups(found["correct"], found["samples"], min(GROUP, found["samples"]))
        for name, found in scores.items()
    }
    answers = {len(found["correct"]) * found["samples"] for found in scores.values()}.pop()
    close = _json(folder, pilot.nodes["closeness"], "closeness.json")
    if "student_errors" not in close:
        raise InputError(
            f"advise: the closeness in {folder.root} has no errors, as an earlier version made it; make it again with "
            f"headwater run --redo {pilot.nodes['closeness']}"
        )
    near = {
        name: Measured(close["student_states"][name], close["student_errors"][name])
        for name in ("kl_student_teacher", "overlap")
    }
    student, teacher = (_levels(pilot, role, rates, answers) for role in RL_ROUTES)
    return Evidence(
        student=rates["student"],
        teacher=rates["teacher"],
        student_mixed=mixed["student"],
        teacher_mixed=mixed["teacher"],
        kl=near["kl_student_teacher"],
        overlap=near["overlap"],
        student_levels=student,
        teacher_levels=teacher,
        lead=_lead(pilot, student, rates, answers),
    )


def _levels(pilot: Pilot, role: str, rates: Mapping[str, Measured], answers: int) -> Levels:
    """Where GRPO leads a model."""
    half, whole = (
        extrapolated(rates[role], rates[f"{role} after RL"], _times(pilot, role, share), GROWTH[role], answers)
        for share in (HALF, WHOLE)
    )
    return Levels(half=half, whole=whole)


def _lead(pilot: Pilot, direct: Levels, rates: Mapping[str, Measured], answers: int) -> Levels:
    """By how much the bridged student ends above the one that learns by GRPO."""
    half, whole = (
        lead(rates["student after bridge"], rates["student after RL"], level, _times(pilot, "student", share), answers)
        for share, level in ((HALF, direct.half), (WHOLE, direct.whole))
    )
    return Levels(half=half, whole=whole)


def _times(pilot: Pilot, role: str, share: float) -> float:
    """How many times as long as the pilot's GRPO the whole is with this share of the labels; 1 at least."""
    whole = pilot.updates(role) / pilot.graph.nodes[pilot.nodes[f"{role} RL"]].updates
    return max(share * whole, 1.0)


def _json(folder: RunFolder, node: str, name: str) -> dict[str, Any]:
    raw = folder.result(node, name)
    if raw is None:
        raise InputError(f"advise: {folder.root} holds no {name} of {node[:12]}; run the same command again")
    found: dict[str, Any] = json.loads(raw)
    return found
