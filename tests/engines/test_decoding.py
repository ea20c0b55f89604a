"""A step of decoding can be captured and replayed: it is a function of tensors that stay where they are.

There is no GPU here, so a tape stands for its graph: it keeps the operators that a step ran, with their tensors, and
replays them into the same tensors without any Python of ours, as a CUDA graph does.
"""

from collections import Counter

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import tiny
from headwater.engines import generation
from headwater.engines.body import Body
from headwater.engines.generation import draw_responses
from headwater.interfaces import Seeds
from headwater.records import Sampling

FAMILIES = pytest.mark.parametrize("family", tiny.FAMILIES)


class Tape(TorchDispatchMode):
    """The operators of one step, to run again on the tensors they ran on."""

    def __init__(self):
        super().__init__()
        self.operators = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        self.operators.append((function, args, kwargs or {}, result))
        return result

    def replay(self):
        """Every operator again, its result written where it was."""
        for function, args, kwargs, result in self.operators:
            for old, new in zip(tree_leaves(result), tree_leaves(function(*args, **kwargs)), strict=True):
                if isinstance(old, torch.Tensor) and old is not new:
                    old.copy_(new)


class Recorder:
    """Captures by tape, and counts."""

    def __init__(self):
        self.counts = Counter()

    def __call__(self, step):
        self.counts["captured"] += 1
        step()  # as on a GPU, where the first run cannot be captured
        with Tape() as tape:
            result = step()

        def replay():
            self.counts["replayed"] += 1
            tape.replay()
            return result

        return replay


def drawn(family, capture, tokens=12, slots=8):
    model = tiny.FAMILIES[family]()
    asked = [model.encode(problem) for problem in tiny.problems(9)]
    seeds = [[Seeds(run=0, stream="s", step=0).of(str(i), s) for s in range(4)] for i in range(len(asked))]
    return draw_responses(Body(model), asked, seeds, Sampling(max_response_tokens=tokens), slots, capture)


def ids_of(drawn_by_prompt):
    return [one.ids for own in drawn_by_prompt for one in own]


@FAMILIES
@pytest.mark.parametrize("places", [4, 128])
def test_replayed_steps_draw_what_steps_run_anew_draw(family, places, monkeypatch):
    monkeypatch.setattr(generation, "CAPTURED", places)
    recorder = Recorder()
    plain, replayed = drawn(family, None), drawn(family, recorder)
    assert len({len(one.ids) for own in plain for one in own}) > 2
    for own, same in zip(plain, replayed, strict=True):
        assert [one.ids for one in own] == [one.ids for one in same]
        for one, other in zip(own, same, strict=True):
            np.testing.assert_allclose(one.logprobs, other.logprobs, rtol=0, atol=1e-5)
    assert recorder.counts["replayed"] > 3 * recorder.counts["captured"] > 0


def test_a_tape_that_stands_still_is_noticed():
    """The control: a capture that gives the first step's result again draws something else."""

    def stuck(step):
        result = step()
        return lambda: result

    model = next(iter(tiny.FAMILIES))
    assert ids_of(drawn(model, stuck)) != ids_of(drawn(model, None))


@FAMILIES
def test_a_cache_that_grows_often_draws_what_one_of_full_size_draws(family, monkeypatch):
    found = []
    for block in (1, 5, 1000):
        monkeypatch.setattr(generation, "BLOCK", block)
        found.append(drawn(family, None, tokens=24))
    assert ids_of(found[0]) == ids_of(found[1]) == ids_of(found[2])
