"""Tiny models, problems and rollouts, shared by the tests of models, engines, cache, loop and evaluation."""

import dataclasses
import itertools

import torch
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM

from headwater.engines.local import LocalGenerator, LocalLearner
from headwater.engines.settings import EngineSettings
from headwater.interfaces import Seeds, Training
from headwater.models.family import build, word_tokenizer
from headwater.models.language_model import LanguageModel, silence_progress
from headwater.models.shape import QwenShape
from headwater.optimiser import Optimiser
from headwater.records import Problem, Rollout, Sampling, rollouts_of
from scripted import Script

silence_progress()

WORDS = ("<pad>", "<eos>", *"abcdefgh")
SHAPE = QwenShape(hidden_size=16, layers=2, heads=2, kv_heads=1, head_dim=8, ff_size=32)
STEADY = Optimiser(learning_rate=1e-2, warmup_share=0, final_share=1, clip_norm=1e9)
"""A constant rate and no clipping, so that gradients can be compared."""


def qwen(seed=0, words=WORDS):
    return build(SHAPE, words, seed)


def llama(seed=0, stop_ids=(1,)):
    """A Llama with a head of its own and any number of stop ids."""
    config = LlamaConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=64,
        pad_token_id=0,
        eos_token_id=list(stop_ids),
        bos_token_id=None,
        tie_word_embeddings=False,
    )
    return _sharp(LlamaForCausalLM(config), seed)


def windowed(window=512, seed=0):
    """A Mistral, each of whose tokens sees so many: itself and those before it."""
    config = MistralConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=32_768,
        sliding_window=window,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=None,
    )
    return _sharp(MistralForCausalLM(config), seed)


def _sharp(network, seed):
    """The network with weights large enough to be sure of something, and its config's stop ids."""
    source = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim == 2:
                parameter.normal_(0, 0.4, generator=source)
    network.generation_config = GenerationConfig(eos_token_id=network.config.eos_token_id, pad_token_id=0)
    return LanguageModel(network=network, tokenizer=word_tokenizer(WORDS))


FAMILIES = {"qwen3": qwen, "llama": llama}


def counting():
    """A Llama that is sure that id i is followed by id i + 1: the pattern that an error by one cannot fit."""
    model = llama()
    with torch.no_grad():
        for name, parameter in model.network.named_parameters():
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                parameter.zero_()
        model.network.model.embed_tokens.weight.copy_(torch.eye(len(WORDS), 16))
        model.network.lm_head.weight.copy_(10 * torch.eye(len(WORDS), 16).roll(1, dims=0))
    return model


def problems(count=4, longest=7):
    """Problems with prompts of 1 to `longest` words, each length before any comes again."""
    letters = itertools.cycle("abcdefghcafebadgeheadbed")
    return [
        Problem(
            problem_id=f"p{i}",
            prompt=" ".join(itertools.islice(letters, (5 * i) % longest + 1)),
            source="tiny",
        )
        for i in range(count)
    ]


def sample(model, asked=None, *, samples=3, temperature=1.0, tokens=6, learner=None, step=0, **more):
    """Groups drawn from the model."""
    sampling = Sampling(temperature=temperature, max_response_tokens=tokens, **more)
    generator = LocalGenerator(model, learner, EngineSettings())
    return generator.generate(asked or problems(), samples, sampling, Seeds(run=0, stream="tiny", step=step))


def draw(model, asked=None, **settings):
    """Rollouts drawn from the model."""
    return rollouts_of(sample(model, asked, **settings))


def rollout(name, prompt_ids, response_ids, **fields):
    """A rollout written by hand."""
    given = {
        "rollout_id": name,
        "problem_id": name.split("/")[0],
        "prompt_ids": tuple(prompt_ids),
        "response_ids": tuple(response_ids),
        "response_text": "",
        "logprobs": (-1.0,) * len(response_ids),
        "policy_version": -1,
        "finish_reason": "stop",
    }
    return Rollout(**{**given, **fields})


def forward(model, one, temperature=1.0):
    """Logits / temperature [token vocab] that score a rollout: one plain forward pass, no cache, no packing."""
    ids = torch.tensor([[*one.prompt_ids, *one.response_ids]])
    first = len(one.prompt_ids) - 1
    logits = model.network(input_ids=ids).logits[0, first:-1]
    return (logits if logits.dtype == torch.float64 else logits.float()) / temperature


def token_logprobs(model, one, temperature=1.0):
    """The plain forward pass's logprob of each response token."""
    with torch.no_grad():
        logprobs = torch.log_softmax(forward(model, one, temperature), dim=-1)
    return logprobs.gather(-1, torch.tensor(one.response_ids)[:, None])[:, 0]


def learner(model, optimiser=STEADY, updates=10, engine=None, **training):
    return LocalLearner(model, Training(optimiser=optimiser, updates=updates, **training), engine or EngineSettings())


def workers(teacher=None, **given):
    """Scripted workers, some of them replaced by live ones; `teacher` is the one that is called so."""
    if teacher is not None:
        given["teachers"] = {"teacher": teacher}
    return dataclasses.replace(Script().workers(), **given)


def weights(model):
    """A copy of every parameter."""
    return {name: parameter.detach().clone() for name, parameter in model.network.named_parameters()}


def gradients(model):
    """All gradients end to end, as one vector."""
    return torch.cat([parameter.grad.flatten() for parameter in model.network.parameters()]).clone()


def plain_gradient(model, scored, signal, temperature=1.0):
    """The gradient of the batch's loss by autograd through the whole network, one rollout at a time."""
    model.network.zero_grad()
    for member in scored.rollouts:
        ids = torch.tensor(member.rollout.response_ids)
        loss = signal.loss(forward(model, member.rollout, temperature), ids, member.target)
        (loss * member.weight).sum().backward()
    return gradients(model)


def assert_near(found, expected, relative):
    """The distance between two vectors is small against their length."""
    distance = (found - expected).norm() / expected.norm()
    assert distance <= relative, f"relative distance {distance:.2e}, allowed {relative:.0e}"


def assert_same_bits(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value), f"{name} differs"
