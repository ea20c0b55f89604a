"""What a finished pilot measured, read from the nodes of its run folder."""

from __future__ import annotations

import json
from typing import Any

from headwater.advice.levels import Measured, extrapolated, mixed_groups, pass_rate
from headwater.advice.pilot import RL_ROUTES, Pilot
from headwater.advice.rule import Evidence, Levels
from headwater.errors import InputError
from headwater.folder import RunFolder
from headwater.plan.cost import Costs

SAME_SIZE = 1.25
"""A teacher with at most so many times the student's parameters is of its size."""
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
    levels = {}
    for role in RL_ROUTES:
        times = pilot.updates(role) / pilot.graph.nodes[pilot.nodes[f"{role} RL"]].updates
        half, whole = (
            extrapolated(rates[role], rates[f"{role} after RL"], max(times * share, 1.0), answers)
            for share in (0.5, 1.0)
        )
        levels[role] = Levels(half=half, whole=whole)
    return Evidence(
        student=rates["student"],
        teacher=rates["teacher"],
        student_mixed=mixed["student"],
        teacher_mixed=mixed["teacher"],
        kl=near["kl_student_teacher"],
        overlap=near["overlap"],
        student_levels=levels["student"],
        teacher_levels=levels["teacher"],
        bridge_loss=rates["teacher"].minus(rates["student after bridge"]),
        same_size=_same_size(pilot),
    )


def _same_size(pilot: Pilot) -> bool:
    sizes = Costs(pilot.graph).sizes
    student, teacher = (sizes[pilot.graph.nodes[pilot.nodes[role]].parents["model"]] for role in RL_ROUTES)
    return student is not None and teacher is not None and teacher.parameters <= SAME_SIZE * student.parameters


def _json(folder: RunFolder, node: str, name: str) -> dict[str, Any]:
    raw = folder.result(node, name)
    if raw is None:
        raise InputError(f"advise: {folder.root} holds no {name} of {node[:12]}; run the same command again")
    found: dict[str, Any] = json.loads(raw)
    return found
