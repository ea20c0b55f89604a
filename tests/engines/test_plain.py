"""The plain pass: nothing of ours in it, the present weights in it, and a learner that scored by others is stopped."""

import contextlib
import copy

import pytest
import torch

import tiny
from headwater.engines import body, decoding, linears, plain
from headwater.engines.body import Body
from headwater.engines.head import Head
from headwater.engines.linears import Copies
from headwater.engines.settings import EngineSettings
from headwater.errors import NumericError
from headwater.guard import Guard
from headwater.models import adapters
from headwater.models.choice import Lora
from headwater.models.language_model import LanguageModel
from headwater.records import StepRecord
from headwater.signals import Imitation
from scripted import ONCE

FAMILIES = pytest.mark.parametrize("family", tiny.FAMILIES)
PRECISIONS = pytest.mark.parametrize("precision", ["float32", "bfloat16"])
SMALL = tiny.STEADY.model_copy(update={"learning_rate": 2e-4})


def updates(model, count, *, engine=None, settings=SMALL):
    """Metrics of so many updates on one batch."""
    scored = Imitation().score(tiny.sample(model), tiny.workers(), ONCE)
    learner = tiny.learner(model, settings, engine=engine)
    return [learner.update(scored, Imitation()) for _ in range(count)]


@FAMILIES
def test_the_plain_pass_is_the_networks_own(family):
    model, taken = tiny.FAMILIES[family](), tiny.FAMILIES[family]()
    Body(taken)
    one = tiny.rollout("p0/0", (2, 3), (4, 5, 6))
    found = plain.logprobs(taken, one, temperature=0.7)
    assert torch.equal(found, tiny.token_logprobs(model, one, temperature=0.7))


@FAMILIES
@PRECISIONS
def test_nothing_of_ours_runs_in_it_and_everything_is_back_afterwards(family, precision, monkeypatch):
    model = tiny.FAMILIES[family]()
    Body(model, precision)
    before = [type(module) for module in model.network.modules()]
    assert sum(issubclass(kind, plain.TakenOver) for kind in before) > 10
    for kind in {kind for kind in before if issubclass(kind, plain.TakenOver)}:
        monkeypatch.setattr(kind, "forward", lambda *_: pytest.fail("ours"))
    plain.logprobs(model, plain.probe(model), 1.0)
    assert [type(module) for module in model.network.modules()] == before


def test_the_first_updates_and_every_sixteenth_are_checked_and_the_distance_is_logged():
    logged = [i for i, metrics in enumerate(updates(tiny.qwen(), 34)) if "weights_gap" in metrics]
    assert logged == [0, 1, 2, 3, 16, 32]


def test_the_probe_goes_the_way_on_which_the_batch_was_scored(monkeypatch):
    laid, hidden = [], Body.scored_hidden
    monkeypatch.setattr(body, "LONG", 4)
    monkeypatch.setattr(plain, "PROMPT", 1)
    monkeypatch.setattr(plain, "RESPONSE", 2)  # shorter than LONG, as the batch is not
    scored = Imitation().score(tiny.sample(tiny.qwen()), tiny.workers(), ONCE)
    learner = tiny.learner(tiny.qwen(), SMALL)
    kept = lambda one, layout: (one is learner._body and laid.append(layout)) or hidden(one, layout)  # noqa: E731
    monkeypatch.setattr(Body, "scored_hidden", kept)
    learner.update(scored, Imitation())
    *_, probe = laid
    assert probe.input_ids.numel() == 3 and probe.open


@FAMILIES
@PRECISIONS
@pytest.mark.parametrize("lora", [False, True])
def test_the_distance_of_a_healthy_learner_is_far_below_its_limit(family, precision, lora):
    model = tiny.FAMILIES[family]()
    if lora:
        adapters.attach(model.network, Lora(rank=2, alpha=4), seed=1)
    found = [
        m["weights_gap"] for m in updates(model, 4, engine=EngineSettings(precision=precision), settings=tiny.STEADY)
    ]
    assert max(found) <= plain.LIMITS[precision] / 10


