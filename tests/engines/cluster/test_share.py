"""Dealing a batch to ranks: every rollout once, prompts whole where that is even, and nothing but the batch decides."""

from hypothesis import given
from hypothesis import strategies as st

import tiny
from headwater.engines.cluster.share import UNEVEN, deal

BATCHES = st.lists(
    st.tuples(st.integers(0, 5), st.integers(0, 40)), max_size=30
)  # (prompt, response length); prompt i has i + 1 tokens


def batch(shape):
    return [tiny.rollout(f"p{p}/{i}", (p,) * (p + 1), (3,) * length) for i, (p, length) in enumerate(shape)]


def cost(rollouts, members):
    prompts = {rollouts[i].prompt_ids for i in members}
    return sum(map(len, prompts)) + sum(len(rollouts[i].response_ids) for i in members)


@given(BATCHES, st.integers(1, 5))
def test_every_rollout_is_dealt_once(shape, ranks):
    dealt = deal(batch(shape), ranks)
    assert len(dealt) == ranks
    assert sorted(i for members in dealt for i in members) == list(range(len(shape)))
    assert all(members == sorted(members) for members in dealt)


@given(BATCHES, st.integers(1, 5))
def test_no_rank_has_more_than_an_even_share_and_one_part(shape, ranks):
    rollouts = batch(shape)
    dealt = deal(rollouts, ranks)
    families = {}
    for i, one in enumerate(rollouts):
        families.setdefault(one.prompt_ids, []).append(i)
    even = sum(cost(rollouts, members) for members in families.values()) / ranks
    longest = max((cost(rollouts, [i]) for i in range(len(rollouts))), default=0)
    part = max(UNEVEN * even, longest)
    # parting a prompt reads it again, at most once a part
    again = sum(len(one.prompt_ids) for one in rollouts) / ranks
    assert max((cost(rollouts, members) for members in dealt if members), default=0) <= even + part + again


def test_a_prompts_responses_stay_together_where_prompts_are_many():
    rollouts = batch([(p, 10) for p in range(6) for _ in range(4)])
    for members in deal(rollouts, 2):
        prompts = [rollouts[i].prompt_ids for i in members]
        assert all(prompts.count(prompt) == 4 for prompt in prompts)


def test_one_prompt_on_many_ranks_is_parted():
    assert [len(members) for members in deal(batch([(0, 20)] * 8), 4)] == [2, 2, 2, 2]


def test_tokens_are_even_where_lengths_are_not():
    rollouts = batch([(p % 6, 40 - p) for p in range(36)])
    loads = [cost(rollouts, members) for members in deal(rollouts, 3)]
    assert max(loads) <= 1.15 * min(loads)
