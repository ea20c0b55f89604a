"""A rank's own writer: a copy of the model, kept as it is multiplied, that writes what the model itself would."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from torch import nn

import tiny
from headwater.engines.cluster.writer import OwnWriter, VllmWriter
from headwater.engines.local import LocalGenerator
from headwater.engines.settings import EngineSettings
from headwater.interfaces import Seeds
from headwater.records import Sampling
from micro import alive

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


PARENT = """
import subprocess, sys, time
served = subprocess.Popen([sys.executable, sys.argv[1]], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
print('{"do": "nothing"}', file=served.stdin, flush=True)
served.stdout.readline()
print(served.pid, flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it ends at the end of its input, once it goes on")
def test_a_vllm_process_that_is_stopped_ends_with_the_process_that_started_it():
    parent = subprocess.Popen([sys.executable, "-c", PARENT, VllmWriter.script], stdout=subprocess.PIPE, text=True)
    pid = int(parent.stdout.readline())
    os.kill(pid, signal.SIGSTOP)
    assert alive(pid)
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 30
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    left = alive(pid)
    if left:
        os.kill(pid, signal.SIGKILL)
    assert not left
