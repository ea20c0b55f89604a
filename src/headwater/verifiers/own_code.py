"""A user's own reward function from a file of theirs, named as path:function in a recipe (see `headwater.own_code`)."""

from __future__ import annotations

import inspect
from typing import Any

from headwater import own_code
from headwater.errors import InputError
from headwater.verifiers.function import FunctionVerifier, RewardFunction

PLACE = "grading.function"


def digest_of(reference: str) -> str:
    """SHA-256 of the file that a path:function names, 64 hex digits. Raises InputError when it cannot be read."""
    return own_code.digest_of(reference, PLACE)


def load_function(reference: str, *, full_marks: float = 1.0) -> FunctionVerifier:
    """The verifier around the function that a path:function names; its labels are packed rows.

    Runs the file. Raises InputError when it cannot be read or run, or has no such function.
    """
    function: RewardFunction = own_code.load(reference, PLACE, "function", _is_function)
    if inspect.iscoroutinefunction(function):
        raise InputError(f"{PLACE}: {reference} is asynchronous; write it as a plain def")
    return FunctionVerifier(function=function, packed=True, full_marks=full_marks)


def _is_function(value: Any) -> bool:
    return callable(value)
