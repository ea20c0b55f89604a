"""A bfloat16 run follows the float32 run: over 20 updates, every signal, all weights or an adapter.

bfloat16 moves Adam's smallest coordinates at random whoever rounds, so the independent side is PyTorch itself: the
network as transformers wrote it, under autocast, with autograd and the unfused AdamW. It strays as far.
"""

import contextlib
import dataclasses
import functools

import pytest
import torch

import tiny
from headwater.batch import NoTarget, Scored, ScoredRollout, token_mean_weights
from headwater.engines import linears, plain
from headwater.engines.linears import Copies, FastLinear
from headwater.engines.local import LocalTeacher
from headwater.engines.settings import EngineSettings
from headwater.models import adapters
from headwater.models.choice import Lora
from headwater.optimiser import Optimiser
from headwater.records import rollouts_of
from headwater.signals import Divergence, Imitation, PolicyTarget, Reward

UPDATES = 20
SETTINGS = Optimiser(learning_rate=2e-3, warmup_share=0)
SIGNALS = {
    "reward": Reward(kl_coefficient=0.0),
    "reverse": Divergence(direction="reverse"),
    "forward": Divergence(direction="forward"),
    "jsd": Divergence(direction="jsd"),
    "imitation": Imitation(),
}
NORMS = 0.02
"""The most that a gradient norm may be away from float32's, as a share."""
LIKE_TORCH = 2.0
"""How many times as far as PyTorch's own autocast the weights may be from float32's."""


def student(lora):
    model = tiny.qwen()
    if lora:
        adapters.attach(model.network, Lora(rank=4, alpha=8), seed=3)
    return model


@functools.cache
def batches(name):
    """The batches of a run: drawn beforehand, the same for every precision."""
    teacher = LocalTeacher(tiny.qwen(seed=8), EngineSettings())
    return [scored(name, teacher, tiny.sample(tiny.qwen(), samples=6, tokens=8, step=step)) for step in range(UPDATES)]


def scored(name, teacher, groups):
    rollouts = rollouts_of(groups)
    if name == "reward":
        even = [torch.tensor([float(sum(i % 2 == 0 for i in r.response_ids)) for r in g.rollouts]) for g in groups]
        advantages = torch.cat([(one - one.mean()) / (one.std() + 1e-6) for one in even])
        targets = [
            PolicyTarget(
                advantage=advantage.expand(len(one.response_ids)).clone(), old_logprobs=torch.tensor(one.logprobs)
            )
            for one, advantage in zip(rollouts, advantages, strict=True)
        ]
    else:
        targets = [NoTarget()] * len(rollouts) if name == "imitation" else teacher.distributions(rollouts, 1.0)
    return Scored(
        rollouts=tuple(
            ScoredRollout(rollout=one, target=target, weight=weight)
            for one, target, weight in zip(rollouts, targets, token_mean_weights(rollouts), strict=True)
        )
    )


def on_policy(batch, logprobs):
    """The batch as its learner would have drawn it: GRPO's ratio is 1 at each update, as in a run."""
    if not isinstance(batch.rollouts[0].target, PolicyTarget):
        return batch
    members = [
        dataclasses.replace(member, target=dataclasses.replace(member.target, old_logprobs=own))
        for member, own in zip(batch.rollouts, logprobs(), strict=True)
    ]
    return Scored(rollouts=tuple(members))


def trained(model):
    return [parameter for parameter in model.network.parameters() if parameter.requires_grad]


def moved(model, start):
    return torch.cat([(p.detach() - s).flatten() for p, s in zip(trained(model), start, strict=True)])


def ours(name, lora, precision, **engine):
    """Gradient norms of each update, and where the weights went."""
    model = student(lora)
    start = [parameter.detach().clone() for parameter in trained(model)]
    learner = tiny.learner(model, SETTINGS, UPDATES, engine=EngineSettings(precision=precision, **engine))
    scorer = LocalTeacher(model, EngineSettings(precision=precision))
    norms = []
    for batch in batches(name):
        rollouts = [member.rollout for member in batch.rollouts]
        present = on_policy(batch, lambda rollouts=rollouts: scorer.logprobs(rollouts, 1.0))
        norms.append(learner.update(present, SIGNALS[name])["gradient_norm"])
    return torch.tensor(norms), moved(model, start)


def autocast(name, lora):
    """The same in plain PyTorch with its own bfloat16."""
    model = student(lora)
    start = [parameter.detach().clone() for parameter in trained(model)]
    scales = {id(model.network.get_parameter(n)): s for n, s in model.learning_rate_scales.items()} if not lora else {}
    groups = [{"params": [p], "scale": scales.get(id(p), 1.0)} for p in trained(model)]
    adamw = torch.optim.AdamW(groups, betas=(SETTINGS.beta1, SETTINGS.beta2), weight_decay=0, foreach=False)
    for update, batch in enumerate(batches(name)):
        adamw.zero_grad()
        rows = [[*member.rollout.prompt_ids, *member.rollout.response_ids] for member in batch.rollouts]
        padded = torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = model.network(input_ids=padded).logits.float()
        pieces = []
        for row, member in zip(logits, batch.rollouts, strict=True):
            ids, first = torch.tensor(member.rollout.response_ids), len(member.rollout.prompt_ids) - 1
            pieces.append((row[first : first + len(ids)], ids))
        logprobs = [torch.log_softmax(own.detach(), -1).gather(-1, ids[:, None])[:, 0] for own, ids in pieces]
        losses = [
            (SIGNALS[name].loss(own, ids, member.target) * member.weight).sum()
            for (own, ids), member in zip(pieces, on_policy(batch, lambda found=logprobs: found).rollouts, strict=True)
        ]
        torch.stack(losses).sum().backward()
        torch.nn.utils.clip_grad_norm_(trained(model), SETTINGS.clip_norm)
        for group in adamw.param_groups:
            group["lr"] = SETTINGS.rate(update, UPDATES) * group["scale"]
        adamw.step()
    return moved(model, start)


def apart(found, expected):
    return float((found - expected).norm() / expected.norm())


@pytest.mark.parametrize("lora", [False, True], ids=["weights", "adapter"])
@pytest.mark.parametrize("name", SIGNALS)
def test_bfloat16_follows_float32_as_closely_as_plain_autocast_does(name, lora):
    norms, way = ours(name, lora, "float32")
    short_norms, short_way = ours(name, lora, "bfloat16")
    assert float(((short_norms - norms).abs() / norms).max()) <= NORMS
    assert apart(short_way, way) <= max(0.01, LIKE_TORCH * apart(autocast(name, lora), way))


@pytest.mark.parametrize("name", ["reverse", "imitation"])
def test_weights_rounded_once_for_the_whole_run_are_far_from_float32(name, monkeypatch):
    """The fault that was, so that the test above is known to see it."""
    ever = Copies()

    @contextlib.contextmanager
    def kept(network):
        for module in network.modules():
            if isinstance(module, FastLinear):
                module.copies = ever
        yield ever

    monkeypatch.setattr(linears, "shared_copies", kept)
    monkeypatch.setattr(plain, "LIMITS", {**plain.LIMITS, "bfloat16": 1e9})
    norms, way = ours(name, False, "float32")
    stale_norms, stale_way = ours(name, False, "bfloat16")
    assert float(((stale_norms - norms).abs() / norms).max()) > 2 * NORMS
    assert apart(stale_way, way) > 0.1