# planted faults


def test_copies_that_outlive_an_update_stop_the_run_at_once(monkeypatch):
    """The fault that was: a memo by version, which fused AdamW does not raise."""
    ever = Copies()

    @contextlib.contextmanager
    def kept(network):
        for module in network.modules():
            if isinstance(module, linears.FastLinear):
                module.copies = ever
        yield ever

    monkeypatch.setattr(linears, "shared_copies", kept)
    with pytest.raises(NumericError, match=r"update 1: the weights that scored this batch are not the present") as told:
        updates(tiny.qwen(), 2, engine=EngineSettings(precision="bfloat16"), settings=tiny.STEADY)
    assert told.value.exit_code == 5


def test_a_head_rounded_before_an_update_stops_the_run_at_once(monkeypatch):
    first, own = [], Head.operand
    monkeypatch.setattr(Head, "operand", lambda head: first[0] if first else first.append(own(head)) or first[0])
    with pytest.raises(NumericError, match="update 1: the weights"):
        updates(tiny.llama(), 2, engine=EngineSettings(precision="bfloat16"), settings=tiny.STEADY)


def test_a_head_joined_before_an_update_stops_the_run_at_once_in_float32(monkeypatch):
    first, own = [], Head.operand
    joined = lambda head: first[0] if first else first.append(own(head).clone()) or first[0]  # noqa: E731
    monkeypatch.setattr(Head, "operand", joined)
    with pytest.raises(NumericError, match="update 1: the weights"):
        updates(tiny.llama(), 2)


def test_a_layer_that_keeps_its_old_weights_stops_the_run_at_once_in_float32(monkeypatch):
    model = tiny.qwen()
    layer, linear = model.network.model.layers[1].self_attn.o_proj, linears.linear
    kept = layer.weight.detach().clone()

    def stale(x, weight, *others, **settings):
        old = (
            kept + (weight - weight.detach()) if weight is layer.weight else weight
        )  # the gradient is the present one's
        return linear(x, old, *others, **settings)

    monkeypatch.setattr(linears, "linear", stale)
    with pytest.raises(NumericError, match="update 1: the weights"):
        updates(model, 2, settings=tiny.STEADY)


def test_a_resumed_learner_is_checked_at_its_first_step_whichever_that_is(tmp_path, monkeypatch):
    model = tiny.qwen()
    scored = Imitation().score(tiny.sample(model), tiny.workers(), ONCE)
    learner = tiny.learner(model, SMALL)
    for _ in range(6):
        learner.update(scored, Imitation())
    learner.save(tmp_path)
    monkeypatch.setattr(plain, "LIMITS", {"float32": -1.0})
    learner.update(scored, Imitation())  # neither due nor new
    learner.load(tmp_path)
    with pytest.raises(NumericError, match="update 6: the weights"):
        learner.update(scored, Imitation())


def test_decoding_steps_captured_before_an_update_stop_the_run_at_once(monkeypatch):
    """As a graph that outlives its call: the learner's own scores differ from the sampler's."""
    model = tiny.qwen()
    old, forward = (
        Body(LanguageModel(network=copy.deepcopy(model.network), tokenizer=model.tokenizer)),
        decoding.forward,
    )

    def captured(body, cache, **inputs):
        with old.work():
            return forward(old, cache, **inputs)

    monkeypatch.setattr(decoding, "forward", captured)  # the steps; prompts are read by the present weights
    learner, records = tiny.learner(model), []
    for step in range(2):
        scored = Imitation().score(tiny.sample(model, learner=learner, step=step), tiny.workers(), ONCE)
        records.append(StepRecord(step=step, metrics=learner.update(scored, Imitation())))
    Guard().check("stage", records[:1])
    with pytest.raises(NumericError, match="stage, step 1: sampled logprobs are") as told:
        Guard().check("stage", records)
    assert told.value.exit_code == 5
