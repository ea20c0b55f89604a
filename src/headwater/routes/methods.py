"""The one table of stages, and the methods that a recipe may put in a row's place (`kinds`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from headwater import kinds
from headwater.interfaces import Method, Sampler, Signal
from headwater.samplers import OnPolicy, Recorded
from headwater.signals import Divergence, Imitation, Reward
from headwater.signals.inner import signals_by_name

Patch = Mapping[str, Any]
"""Fields to set otherwise, as plain data; `kind` or `own` names another method."""


class Row(NamedTuple):
    """One row of the table. `shared` is the recipe's field that gives the signal of all rows that name it."""

    learner: Literal["teacher", "student"]
    sampler: Sampler
    signal: Signal
    shared: Literal["reward", "distillation"] | None = None


TABLE: Mapping[str, Row] = {
    "teacher-rl": Row("teacher", OnPolicy(), Reward(), "reward"),
    "teacher-sft": Row("teacher", Recorded(only_correct=True), Imitation()),
    "warm-up": Row("student", Recorded(), Divergence(direction="forward")),
    "on-policy-distillation": Row("student", OnPolicy(), Divergence(direction="reverse"), "distillation"),
    "teacher-sample-sft": Row("student", Recorded(), Imitation()),
    "student-rl": Row("student", OnPolicy(), Reward(), "reward"),
}


def twin(stage: str) -> str:
    """The student's stage that differs from this one in the learner alone; without one, the stage itself."""
    row = TABLE[stage]
    alike = (name for name, other in TABLE.items() if other == row._replace(learner="student"))
    return next(alike, stage)


SAMPLERS: Mapping[str, type[Sampler]] = kinds.of_room("headwater.samplers", Sampler)
SIGNALS: Mapping[str, type[Signal]] = signals_by_name()


def edited_sampler(row: Sampler, numbers: Patch, patch: Patch, place: str) -> Sampler:
    """A row's sampler with a stage's numbers, and what a recipe sets otherwise. Raises InputError."""
    kind = kinds.chosen(Sampler, SAMPLERS, patch, place) or type(row)
    fields = {name: value for name, value in numbers.items() if name in kind.model_fields}
    found: Sampler = kinds.made(kind, {**_kept(row, kind), **fields, **patch}, place)
    return found


def edited_signal(row: Signal, patch: Patch, place: str, usual: Sequence[Signal] = ()) -> Signal:
    """A row's signal, and what a recipe sets otherwise; `usual` are the recipe's own signals. Raises InputError.

    A signal within a signal has the settings of the usual one of its kind, as the row's own has: they have one home.
    """
    kind = kinds.chosen(Signal, SIGNALS, patch, place) or type(row)
    found: Signal = kinds.made(kind, {**_kept(row, kind), **_filled(kind, patch, place, usual)}, place)
    return found


def _filled(kind: type[Signal], patch: Patch, place: str, usual: Sequence[Signal]) -> dict[str, Any]:
    """A patch with the usual settings in every signal that it holds, said or by default, however deep."""
    found = dict(patch)
    for name, field in kind.model_fields.items():
        said = patch.get(name, field.get_default())
        inner = kinds.chosen(Signal, SIGNALS, said, f"{place}.{name}") if isinstance(said, Mapping) else type(said)
        if inner is None or not issubclass(inner, Signal):
            continue
        own = next((_kept(one, inner) for one in usual if issubclass(inner, type(one))), None)
        if isinstance(said, Mapping):
            found[name] = {**(own or {}), **_filled(inner, said, f"{place}.{name}", usual)}
        elif own is not None:
            found[name] = {"kind": next(key for key, one in SIGNALS.items() if one is inner), **own}
    return found


def _kept(row: Method, kind: type[Method]) -> dict[str, Any]:
    """The row's own settings, where the method stays the same or is a kind of the same."""
    return row.model_dump(mode="json") if issubclass(kind, type(row)) else {}


def merged(settings: Patch, patch: Patch) -> dict[str, Any]:
    """Settings with a patch laid over them, group by group; another method takes the place of the one before it."""
    found = dict(settings)
    for key, value in patch.items():
        before: Any = found.get(key)
        both = isinstance(before, Mapping) and isinstance(value, Mapping)
        found[key] = merged(before, value) if both and not _another(before, value) else value
    return found


def _another(before: Any, after: Any) -> bool:
    return any(name in after and after[name] != before.get(name) for name in kinds.NAMES)


def flat(patch: Patch, place: str = "") -> dict[str, Any]:
    """A patch by dotted key; another method is one change, whatever its settings."""
    found: dict[str, Any] = {}
    for key, value in patch.items():
        name = f"{place}.{key}" if place else str(key)
        group = isinstance(value, Mapping) and value and not set(kinds.NAMES) & set(value)
        found |= flat(value, name) if group else {name: value}
    return found


def own_methods(patches: Mapping[str, Patch]) -> dict[str, str]:
    """path.py:Class -> SHA-256 of the file, of the methods of a user's own among a stage's `sampler` and `signal`."""
    found: dict[str, str] = {}
    for place, patch in patches.items():
        found |= kinds.own_code_of(patch, place)
    return found
