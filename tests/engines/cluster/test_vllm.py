"""vLLM beside a learner: after each update it samples from the learner's weights, or the gap says that it does not.

Needs a Python that has vLLM, by HEADWATER_VLLM_PYTHON: `make cluster-test` sets one up and runs these. On a card the
first of them runs in `make gpu-check`, where that Python is named.
"""

import os

import cases
import pytest
import torch

import tiny
from headwater.engines.cluster.learner import GAP_LIMITS
from headwater.engines.cluster.writer import VllmWriter
from headwater.engines.local import LocalLearner
from headwater.engines.settings import Cluster, EngineSettings
from headwater.errors import NumericError
from headwater.interfaces import Seeds, Training
from headwater.models.choice import ModelSource
from headwater.models.family import build
from headwater.models.shape import QwenShape
from headwater.optimiser import Optimiser
from headwater.records import Sampling, rollouts_of
from headwater.signals import Imitation
from scripted import ONCE

pytestmark = pytest.mark.cluster

SHAPE = QwenShape(hidden_size=64, layers=2, heads=2, kv_heads=1, head_dim=32, ff_size=128, max_positions=128)
"""vLLM's attention on a CPU has no heads narrower than 32."""
FAST = Optimiser(learning_rate=2e-2, clip_norm=1.0, warmup_share=0)
TEMPERATURE = 0.8
ENGINE = EngineSettings(device="auto")
GAP = 1e-4 if ENGINE.kind == "cpu" else GAP_LIMITS["float32"]


def student(form):
    model = build(SHAPE, cases.WORDS, 1)
    if form == "untied":
        model.network.config.tie_word_embeddings = False
        with torch.no_grad():
            model.network.lm_head.weight = torch.nn.Parameter(model.network.lm_head.weight.detach().clone() * 0.5)
    return model


@pytest.fixture(params=["tied", "untied"])
def pair(request, tmp_path):
    """A learner, and a vLLM on the model that it starts from."""
    model = student(request.param)
    model.save(tmp_path)
    writer = VllmWriter(tmp_path, os.environ["HEADWATER_VLLM_PYTHON"], ENGINE, lambda: None)
    yield LocalLearner(model, Training(optimiser=FAST, updates=20, temperature=TEMPERATURE), ENGINE), writer
    writer.close()


def weights(learner):
    return [(name, parameter.detach()) for name, parameter in learner.model.network.named_parameters()]


def written(writer, step, problems=5, samples=3):
    return written_for(writer, step, tiny.problems(problems), samples)


def written_for(writer, step, problems, samples):
    sampling = Sampling(temperature=TEMPERATURE, max_response_tokens=24)
    return writer.generate(problems, samples, sampling, Seeds(run=0, stream="vllm", step=step))


def updated(learner, writer, step):
    """One update on what vLLM wrote; how far its logprobs were from the learner's."""
    return learner.update(Imitation().score(written(writer, step), tiny.workers(), ONCE), Imitation())


def seen(learner, writer, step):
    """Whether the first step with what vLLM holds is stopped, or would be on ranks."""
    try:
        return updated(learner, writer, step)["sampler_gap"] > GAP_LIMITS["float32"]
    except NumericError as error:  # tensors that did not come may hold anything
        return "a sampled logprob" in str(error)


def moved(learner):
    """The weights as after an update that vLLM does not hear of."""
    with torch.no_grad():
        for parameter in learner.model.network.parameters():
            parameter.mul_(1 + 0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))


@pytest.mark.gpu
@pytest.mark.skipif("HEADWATER_VLLM_PYTHON" not in os.environ, reason="HEADWATER_VLLM_PYTHON names no Python")
def test_after_each_of_twenty_updates_vllm_samples_from_the_learners_weights(pair):
    learner, writer = pair
    writer.take(weights(learner), 0)
    for step in range(20):
        metrics = updated(learner, writer, step)
        assert metrics["sampler_gap_max"] <= GAP
        assert writer.take(weights(learner), learner.version) == step + 1
    rollouts = rollouts_of(written(writer, 20))
    assert {one.policy_version for one in rollouts} == {20}
    for one in rollouts:
        assert (one.finish_reason == "stop") == (one.response_ids[-1] in learner.model.stop_ids)
    alone = rollouts_of(written(writer, 20, problems=2))  # a response follows from its seed, not from its neighbours
    assert [one.response_ids for one in alone] == [one.response_ids for one in rollouts[: len(alone)]]


@pytest.mark.parametrize("pair", ["tied"], indirect=True)
def test_more_prompts_than_vllm_reads_at_once_are_answered_each_from_its_seed(pair):
    learner, writer = pair
    writer.take(weights(learner), 0)
    problems = tiny.problems(200, longest=91)  # 9,000 tokens, where one pass takes 4,096
    many = rollouts_of(written_for(writer, 0, problems, 1))
    alone = [one for i in range(0, 200, 20) for one in rollouts_of(written_for(writer, 0, problems[i : i + 1], 1))]
    assert [one.response_ids for one in alone] == [one.response_ids for one in many[::20]]


def test_weights_that_did_not_come_or_came_in_part_are_seen_at_the_first_step(pair):
    learner, writer = pair
    writer.take(weights(learner), 0)
    moved(learner)
    assert seen(learner, writer, 0)  # nothing came
    learner.version = 0
    writer.take(weights(learner)[:-6], 0)
    assert seen(learner, writer, 1)  # some did not


@pytest.mark.parametrize("pair", ["tied"], indirect=True)
def test_a_tied_head_that_is_not_packed_again_is_seen_at_the_first_step(pair, tmp_path):
    learner, writer = pair
    trap = tmp_path / "serve_without.py"
    lines = VllmWriter.script.read_text()
    packs = "                dispatch_cpu_unquantized_gemm(head, remove_weight=False)\n"
    assert packs in lines
    trap.write_text(lines.replace(packs, ""))
    writer.script = trap
    moved(learner)
    writer.take(weights(learner), 0)
    assert seen(learner, writer, 0)


def test_ranks_under_ray_learn_from_what_a_vllm_beside_each_of_them_writes(tmp_path):
    from headwater.engines.opening import open_engine

    student("tied").save(tmp_path)
    cluster = Cluster(gpus=2, generator="vllm", vllm_python=os.environ["HEADWATER_VLLM_PYTHON"])
    with open_engine(EngineSettings(device="cpu", cluster=cluster)) as engine:
        learner = engine.learner(
            ModelSource(path=tmp_path), Training(optimiser=FAST, updates=3, temperature=TEMPERATURE)
        )
        generator = engine.generator(learner)
        for step in range(3):
            assert updated(learner, generator, step)["sampler_gap_max"] <= 1e-4
        assert {one.policy_version for one in rollouts_of(written(generator, 3))} == {3}
