"""How a lab model learns the task's forms: the same loop, imitating exercises that are made as they are read.

Pretraining reads no label: exercises come from the generator, never from the labelled or held-out problems.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from headwater.fingerprint import derive_seed
from headwater.loop import Schedule, Stage
from headwater.models.choice import Pretraining
from headwater.optimiser import Optimiser
from headwater.problems.arithmetic import Corpus
from headwater.records import Problem, Rollout
from headwater.samplers import Recorded
from headwater.signals import Imitation

if TYPE_CHECKING:
    from headwater.models.language_model import LanguageModel


def pretraining_stage(settings: Pretraining, role: str) -> Stage:
    """Pretraining as a stage of the one loop (lab settings: AdamW 0.9/0.98, decay 0.1, cosine to 0.1)."""
    return Stage(
        name="pretrain",
        learner="teacher" if role == "teacher" else "student",
        sampler=Recorded(samples=1),
        signal=Imitation(),
        pool="exercises",
        schedule=Schedule(updates=settings.updates, problems=settings.batch, order="given"),
        optimiser=Optimiser(
            learning_rate=settings.learning_rate,
            beta2=0.98,
            weight_decay=0.1,
            warmup_share=0.05,
            final_share=0.1,
        ),
    )


class Exercises(Mapping[str, Sequence[Rollout]]):
    """Exercises by id, made a batch at a time when the loop asks for the first of its batch."""

    def __init__(self, settings: Pretraining, model: LanguageModel, exclude: frozenset[str], seed: int):
        self._settings = settings
        self._model = model
        self._seed = seed
        self._corpus = Corpus(careful=settings.careful, hasty=settings.hasty, direct=settings.direct, exclude=exclude)
        self._batch_index = -1
        self._rollouts: list[Rollout] = []
        self.problems = [
            Problem(problem_id=f"exercise-{i}", prompt="", source="exercises")
            for i in range(settings.updates * settings.batch)
        ]
        vocabulary = model.tokenizer.get_vocab()
        self._end = model.tokenizer.eos_token_id
        self._ids = {word: int(i) for word, i in vocabulary.items()}

    def __getitem__(self, problem_id: str) -> tuple[Rollout, ...]:
        index = int(problem_id.removeprefix("exercise-"))
        batch, place = divmod(index, self._settings.batch)
        if batch != self._batch_index:
            self._make(batch)
        return (self._rollouts[place],)

    def _make(self, batch: int) -> None:
        """The exercises of one update: single steps only, in the first phase."""
        pairs = self._corpus.batch(
            derive_seed(self._seed, "exercises", batch),
            self._settings.batch,
            single_step_only=batch < self._settings.single_step_updates,
        )
        first = batch * self._settings.batch
        self._rollouts = [self._rollout(first + i, prompt, response) for i, (prompt, response) in enumerate(pairs)]
        self._batch_index = batch

    def _rollout(self, index: int, prompt: str, response: str) -> Rollout:
        problem = self.problems[index]
        return Rollout(
            rollout_id=f"{problem.problem_id}/0",
            problem_id=problem.problem_id,
            prompt_ids=tuple(self._ids[word] for word in prompt.split()),
            response_ids=(*(self._ids[word] for word in response.split()), self._end),
            response_text=response,
            logprobs=(),
            policy_version=-1,
            finish_reason="stop",
        )

    def __iter__(self) -> Iterator[str]:
        return (problem.problem_id for problem in self.problems)

    def __len__(self) -> int:
        return len(self.problems)
