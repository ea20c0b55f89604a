"""Gradient checkpointing: less is kept, nothing is changed."""

import pytest
import torch
from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer

import tiny
from headwater.engines.recompute import recomputed
from headwater.engines.settings import EngineSettings
from headwater.errors import InputError
from headwater.records import Group
from headwater.signals import Imitation
from scripted import ONCE


def updated(model, *, checkpointing):
    """Weights after three updates, and how often a layer ran in the last."""
    runs = []
    for module in model.network.modules():
        if isinstance(module, GradientCheckpointingLayer):
            next(module.children()).register_forward_pre_hook(lambda *_: runs.append(1))
    learner = tiny.learner(model, engine=EngineSettings(gradient_checkpointing=checkpointing))
    learner.version = 5  # the last of these updates is none whose weights are checked by a pass of its own
    rollouts = [tiny.rollout(f"p/{i}", (2, 3, 4 + i), (5, 6, 7, 8)[: 2 + i]) for i in range(3)]
    groups = [Group(problem=tiny.problems(1)[0], rollouts=tuple(rollouts))]
    for _ in range(3):
        runs.clear()
        learner.update(Imitation().score(groups, tiny.workers(), ONCE), Imitation())
    return tiny.weights(model), len(runs)


@pytest.mark.parametrize("make", [tiny.qwen, tiny.llama])
def test_layers_run_twice_and_the_weights_are_the_same_to_the_bit(make):
    kept, once = updated(make(), checkpointing=False)
    again, twice = updated(make(), checkpointing=True)
    tiny.assert_same_bits(again, kept)
    assert twice == 2 * once


def test_a_pass_keeps_the_layers_inputs_alone():
    model, sizes = tiny.qwen(), []
    ids = torch.arange(40).remainder(8)[None]
    for wanted in (False, True):
        kept = []
        watch = torch.autograd.graph.saved_tensors_hooks(lambda t, kept=kept: kept.append(t.numel()) or t, lambda t: t)
        with watch, recomputed(model.network, wanted=wanted):
            model.hidden(ids).sum().backward()
        sizes.append(sum(kept))
    assert sizes[1] < sizes[0]


def test_outside_the_forward_pass_the_network_is_as_it_was():
    model = tiny.qwen()
    with recomputed(model.network, wanted=True):
        model.hidden(torch.tensor([[2, 3]]))
    assert not any(module.training for module in model.network.modules())
    assert tiny.draw(model) == tiny.draw(tiny.qwen())


def test_a_network_without_such_layers_is_refused_by_name():
    with (
        pytest.raises(InputError, match=r"engine\.gradient_checkpointing.*Linear"),
        recomputed(nn.Linear(2, 2), wanted=True),
    ):
        pass
