"""The learner and the teacher of one process: what an update does, what it refuses, and what stays as it is."""

import dataclasses
import math

import pytest
import torch

import tiny
from headwater.batch import FullDistribution, NoTarget, Scored, ScoredRollout
from headwater.engines.cpu import norms
from headwater.engines.local import LocalTeacher
from headwater.engines.optimiser import build, set_rate
from headwater.engines.settings import EngineSettings
from headwater.errors import HeadwaterError, NumericError
from headwater.optimiser import Optimiser
from headwater.records import Verdict
from headwater.signals import Divergence, Imitation, PolicyTarget, Reward
from scripted import ONCE

DENSE = {
    "forward": Divergence(direction="forward"),
    "reverse": Divergence(direction="reverse"),
    "jsd": Divergence(direction="jsd"),
    "sampled reverse": Divergence(direction="reverse", estimator="sampled"),
}


def imitated(model, **settings):
    return Imitation().score(tiny.sample(model, **settings), tiny.workers(), ONCE)


def distilled(signal, model, teacher, temperature=1.0):
    groups = tiny.sample(model, samples=2, temperature=temperature)
    given = {"teacher": LocalTeacher(teacher, EngineSettings()), "temperature": temperature}
    return signal.score(groups, tiny.workers(**given), ONCE)


def policy(model, advantages=(1.0, -1.0), **settings):
    """Rollouts of the model with advantages in turn, scored as the reward signal scores them."""
    rollouts = tiny.draw(model, samples=4, **settings)
    tokens = sum(len(one.response_ids) for one in rollouts)
    return Scored(
        rollouts=tuple(
            ScoredRollout(
                rollout=one,
                target=PolicyTarget(
                    advantage=torch.full((len(one.response_ids),), advantages[i % len(advantages)]),
                    old_logprobs=torch.tensor(one.logprobs),
                ),
                weight=torch.full((len(one.response_ids),), 1 / tokens),
            )
            for i, one in enumerate(rollouts)
        )
    )


POLICY = Reward(kl_coefficient=0.0)


# a teacher and its student


@pytest.mark.parametrize("temperature", [0.6, 1.0, 1.3])
@pytest.mark.parametrize("name", ["forward", "reverse", "jsd"])
def test_a_student_that_is_its_teacher_has_divergence_zero_and_nothing_to_learn(name, temperature):
    model = tiny.qwen()
    scored = distilled(DENSE[name], model, tiny.qwen(), temperature)
    metrics = tiny.learner(model, temperature=temperature).update(scored, DENSE[name])
    assert abs(metrics["loss"]) <= 1e-6
    assert abs(metrics["kl"]) <= 1e-6
    assert metrics["gradient_norm"] <= 1e-5
    assert metrics["overlap"] == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("name", DENSE)
def test_a_perturbed_teacher_changes_the_gradient(name):
    found = []
    for nudge in (0.0, 0.05):
        teacher = tiny.qwen(seed=8)
        with torch.no_grad():
            teacher.network.model.layers[0].mlp.up_proj.weight.add_(nudge)
        model = tiny.qwen()
        tiny.learner(model).update(distilled(DENSE[name], model, teacher), DENSE[name])
        found.append(tiny.gradients(model))
    assert (found[0] - found[1]).norm() > 1e-2 * found[0].norm() > 0


def test_distillation_brings_the_student_to_its_teacher():
    model, teacher, signal = tiny.qwen(), tiny.qwen(seed=8), DENSE["reverse"]
    learner = tiny.learner(model, updates=40)
    losses = [learner.update(distilled(signal, model, teacher), signal)["loss"] for _ in range(40)]
    assert losses[-1] < 0.2 * losses[0]


