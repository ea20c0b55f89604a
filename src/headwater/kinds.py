"""Methods by the names of their files, and a method made of plain data: what a recipe writes as `kind:` or `own:`.

    signal: {kind: mixture, share: 0.5, dense: {kind: divergence, direction: reverse}}

A file in `signals/` or `samplers/` is a method and is called by the file's name; one of a user's own is named as
path.py:Class. No other place knows a method by its name.
"""

from __future__ import annotations

import inspect
import json
import pkgutil
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from pydantic import ValidationError

from headwater import own_code
from headwater.errors import InputError, nearest

NAMES = ("kind", "own")
"""The keys that say which method it is, and are no setting of it."""


def of_room(room: str, base: type) -> dict[str, Any]:
    """File name -> the method of that file, for every file of a room such as `headwater.signals`."""
    found: dict[str, Any] = {}
    for file in pkgutil.iter_modules(import_module(room).__path__):
        module = import_module(f"{room}.{file.name}")
        own = (kind for kind in vars(module).values() if _is(base)(kind) and kind.__module__ == module.__name__)
        found |= {file.name.replace("_", "-"): kind for kind in own}
    return found


def _is(base: type) -> Callable[[Any], bool]:
    """Whether a thing is a whole method of that base."""
    return lambda value: inspect.isclass(value) and issubclass(value, base) and not inspect.isabstract(value)


def chosen(base: type, kinds: Mapping[str, Any], patch: Mapping[str, Any], place: str) -> Any:
    """The class of the method that plain data names; None where they name none. Raises InputError."""
    what = base.__name__.lower()
    if "own" in patch:
        return own_code.load(str(patch["own"]), f"{place}.own", what, _is(base))
    if "kind" not in patch:
        return None
    name = str(patch["kind"])
    if name not in kinds:
        raise InputError(
            f"{place}.kind: no {what} {name!r:.60}{nearest(name, kinds)}; there are {', '.join(kinds)}, and own: "
            "path.py:Class"
        )
    return kinds[name]


def made(kind: Any, fields: Mapping[str, Any], place: str) -> Any:
    """A method with these settings. Raises InputError naming the first that is wrong."""
    plain = {name: value for name, value in fields.items() if name not in NAMES}
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


def own_code_of(data: Any, place: str) -> dict[str, str]:
    """path.py:Class -> SHA-256 of the file, of every method of a user's own that plain data name, however deep."""
    if not isinstance(data, Mapping):
        return {}
    found = {str(data["own"]): own_code.digest_of(str(data["own"]), f"{place}.own")} if "own" in data else {}
    for name, value in data.items():
        found |= own_code_of(value, f"{place}.{name}")
    return found
