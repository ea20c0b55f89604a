"""A user's own reward function, in TRL's form, as a verifier: fn(completions=..., **columns) -> floats or None.

The function is called once a step with all responses, and one value a column for each of them, as keyword
arguments; None leaves a response without a verdict. It is the user's code and runs in this process.

The gold answer may be a whole row, packed as JSON (`problems.packed`): its keys are then the columns, "prompt"
goes in as `prompts`, and completions are messages where the prompt is messages, all as in TRL. A function that
names its columns instead of taking **columns gets those alone.

An async function is awaited, all responses of a step at once. Left out of TRL's arguments: completion_ids,
trainer_state and the loggers.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from headwater import own_code
from headwater.errors import GraderError, InputError, NumericError
from headwater.records import Grade, Verdict
from headwater.verifiers.answers import Answers

RewardFunction = Callable[..., Sequence[float | None]]


async def _settled(rewards: Awaitable[Any]) -> Any:
    return await rewards


@dataclass(frozen=True, kw_only=True, slots=True)
class FunctionVerifier:
    """A `Verifier` whose verdicts carry the function's rewards.

    `column` names the gold answer. With `packed` the gold answer is a JSON object instead, and its keys are the
    columns; so the ledger sees every label that the function can see. `conversational` hands a completion over as
    a list with one message; None does so where the packed prompt is messages. CORRECT is a reward of `full_marks`
    or more. `columns` are the same for every response.
    """

    function: RewardFunction
    column: str = "answer"
    packed: bool = False
    conversational: bool | None = None
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
            rewards: Any = self.function(**self._wanted(columns))
            if inspect.isawaitable(rewards):  # an async function: all of its responses at once
                rewards = asyncio.run(_settled(rewards))
        except Exception as error:
            raise GraderError(f"{self.name}: raised {type(error).__name__}: {error}") from error
        if hasattr(rewards, "tolist"):  # an array of numpy's or torch's
            rewards = rewards.tolist()
        if not isinstance(rewards, list | tuple) or len(rewards) != len(responses):
            found = f"{len(rewards)} rewards" if isinstance(rewards, list | tuple) else f"a {type(rewards).__name__}"
            raise InputError(
                f"{self.name}: returned {found} for {len(responses)} completions; return a list with one each"
            )
        return {name: self._grade(name, reward) for name, reward in zip(responses, rewards, strict=True)}

    def unreadable(self, golds: Mapping[str, str]) -> list[str]:  # the function reads them as it likes
        """None: what a gold answer means is the function's affair."""
        return []

    def check_golds(self, golds: Mapping[str, str], places: Mapping[str, str] | None = None) -> None:
        """Raise InputError unless every packed row (by problem id) is a JSON object with the same keys."""
        if self.packed and golds:
            self._wanted(self._columns({name: (gold, "") for name, gold in golds.items()}))

    def find(self, text: str) -> str:
        """What the function grades: the whole response."""
        return text

    def close(self) -> None:
        """Nothing to give back."""

    @property
    def name(self) -> str:
        """As messages and audits call it."""
        return f"reward function {getattr(self.function, '__name__', type(self.function).__name__)}"

    def _wanted(self, columns: dict[str, Any]) -> dict[str, Any]:
        """The columns that the function takes. Raises InputError when it asks for one that the rows lack."""
        try:
            parameters = inspect.signature(self.function).parameters.values()
        except (TypeError, ValueError):  # some callables made in C tell no signature
            return columns
        named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
        lacking = [p.name for p in named if p.default is p.empty and p.name not in columns]
        if lacking:
            raise InputError(
                f"{self.name}: asks for {', '.join(lacking)}, and the rows have {', '.join(columns)}; rename the "
                "parameter or the column"
            )
        if any(p.kind is p.VAR_KEYWORD for p in parameters):
            return columns
        return {p.name: columns[p.name] for p in named if p.name in columns}

    def _columns(self, responses: Mapping[str, tuple[str, str]]) -> dict[str, Any]:
        texts = [text for _, text in responses.values()]
        rows = [self._row(name, gold) for name, (gold, _) in responses.items()]
        names = rows[0].keys()
        for name, row in zip(responses, rows, strict=True):
            if row.keys() != names:
                raise InputError(
                    f"{self.name}: {name} has the columns {sorted(row)} and others {sorted(names)}; give every row the "
                    "same, null where it has no value"
                )
        completions: list[Any] = texts
        messages = self.packed and isinstance(rows[0].get("prompt"), list)
        if messages if self.conversational is None else self.conversational:
            completions = [[{"role": "assistant", "content": text}] for text in texts]
        columns = {"prompts" if name == "prompt" else name: [row[name] for row in rows] for name in names}
        shared = {name: [value] * len(texts) for name, value in self.columns.items()}
        return {**shared, **columns, "completions": completions}

    def _row(self, name: str, gold: str) -> dict[str, Any]:
        if not self.packed:
            return {self.column: gold}
        try:
            row = json.loads(gold)
        except ValueError as error:
            raise InputError(f"{self.name}: the label of {name} is no JSON ({error})") from error
        if not isinstance(row, dict):
            raise InputError(f"{self.name}: the label of {name} is no JSON object, so it has no columns")
        return row

    def _grade(self, name: str, reward: float | None) -> Grade:
        if reward is None:
            return Grade(verdict=Verdict.UNGRADED, reward=None)
        try:
            value = float(reward)  # numpy's and torch's numbers become floats
        except (TypeError, ValueError) as error:
            raise InputError(f"{self.name}: returned {reward!r:.50} for {name}; return a float or None") from error
        if not math.isfinite(value):
            raise NumericError(f"{self.name}: returned {value} for {name}; a reward is finite, or None")
        return Grade(verdict=Verdict.CORRECT if value >= self.full_marks else Verdict.WRONG, reward=value)


@dataclass(frozen=True, slots=True)
class FunctionAgain:
    """A `Judge` for an audit: the same function, asked again about the same responses."""

    verifier: FunctionVerifier

    @property
    def name(self) -> str:
        """The function's, asked again."""
        return f"{self.verifier.name}, asked again"

    def judge(self, answers: Answers) -> dict[str, Grade]:
        """Its grades; every response of a function is an answer."""
        return self.verifier.grade({name: (gold, text or "") for name, (gold, text) in answers.items()})

    def close(self) -> None:
        """Nothing to give back."""


PLACE = "grading.function"


def digest_of(reference: str) -> str:
    """SHA-256 of the file that a path:function names, 64 hex digits. Raises InputError when it cannot be read."""
    return own_code.digest_of(reference, PLACE)


def load_function(reference: str, *, full_marks: float = 1.0) -> FunctionVerifier:
    """The verifier around the function that a path:function names; its labels are packed rows.

    Runs the file. Raises InputError when it cannot be read or run, or has no such function.
    """
    function: RewardFunction = own_code.load(reference, PLACE, "function", _is_function)
    if inspect.iscoroutinefunction(function):
        raise InputError(f"{PLACE}: {reference} is asynchronous; write it as a plain def")
    return FunctionVerifier(function=function, packed=True, full_marks=full_marks)


def _is_function(value: Any) -> bool:
    return callable(value)
