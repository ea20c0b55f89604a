"""Padded vocabularies: rows of a head that no tokenizer emits take no part, in the teacher's or in the student's."""

import pytest
import torch

import tiny
from headwater import cache
from headwater.cache import CachedTeacher, Recording
from headwater.engines.local import LocalTeacher
from headwater.engines.settings import EngineSettings
from headwater.records import rollouts_of
from headwater.signals import Divergence, Imitation
from scripted import ONCE

WORDS = len(tiny.WORDS)
DIVERGENCES = [
    Divergence(direction="forward"),
    Divergence(direction="reverse"),
    Divergence(direction="jsd"),
    Divergence(direction="reverse", estimator="sampled"),
]


def padded(model, rows, loud=3.0):
    """The model with more rows of vocabulary, whose logits would be the largest of all."""
    old = model.head[0].detach().clone()
    model.network.resize_token_embeddings(rows, mean_resizing=False)
    with torch.no_grad():
        model.head[0][: len(old)] = old
        model.head[0][len(old) :] = loud * old[2]
    return model


def gradient(model, teacher, signal, groups):
    scored = signal.score(groups, tiny.workers(teacher=teacher), ONCE)
    tiny.learner(model).update(scored, signal)
    return model.head[0].grad.clone()


@pytest.mark.parametrize("signal", DIVERGENCES)
def test_a_teacher_with_more_rows_than_its_student_teaches_what_one_with_none_does(signal):
    groups = tiny.sample(tiny.qwen())
    plain_head = gradient(tiny.qwen(), LocalTeacher(tiny.llama(), EngineSettings()), signal, groups)
    teacher = LocalTeacher(padded(tiny.llama(), WORDS + 5), EngineSettings())
    head = gradient(padded(tiny.qwen(), WORDS + 2), teacher, signal, groups)
    torch.testing.assert_close(head[:WORDS], plain_head, rtol=1e-5, atol=1e-7)
    assert torch.equal(head[WORDS:], torch.zeros_like(head[WORDS:]))


@pytest.mark.parametrize("recording", [Recording(), Recording(keep="hidden"), Recording(keep="top_k", top_k=4)])
def test_a_recording_of_a_padded_teacher_teaches_a_padded_student(recording, tmp_path):
    model = padded(tiny.llama(), WORDS + 5)
    groups = tiny.sample(model)
    cache.write(tmp_path, groups, LocalTeacher(model, EngineSettings()), recording, temperature=1.0)
    opened = CachedTeacher(tmp_path)
    head = gradient(padded(tiny.qwen(), WORDS + 2), opened, Divergence(direction="forward"), groups)
    assert head[:WORDS].abs().max() > 0
    assert torch.equal(head[WORDS:], torch.zeros_like(head[WORDS:]))


@pytest.mark.parametrize("temperature", [1.0, 0.0])
def test_padded_rows_are_never_drawn_and_change_no_response(temperature):
    drawn = tiny.draw(padded(tiny.qwen(), WORDS + 3), temperature=temperature)
    for one, other in zip(drawn, tiny.draw(tiny.qwen(), temperature=temperature), strict=True):
        assert one.response_ids == other.response_ids
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-5)


def test_padded_rows_are_no_part_of_a_loss_or_a_logprob():
    rollouts = rollouts_of(tiny.sample(tiny.llama()))
    plain = LocalTeacher(tiny.llama(), EngineSettings()).logprobs(rollouts, 1.0)
    more = LocalTeacher(padded(tiny.llama(), WORDS + 3), EngineSettings()).logprobs(rollouts, 1.0)
    for one, other in zip(more, plain, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-6)
    groups = tiny.sample(tiny.qwen())
    losses = []
    for model in (tiny.qwen(), padded(tiny.qwen(), WORDS + 3)):
        losses.append(tiny.learner(model).update(Imitation().score(groups, tiny.workers(), ONCE), Imitation())["loss"])
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)
