"""Embeddings: the table's own rows and gradient, added to what is there without a table of zeros."""

import pytest
import torch
from torch import nn

import tiny
from headwater.engines.body import Body
from headwater.engines.cpu import embeddings
from headwater.engines.cpu.embeddings import FastEmbedding

IDS = torch.tensor([[3, 0, 3, 7], [3, 1, 0, 0]])


@pytest.fixture
def every_size(monkeypatch):
    monkeypatch.setattr(embeddings, "LARGE", 1)


def tables(**settings):
    """A table, and the same taken over."""
    made = []
    for _ in range(2):
        torch.manual_seed(0)
        made.append(nn.Embedding(8, 5, **settings))
    embeddings.take_over(nn.Sequential(made[1]))
    return made


@pytest.mark.usefixtures("every_size")
@pytest.mark.parametrize("settings", [{}, {"padding_idx": 0}])
def test_rows_and_gradients_are_those_of_the_table_over_several_passes(settings):
    plain, taken = tables(**settings)
    assert type(taken) is FastEmbedding
    for scale in (1.0, 0.3):
        for table in (plain, taken):
            rows = table(IDS)
            (rows * torch.linspace(-1, scale, rows.numel()).view(rows.shape)).sum().backward()
    assert torch.equal(taken(IDS), plain(IDS))
    torch.testing.assert_close(taken.weight.grad, plain.weight.grad)


def test_no_other_tensor_of_the_tables_size_is_made():
    taken = FastEmbedding(50_000, 8)
    taken.weight.grad = torch.zeros_like(taken.weight)
    place = taken.weight.grad.data_ptr()
    rows = taken(torch.arange(4))
    with torch.profiler.profile(profile_memory=True) as profile:
        rows.sum().backward()
    assert max(event.cpu_memory_usage for event in profile.events()) < taken.weight.nbytes / 10
    assert taken.weight.grad.data_ptr() == place


def test_a_table_that_fits_the_cache_is_left_alone():
    small, large = nn.Embedding(51, 48), nn.Embedding(2**14, 64)
    embeddings.take_over(nn.Sequential(small, large))
    assert (type(small), type(large)) == (nn.Embedding, FastEmbedding)


@pytest.mark.usefixtures("every_size")
@pytest.mark.parametrize("settings", [{"max_norm": 1.0}, {"scale_grad_by_freq": True}, {"sparse": True}])
def test_a_table_with_rules_of_its_own_is_left_alone(settings):
    _, other = tables(**settings)
    assert type(other) is nn.Embedding


@pytest.mark.usefixtures("every_size")
def test_a_frozen_table_gets_no_gradient():
    _, taken = tables()
    assert type(taken) is FastEmbedding
    taken.weight.requires_grad_(False)
    assert not taken(IDS).requires_grad


@pytest.mark.usefixtures("every_size")
@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_a_network_gets_the_gradient_of_its_own_pass_tied_or_not(family):
    model, plain, exact = (tiny.FAMILIES[family]() for _ in range(3))
    Body(model)
    exact.network.double()
    for one in (model, plain, exact):
        one.network(input_ids=torch.tensor([[2, 5, 2]])).logits.square().sum().backward()
    for name, parameter in exact.network.named_parameters():
        gradient, own = (one.network.get_parameter(name).grad for one in (plain, model))
        rounding = (gradient - parameter.grad).norm() / parameter.grad.norm()  # it differs from processor to processor
        tiny.assert_near(own, parameter.grad, 3 * rounding.item() + 1e-6)
