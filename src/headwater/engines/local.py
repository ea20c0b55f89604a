"""One process, one device: the learner, the generator and the frozen teacher on a Hugging Face model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Protocol, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from headwater.batch import HiddenDistribution, PerToken, Scored, TeacherDistribution
from headwater.engines import checkpoint, plain
from headwater.engines.body import Body
from headwater.engines.generation import Drawn, draw_responses
from headwater.engines.head import Head, HeadBatch, tiled_backward, tiled_logprobs
from headwater.engines.moved import changed, some_weights
from headwater.engines.optimiser import build, set_rate
from headwater.engines.packing import Layout
from headwater.engines.recompute import recomputed
from headwater.engines.settings import EngineSettings
from headwater.engines.sums import Sums, compared, stride_of
from headwater.errors import HeadwaterError, NumericError
from headwater.interfaces import Generator, Learner, Seeds, Signal, Teacher, Training
from headwater.models.language_model import LanguageModel
from headwater.records import Group, Problem, Rollout, Sampling

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, eq=False)
class Work:
    """What the passes of one gradient share."""

    scored: Scored
    signal: Signal
    head: Head
    compared: int | None
    """one token in so many is compared with what the sampler said of it; None: the weights have moved since"""


class LocalLearner(Learner):
    """A model that learns in this process."""

    def __init__(self, model: LanguageModel, training: Training, engine: EngineSettings):
        self.model = model
        self.version = 0
        self._training = training
        self._settings = training.optimiser
        self._temperature = training.temperature
        self._engine = engine
        model.to(engine.torch_device)
        self._body = Body(model, engine.precision)
        self._place()
        self._optimiser = build(model, self._settings)
        self._parameters = [p for p in model.network.parameters() if p.requires_grad]
        self._probe = plain.probe(model)
        self._checked = False
        self._said: LocalTeacher | None = None

    def update(self, scored: Scored, signal: Signal) -> dict[str, float]:
        """One optimiser step on the batch. An empty batch (all groups dropped) moves nothing.

        Raises NumericError before the step when a loss or a gradient is not finite, and HeadwaterError when a
        rollout was drawn by other weights than those of its batch's first update.
        """
        self._refuse_stale(scored)
        rate = self._settings.rate(self.version, self._training.updates)
        metrics = self._gradient(scored, signal)
        norm = self._norm()
        if not math.isfinite(norm):
            parts = self._everywhere([member.rollout.problem_id for member in scored.rollouts])
            among = sorted({problem_id for part in parts for problem_id in part})
            raise NumericError(
                f"update {self.version}: the gradient norm is {norm} on problems {', '.join(among[:8])}"
                f"{' ...' if among[8:] else ''}; the step was not taken. Lower the learning rate."
            )
        moved: dict[str, float] = {}
        if metrics["tokens"]:
            first = not self._optimiser.state
            before = some_weights(self._here()) if first else []
            set_rate(self._optimiser, rate)
            self._optimiser.step()
            if first:
                counts = self._everywhere(changed(before, self._here()))
                moved = {"weights_changed": sum(count[0] for count in counts) / sum(count[1] for count in counts)}
        self.version += 1
        return {**metrics, "gradient_norm": norm, **moved, "learning_rate": rate}

    @property
    def _drawn_at(self) -> int:
        """The version whose weights drew the present batch of rollouts."""
        return self.version - self.version % self._training.updates_a_batch

    def present(self) -> Teacher:
        """These weights as a teacher in this process; it shares them."""
        if self._said is None:
            self._said = LocalTeacher(self.model, self._engine)
        return self._said

    def drop_gradients(self) -> None:
        """Give their memory back: between two updates comes sampling, which needs the room."""
        self._optimiser.zero_grad(set_to_none=True)

    def _refuse_stale(self, scored: Scored) -> None:
        allowed = (self._drawn_at, -1)
        stale = next((s.rollout for s in scored.rollouts if s.rollout.policy_version not in allowed), None)
        fault = stale and (
            f"update {self.version}: rollout {stale.rollout_id} was drawn at version {stale.policy_version}; this "
            f"batch's are drawn at {self._drawn_at}. Sample after each batch's last update (workers.sync)."
        )
        for found in self._everywhere(fault):
            if found is not None:
                raise HeadwaterError(found)

    # What another number of ranks does in another way. Here there is one, and nothing to put together.

    def _place(self) -> None:
        """Leave here what this rank keeps of the network."""

    def _here(self) -> Sequence[Tensor]:
        """What this rank holds of the weights that learn."""
        return self._parameters

    def _everywhere(self, value: T) -> list[T]:
        """This value as each rank of the learner has it, in their order."""
        return [value]

    def _whole_head(self) -> Head:
        """The head of one update; its weight's gradient adds up in `grad`."""
        return make_head(self.model, self._temperature, self._engine)

    def _give_back(self, head: Head) -> None:
        """The passes are done: the head's gradient goes where the optimiser looks for it."""

    def _idle(self) -> None:
        """A pass over nothing, of a rank that has none left while another has."""

    def _norm(self) -> float:
        """Clip the gradient; its norm before."""
        return float(torch.nn.utils.clip_grad_norm_(self._parameters, self._settings.clip_norm))

    def _tokens(self, layout: Layout, scored: Scored) -> HeadBatch:
        """The pass's targets and weights end to end, in the order of its response tokens."""
        members = [scored.rollouts[i] for i in layout.members]
        target = members[0].target.join([member.target for member in members])
        device = self.model.network.device
        return HeadBatch(
            response_ids=layout.response_ids.to(device),
            target=target.to(device),
            weight=torch.cat([member.weight for member in members]).to(device),
        )

    def _gradient(self, scored: Scored, signal: Signal) -> dict[str, float]:
        """Fill every parameter's gradient with that of the whole batch's loss; means of what was watched.

        Where the weights are those that drew the rollouts, sampler and learner must agree.
        """
        self._optimiser.zero_grad(set_to_none=True)
        rollouts = [member.rollout for member in scored.rollouts]
        tokens = sum(self._everywhere(sum(len(rollout.response_ids) for rollout in rollouts)))
        fresh = self.version == self._drawn_at
        head = self._whole_head()
        work = Work(scored=scored, signal=signal, head=head, compared=stride_of(tokens) if fresh else None)
        layouts = list(self._body.pack(rollouts, self._engine.tokens_a_pass(self._body.sizes)))
        parts: list[Sums] = []
        with self._body.work():
            for k in range(max(self._everywhere(len(layouts)))):
                if k < len(layouts):
                    parts.append(self._pass(layouts[k], work))
                else:
                    self._idle()
            longest = max((len(one.prompt_ids) + len(one.response_ids) for one in rollouts), default=0)
            probed = self._probed(head, longest) if tokens and self._unsure() else None
        self._give_back(head)
        sums = Sums.of(self._everywhere(Sums.of(parts)))
        if sums.fault is not None:
            raise NumericError(sums.fault)
        return {**sums.metrics(), **({} if probed is None else self._compare(probed, head))}

    def _pass(self, layout: Layout, work: Work) -> Sums:
        """Forward and backward over one layout, inside `work`; its sums."""
        with self._body.attention(layout):
            with recomputed(self.model.network, wanted=self._engine.gradient_checkpointing):
                hidden = self._body.scored_hidden(layout)
            gaps = self._gaps(layout, work, hidden.detach())
            result = tiled_backward(hidden, work.head, work.signal, self._tokens(layout, work.scored))
            bad = result.first_bad_token
            if bad is not None or not result.tokens:  # other ranks are in their backward passes: go along with them
                hidden.backward(torch.zeros_like(hidden))
        return Sums(
            loss=result.loss,
            tokens=result.tokens,
            places=layout.input_ids.numel(),
            padding=layout.padding,
            watched=result.sums,
            gap=float(gaps.sum()),
            gap_max=float(gaps.max()) if len(gaps) else 0.0,
            checked=len(gaps),
            fault=None if bad is None else self._not_finite(layout, work.scored, bad),
        )

    @torch.no_grad()
    def _gaps(self, layout: Layout, work: Work, hidden: Float[Tensor, "token hidden"]) -> Float[Tensor, " some"]:
        """|logprob as sampled - logprob as trained| of some tokens. Rounding, or a fault."""
        if work.compared is None:
            return hidden.new_empty(0)
        places, sampled = compared([work.scored.rollouts[i].rollout for i in layout.members], work.compared)
        ids = layout.response_ids[places]
        trained = tiled_logprobs(hidden[places.to(hidden.device)], work.head, ids.to(hidden.device))
        return (trained - sampled.to(hidden.device)).abs()

    def _unsure(self) -> bool:
        """Whether the weights are compared with a plain pass: when due, and first of all after opening or loading."""
        return plain.due(self.version) or not self._checked

    def _probed(self, head: Head, beside: int) -> PerToken:
        """The probe's logprobs, on the way on which rollouts of up to so many tokens were scored; inside `work`."""
        (layout,) = self._body.pack([self._probe], plain.PROMPT + plain.RESPONSE, beside)
        with self._body.attention(layout):
            hidden = self._body.scored_hidden(layout).detach()
        return tiled_logprobs(hidden, head, layout.response_ids.to(hidden.device))

    def _plainly(self, head: Head) -> PerToken:
        """The same by the network's own forward pass."""
        return plain.logprobs(self.model, self._probe, head.temperature)

    def _compare(self, probed: PerToken, head: Head) -> dict[str, float]:
        """Nats between the probe as the batch was scored and a plain pass through the present weights, if due."""
        gap = float((probed - self._plainly(head)).abs().max())
        limit = plain.LIMITS["bfloat16" if self._body.rounds else "float32"]
        if not gap <= limit:
            raise NumericError(
                f"update {self.version}: the weights that scored this batch are not the present ones: a probe's "
                f"logprobs are {gap:.2g} nats from those of a plain pass, allowed {limit:g}. The step was not taken; "
                "this is a fault of headwater or of a library, not of the recipe."
            )
        self._checked = True  # a resume checks its first step too, and logs as it would have without
        return {"weights_gap": gap} if plain.due(self.version) else {}

    def _not_finite(self, layout: Layout, scored: Scored, token: int) -> str:
        ends = torch.tensor(layout.response_lengths).cumsum(0)
        row = int(torch.searchsorted(ends, token, right=True))
        rollout = scored.rollouts[layout.members[row]].rollout
        return (
            f"update {self.version}: the loss of problem {rollout.problem_id} (rollout {rollout.rollout_id}) is not "
            "finite; the step was not taken. Lower the learning rate or remove the problem."
        )

    def save(self, directory: Path) -> None:
        """Write the model directory and `training/`."""
        checkpoint.save(directory, self.model, checkpoint.moments(self.model, self._optimiser), self.version)

    def load(self, directory: Path) -> None:
        """Take up weights, moments and version."""
        self.version = checkpoint.load(directory, self.model, self._optimiser)
        self._checked = False


