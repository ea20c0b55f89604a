"""Where a network parts into a body and a head, and what it does to logits behind the head: found by measurement.

    logits = change(W h + b),   change(z) = s z   or   c tanh(s z / c)

h is what enters the head. The head is given random states in the place of its own, so the change is seen on logits of
every size, whatever the weights are; caps are looked for among the numbers of the config, the scale is fitted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedModel

from headwater.errors import InputError
from headwater.models.logits import UNCHANGED, LogitChange

EXACT = 1e-5
"""Largest relative distance of two computations of the same logits."""
LARGE = 8.0
"""Standard deviation of the logits on which the change is looked for."""
PROBE = (2, 3, 5, 4, 2, 3, 4, 5)


@dataclass(frozen=True, kw_only=True)
class Split:
    """How hidden states and logits are had from a network."""

    whole_body: bool
    """its base model's last hidden states enter the head; else they are taken from where they do"""
    change: LogitChange


class _Reached(Exception):
    def __init__(self, hidden: Tensor):
        super().__init__()
        self.hidden = hidden


def before_head(network: PreTrainedModel, run: Callable[[], Any]) -> Tensor:
    """What enters the head in this forward pass, which ends there."""

    def stop(head: nn.Module, given: tuple[Tensor, ...]) -> None:
        raise _Reached(given[0])

    handle = network.get_output_embeddings().register_forward_pre_hook(stop)
    try:
        run()
    except _Reached as reached:
        return reached.hidden
    finally:
        handle.remove()
    raise InputError(f"model: {network.config.model_type} makes logits without its head; use another architecture")


@contextmanager
def as_it_was(network: nn.Module) -> Iterator[None]:
    """The network computes inside as transformers made it, with its present weights."""
    ours = [(module, type(module)) for module in network.modules() if type(module).__module__.startswith("headwater.")]
    try:
        for module, kind in ours:
            module.__class__ = next(base for base in kind.__mro__ if not base.__module__.startswith("headwater."))
        yield
    finally:
        for module, kind in ours:
            module.__class__ = kind


def split(network: PreTrainedModel) -> Split:
    """Measure it. Raises InputError where logits are no such function of the head's."""
    kind, head = network.config.model_type, network.get_output_embeddings()
    if head is None or getattr(head, "weight", None) is None:
        raise InputError(f"model: {kind} has no head of one matrix; use a causal language model that has one")
    try:
        with as_it_was(network):
            return _split(network, torch.tensor([PROBE], device=network.device) % len(head.weight))
    except InputError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".strip().splitlines()[0]
        raise InputError(
            f"model: {kind} does not give logits for ids alone ({reason}); use a causal language model of text"
        ) from error


@torch.no_grad()
def _split(network: PreTrainedModel, ids: Tensor) -> Split:
    entering = before_head(network, lambda: network(input_ids=ids))
    try:
        hidden = network.base_model(input_ids=ids, use_cache=False).last_hidden_state
        whole = hidden.shape == entering.shape and _near(hidden, entering)
    except Exception:  # noqa: BLE001  other people's network code; the states are had in the other way
        whole = False
    return Split(whole_body=whole, change=_change(network, ids, entering))


def _near(found: Tensor, expected: Tensor) -> bool:
    short = expected.dtype in (torch.bfloat16, torch.float16)
    return bool((found - expected).float().norm() <= (1e-2 if short else EXACT) * expected.float().norm())


def _change(network: PreTrainedModel, ids: Tensor, entering: Tensor) -> LogitChange:
    head = network.get_output_embeddings()
    weight, bias = head.weight, getattr(head, "bias", None)
    draw = torch.Generator().manual_seed(0)
    states = torch.randn(entering.shape, generator=draw).to(entering)
    states *= LARGE / nn.functional.linear(states, weight).float().std()
    handle = head.register_forward_pre_hook(lambda module, given: (states,))
    try:
        made = network(input_ids=ids).logits.double().flatten(0, -2)
    finally:
        handle.remove()
    raw = nn.functional.linear(states, weight, bias).double().flatten(0, -2)[:, : made.shape[-1]]
    if not bool(torch.isfinite(raw).all()):
        return UNCHANGED  # broken weights: sampling and training say so, with the step's name
    numbers = sorted(set(_numbers(network.config.to_dict())))
    caps = [None, *(n for n in numbers if n >= float(made.abs().max()) * (1 - EXACT))]
    found = [(_off(change, raw, made), change) for cap in caps for change in [_fitted(raw, made, cap, numbers)]]
    off, best = min(found, key=lambda one: one[0])
    if not off <= (1e-2 if weight.dtype in (torch.bfloat16, torch.float16) else EXACT):
        raise InputError(
            f"model: {network.config.model_type} changes its logits after the head, by neither a factor nor a soft cap "
            f"(nearest: {best}, {off:.1e} off); use a model without that"
        )
    return best


def _fitted(raw: Tensor, made: Tensor, cap: float | None, numbers: list[float]) -> LogitChange:
    """The factor that fits best under this cap; one that the config names, or one over it, where it is that."""
    if cap is not None:  # where the cap holds fast there is nothing to see of the factor
        bent = made.abs() < 0.9 * cap
        raw, made = raw[bent], cap * torch.atanh(made[bent] / cap)
    scale = float((raw * made).sum() / (raw * raw).sum())
    named = [1.0, *numbers, *(1 / n for n in numbers if n)]
    nearest = min(named, key=lambda n: abs(n - scale))
    return LogitChange(scale=nearest if abs(nearest - scale) <= 1e-4 * abs(scale) else scale, cap=cap)


def _off(change: LogitChange, raw: Tensor, made: Tensor) -> float:
    found: Float[Tensor, "token vocab"] = change.apply_(raw.clone())
    return float((found - made).norm() / made.norm())


def _numbers(value: Any) -> Iterator[float]:
    """Every positive number in a config."""
    if isinstance(value, dict):
        for one in value.values():
            yield from _numbers(one)
    elif isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < float("inf"):
        yield float(value)
