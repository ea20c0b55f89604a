"""The one table of stages, and the methods that a recipe may put in a row's place.

A file in `signals/` or `samplers/` is a method and is called by the file's name; one of a user's own is named as
path.py:Class. No other place knows a method by its name.
"""

from __future__ import annotations

import inspect
import json
import pkgutil
from collections.abc import Callable, Mapping
from importlib import import_module
from types import ModuleType
from typing import Any, Literal, NamedTuple

from pydantic import ValidationError

from headwater import own_code, samplers, signals
from headwater.errors import InputError, nearest
from headwater.interfaces import Method, Sampler, Signal
from headwater.samplers import OnPolicy, Recorded
from headwater.signals import Divergence, Imitation, Reward

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


def _kinds(room: ModuleType, base: Any) -> dict[str, Any]:
    """Every method of a room, by its file's name."""
    found: dict[str, Any] = {}
    for file in pkgutil.iter_modules(room.__path__):
        module = import_module(f"{room.__name__}.{file.name}")
        own = (kind for kind in vars(module).values() if _is(base)(kind) and kind.__module__ == module.__name__)
        found |= {file.name.replace("_", "-"): kind for kind in own}
    return found


def _is(base: Any) -> Callable[[Any], bool]:
    """Whether a thing is a whole sampler or signal."""
    return lambda value: inspect.isclass(value) and issubclass(value, base) and not inspect.isabstract(value)


SAMPLERS: Mapping[str, type[Sampler]] = _kinds(samplers, Sampler)
SIGNALS: Mapping[str, type[Signal]] = _kinds(signals, Signal)


def edited_sampler(row: Sampler, numbers: Patch, patch: Patch, place: str) -> Sampler:
    """A row's sampler with a stage's numbers, and what a recipe sets otherwise. Raises ValueError, InputError."""
    kind = _kind(Sampler, row, patch, place)
    fields = {name: value for name, value in numbers.items() if name in kind.model_fields}
    found: Sampler = _made(kind, {**_kept(row, kind), **fields, **patch}, place)
    return found


def edited_signal(row: Signal, patch: Patch, place: str) -> Signal:
    """A row's signal, and what a recipe sets otherwise. Raises ValueError, InputError."""
    kind = _kind(Signal, row, patch, place)
    found: Signal = _made(kind, {**_kept(row, kind), **patch}, place)
    return found


def _kind(base: Any, row: Method, patch: Patch, place: str) -> Any:
    """The class of the method that a patch names, or the row's."""
    if "own" in patch:
        return own_code.load(str(patch["own"]), f"{place}.own", base.__name__.lower(), _is(base))
    if "kind" not in patch:
        return type(row)
    kinds: Mapping[str, Any] = SAMPLERS if base is Sampler else SIGNALS
    name = str(patch["kind"])
    if name not in kinds:
        raise InputError(
            f"{place}.kind: no {base.__name__.lower()} {name!r:.60}{nearest(name, kinds)}; there are "
            f"{', '.join(kinds)}, and own: path.py:Class"
        )
    return kinds[name]


def _kept(row: Method, kind: type[Method]) -> dict[str, Any]:
    """The row's own settings, where the method stays the same."""
    return row.model_dump(mode="json") if isinstance(row, kind) else {}


def _made(kind: Any, fields: Patch, place: str) -> Any:
    plain = {name: value for name, value in fields.items() if name not in ("kind", "own")}
    try:
        return kind.model_validate_json(json.dumps(plain))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join((place, *map(str, first["loc"])))
        if first["type"] == "extra_forbidden":
            name = str(first["loc"][-1])
            raise InputError(
                f"{key}: unknown key{nearest(name, kind.model_fields)}; allowed here: {', '.join(kind.model_fields)}"
            ) from error
        message = first["msg"].removeprefix("Value error, ")
        raise InputError(f"{key}: {message[:1].lower()}{message[1:]}") from error


def merged(settings: Patch, patch: Patch) -> dict[str, Any]:
    """Settings with a patch laid over them, group by group; another method takes the place of the one before it."""
    found = dict(settings)
    for key, value in patch.items():
        before: Any = found.get(key)
        both = isinstance(before, Mapping) and isinstance(value, Mapping)
        found[key] = merged(before, value) if both and not _another(before, value) else value
    return found


def _another(before: Any, after: Any) -> bool:
    return any(name in after and after[name] != before.get(name) for name in ("kind", "own"))


def flat(patch: Patch, place: str = "") -> dict[str, Any]:
    """A patch by dotted key; another method is one change, whatever its settings."""
    found: dict[str, Any] = {}
    for key, value in patch.items():
        name = f"{place}.{key}" if place else str(key)
        group = isinstance(value, Mapping) and value and not {"kind", "own"} & set(value)
        found |= flat(value, name) if group else {name: value}
    return found


def own_methods(patches: Mapping[str, Patch]) -> dict[str, str]:
    """path.py:Class -> SHA-256 of the file, of the methods of a user's own among a stage's `sampler` and `signal`."""
    named = {place: str(patch["own"]) for place, patch in patches.items() if "own" in patch}
    return {name: own_code.digest_of(name, f"{place}.own") for place, name in named.items()}
