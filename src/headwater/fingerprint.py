"""A value's name: the hash of its canonical JSON, and the seeds that are derived from such names.

Two values with equal content have one fingerprint on every machine; any changed field changes it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from enum import Enum
from typing import Any


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spare spaces; objects carry their class, so two classes never look alike.

    Raises TypeError for anything that is not plain data, and ValueError for NaN or infinity.
    """
    return json.dumps(
        plain(value, named=True), sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False
    )


_ATOMS = frozenset((str, int, float, bool, type(None)))

LATER: dict[str, Any] = {"later": True}
"""A pydantic field's `json_schema_extra`: it came after results had names, and at its default is no part of a name."""


def plain(value: Any, *, named: bool = False) -> Any:
    """The value as dicts, lists, strings, numbers, booleans and None.

    Pydantic models carry the name of their class as "type"; dataclasses do so when `named`. Then also a field marked
    `LATER` is left out at its default, and a class's `RETIRED` fields, which it no longer has, are put in: so results
    keep their names as settings come and go.
    """
    if type(value) in _ATOMS:  # first, as nearly all of a label set's digest is texts
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: plain(getattr(value, f.name), named=named) for f in dataclasses.fields(value)}
        return {"type": type(value).__name__, **fields} if named else fields
    if isinstance(declared := getattr(type(value), "model_fields", None), dict):  # pydantic, not imported here
        left_out = {name for name, field in declared.items() if named and _is_later(field, getattr(value, name))}
        fields = {name: plain(getattr(value, name), named=named) for name in declared if name not in left_out}
        return {"type": type(value).__name__, **(getattr(value, "RETIRED", {}) if named else {}), **fields}
    if isinstance(value, Mapping):
        return {str(key): plain(item, named=named) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, named=named) for item in value]
    if isinstance(value, Enum | str | int | float):
        return value.value if isinstance(value, Enum) else value
    raise TypeError(f"fingerprint: {type(value).__name__} is not plain data")


def _is_later(field: Any, value: Any) -> bool:
    return field.json_schema_extra == LATER and value == field.default


def fingerprint(value: Any) -> str:
    """SHA-256 of the canonical JSON, as 64 hex digits."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def derive_seed(*parts: str | int) -> int:
    """A 64-bit seed for (run, stage, step, problem, sample, ...): the same parts, the same seed, anywhere."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
