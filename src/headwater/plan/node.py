"""One piece of work of a run, and one arm: the route at one seed that goes through such pieces."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from headwater.errors import InputError
from headwater.fingerprint import fingerprint, plain
from headwater.loop import Stage

METHOD = 4
"""Raised when a change of code changes what a stage computes: older results are then made again."""

Kind = Literal["model", "train", "rollouts", "evaluate", "closeness", "pass-rate"]


@dataclass(frozen=True, kw_only=True)
class Node:
    """One piece of work whose result is stored under its fingerprint."""

    kind: Kind
    title: str
    seed: int
    parents: Mapping[str, str] = field(default_factory=dict)
    """role -> fingerprint of the node it needs"""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """plain data that, with the parents, says all about the result"""
    stage: Stage | None = None
    pool: str | None = None
    updates: int = 0
    problems: int = 0
    """of a recording or a measurement: how many it goes through"""

    @property
    def steps(self) -> int:
        """After how many steps it is done; what is committed after any of them can be taken up again."""
        return self.updates or self.problems

    @cached_property
    def fingerprint(self) -> str:
        """The node's name: what it is, what it needs, which seed and which version of the method."""
        return fingerprint(
            {
                "kind": self.kind,
                "seed": self.seed,
                "parents": self.parents,
                "settings": self.settings,
                "stage": self.stage,
                "method": METHOD,
            }
        )


def stage_of(node: Node) -> Stage:
    """The stage of a node that runs one. Raises InputError for another."""
    if node.stage is None:
        raise InputError(f"{node.title}: this node runs no stage")
    return node.stage


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One route at one seed: the nodes that make it and those that measure it."""

    name: str
    title: str
    group: Literal["route", "endpoint", "model"]
    seed: int
    stages: tuple[str, ...]
    endpoint: str
    evaluation: Mapping[str, str]
    """benchmark -> the node that measures the endpoint on it"""
    student_before: Mapping[str, str] | None = None
    teacher: Mapping[str, Any] | None = None
    closeness: Mapping[str, str] | None = None
    family: str = ""
    """its name without the number of labels, where arms differ in that alone"""
    inherited: tuple[str, ...] = ()
    """stages whose labels the arm owes to the models that taught it"""


def plain_node(node: Node) -> dict[str, Any]:
    """A node as JSON data: what the report reads of it."""
    stage = node.stage
    return {
        "kind": "pretrain" if node.kind == "model" and stage else node.kind,
        "title": node.title,
        "stage": stage.name if stage else None,
        "seed": node.seed,
        "pool": node.pool,
        "learner": stage.learner if stage else None,
        "signal": type(stage.signal).__name__.lower() if stage else None,
        "watch": [watch._asdict() for watch in stage.watch] if stage else [],
        "reads_labels": stage.reads_labels if stage else False,
        "updates": node.updates,
        "steps": node.steps,
        "parents": dict(node.parents),
        "settings": {**plain(node.settings), **(stage.model_dump(mode="json") if stage else {})},
    }
