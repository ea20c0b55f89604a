"""The contract on one page: what a sampler, a signal and an engine may be asked.

A *sampler* decides whose states the loss is taken on. A *signal* says what scores them. A *generator*
writes tokens, a *teacher* says what comes next, a *learner* changes, a *verifier* says right or wrong.
Samplers and signals are frozen values and can be hashed; engines are live and travel in `Workers`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import ClassVar, NamedTuple, Protocol, Self, runtime_checkable

from pydantic import Field

from headwater.batch import Logits, PerToken, Scored, Target, TeacherDistribution, TokenIds
from headwater.errors import InputError
from headwater.fingerprint import derive_seed
from headwater.late import torch
from headwater.models.choice import ModelSource
from headwater.optimiser import Optimiser
from headwater.records import Grade, Group, Problem, Rollout, Sampling, Verdict
from headwater.value import Value


@dataclass(frozen=True, kw_only=True, slots=True)
class Seeds:
    """Where a step's randomness comes from: (run seed, stream, step), then problem and sample.

    `stream` names the kind of stage, so two arms that share a stage draw common random numbers.
    """

    run: int
    stream: str
    step: int

    def of(self, problem_id: str, sample: int) -> int:
        """The 64-bit seed of one sample of one problem at this step."""
        return derive_seed(self.run, self.stream, self.step, problem_id, sample)


@dataclass(frozen=True, kw_only=True, slots=True)
class At:
    """Where in its stage a step stands: what a schedule is a function of, so that a resume needs no state."""

    step: int
    updates: int

    @property
    def share(self) -> float:
        """How much of the stage is done: 0 at the first step, 1 at the last."""
        return self.step / max(self.updates - 1, 1)


class Generator(ABC):
    """Writes responses with the current weights of one model."""

    @abstractmethod
    def generate(self, problems: Sequence[Problem], samples: int, sampling: Sampling, seeds: Seeds) -> list[Group]:
        """`samples` responses to each problem. A response depends on its own seed, not on its neighbours."""

    @abstractmethod
    def sync(self) -> None:
        """Take up the learner's present weights; a fixed model has none to take up."""


class Teacher(ABC):
    """Says what comes next; never changes. A frozen reference policy is a teacher too.

    Logits are divided by `temperature`, as they were where the rollouts were drawn.
    """

    exact: bool
    """Whether its distributions know every token; if not, the likeliest k and the mass of the rest."""

    @abstractmethod
    def distributions(self, rollouts: Sequence[Rollout], temperature: float) -> list[TeacherDistribution]:
        """The next-token distribution at every response position of each rollout (position t scores t + 1)."""

    @abstractmethod
    def logprobs(self, rollouts: Sequence[Rollout], temperature: float) -> list[PerToken]:
        """The logprob of each response token of each rollout."""


class Learner(ABC):
    """The model that changes."""

    version: int
    """Updates made so far; stamped on each rollout that its weights produce."""

    @abstractmethod
    def update(self, scored: Scored, signal: Signal) -> dict[str, float]:
        """One optimiser step on one scored batch; returns what was measured (loss, gradient norm, entropy, ...).

        Raises NumericError, with the weights unchanged, when the loss or a gradient is not finite.
        """

    def present(self) -> Teacher:
        """The present weights, to be asked what comes next; what they say holds until the next update.

        Costs a forward pass more. Raises InputError where this learner cannot be asked.
        """
        raise InputError(
            f"{type(self).__name__}: this engine's learner cannot be asked for its distributions before an update; "
            "use a signal that does not ask for them, or another engine"
        )

    def near(self, teacher: Teacher) -> Teacher:
        """The teacher as signals should ask it: where the learner can ask it itself, pass by pass, for promises."""
        return teacher

    @abstractmethod
    def save(self, directory: Path) -> None:
        """Write a Hugging Face model directory, and under `training/` what resuming needs."""

    @abstractmethod
    def load(self, directory: Path) -> None:
        """Take up weights, optimiser state and version from what `save` wrote."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Training:
    """What a learner must know of its stage."""

    optimiser: Optimiser
    updates: int
    """in all"""
    updates_a_batch: int = 1
    """made of one batch of rollouts: only the first of them is on policy"""
    temperature: float = 1.0


class Engine(ABC):
    """Makes the live things of a stage or a measurement from models that are named by where they lie.

    A model is opened when something is made of it, and given up with the last thing that holds it. Closing the
    engine ends whatever it started.
    """

    @property
    @abstractmethod
    def slots(self) -> int:
        """How many pieces of work run side by side on this machine, each with an engine of its own."""

    @abstractmethod
    def environment(self, slot: int) -> Mapping[str, str]:
        """Variables that the process of a slot is started with: its libraries', and which device is its own."""

    @property
    @abstractmethod
    def piece(self) -> int:
        """Response tokens, at most, of a piece of a recording or a measurement, which is about a minute's work."""

    @abstractmethod
    def learner(self, model: ModelSource, training: Training) -> Learner:
        """The model, about to learn; with the source's adapter, if it has one, in place of its weights."""

    @abstractmethod
    def generator(self, model: ModelSource | Learner) -> Generator:
        """What writes with this model; of a learner, with the weights that it had at the last `sync`."""

    @abstractmethod
    def teacher(self, model: ModelSource) -> Teacher:
        """The model, frozen, to be asked what comes next."""

    @abstractmethod
    def close(self) -> None:
        """End what was started."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@runtime_checkable
class Answers(Protocol):
    """The one way to an answer. Reading is recorded in the ledger; outside the stage's pool it raises."""

    def at(self, step: int) -> None: ...

    def read(self, problem_id: str, use: str = "answer") -> str: ...


