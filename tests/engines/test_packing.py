"""Packing: every response token is scored once, where it is predicted, and the cut changes no gradient."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import tiny
from headwater.batch import Scored
from headwater.engines import attention, body
from headwater.engines.local import LocalTeacher
from headwater.engines.packing import pack
from headwater.engines.settings import EngineSettings
from headwater.records import Verdict, rollouts_of
from headwater.signals import Divergence, Imitation, Reward
from scripted import ONCE

LENGTHS = st.lists(st.tuples(st.integers(1, 9), st.integers(0, 7)), max_size=12)


def made(lengths):
    """Rollouts whose token ids are all different, so that a place is known by its id."""
    ids = iter(range(1, 10_000))
    return [
        tiny.rollout(f"p{i}/0", [next(ids) for _ in range(prompt)], [next(ids) for _ in range(response)])
        for i, (prompt, response) in enumerate(lengths)
    ]


@settings(deadline=None, max_examples=80)
@given(LENGTHS, st.integers(1, 60))
def test_every_response_token_is_scored_exactly_once_at_the_position_before_it(lengths, budget):
    rollouts = made(lengths)
    before = {
        token: full[len(r.prompt_ids) + t - 1]
        for r in rollouts
        for full in [(*r.prompt_ids, *r.response_ids)]
        for t, token in enumerate(r.response_ids)
    }
    scored = Counter()
    for layout in pack(rollouts, budget, pad_id=0):
        flat = layout.input_ids.flatten()
        scored.update(layout.response_ids.tolist())
        assert [before[token] for token in layout.response_ids.tolist()] == flat[layout.scored_at].tolist()
        expected = [token for i in layout.members for token in rollouts[i].response_ids]
        assert layout.response_ids.tolist() == expected
        assert layout.response_lengths == tuple(len(rollouts[i].response_ids) for i in layout.members)
    assert scored == Counter(before.keys())


@settings(deadline=None, max_examples=80)
@given(LENGTHS, st.integers(1, 60))
def test_the_budget_is_kept_and_every_rollout_is_in_one_micro_batch(lengths, budget):
    rollouts = made(lengths)
    layouts = list(pack(rollouts, budget, pad_id=0))
    for layout in layouts:
        rows, width = layout.input_ids.shape
        assert rows * width <= budget or rows == 1
        assert rows == len(layout.members)
        longest = max(len(rollouts[i].prompt_ids) + len(rollouts[i].response_ids) for i in layout.members)
        assert width == longest
        for row, i in zip(layout.input_ids.tolist(), layout.members, strict=True):
            ids = [*rollouts[i].prompt_ids, *rollouts[i].response_ids]
            assert row == ids + [0] * (width - len(ids))
    assert sorted(i for layout in layouts for i in layout.members) == list(range(len(rollouts)))


def test_the_logprob_of_a_count_is_zero_only_at_the_position_before_each_token():
    model = tiny.counting()
    rollouts = [tiny.rollout("p0/0", (2, 3), (4, 5, 6)), tiny.rollout("p1/0", (5,), (6, 7, 8, 9))]
    for found in LocalTeacher(model, EngineSettings()).logprobs(rollouts, 1.0):
        assert found.abs().max() < 1e-4
    late = [tiny.rollout("p0/0", (2, 3), (5, 6, 7))]
    assert LocalTeacher(model, EngineSettings()).logprobs(late, 1.0)[0][0] < -10


# one gradient, whatever the cut


class Alternating:
    """Every second response is right."""

    def grade(self, responses):
        return {name: (Verdict.WRONG, Verdict.CORRECT)[i % 2] for i, name in enumerate(responses)}


SIGNALS = {
    "reward": Reward(kl_coefficient=0.1),
    "sequence-mean reward": Reward(normalisation="sequence-mean", kl_coefficient=0.0),
    "imitation": Imitation(),
    "forward": Divergence(direction="forward"),
    "reverse": Divergence(direction="reverse"),
    "jsd": Divergence(direction="jsd"),
}
ONE_ROW, FOUR_ROWS, ALL = (
    EngineSettings(micro_batch_tokens=1),
    EngineSettings(micro_batch_tokens=60),
    EngineSettings(micro_batch_tokens=10**6),
)


def scored_by(signal, model, temperature=1.0):
    groups = tiny.sample(model, tiny.problems(4), samples=4, temperature=temperature, tokens=9)
    other = LocalTeacher(tiny.qwen(seed=9), EngineSettings())
    answers = tiny.workers().answers
    answers.answers = {group.problem.problem_id: "1" for group in groups}
    given = {"verifier": Alternating(), "answers": answers, "temperature": temperature}
    workers = tiny.workers(teacher=other, reference=other, **given)
    return signal.score(groups, workers, ONCE)


@pytest.mark.parametrize("name", SIGNALS)
@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_one_row_four_rows_and_all_rows_at_once_give_one_gradient(name, family):
    signal, temperature = SIGNALS[name], 0.7
    scored = scored_by(signal, tiny.FAMILIES[family](), temperature)
    assert len(scored.rollouts) == 16
    expected = tiny.plain_gradient(tiny.FAMILIES[family](), scored, signal, temperature)
    losses, passes = [], []
    for engine in (ONE_ROW, FOUR_ROWS, ALL):
        passes.append(len(list(pack([s.rollout for s in scored.rollouts], engine.micro_batch_tokens, 0))))
        model = tiny.FAMILIES[family]()
        metrics = tiny.learner(model, temperature=temperature, engine=engine).update(scored, signal)
        tiny.assert_near(tiny.gradients(model), expected, 1e-5)
        losses.append(metrics["loss"])
    assert passes[0] == 16 > passes[1] > passes[2] == 1
    assert losses == pytest.approx([losses[0]] * 3, abs=1e-6)


@pytest.mark.parametrize("name", ["reward", "reverse"])
def test_long_rollouts_go_in_rows_beside_short_ones_in_trees_and_give_the_same_gradient(name, monkeypatch):
    monkeypatch.setattr(body, "LONG", 9)
    signal = SIGNALS[name]
    scored = scored_by(signal, tiny.qwen())
    rollouts = [member.rollout for member in scored.rollouts]
    layouts = list(body.Body(tiny.qwen()).pack(rollouts, 40))
    sizes = {i: len(one.prompt_ids) + len(one.response_ids) for i, one in enumerate(rollouts)}
    assert Counter(i for layout in layouts for i in layout.members) == Counter(range(len(rollouts)))
    assert {(layout.tree is None, sizes[i] > 9) for layout in layouts for i in layout.members} == {(1, 1), (0, 0)}
    model = tiny.qwen()
    tiny.learner(model, engine=FOUR_ROWS).update(scored, signal)
    tiny.assert_near(tiny.gradients(model), tiny.plain_gradient(tiny.qwen(), scored, signal), 1e-5)


LONG_UPDATE = """
import ctypes, torch
torch.set_num_threads(1)
import tiny
from headwater.bench.protocol import Memory
from headwater.engines.acceptance import accept
from headwater.batch import NoTarget, Scored, ScoredRollout, token_mean_weights
from headwater.signals import Imitation