class Followed(Protocol):
    """Whose weights a generator writes with."""

    version: int

    def drop_gradients(self) -> None: ...


class LocalGenerator(Generator):
    """Samples from a model in this process; stamps each rollout with the learner's version (None: a fixed model)."""

    def __init__(self, model: LanguageModel, learner: Followed | None, engine: EngineSettings):
        model.to(engine.torch_device)
        self._model = model
        self._body = Body(model, engine.precision)
        self._learner = learner
        self._engine = engine
        self._encode = lru_cache(maxsize=4096)(model.encode)  # a pool's prompts come again at every epoch

    def sync(self) -> None:
        """The weights are the learner's own; sampling needs the room of its gradients."""
        if self._learner is not None:
            self._learner.drop_gradients()

    def generate(self, problems: Sequence[Problem], samples: int, sampling: Sampling, seeds: Seeds) -> list[Group]:
        """Responses to prompts in order of length; finished ones make room for the next prompt's."""
        prompts = [self._encode(problem) for problem in problems]
        order = sorted(range(len(problems)), key=lambda i: (len(prompts[i]), i))
        places = max((len(prompt) for prompt in prompts), default=0) + sampling.max_response_tokens
        rows = self._engine.rows_a_wave(self._body.sizes, places)
        row_seeds = [[seeds.of(problems[i].problem_id, s) for s in range(samples)] for i in order]
        drawn = draw_responses(self._body, [prompts[i] for i in order], row_seeds, sampling, rows)
        refuse_not_finite([problems[i] for i in order], drawn, seeds.step)
        version = self._learner.version if self._learner is not None else -1
        groups = {
            i: grouped(self._model, problems[i], prompts[i], responses, seeds, version)
            for i, responses in zip(order, drawn, strict=True)
        }
        return [groups[i] for i in range(len(problems))]