class Verifier(Protocol):
    """Says whether a response is right. A verdict is worth 1 or 0; a `Grade` carries a reward of its own."""

    def grade(self, responses: Mapping[str, tuple[str, str]]) -> Mapping[str, Verdict | Grade]:
        """From rollout id -> (gold answer, response text) to rollout id -> verdict, for every id given."""


@runtime_checkable
class Finder(Verifier, Protocol):
    """A verifier that can say what it takes for the answer of a response."""

    def find(self, text: str) -> str | None: ...


@dataclass(kw_only=True)
class Workers:
    """The live things of one stage: the only place where values meet devices. What a stage lacks raises."""

    learner: Learner
    generator: Generator
    teachers: Mapping[str, Teacher]
    """name -> teacher, for every name that the stage's signal asks"""
    reference: Teacher
    """the learner as it was when the stage began"""
    answers: Answers
    verifier: Verifier
    recorded: Mapping[str, Sequence[Rollout]]
    """problem id -> rollouts made earlier, by the model that the stage's sampler names; read when asked for"""
    temperature: float
    """of the stage's sampler: what is drawn at it is scored at it"""
    written: Callable[[Problem, str], Rollout]
    """a text as the learner's whole response to a problem, such as a worked solution"""

    def sync(self) -> None:
        """Make the generator see the learner's new weights."""
        self.generator.sync()

    def teacher(self, name: str) -> Teacher:
        """One of the teachers. Raises InputError for a name that the stage was not given."""
        if name not in self.teachers:
            raise InputError(f"teacher {name!r:.60}: the stage was given {', '.join(self.teachers) or 'no teacher'}")
        return self.teachers[name]


class Need(Enum):
    """What a sampler or a signal asks of its workers: everything that gives or counts these reads it here."""

    ANSWERS = "answers"
    """gold answers: labels"""
    DEMONSTRATIONS = "demonstrations"
    """worked solutions: labels"""
    VERIFIER = "verifier"
    """verdicts on responses"""
    TEACHER = "teacher"
    """the models named by `teachers`"""
    REFERENCE = "reference"
    """a frozen copy of the learner as it was when the stage began"""
    RECORDED = "recorded"
    """rollouts made before the stage by the model named by `writer`"""


LABELS = frozenset({Need.ANSWERS, Need.DEMONSTRATIONS})


class Watch(NamedTuple):
    """A number that says how a stage is getting on: its metric, what a curve calls it, and its axis."""

    metric: str
    label: str
    logarithmic: bool = False


LOSS = Watch("loss", "loss")