def update(learner, length):
    ids = [2 + i % 8 for i in range(length)]
    two = [tiny.rollout("p/0", ids[:8], ids[8:]), tiny.rollout("p/1", ids[:8], ids[8:40])]
    members = zip(two, token_mean_weights(two), strict=True)
    scored = Scored(rollouts=tuple(ScoredRollout(rollout=r, target=NoTarget(), weight=w) for r, w in members))
    assert learner.update(scored, Imitation())["gradient_norm"] > 0

learner = tiny.learner(tiny.{family}())
update(learner, 2048)
print(accept(learner.model.network.config, 16_384).ways.scoring)  # plain transformers takes what it takes
ctypes.CDLL(None).malloc_trim(0)  # what it has let go of is no room for the update
memory = Memory()
update(learner, 16_384)
print((memory.measured["peak"] - memory.base) // 2**20)
"""


@pytest.mark.parametrize("family", ["qwen", "windowed"])
def test_an_update_on_16384_tokens_holds_no_mask_of_length_squared(family):
    """A mask of floats would be 1,024 MiB, of booleans 256 MiB; all that the network leaves behind is some 100 MiB."""
    where = Path(tiny.__file__).parent
    code = LONG_UPDATE.format(family=family)
    done = subprocess.run([sys.executable, "-c", code], cwd=where, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    way, mebibytes = done.stdout.splitlines()
    assert way == "open rows"
    assert int(mebibytes) < 200


@pytest.mark.parametrize("block", [1, 3, 4, 100])
def test_long_rollouts_through_windows_need_no_mask_and_give_the_same_gradient(block, monkeypatch):
    monkeypatch.setattr(body, "LONG", 9)
    monkeypatch.setattr(attention, "BLOCK", block)
    attention._window.cache_clear()
    window = 5
    scored = scored_by(SIGNALS["reward"], tiny.windowed(window))
    model = tiny.windowed(window)
    layouts = list(body.Body(model).pack([member.rollout for member in scored.rollouts], 40))
    assert {layout.open for layout in layouts} == {True, False}
    tiny.learner(model, engine=FOUR_ROWS).update(scored, SIGNALS["reward"])
    expected = tiny.plain_gradient(tiny.windowed(window), scored, SIGNALS["reward"])
    tiny.assert_near(tiny.gradients(model), expected, 1e-5)
    wider = tiny.plain_gradient(tiny.windowed(window + 1), scored, SIGNALS["reward"])
    with pytest.raises(AssertionError):  # or it would not matter what a token sees
        tiny.assert_near(tiny.gradients(model), wider, 1e-5)


def test_the_order_of_rollouts_changes_no_gradient():
    signal = SIGNALS["reverse"]
    scored = scored_by(signal, tiny.qwen())
    found = []
    for rollouts in (scored.rollouts, scored.rollouts[::-1]):
        model = tiny.qwen()
        tiny.learner(model, engine=FOUR_ROWS).update(Scored(rollouts=rollouts), signal)
        found.append(tiny.gradients(model))
    tiny.assert_near(found[1], found[0], 1e-5)


def test_padding_with_the_end_token_gives_the_same_loss_and_the_end_token_is_trained():
    found = []
    for pad in ("<pad>", "<eos>"):
        model = tiny.qwen()
        model.tokenizer.pad_token = pad
        groups = tiny.sample(model, tiny.problems(6), samples=4, tokens=9)
        assert any(r.response_ids[-1] == 1 for r in rollouts_of(groups))
        scored = Imitation().score(groups, tiny.workers(), ONCE)
        metrics = tiny.learner(model, engine=ALL).update(scored, Imitation())
        assert metrics["tokens"] == sum(len(r.response_ids) for r in rollouts_of(groups))
        found.append((model.pad_id, metrics["loss"], tiny.gradients(model)))
    (pad, loss, gradient), (end, same_loss, same_gradient) = found
    assert (pad, end) == (0, 1)
    assert same_loss == pytest.approx(loss, abs=1e-7)
    tiny.assert_near(same_gradient, gradient, 1e-6)


def test_ending_a_response_is_learned():
    model = tiny.qwen()
    group = tiny.sample(model, tiny.problems(1), samples=1, tokens=1)[0]
    ended = tiny.rollout("p0/0", group.rollouts[0].prompt_ids, (2, 1))
    scored = Imitation().score([type(group)(problem=group.problem, rollouts=(ended,))], tiny.workers(), ONCE)
    before = tiny.token_logprobs(model, ended)[1]
    learner = tiny.learner(model, engine=ALL)
    for _ in range(5):
        learner.update(scored, Imitation())
    assert tiny.token_logprobs(model, ended)[1] > before + 0.1
    assert torch.isfinite(tiny.token_logprobs(model, ended)).all()
