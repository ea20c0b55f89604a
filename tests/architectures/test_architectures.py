"""Every causal architecture of the installed transformers is right, on its fastest right way, or refused in one line.

    make architectures      runs this and writes the table of docs/models.md

Acceptance says which; what it accepts is then held against plain transformers by another path: sampled logprobs, and
the gradient of a whole update through the learner.
"""

import json
from pathlib import Path

import pytest

from headwater.engines.acceptance import accept
from headwater.errors import InputError
from plainly import LENGTH, gradients, sampled_apart, sharp
from tiny_configs import ARCHITECTURES, tiny_config

FOUND = Path(__file__).parents[2] / "build" / "architectures"
LOGPROB, GRADIENT = 5e-3, 1e-2
"""Nats of one token, and share of a gradient's length, that are rounding: faults are a hundred times as large."""


def note(kind, **found):
    FOUND.mkdir(parents=True, exist_ok=True)
    (FOUND / f"{kind}.json").write_text(json.dumps({"kind": kind, **found}))


@pytest.mark.architectures
@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_an_architecture_is_right_or_refused_in_one_line(kind):
    config, reason = tiny_config(kind)
    if config is None:
        note(kind, verdict="not tiny", line=reason)
        pytest.skip(f"builds no tiny network from its defaults: {reason}")
    try:
        found = accept(config, LENGTH)
    except InputError as error:
        assert "\n" not in str(error)
        note(kind, verdict="refused", line=str(error))
        return
    note(kind, verdict="wrong", line="the comparison ended with an error")
    model, plain = sharp(config)
    rollouts, apart = sampled_apart(model, plain)
    ours, theirs = gradients(model, plain, *sharp(config, seed=1), rollouts)
    off = float((ours - theirs).norm() / theirs.norm())
    right = apart < LOGPROB and off < GRADIENT
    ways = {"scoring": found.ways.scoring, "sampling": found.ways.sampling}
    note(kind, verdict="right" if right else "wrong", apart=apart, gradient=off, **ways)
    assert right, f"sampled logprobs {apart:.2g} nats off, gradient {off:.2g} off"