def test_a_frozen_teacher_stays_as_it_is_while_the_student_learns():
    model, teacher = tiny.qwen(), tiny.qwen(seed=8)
    frozen, before = LocalTeacher(teacher, EngineSettings()), tiny.weights(teacher)
    rollouts = tiny.draw(model)
    distributions = [d.logprobs() for d in frozen.distributions(rollouts, 1.0)]
    learner = tiny.learner(model)
    for _ in range(3):
        learner.update(distilled(DENSE["forward"], model, teacher), DENSE["forward"])
    tiny.assert_same_bits(tiny.weights(teacher), before)
    assert all(parameter.grad is None for parameter in teacher.network.parameters())
    for first, again in zip(distributions, frozen.distributions(rollouts, 1.0), strict=True):
        assert torch.equal(first, again.logprobs())


@pytest.mark.parametrize("temperature", [0.6, 1.0, 1.3])
@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_a_teacher_says_what_a_plain_forward_pass_says(family, temperature):
    model = tiny.FAMILIES[family]()
    teacher = LocalTeacher(model, EngineSettings(micro_batch_tokens=40))
    rollouts = tiny.draw(model, tiny.problems(6), temperature=temperature)
    distributions, logprobs = teacher.distributions(rollouts, temperature), teacher.logprobs(rollouts, temperature)
    for one, distribution, found in zip(rollouts, distributions, logprobs, strict=True):
        expected = torch.log_softmax(tiny.forward(model, one, temperature), -1)
        torch.testing.assert_close(distribution.logprobs(), expected, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(found, tiny.token_logprobs(model, one, temperature), rtol=1e-5, atol=1e-5)


def test_the_references_logprobs_are_those_of_generation_at_zero_staleness():
    model = tiny.llama()
    rollouts = tiny.draw(model, samples=6, temperature=0.8)
    for one, found in zip(rollouts, LocalTeacher(tiny.llama(), EngineSettings()).logprobs(rollouts, 0.8), strict=True):
        torch.testing.assert_close(found, torch.tensor(one.logprobs), rtol=0, atol=1e-5)


# one update


def test_a_learner_asked_before_an_update_says_what_its_present_weights_say():
    model = tiny.qwen()
    learner, said = tiny.learner(model), []
    for _ in range(2):
        batch = imitated(model, learner=learner)
        one = batch.rollouts[0].rollout
        (found,) = learner.present().distributions([one], 1.0)
        plainly = torch.log_softmax(tiny.forward(model, one), dim=-1).detach()
        torch.testing.assert_close(found.logprobs(), plainly, rtol=0, atol=1e-5)
        said.append(plainly)
        learner.update(batch, Imitation())
    assert not torch.allclose(said[0][0], said[1][0], atol=1e-3)


def test_an_update_is_a_step_of_plain_adamw_on_the_plain_loss():
    """In float64: where a gradient is near zero, Adam's division makes a step of float32's rounding.

    Llama's own norm computes in float32 even then, so both networks get the one that does not.
    """
    settings = Optimiser(learning_rate=1e-2, warmup_share=0, weight_decay=0.1, clip_norm=0.5, beta1=0.8, beta2=0.95)
    model, plain = tiny.llama(), tiny.llama()
    scored = imitated(model)
    model.network.double(), norms.take_over(plain.network.double())
    adamw = torch.optim.AdamW(
        [
            {"params": [p for p in plain.network.parameters() if p.ndim == 2], "weight_decay": 0.1},
            {"params": [p for p in plain.network.parameters() if p.ndim == 1], "weight_decay": 0.0},
        ],
        lr=1e-2,
        betas=(0.8, 0.95),
    )
    learner = tiny.learner(model, settings)
    for update in range(3):
        learner.update(scored, Imitation())
        tiny.plain_gradient(plain, scored, Imitation())
        torch.nn.utils.clip_grad_norm_(plain.network.parameters(), 0.5)
        for group in adamw.param_groups:
            group["lr"] = settings.rate(update, 10)
        adamw.step()
    for name, expected in tiny.weights(plain).items():
        torch.testing.assert_close(tiny.weights(model)[name], expected, rtol=0, atol=1e-10)


def test_an_update_counts_and_reports_loss_tokens_rate_and_norm():
    model = tiny.qwen()
    scored = imitated(model)
    learner = tiny.learner(model)
    metrics = learner.update(scored, Imitation())
    assert learner.version == 1
    assert metrics["tokens"] == sum(len(s.rollout.response_ids) for s in scored.rollouts)
    mean = -torch.cat([tiny.token_logprobs(tiny.qwen(), s.rollout) for s in scored.rollouts]).mean().item()
    assert metrics["loss"] == pytest.approx(mean, abs=1e-5)
    assert metrics["gradient_norm"] == pytest.approx(tiny.gradients(model).norm().item(), rel=1e-5)
    assert metrics["learning_rate"] == 1e-2


def test_the_gradient_is_clipped_to_its_norm():
    model = tiny.qwen()
    free = tiny.learner(model).update(imitated(model), Imitation())["gradient_norm"]
    whole = tiny.gradients(model)
    model = tiny.qwen()
    clipped = tiny.STEADY.model_copy(update={"clip_norm": 0.1})
    metrics = tiny.learner(model, clipped).update(imitated(model), Imitation())
    assert metrics["gradient_norm"] == pytest.approx(free) and free > 0.1
    assert tiny.gradients(model).norm().item() == pytest.approx(0.1, rel=1e-4)
    tiny.assert_near(tiny.gradients(model) / 0.1, whole / free, 1e-4)


def test_an_empty_batch_moves_nothing_but_the_count():
    model = tiny.qwen()
    decaying = Optimiser(learning_rate=1e-2, weight_decay=0.5, warmup_share=0)
    learner = tiny.learner(model, decaying)
    learner.update(imitated(model), Imitation())
    before = tiny.weights(model)
    metrics = learner.update(Scored(rollouts=()), POLICY)
    tiny.assert_same_bits(tiny.weights(model), before)
    assert (metrics["loss"], metrics["gradient_norm"], learner.version) == (0.0, 0.0, 2)


def test_zero_variance_everywhere_moves_nothing():
    class Right:
        def grade(self, responses):
            return dict.fromkeys(responses, Verdict.CORRECT)

    model = tiny.qwen()
    before = tiny.weights(model)
    answers = tiny.workers().answers
    answers.answers = {problem.problem_id: "1" for problem in tiny.problems()}
    scored = POLICY.score(tiny.sample(model), tiny.workers(answers=answers, verifier=Right()), ONCE)
    tiny.learner(model).update(scored, POLICY)
    tiny.assert_same_bits(tiny.weights(model), before)


# several updates a batch of rollouts


def test_the_first_update_of_a_batch_is_on_policy_and_later_ones_are_not():
    model = tiny.qwen()
    learner = tiny.learner(model, updates_a_batch=3)
    for batch in range(2):
        scored = policy(model, learner=learner)
        first, _, last = (learner.update(scored, POLICY) for _ in range(3))
        assert first["ratio"] == pytest.approx(1, abs=1e-5)
        assert first["clip_fraction"] == 0
        assert first["sampler_gap"] <= first["sampler_gap_max"] <= 1e-5
        assert last["clip_fraction"] > 0
        assert "sampler_gap" not in last
        assert learner.version == 3 * (batch + 1)


def test_rollouts_of_the_batch_before_are_refused():
    model = tiny.qwen()
    learner = tiny.learner(model, updates_a_batch=2)
    scored = policy(model, learner=learner)
    for _ in range(2):
        learner.update(scored, POLICY)
    with pytest.raises(HeadwaterError, match="drawn at version 0; this batch's are drawn at 2"):
        learner.update(scored, POLICY)


@pytest.mark.parametrize("name", ["reverse", "reward"])
def test_every_stage_on_its_own_rollouts_measures_how_far_its_sampler_is_from_it(name):
    signal = DENSE.get(name, POLICY)
    gaps = {}
    for nudge in (0.0, 0.1):
        model = tiny.qwen()
        learner = tiny.learner(model)
        if name == "reward":
            scored = policy(model, learner=learner)
        else:
            groups = tiny.sample(model, learner=learner)
            scored = signal.score(groups, tiny.workers(teacher=LocalTeacher(tiny.qwen(seed=8), EngineSettings())), ONCE)
        with torch.no_grad():
            model.network.model.layers[0].mlp.up_proj.weight.add_(nudge)
        gaps[nudge] = learner.update(scored, signal)
    assert 0 < gaps[0.0]["sampler_gap"] <= gaps[0.0]["sampler_gap_max"] <= 1e-5
    assert gaps[0.1]["sampler_gap"] > 1e-2


def test_recorded_rollouts_have_no_sampler_to_compare_with():
    model = tiny.qwen()
    assert "sampler_gap" not in tiny.learner(model).update(imitated(model), Imitation())


def test_updates_of_one_batch_follow_the_clipped_importance_ratio():
    settings = Optimiser(learning_rate=3e-2, warmup_share=0, final_share=1, clip_norm=1e9)
    model, plain = tiny.llama(), tiny.llama()
    scored = policy(model)
    adamw = torch.optim.AdamW(plain.network.parameters(), lr=3e-2, betas=(0.9, 0.99), weight_decay=0)
    for _ in range(3):
        adamw.zero_grad()
        for member in scored.rollouts:
            ids = torch.tensor(member.rollout.response_ids)
            logprobs = torch.log_softmax(tiny.forward(plain, member.rollout), -1).gather(-1, ids[:, None])[:, 0]
            ratio = torch.exp(logprobs - member.target.old_logprobs)
            advantage = member.target.advantage
            surrogate = torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage)
            (-(surrogate * member.weight).sum()).backward()
        adamw.step()
    learner = tiny.learner(model, settings, updates_a_batch=3)
    first, *_, last = [learner.update(scored, POLICY) for _ in range(3)]
    assert first["clip_fraction"] == 0
    assert last["clip_fraction"] > 0.05
    for name, expected in tiny.weights(plain).items():
        torch.testing.assert_close(tiny.weights(model)[name], expected, rtol=0, atol=5e-5)


