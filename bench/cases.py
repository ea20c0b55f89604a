"""What is measured: each case is a kind of work on a shape, the sides that do it, and the bars it should reach.

A side is `headwater` or a peer in one of its settings. Peers' settings: `default` is a trainer as it comes (bfloat16
autocast, gradient checkpointing), `amp` the same without checkpointing (its fastest setting whose weights stay
float32), `float32` without autocast. TRL's trainer with vLLM is no side: on a CPU no vLLM that TRL takes can be given
new weights, since it drops what it has packed.
"""

from __future__ import annotations

from dataclasses import dataclass

from headwater.bench.shapes import BATCHES, KERNELS, SHAPES, Batch
from headwater.bench.work import WORKS, Work, on_shape

FLOAT32, BFLOAT16 = "headwater float32", "headwater bfloat16"
TRL_DEFAULT, TRL_AMP, TRL_FLOAT32 = "trl default", "trl amp", "trl float32"
GKD, DISTILLATION = "trl gkd amp", "trl distillation amp"
CHUNKED, LIGER = "trl chunked", "liger chunked"
GENERATE32, GENERATE16 = "transformers float32", "transformers bfloat16"
VLLM32, VLLM16 = "vllm float32", "vllm bfloat16"

MANY = Batch(prompts=8, samples=8, prompt_tokens=16, response_tokens=48)
"""Enough rows that generation is more than its prompts."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Bar:
    """What a side of ours should reach against the fastest of some peers: a ratio of time, and one of memory."""

    ours: str
    theirs: tuple[str, ...]
    time: float
    memory: float = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One work, and who does it."""

    work: Work
    sides: tuple[str, ...]
    bars: tuple[Bar, ...] = ()
    repeat: int | None = None
    """rounds, where the usual number would take too long"""

    @property
    def name(self) -> str:
        """As it is stored."""
        return self.work.name

    @property
    def ours(self) -> tuple[str, ...]:
        """headwater's sides."""
        return tuple(side for side in self.sides if side.startswith("headwater"))


def _grpo(shape: str, half: float, *bars: tuple[str, str, float]) -> Case:
    return Case(
        work=Work(kind="grpo", shape=shape, batch=BATCHES[shape]),
        sides=(FLOAT32, BFLOAT16, TRL_DEFAULT, TRL_AMP, TRL_FLOAT32),
        bars=tuple(Bar(ours=own, theirs=(their,), time=time, memory=half) for own, their, time in bars),
    )


def _kernel(shape: str, time: float, memory: float) -> Case:
    large = KERNELS[shape].operations > KERNELS["2048x576x49152"].operations
    return Case(
        work=Work(kind="kl", shape=shape),
        sides=(FLOAT32, CHUNKED, LIGER),
        bars=tuple(Bar(ours=FLOAT32, theirs=(their,), time=time, memory=memory) for their in (CHUNKED, LIGER)),
        repeat=1 if large else 3,
    )


CASES = (
    _grpo(
        "a",
        1.0,
        (BFLOAT16, TRL_DEFAULT, 2.0),
        (BFLOAT16, TRL_AMP, 1.7),
        (BFLOAT16, TRL_AMP, 2.2),  # asked of torch.compile, which is a tie here
        (FLOAT32, TRL_FLOAT32, 1.5),
    ),
    _grpo(
        "b",
        1.0,
        (BFLOAT16, TRL_DEFAULT, 1.8),
        (BFLOAT16, TRL_AMP, 1.5),
        (BFLOAT16, TRL_AMP, 1.9),  # the same
        (FLOAT32, TRL_FLOAT32, 1.6),
    ),
    _grpo("c", 2.0, (BFLOAT16, TRL_DEFAULT, 2.0), (BFLOAT16, TRL_AMP, 1.9), (FLOAT32, TRL_FLOAT32, 1.8)),
    Case(
        work=Work(kind="grpo-ragged", shape="a", batch=BATCHES["a"]),
        sides=(BFLOAT16, TRL_AMP),
        bars=(Bar(ours=BFLOAT16, theirs=(TRL_AMP,), time=2.5),),
    ),
    Case(
        work=Work(kind="opd", shape="a", batch=BATCHES["a"]),
        sides=(FLOAT32, BFLOAT16, GKD, DISTILLATION),
        bars=(
            Bar(ours=BFLOAT16, theirs=(GKD, DISTILLATION), time=1.6),
            Bar(ours=BFLOAT16, theirs=(GKD, DISTILLATION), time=2.2),
        ),
    ),
    Case(
        work=Work(kind="opd", shape="c", batch=BATCHES["c"]),
        sides=(FLOAT32, BFLOAT16, GKD, DISTILLATION),
        bars=(Bar(ours=BFLOAT16, theirs=(GKD, DISTILLATION), time=1.7, memory=2.0),),
    ),
    Case(
        work=Work(kind="forward-kl", shape="a", batch=BATCHES["a"]),
        sides=(FLOAT32, BFLOAT16, GKD),
        bars=(Bar(ours=BFLOAT16, theirs=(GKD,), time=1.8),),
    ),
    _kernel("2048x576x49152", 1.6, 2.9),
    _kernel("8192x576x49152", 1.6, 2.9),
    _kernel("2048x576x151936", 1.6, 2.9),
    _kernel("2048x2048x49152", 1.6, 2.9),
    Case(
        work=Work(kind="generation", shape="a", batch=BATCHES["a"]),
        sides=(FLOAT32, BFLOAT16, GENERATE32, GENERATE16, VLLM32, VLLM16),
        bars=tuple(
            Bar(ours=ours, theirs=(GENERATE32, GENERATE16, VLLM32, VLLM16), time=2.0) for ours in (FLOAT32, BFLOAT16)
        ),
    ),
    Case(
        work=Work(
            kind="generation", shape="c", batch=Batch(prompts=8, samples=8, prompt_tokens=16, response_tokens=48)
        ),
        sides=(FLOAT32, BFLOAT16, GENERATE32, GENERATE16, VLLM32, VLLM16),
        bars=(Bar(ours=BFLOAT16, theirs=(GENERATE32, GENERATE16, VLLM32, VLLM16), time=1.0),),
    ),
)


def choose(kinds: tuple[str, ...], shape: str | None) -> list[Case]:
    """The cases of these kinds of work (all when none is named), on this shape where it is given.

    A shape without a case of its own, such as tiny or qwen3-1.7b, is measured without bars. Raises InputError for a
    work or shape that is not there.
    """
    for kind in kinds:
        if shape is not None or kind not in WORKS:
            on_shape(kind, shape or "tiny")
    found = [case for case in CASES if (not kinds or case.work.kind in kinds) and shape in (None, case.work.shape)]
    if found or shape is None:
        return found
    possible = [kind for kind in WORKS if shape in (KERNELS if kind == "kl" else SHAPES)]
    return [_plain(on_shape(kind, shape)) for kind in kinds or possible]


def _plain(work: Work) -> Case:
    peers = {
        "opd": (GKD, DISTILLATION),
        "forward-kl": (GKD,),
        "kl": (CHUNKED, LIGER),
        "generation": (GENERATE32, GENERATE16, VLLM32, VLLM16),
    }
    ours = (FLOAT32,) if work.kind == "kl" else (FLOAT32, BFLOAT16)
    return Case(work=work, sides=(*ours, *peers.get(work.kind, (TRL_DEFAULT, TRL_AMP, TRL_FLOAT32))))
