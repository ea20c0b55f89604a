"""Ranks against one process: the same weights, the same metrics, the same files, and no rank left behind."""

import pytest

LIMIT = 1e-5
"""How far weights may be apart after six clipped AdamW steps, which move them by some 1e-2."""


def assert_one_update(found):
    assert found["apart"] <= LIMIT < 1e-3 < found["moved"]
    for many, one in zip(found["metrics"], found["expected"], strict=True):
        assert many.keys() == one.keys()
        for name in one.keys() - {"padding"}:  # how a batch is cut is the one thing that may differ
            assert many[name] == pytest.approx(one[name], rel=1e-4, abs=2e-6), name


SIGNALS = ["reward", "reward near a reference", "reverse", "forward", "top k", "imitation", "mixture"]


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("signal", SIGNALS)
def test_ranks_learn_what_one_process_learns(ranks, signal, count):
    assert_one_update(ranks.run("parity", count, signal=signal))


@pytest.mark.parametrize("signal", ["reward", "reverse"])
@pytest.mark.parametrize("form", ["untied", "adapter", "large"])
def test_ranks_learn_what_one_process_learns_whatever_the_network(ranks, form, signal):
    assert_one_update(ranks.run("parity", 3, signal=signal, form=form))


@pytest.mark.parametrize("settings", [{"gradient_checkpointing": True}, {"micro_batch_tokens": 40}])
def test_neither_passes_nor_recomputation_change_what_ranks_learn(ranks, settings):
    assert_one_update(ranks.run("parity", 2, signal="reverse", **settings))


@pytest.mark.parametrize("signal", ["reward", "reverse"])
def test_a_rank_without_a_rollout_goes_along(ranks, signal):
    assert_one_update(ranks.run("parity", 3, signal=signal, problems=1))


def test_several_updates_a_batch_on_ranks_follow_those_of_one_process(ranks):
    assert_one_update(ranks.run("parity", 2, signal="reward", updates_a_batch=3))


def test_one_rank_is_one_process(ranks):
    found = ranks.run("parity", 1, signal="reverse")
    assert found["apart"] <= 1e-6


def test_each_rank_holds_its_part_alone(ranks):
    assert ranks.run("parity", 3, signal="imitation")["local rows"] == 24


@pytest.mark.parametrize(("dtype", "limit"), [("float32", 1e-5), ("bfloat16", 0.1)])
def test_a_references_logprobs_are_those_of_one_process(ranks, dtype, limit):
    found = ranks.run("references", 3, dtype=dtype)
    assert found["one process"] <= limit
    assert found["kept states"] <= limit


@pytest.mark.parametrize("form", ["tied", "untied", "adapter"])
def test_a_learners_present_weights_say_on_ranks_what_they_say_in_one_process(ranks, form):
    looks = ranks.run("present", 3, form=form)
    assert all(look[name] <= 1e-5 for look in looks for name in ("logprobs", "distributions", "both"))
    assert all(look["moved"] > 1e-4 for look in looks[1:])  # or what was said before the update were said again


def test_products_in_bfloat16_round_on_ranks_as_in_one_process(ranks):
    found = ranks.run("rounded", 3)
    assert found["bfloat16 ranks"] == pytest.approx(found["bfloat16"], rel=5e-3)
    assert found["float32 ranks"] == pytest.approx(found["float32"], rel=1e-5)
    assert found["bfloat16"] != pytest.approx(found["float32"], rel=1e-5)


# sampler against learner


def test_the_samplers_gap_is_measured_on_the_same_tokens_whatever_the_ranks(ranks):
    for nudge, limits in ((0.0, (0, 1e-5)), (0.2, (1e-2, 10))):
        found = ranks.run("gap", 3, nudge=nudge)
        for name in ("sampler_gap", "sampler_gap_max"):
            assert limits[0] <= found["ranks"][name] <= limits[1]
            assert found["ranks"][name] == pytest.approx(found["one"][name], rel=1e-3, abs=2e-6)


def test_rollouts_of_other_weights_stop_the_run_before_the_step(ranks):
    found = ranks.run("limited", 3, nudge=0.2)
    assert len(set(found["said"])) == 1 and found["said"][0].startswith("NumericError: update 0: logprobs as sampled")
    assert found["version"] == 0
    assert ranks.run("limited", 3, nudge=0.0) == {"said": [None] * 3, "version": 1}


# faults are told to all


@pytest.mark.parametrize("at", ["p0", "p3"])
def test_a_bad_token_of_one_rank_is_named_by_all_and_moves_nothing(ranks, at):
    found = ranks.run("bad_token", 3, at=at)
    assert all(said.startswith(f"NumericError: update 1: the loss of problem {at} ") for said in found["said"])
    assert found["kept"] == 0.0
    assert found["version"] == 2
    assert found["after"]["gradient_norm"] > 0


def test_a_stale_rollout_of_one_rank_is_refused_by_all(ranks):
    (said, *others) = ranks.run("stale", 3)["said"]
    assert "drawn at version 7" in said and set(others) == {said}


def test_a_norm_that_is_not_finite_names_the_problems_of_all_ranks(ranks):
    found = ranks.run("exploding", 3)
    assert len(set(found["said"])) == 1
    assert "the gradient norm is" in found["said"][0] and "p0, p1, p2, p3, p4" in found["said"][0]
    assert found["version"] == 0


def test_an_empty_batch_moves_nothing_but_the_count(ranks):
    found = ranks.run("empty", 2)
    assert (found["kept"], found["version"]) == (0.0, 2)
    assert (found["metrics"]["loss"], found["metrics"]["gradient_norm"]) == (0.0, 0.0)


def test_a_checkpoint_that_cannot_be_written_is_told_to_all(ranks, tmp_path):
    assert ranks.run("full_disk", 3, folder=str(tmp_path))["said"] == [
        "NotADirectoryError",
        "HeadwaterError",
        "HeadwaterError",
    ]


def test_what_ranks_tell_each_other_comes_back_to_the_bit(ranks):
    expected = [{"rank": r, "tenth": 0.1 + r, "text": "ü" * r, "nothing": None} for r in range(3)]
    assert ranks.run("telling", 3) == expected


# checkpoints


@pytest.mark.parametrize("form", ["tied", "untied", "adapter"])
def test_a_checkpoint_of_ranks_is_that_of_one_process_both_ways(ranks, form, tmp_path):
    found = ranks.run("checkpoints", 3, folder=str(tmp_path), form=form)
    assert found["versions"] == [6, 6, 6]
    assert found["ranks"] == 0.0
    assert found["one"] <= LIMIT
    written = {
        side: {path.relative_to(tmp_path / side): path.read_bytes() for path in files(tmp_path / side)}
        for side in ("ranks", "one")
    }
    assert written["ranks"] == written["one"]


def files(folder):
    return [path for path in sorted(folder.rglob("*")) if path.is_file()]