# what is refused


@pytest.mark.parametrize("drawn_at", [0, 2])
def test_rollouts_of_other_weights_are_refused(drawn_at):
    model = tiny.qwen()
    learner = tiny.learner(model)
    learner.version = drawn_at
    stale = policy(model, learner=learner)
    learner.version = 1
    before = tiny.weights(model)
    with pytest.raises(HeadwaterError, match=rf"update 1: rollout tiny/0/p0/0 was drawn at version {drawn_at}"):
        learner.update(stale, POLICY)
    tiny.assert_same_bits(tiny.weights(model), before)
    assert learner.version == 1


def test_the_same_rollouts_cannot_be_used_for_two_updates():
    model = tiny.qwen()
    learner = tiny.learner(model)
    fresh = policy(model, learner=learner)
    learner.update(fresh, POLICY)
    with pytest.raises(HeadwaterError, match="drawn at version 0; this batch's are drawn at 1"):
        learner.update(fresh, POLICY)


def planted(scored, problem_id, value):
    """The batch with one number of one problem's targets replaced."""
    members = list(scored.rollouts)
    at = next(i for i, member in enumerate(members) if member.rollout.problem_id == problem_id)
    full = members[at].target.logprobs().clone()
    full[-1, 3] = value
    members = [
        dataclasses.replace(m, target=FullDistribution(full=full if i == at else m.target.logprobs()))
        for i, m in enumerate(members)
    ]
    return Scored(rollouts=tuple(members))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("engine", [EngineSettings(micro_batch_tokens=1), EngineSettings(micro_batch_tokens=10**6)])
