"""Ours against plain transformers: sharp networks, and what both make of the same rollouts."""

import copy

import torch
import transformers

import tiny
from headwater.batch import FullDistribution, Scored, ScoredRollout, token_mean_weights
from headwater.engines.local import LocalTeacher
from headwater.engines.settings import EngineSettings
from headwater.models.family import word_tokenizer
from headwater.models.language_model import LanguageModel
from headwater.signals import Divergence

LENGTH = 40
"""Prompt and response of the longest rollout."""


def sharp(settings, seed=0):
    """A network of sharp weights with a tokenizer, and a fresh copy of it that nothing of ours touches."""
    network = transformers.AutoModelForCausalLM.from_config(copy.deepcopy(settings), dtype=torch.float32).eval()
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            noise = torch.randn(parameter.shape, generator=draw)
            wide = min(0.3, 2.4 * parameter.shape[-1] ** -0.5) if parameter.ndim > 1 else 0.1
            parameter.copy_(wide * noise) if parameter.ndim > 1 else parameter.add_(wide * noise)
    words = ("<pad>", "<eos>", *(f"w{i}" for i in range(2, network.get_output_embeddings().weight.shape[0])))
    return LanguageModel(network=network, tokenizer=word_tokenizer(words)), copy.deepcopy(network)


def asked():
    """A short prompt and one that ends near the longest length: neighbours in every batch."""
    texts = ["w2 w3", " ".join(f"w{2 + i % 29}" for i in range(LENGTH - 8))]
    return [tiny.Problem(problem_id=f"p{i}", prompt=text, source="tiny") for i, text in enumerate(texts)]


def plain_logits(network, one):
    """The logits at each response token, from one pass over one rollout."""
    ids, first = [*one.prompt_ids, *one.response_ids], len(one.prompt_ids) - 1
    return network(input_ids=torch.tensor([ids])).logits[0, first:-1].float()


def sampled_apart(model, plain):
    """Rollouts of the model, and the largest distance of a sampled logprob from the plain network's."""
    rollouts, apart = tiny.draw(model, asked(), samples=2, tokens=8), 0.0
    for one in rollouts:
        with torch.no_grad():
            logprobs = torch.log_softmax(plain_logits(plain, one), -1)
        expected = logprobs.gather(-1, torch.tensor(one.response_ids)[:, None])[:, 0]
        apart = max(apart, float((torch.tensor(one.logprobs) - expected).abs().max()))
    return rollouts, apart


def gradients(model, plain, teacher, plain_teacher, rollouts):
    """Of the reverse KL to a teacher over these rollouts: our learner's, and autograd's through the plain networks."""
    signal = Divergence(direction="reverse")
    targets = LocalTeacher(teacher, EngineSettings()).distributions(rollouts, 1.0)
    weights = token_mean_weights(rollouts)
    scored = [ScoredRollout(rollout=r, target=t, weight=w) for r, t, w in zip(rollouts, targets, weights, strict=True)]
    tiny.learner(model).update(Scored(rollouts=tuple(scored)), signal)
    for one, weight in zip(rollouts, weights, strict=True):
        with torch.no_grad():
            target = FullDistribution(full=torch.log_softmax(plain_logits(plain_teacher, one), -1))
        (signal.loss(plain_logits(plain, one), torch.tensor(one.response_ids), target) * weight).sum().backward()
    return [
        torch.cat([(p.grad if p.grad is not None else torch.zeros_like(p)).flatten() for p in network.parameters()])
        for network in (model.network, plain)
    ]
