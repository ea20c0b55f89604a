"""Stages that would run to their end and learn nothing, or stop on the way: refused before anything is spent."""

from __future__ import annotations

import math
from importlib.util import find_spec
from statistics import NormalDist

from headwater.alarms import STILL
from headwater.engines.settings import EngineSettings
from headwater.errors import InputError
from headwater.interfaces import Need
from headwater.loop import Stage
from headwater.models.choice import ModelChoice

WEIGHT = NormalDist(0.0, 0.02)
"""Weights as most families of transformers begin with them, and about as they end."""
HALF_STEP = 2.0**-9
"""Of a weight: the least change that bfloat16, with 8 bits, can round to another value."""


def refuse_unquantisable(role: str, model: ModelChoice, engine: EngineSettings) -> None:
    """Raise InputError for quantised weights on a CPU or on ranks, or without the library that holds them."""
    if model.quantise is None:
        return
    asked = f"{role}.quantise: {model.quantise}"
    if engine.kind == "cpu":
        raise InputError(
            f"{asked} needs a GPU, and this run computes on a CPU (engine.device: {engine.device}); leave it out here"
        )
    if engine.cluster is not None:
        raise InputError(
            f"{asked}: ranks (engine.cluster) shard weights, which quantised ones do not bear; leave one of the two out"
        )
    if find_spec("bitsandbytes") is None:
        raise InputError(
            f"{asked}: bitsandbytes is not installed; `pip install 'headwater[quantise]'`, or leave it out"
        )


def refuse_unlearnable(stage: Stage, learner: str, model: ModelChoice) -> None:
    """Raise InputError for quantised weights, a signal with too few responses to compare, a reward of responses that
    are cut short by the stage's own sampler, and a rate that bfloat16 rounds away."""
    place = f"stages.{stage.name.replace('-', '_')}"
    if model.quantise is not None:
        raise InputError(
            f"{learner}.quantise: {model.quantise} weights stay as they are, and {stage.name} trains the {learner}; "
            "leave it out, or choose arms that take this model as it is"
        )
    if not stage.sampler.whole and Need.VERIFIER in stage.signal.needs:
        raise InputError(
            f"{place}.sampler: {type(stage.sampler).__name__.lower()} cuts responses before they reach an answer, and "
            f"{type(stage.signal).__name__.lower()} grades them; use a signal that grades none, or another sampler"
        )
    if stage.sampler.samples < stage.signal.least_samples:
        raise InputError(
            f"{place}.samples: {type(stage.signal).__name__.lower()} compares the responses to a problem, and with "
            f"{stage.sampler.samples} there is nothing to learn; use {stage.signal.least_samples} or more"
        )
    if model.dtype != "bfloat16" or model.adapter is not None:
        return
    rate = stage.optimiser.learning_rate
    moved = moved_share(rate)
    if moved < STILL:
        least = math.ceil(1e7 * HALF_STEP * WEIGHT.inv_cdf((1 + STILL) / 2)) / 1e7
        raise InputError(
            f"{place}.optimiser.learning_rate: a step of {rate:g} moves about {100 * moved:.1g} % of weights that are "
            f"kept in bfloat16, the others round back; set {learner}.dtype to float32, train an adapter, or use "
            f"{least:g} or more"
        )


def moved_share(rate: float) -> float:
    """The share of bfloat16 weights that one step of AdamW, which is about the rate, can move at most."""
    return 2 * WEIGHT.cdf(rate / HALF_STEP) - 1