def test_a_loss_that_is_not_finite_names_its_problem_and_leaves_the_weights(value, engine):
    model, signal = tiny.qwen(), DENSE["reverse"]
    learner = tiny.learner(model, engine=engine)
    good = distilled(signal, model, tiny.qwen(seed=8))
    learner.update(good, signal)
    before, moments = tiny.weights(model), learner._optimiser.state_dict()["state"]
    steps = [state["step"].item() for state in moments.values()]
    with pytest.raises(NumericError, match=r"update 1: the loss of problem p2 \(rollout tiny/0/p2/0\)"):
        learner.update(planted(good, "p2", value), signal)
    tiny.assert_same_bits(tiny.weights(model), before)
    assert [state["step"].item() for state in moments.values()] == steps
    assert learner.version == 1
    learner.update(good, signal)
    assert all(torch.isfinite(value).all() for value in tiny.weights(model).values())


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_sampled_logprob_that_is_not_finite_names_its_step_and_problem(value):
    model = tiny.llama()
    with torch.no_grad():
        model.network.lm_head.weight[3, 0] = value
    with pytest.raises(NumericError, match=r"step 7: a sampled logprob of problem p\d is not finite") as caught:
        tiny.sample(model, step=7)
    assert caught.value.exit_code == 5


def test_a_body_whose_gradient_is_not_finite_stops_before_the_step():
    model = tiny.qwen()
    with torch.no_grad():
        model.network.model.norm.weight.mul_(1e-30)
        model.network.model.embed_tokens.weight.mul_(1e30)
    before = tiny.weights(model)
    one = tiny.rollout("p0/0", (2, 3), (4, 5))
    scored = Scored(rollouts=(ScoredRollout(rollout=one, target=NoTarget(), weight=torch.full((2,), 1e20)),))
    with pytest.raises(NumericError):
        tiny.learner(model).update(scored, Imitation())
    tiny.assert_same_bits(tiny.weights(model), before)


