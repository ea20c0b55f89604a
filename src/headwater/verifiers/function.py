"""A user's own reward function, in TRL's form, as a verifier: fn(completions=..., **columns) -> floats or None.

The function is called once a step with all responses, and one value a column for each of them, as keyword
arguments; None leaves a response without a verdict. It is the user's code and runs in this process.

Left out of TRL's arguments: completion_ids, trainer_state and the loggers; asynchronous functions.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from headwater.errors import GraderError, InputError, NumericError
from headwater.records import Grade, Verdict

RewardFunction = Callable[..., Sequence[float | None]]


@dataclass(frozen=True, kw_only=True, slots=True)
class FunctionVerifier:
    """A `Verifier` whose verdicts carry the function's rewards.

    `column` names the gold answer. With `packed` the gold answer is a JSON object instead, and its keys are the
    columns ("prompt" goes in as `prompts`); so the ledger sees every label that the function can see.
    `conversational` hands a completion over as a list with one message. CORRECT is a reward of `full_marks`
    or more. `columns` are the same for every response.
    """

    function: RewardFunction
    column: str = "answer"
    packed: bool = False
    conversational: bool = False
    full_marks: float = 1.0
    columns: Mapping[str, Any] = field(default_factory=dict)

    def grade(self, responses: Mapping[str, tuple[str, str]]) -> dict[str, Grade]:
        """From rollout id -> (gold answer or row, response text) to rollout id -> grade.

        Raises GraderError when the function raises, InputError when it does not return one float or None a
        response, NumericError for a reward that is not finite.
        """
        if not responses:
            return {}
        columns = self._columns(responses)
        try:
            rewards = self.function(**columns)
        except Exception as error:
            raise GraderError(f"{self._name}: raised {type(error).__name__}: {error}") from error
        if not isinstance(rewards, list | tuple) or len(rewards) != len(responses):
            found = f"{len(rewards)} rewards" if isinstance(rewards, list | tuple) else f"a {type(rewards).__name__}"
            raise InputError(
                f"{self._name}: returned {found} for {len(responses)} completions; return a list with one each"
            )
        return {name: self._grade(name, reward) for name, reward in zip(responses, rewards, strict=True)}

    def check_golds(self, golds: Mapping[str, str]) -> None:
        """Raise InputError unless every packed row (by problem id) is a JSON object with the same keys."""
        if self.packed and golds:
            self._columns({name: (gold, "") for name, gold in golds.items()})

    def close(self) -> None:
        """Nothing to give back."""

    @property
    def _name(self) -> str:
        return f"reward function {getattr(self.function, '__name__', type(self.function).__name__)}"

    def _columns(self, responses: Mapping[str, tuple[str, str]]) -> dict[str, Any]:
        texts = [text for _, text in responses.values()]
        completions: list[Any] = texts
        if self.conversational:
            completions = [[{"role": "assistant", "content": text}] for text in texts]
        rows = [self._row(name, gold) for name, (gold, _) in responses.items()]
        names = rows[0].keys()
        for name, row in zip(responses, rows, strict=True):
            if row.keys() != names:
                raise InputError(f"{self._name}: {name} has the columns {sorted(row)} and others {sorted(names)}")
        columns = {"prompts" if name == "prompt" else name: [row[name] for row in rows] for name in names}
        shared = {name: [value] * len(texts) for name, value in self.columns.items()}
        return {**shared, **columns, "completions": completions}

    def _row(self, name: str, gold: str) -> dict[str, Any]:
        if not self.packed:
            return {self.column: gold}
        try:
            row = json.loads(gold)
        except ValueError as error:
            raise InputError(f"{self._name}: the label of {name} is no JSON ({error})") from error
        if not isinstance(row, dict):
            raise InputError(f"{self._name}: the label of {name} is no JSON object, so it has no columns")
        return row

    def _grade(self, name: str, reward: float | None) -> Grade:
        if reward is None:
            return Grade(verdict=Verdict.UNGRADED, reward=None)
        try:
            value = float(reward)  # numpy's and torch's numbers become floats
        except (TypeError, ValueError) as error:
            raise InputError(f"{self._name}: returned {reward!r:.50} for {name}; return a float or None") from error
        if not math.isfinite(value):
            raise NumericError(f"{self._name}: returned {value} for {name}; a reward is finite, or None")
        return Grade(verdict=Verdict.CORRECT if value >= self.full_marks else Verdict.WRONG, reward=value)