class Method(Value, ABC):
    """What a sampler and a signal declare of themselves; plan, run and report read this, and never a name."""

    @property
    @abstractmethod
    def needs(self) -> frozenset[Need]:
        """What it will ask of its workers, with these settings."""

    @property
    def teachers(self) -> tuple[str, ...]:
        """The models that it asks for distributions or logprobs."""
        return ("teacher",) if Need.TEACHER in self.needs else ()

    @property
    def watch(self) -> tuple[Watch, ...]:
        """What to look at first while it trains; a curve shows the first that was measured."""
        return ()

    @property
    def reads_labels(self) -> bool:
        """Whether it reads an answer or a worked solution."""
        return bool(self.needs & LABELS)

    @property
    def made_of(self) -> tuple[Method, ...]:
        """Itself, and the methods that it is made of."""
        inner = (value for name in type(self).model_fields if isinstance(value := getattr(self, name), Method))
        return (self, *(part for method in inner for part in method.made_of))


class Sampler(Method):
    """Whose states: the learner's own, or recorded ones."""

    samples: int = Field(8, ge=1, description="responses to each problem of a step")
    temperature: float = Field(1.0, gt=0, description="logits are divided by it, in sampling and in scoring alike")

    @property
    def longest(self) -> int | None:
        """The most response tokens that it lets be written; None where it writes none."""
        return None

    @property
    def whole(self) -> bool:
        """Whether responses go on as far as the recipe lets them; where not, no reward may be read from them."""
        return True

    @property
    def writer(self) -> str | None:
        """The model whose recorded rollouts it reads; None where it records nothing."""
        return "teacher" if Need.RECORDED in self.needs else None

    @abstractmethod
    def sample(self, problems: Sequence[Problem], workers: Workers, seeds: Seeds, at: At) -> list[Group]:
        """Responses to these problems, one group a problem, in order."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Measured:
    """What a signal found on some tokens: the loss of each, and each diagnostic."""

    loss: PerToken
    watched: Mapping[str, PerToken]


class Signal(Method):
    """What scores the states. `score` asks the world, without gradients; `loss` is pure mathematics."""

    reads_teachers: ClassVar[bool] = False
    """Whether `score` itself reads every token of what a teacher says, which a promise kept in the update would be
    too late for (`Learner.near`)."""

    @property
    def least_samples(self) -> int:
        """The fewest responses to one problem that it can learn from."""
        return 1

    @property
    def looks(self) -> float:
        """Share of the steps at which it asks the learner's present weights itself (`Learner.present`), beside what it
        is made of: each is a forward pass more."""
        return 0.0

    @property
    def watch(self) -> tuple[Watch, ...]:
        """The loss, which every signal has."""
        return (LOSS,)

    @abstractmethod
    def score(self, groups: Sequence[Group], workers: Workers, at: At) -> Scored:
        """Give each rollout its target and each token its weight in the batch loss.

        Whatever a schedule of `at` decides goes into targets and weights here: `loss` knows no step.
        """

    @abstractmethod
    def loss(self, logits: Logits, response_ids: TokenIds, target: Target) -> PerToken:
        """Loss of each response token; `logits` [token vocab] are float32 and already divided by temperature."""

    def diagnostics(self, logits: Logits, response_ids: TokenIds, target: Target) -> dict[str, PerToken]:
        """What to watch per token, without gradient; reported as means over the batch's tokens."""
        return {}

    def differentiate(self, logits: Logits, response_ids: TokenIds, target: Target, weight: PerToken) -> Measured:
        """Loss and diagnostics; `logits` are overwritten with the gradient of the weighted sum of losses.

        By autograd through `loss`, so a signal needs no more than that. One whose gradient has a closed form
        may give it here: the same numbers in one pass.
        """
        with torch.enable_grad():
            leaf = logits.detach().requires_grad_()
            loss = self.loss(leaf, response_ids, target)
            (gradient,) = torch.autograd.grad(loss, leaf, weight.to(loss.dtype))
        watched = self.diagnostics(logits, response_ids, target)
        logits.copy_(gradient)
        return Measured(loss=loss.detach(), watched=watched)


def reads_teachers(signal: Signal) -> bool:
    """Whether a signal, or one that it is made of, reads a teacher's distributions before the update."""
    return any(part.reads_teachers for part in signal.made_of if isinstance(part, Signal))


def looks(signal: Signal) -> float:
    """Forward passes of the learner's present weights a step, before the update: of a signal and all it is made of."""
    return sum(part.looks for part in signal.made_of if isinstance(part, Signal))