# rates


def test_the_rate_rises_in_equal_steps_and_falls_along_a_cosine():
    settings = Optimiser(learning_rate=2.0, warmup_share=0.2, final_share=0.3)
    by_hand = {0: 1.0, 1: 2.0, 2: 2.0, 4: 2 * (0.3 + 0.35 * (1 + math.sqrt(0.5))), 6: 1.3, 10: 0.6}
    for update, rate in by_hand.items():
        assert settings.rate(update, 10) == pytest.approx(rate, abs=1e-12)
    falling = [settings.rate(update, 10) for update in range(2, 10)]
    assert falling == sorted(falling, reverse=True)
    assert Optimiser(learning_rate=2.0, warmup_share=0, final_share=1).rate(7, 10) == 2.0
    assert Optimiser(learning_rate=2.0, warmup_share=0.05).rate(0, 1) == 2.0
    assert Optimiser(learning_rate=2.0, warmup_share=0).rate(0, 1) == 2.0


def stepped(model, settings, rate, gradient):
    """The weights after one step at this rate with every gradient entry equal."""
    optimiser = build(model, settings)
    for parameter in model.network.parameters():
        parameter.grad = torch.full_like(parameter, gradient)
    set_rate(optimiser, rate)
    optimiser.step()
    return tiny.weights(model)


def test_learning_rate_scales_multiply_the_step_of_their_parameters_alone():
    model = tiny.qwen()
    before, scales = tiny.weights(model), model.learning_rate_scales
    after = stepped(model, Optimiser(learning_rate=1.0), 1e-3, gradient=1.0)
    assert set(scales) <= set(before)
    for name, value in before.items():
        step = torch.full_like(value, -1e-3 * scales.get(name, 1.0))
        torch.testing.assert_close(after[name] - value, step, rtol=1e-3, atol=1e-7)


def test_weight_decay_shrinks_matrices_at_the_unscaled_rate_and_leaves_vectors():
    model = tiny.qwen()
    before = tiny.weights(model)
    after = stepped(model, Optimiser(learning_rate=1.0, weight_decay=0.1), 0.01, gradient=0.0)
    for name, value in before.items():
        torch.testing.assert_close(after[name], value * (1 - 0.01 * 0.1) if value.ndim == 2 else value)
