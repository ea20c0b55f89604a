"""A rank's own writer: a copy of the model, kept as it is multiplied, that writes what the model itself would."""

import pytest
import torch
from torch import nn

import tiny
from headwater.engines.cluster.writer import OwnWriter
from headwater.engines.local import LocalGenerator
from headwater.engines.settings import EngineSettings
from headwater.interfaces import Seeds
from headwater.records import Sampling

SAMPLING = Sampling(temperature=1.0, max_response_tokens=8)


def engine(precision):
    return EngineSettings(device="cpu", precision=precision)


def written(generator):
    groups = generator.generate(tiny.problems(4), 3, SAMPLING, Seeds(run=0, stream="write", step=0))
    return [(one.response_ids, one.logprobs) for group in groups for one in group.rollouts]


def bytes_of(model):
    head = model.network.get_output_embeddings()
    layers = [module for module in model.network.modules() if isinstance(module, nn.Linear) and module is not head]
    return sum(layer.weight.nbytes for layer in layers)


@pytest.mark.parametrize("family", tiny.FAMILIES)
@pytest.mark.parametrize(("precision", "share"), [("float32", 1.0), ("bfloat16", 0.5)])
def test_a_writer_keeps_its_layers_as_they_are_multiplied_and_writes_the_same(family, precision, share):
    make = tiny.FAMILIES[family]
    whole, copied = make(), make()
    expected = written(LocalGenerator(whole, None, engine(precision)))
    writer = OwnWriter(copied, engine(precision))
    assert written(writer) == expected  # to the bit
    assert bytes_of(copied) == share * bytes_of(whole)


def test_a_writer_takes_up_weights_as_they_are_multiplied():
    learner, copied = tiny.qwen(seed=1), tiny.qwen(seed=0)
    writer = OwnWriter(copied, engine("bfloat16"))
    before = written(writer)
    assert writer.take(learner.network.named_parameters(), 7) == 7
    expected = written(LocalGenerator(learner, None, engine("bfloat16")))
    assert written(writer) == expected != before
    assert {parameter.dtype for parameter in learner.network.parameters()} == {torch.float32}
