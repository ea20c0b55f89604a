r"""Values of a first recipe, each with its reason: pure rules over the facts.

The rates are those that worked here at 0.05, 0.1 and 135 million weights (docs/log.md, docs/smollm2.md) and, from a
billion on, the paper's 1e-6. An adapter takes ten times the rate of the weights it stands for (Schulman et al. 2025,
"LoRA Without Regret"). What is left out: any measurement. `headwater eval` of both models says more than any rule.
"""

from __future__ import annotations

from dataclasses import dataclass

from headwater.errors import InputError
from headwater.fit.facts import Facts, Machine, ModelFacts

GIB = 2**30
ADAM = 16
"""Bytes a weight of full training in float32: weight, gradient and two moments."""
TINY = 1e7
"""Weights below which a response costs so little that it may be long."""
TEMPLATE = 64
"""Tokens that a chat template and an instruction add to a prompt, at about most."""
NUMBERS = ("integer", "fraction")

_RATES = ((1e6, 1e-3, 1e-3), (1e7, 3e-4, 5e-4), (1e8, 5e-5, 2e-4), (5e8, 2e-5, 5e-5), (1e9, 5e-6, 1e-5))
"""Weights up to, rate of reward, rate of a dense signal."""
_PAPER = (1e-6, 1e-6)

BOXED = "Please reason step by step, and put your final answer within \\boxed{}."
SHORT = {
    "choice": "Answer with the letter of the right choice alone, within \\boxed{}.",
    "number": "Answer with the number only.",
    "other": "Answer briefly, and put your final answer within \\boxed{}.",
}


@dataclass(frozen=True, kw_only=True)
class Rates:
    """Learning rates of one model."""

    reward: float
    dense: float
    why: str


@dataclass(frozen=True, kw_only=True)
class Batches:
    """Labels that are used, and problems an update."""

    labelled: int
    reward: int
    dense: int
    dense_epochs: int


@dataclass(frozen=True, kw_only=True)
class Asking:
    """How answers are asked for, found and limited."""

    extractor: str
    system_prompt: str | None
    response_tokens: int
    reasons: bool
    why: str


@dataclass(frozen=True, kw_only=True)
class Keeping:
    """What is kept of the teacher's distributions."""

    keep: str
    why: str


def rates(model: ModelFacts, adapter: bool) -> Rates:
    """Learning rates by the number of weights and by what is trained."""
    reward, dense = next((found[1:] for found in _RATES if model.parameters < found[0]), _PAPER)
    size = f"{model.parameters / 1e6:,.1f} M weights"
    if not adapter:
        return Rates(reward=reward, dense=dense, why=f"full training of {size}")
    return Rates(reward=10 * reward, dense=10 * dense, why=f"an adapter on {size}: ten times the rate of full training")


def training(model: ModelFacts, machine: Machine) -> tuple[str | None, str | None, str]:
    """(adapter, dtype, why): whether an adapter is trained, and the weights' type where it is not float32.

    Raises InputError when the model fits in no form.
    """
    room, full = 0.6 * machine.memory, ADAM * model.parameters
    have = f"{machine.memory / GIB:,.1f} GiB of memory"
    if full <= room:
        return None, None, f"full training needs {full / GIB:,.1f} GiB of {have}"
    if 4 * model.parameters <= room:
        return "{rank: 16}", None, f"full training needs {full / GIB:,.1f} GiB, and here are {have}"
    if 2 * model.parameters <= room:
        return "{rank: 16}", "bfloat16", f"its weights take {4 * model.parameters / GIB:,.1f} GiB in float32 of {have}"
    raise InputError(
        f"init: {model.path} takes {2 * model.parameters / GIB:,.1f} GiB in bfloat16 and this machine has {have}; use "
        "a smaller model or a larger machine"
    )


def batches(labels: int) -> Batches:
    """As large as a half of the labels allows with two updates in it, leaving at most one label in twenty out."""
    if labels < 4:
        raise InputError(f"init: {labels} labels are left; a route halves them and needs at least 4")
    sizes = (64, 32, 16, 8, 4, 2, 1)
    dense = next(size for size in sizes if 4 * size <= labels and labels % (2 * size) <= max(1, labels // 20))
    labelled = labels - labels % (2 * dense)
    epochs = min(16, max(1, -(-32 * dense // labelled)))
    return Batches(labelled=labelled, reward=min(8, dense), dense=dense, dense_epochs=epochs)


def asking(facts: Facts) -> Asking:
    """Extractor, instruction and response limit. Raises InputError when prompts leave no room for a response."""
    kind = "number" if facts.answer_type in NUMBERS else "choice" if facts.answer_type == "choice" else "other"
    context = min(facts.student.context, facts.teacher.context)
    reasons = facts.machine.gpu or facts.asked is not None or kind == "other" or facts.teacher.parameters < TINY
    limit = min(_wanted(facts, reasons), context - facts.prompt_tokens - (TEMPLATE if facts.student.chat else 0))
    if limit < facts.gold_tokens + 4:
        raise InputError(
            f"init: the longest prompt has about {facts.prompt_tokens} tokens, a context holds {context}, and an "
            f"answer needs {facts.gold_tokens}; take the longest problems out, or use models with a longer context"
        )
    budget = "reasoning and answer" if reasons else "an answer without reasoning: this machine has no GPU"
    why = f"{budget}; prompts have up to {facts.prompt_tokens} tokens, contexts {context:,}"
    if facts.asked is not None:
        return Asking(
            extractor=facts.asked, system_prompt=None, response_tokens=limit, reasons=reasons,
            why=f"{why}. The prompts ask for the form themselves",
        )  # fmt: skip
    spoken = facts.student.chat and not facts.system
    short = not reasons and kind == "number"
    extractor = "number" if short or (not spoken and kind == "number") else "boxed"
    prompt = (BOXED if reasons else SHORT[kind]) if spoken else None
    return Asking(extractor=extractor, system_prompt=prompt, response_tokens=limit, reasons=reasons, why=why)


def _wanted(facts: Facts, reasons: bool) -> int:
    if not reasons:
        return max(16, 8 * -(-(2 * facts.gold_tokens + 8) // 8))
    return 2048 if facts.machine.gpu else 64 if facts.teacher.parameters < TINY else 256


def keeping(tokens: int, teacher: ModelFacts, machine: Machine) -> Keeping:
    """Whole distributions only while they are small, exact hidden states while the disk has room, else the likeliest.

    Args: tokens: response tokens of all recorded rollouts.
    """
    full, hidden = 4 * tokens * teacher.vocabulary, 4 * (tokens + teacher.vocabulary) * teacher.hidden
    room = machine.disk // 20
    whole = f"whole distributions would take {_size(full)}"
    if full <= min(GIB // 4, room):
        return Keeping(keep="full", why=f"every logprob, {_size(full)} at most")
    if hidden <= room:
        return Keeping(keep="hidden", why=f"exact, {_size(hidden)} at most a pool; {whole}")
    likeliest = tokens * (64 * 8 + 4)
    return Keeping(keep="top_k", why=f"the 64 likeliest and the rest's mass, {_size(likeliest)} a pool; {whole}")


def _size(size: int) -> str:
    return f"{size / GIB:,.1f} GiB" if size >= GIB else f"{size / 2**20:,.1f} MiB"
