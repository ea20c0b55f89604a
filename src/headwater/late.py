"""torch and jaxtyping, loaded when first used: values that only say what will be computed start without them.

A recipe is made of signals, samplers and engine settings, and a plan reads no more than their fields. Their files say
`from headwater.late import Tensor, torch` in place of the usual lines, and ask for nothing of torch while they are
imported but for annotations; then `headwater plan` starts in a second and not in four. Where torch is loaded already
(a notebook, the tests, whose checker of shapes evaluates annotations) these are torch's and jaxtyping's own.
What computes from its first line on (`engines/`, `models/`) imports torch as ever.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from importlib import import_module
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class _Module:
    """Stands for a module until an attribute of it is asked for."""

    def __init__(self, name: str):
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(import_module(self._name), attribute)


class _Class(type):
    """Stands for a class of torch in annotations and in isinstance."""

    def __instancecheck__(cls, value: object) -> bool:
        return isinstance(value, getattr(import_module("torch"), cls.__name__))


class _Shapes:
    """Stands for a kind of array in annotations, which nothing evaluates where torch is not loaded."""

    def __getitem__(self, shape: Any) -> Any:
        return object


if TYPE_CHECKING or "torch" in sys.modules:
    import torch
    from jaxtyping import Float, Int
    from torch import Tensor
else:
    torch, Tensor, Float, Int = _Module("torch"), _Class("Tensor", (), {}), _Shapes(), _Shapes()

__all__ = ["Float", "Int", "Tensor", "no_grad", "torch"]


def no_grad(function: Callable[P, R]) -> Callable[P, R]:
    """torch.no_grad as a decorator, which itself would load torch."""

    @wraps(function)
    def without(*args: P.args, **named: P.kwargs) -> R:
        with torch.no_grad():
            return function(*args, **named)

    return without