def grouped(
    model: LanguageModel,
    problem: Problem,
    prompt: tuple[int, ...],
    responses: Sequence[Drawn],
    seeds: Seeds,
    version: int,
) -> Group:
    """What was drawn from one prompt, as rollouts."""
    rollouts = tuple(
        Rollout(
            rollout_id=f"{seeds.stream}/{seeds.step}/{problem.problem_id}/{s}",
            problem_id=problem.problem_id,
            prompt_ids=prompt,
            response_ids=response.ids,
            response_text=model.decode(response.ids),
            logprobs=response.logprobs,
            policy_version=version,
            finish_reason="stop" if response.stopped else "length",
        )
        for s, response in enumerate(responses)
    )
    return Group(problem=problem, rollouts=rollouts)


def refuse_not_finite(problems: Sequence[Problem], drawn: Sequence[Sequence[Drawn]], step: int) -> None:
    """Stop before such a response is scored, recorded or graded."""
    for problem, responses in zip(problems, drawn, strict=True):
        if not all(math.isfinite(sum(response.logprobs)) for response in responses):
            raise NumericError(
                f"step {step}: a sampled logprob of problem {problem.problem_id} is not finite: the weights are "
                "broken. No step was taken; lower the learning rate of the stage that made them."
            )


class LocalTeacher(Teacher):
    """A frozen model that says what comes next: exact distributions, kept as hidden states and a head."""

    exact = True

    def __init__(self, model: LanguageModel, engine: EngineSettings):
        model.to(engine.torch_device)
        self._model = model
        self._body = Body(model, engine.precision)
        self._engine = engine
        self._head = model.head[0].detach()[: model.emitted]
        bias = model.head[1]
        self._bias = None if bias is None else bias.detach()[: model.emitted]

    def distributions(self, rollouts: Sequence[Rollout], temperature: float) -> list[TeacherDistribution]:
        """One HiddenDistribution a rollout; logits are made tile by tile where they are used."""
        change = self._model.split.change
        return [
            HiddenDistribution(hidden=hidden, head=self._head, bias=self._bias, change=change, temperature=temperature)
            for hidden in self._hidden(rollouts)
        ]

    def logprobs(self, rollouts: Sequence[Rollout], temperature: float) -> list[PerToken]:
        """Logprob of each response token."""
        head = make_head(self._model, temperature, self._engine)
        lengths = [len(rollout.response_ids) for rollout in rollouts]
        hidden = torch.cat(self._hidden(rollouts)) if rollouts else torch.empty(0, 0)
        ids = torch.tensor([token for rollout in rollouts for token in rollout.response_ids], device=hidden.device)
        return list(tiled_logprobs(hidden, head, ids).split(lengths)) if rollouts else []

    @torch.no_grad()
    def _hidden(self, rollouts: Sequence[Rollout]) -> list[Float[Tensor, "token hidden"]]:
        found: dict[int, Tensor] = {}
        with self._body.work():
            for layout in self._body.pack(rollouts, self._engine.tokens_a_pass(self._body.sizes)):
                with self._body.attention(layout):
                    hidden = self._body.scored_hidden(layout)
                found.update(zip(layout.members, hidden.split(layout.response_lengths), strict=True))
        return [found[i] for i in range(len(rollouts))]


def make_head(model: LanguageModel, temperature: float, engine: EngineSettings) -> Head:
    """The model's head as this engine applies it: the rows that a tokenizer can emit, tiled."""
    weight, bias = model.head
    rows = model.emitted
    return Head(
        weight=weight,
        bias=bias,
        rows=rows,
        change=model.split.change,
        temperature=temperature,
        tile=engine.tokens_a_tile(rows),
        precision=engine.precision,
    )
