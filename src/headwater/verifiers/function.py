"""A user's own reward functions, in TRL's form, as a verifier: fn(completions=..., **columns) -> floats or None.

A function is called once a step with all responses, and one value a column for each of them, as keyword
arguments. It is the user's code and runs in this process.

Of several functions the reward is the weighted sum, with weights 1 unless `reward_weights` says others (TRL's
`reward_funcs` and `reward_weights`). None from a function is no verdict of its on that response, and the sum goes over
the others; where none gives one the response is ungraded.

The gold answer may be a whole row, packed as JSON (`problems.packed`): its keys are then the columns, "prompt"
goes in as `prompts`, and completions are messages where the prompt is messages, all as in TRL. A function that
names its columns instead of taking **columns gets those alone.

An async function is awaited, all async ones of a step at once. Left out of TRL's arguments: completion_ids,
trainer_state and the loggers.
"""

from __future__ import annotations

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


def _settled(awaitables: Sequence[Awaitable[Any]]) -> list[Any]:
    """What they give, or the exception that each ended with; in a thread where a loop runs already, as in notebooks."""
    import asyncio  # noqa: PLC0415  few functions need them, and every start would pay
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415

    async def together() -> list[Any]:
        return await asyncio.gather(*awaitables, return_exceptions=True)

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(together())
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(lambda: asyncio.run(together())).result()


def _name(function: Any) -> str:
    return str(getattr(function, "__name__", type(function).__name__))


@dataclass(frozen=True, kw_only=True, slots=True)
class FunctionVerifier:
    """A `Verifier` whose verdicts carry the rewards of a function, or the weighted sum of several.

    `column` names the gold answer. With `packed` the gold answer is a JSON object instead, and its keys are the
    columns; so the ledger sees every label that the function can see. `conversational` hands a completion over as
    a list with one message; None does so where the packed prompt is messages. CORRECT is a reward of `full_marks`
    or more. `columns` are the same for every response.
    """

    function: RewardFunction | Sequence[RewardFunction]
    reward_weights: Sequence[float] | None = None
    column: str = "answer"
    packed: bool = False
    conversational: bool | None = None
    full_marks: float = 1.0
    columns: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names, weights = [_name(function) for function in self.functions], self.reward_weights
        repeated = next((name for name in names if names.count(name) > 1), None)
        if not names or repeated is not None:
            found = "none is given" if not names else f"two are called {repeated}"
            raise InputError(f"reward functions: {found}; give one or more, each with a name of its own")
        if weights is not None and (len(weights) != len(names) or not all(map(math.isfinite, weights))):
            raise InputError(f"reward_weights: {list(weights)} for {', '.join(names)}; give a finite number for each")

    @property
    def functions(self) -> tuple[RewardFunction, ...]:
        """Them all, in the order of the weights."""
        return (self.function,) if callable(self.function) else tuple(self.function)

    def grade(self, responses: Mapping[str, tuple[str, str]]) -> dict[str, Grade]:
        """From rollout id -> (gold answer or row, response text) to rollout id -> grade.

        Raises GraderError when a function raises, InputError when it does not return one float or None a
        response, NumericError for a reward that is not finite.
        """
        if not responses:
            return {}
        columns = self._columns(responses)
        asked = [(function, self._wanted(function, columns)) for function in self.functions]
        given = [self._called(function, wanted) for function, wanted in asked]
        waiting = [reward for reward in given if inspect.isawaitable(reward)]
        settled = iter(_settled(waiting) if waiting else ())
        told = [next(settled) if inspect.isawaitable(reward) else reward for reward in given]
        rewards = {
            _name(function): self._rewards(function, found, list(responses))
            for function, found in zip(self.functions, told, strict=True)
        }
        return {name: self._grade({of: rewards[of][i] for of in rewards}) for i, name in enumerate(responses)}

    def _called(self, function: RewardFunction, columns: dict[str, Any]) -> Any:
        """What a function gives; what it raises is kept, so that no async one beside it is left unawaited."""
        try:
            return function(**columns)
        except Exception as error:  # noqa: BLE001  the user's code; raised again by `_rewards`
            return error

    def _rewards(self, function: RewardFunction, found: Any, names: Sequence[str]) -> list[float | None]:
        """One function's rewards, in the responses' order."""
        who = f"reward function {_name(function)}"
        if isinstance(found, Exception):
            raise GraderError(f"{who}: raised {type(found).__name__}: {found}") from found
        if hasattr(found, "tolist"):  # an array of numpy's or torch's
            found = found.tolist()
        if not isinstance(found, list | tuple) or len(found) != len(names):
            got = f"{len(found)} rewards" if isinstance(found, list | tuple) else f"a {type(found).__name__}"
            raise InputError(f"{who}: returned {got} for {len(names)} completions; return a list with one each")
        return [_number(who, name, reward) for name, reward in zip(names, found, strict=True)]

    def unreadable(self, golds: Mapping[str, str]) -> list[str]:  # the function reads them as it likes
        """None: what a gold answer means is the function's affair."""
        return []

    def check_golds(self, golds: Mapping[str, str], places: Mapping[str, str] | None = None) -> None:
        """Raise InputError unless every packed row (by problem id) is a JSON object with the same keys."""
        if self.packed and golds:
            columns = self._columns({name: (gold, "") for name, gold in golds.items()})
            for function in self.functions:
                self._wanted(function, columns)

    def find(self, text: str) -> str:
        """What the function grades: the whole response."""
        return text

    def close(self) -> None:
        """Nothing to give back."""

    @property
    def name(self) -> str:
        """As messages and audits call it."""
        names = [_name(function) for function in self.functions]
        return f"reward function{'s' if names[1:] else ''} {', '.join(names)}"

    def _wanted(self, function: RewardFunction, columns: dict[str, Any]) -> dict[str, Any]:
        """The columns that a function takes. Raises InputError when it asks for one that the rows lack."""
        try:
            parameters = inspect.signature(function).parameters.values()
        except (TypeError, ValueError):  # some callables made in C tell no signature
            return columns
        named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
        lacking = [p.name for p in named if p.default is p.empty and p.name not in columns]
        if lacking:
            raise InputError(
                f"reward function {_name(function)}: asks for {', '.join(lacking)}, and the rows have "
                f"{', '.join(columns)}; rename the parameter or the column"
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

    def _grade(self, parts: Mapping[str, float | None]) -> Grade:
        """Of one response, from what each function gave it."""
        weights = self.reward_weights or [1.0] * len(parts)
        known = [weight * part for weight, part in zip(weights, parts.values(), strict=True) if part is not None]
        apart = parts if len(parts) > 1 else {}
        if not known:
            return Grade(verdict=Verdict.UNGRADED, reward=None, parts=apart)
        reward = math.fsum(known)
        verdict = Verdict.CORRECT if reward >= self.full_marks else Verdict.WRONG
        return Grade(verdict=verdict, reward=reward, parts=apart)


def _number(who: str, name: str, reward: Any) -> float | None:
    """One reward as a float; None stays."""
    if reward is None:
        return None
    try:
        value = float(reward)  # numpy's and torch's numbers become floats
    except (TypeError, ValueError) as error:
        raise InputError(f"{who}: returned {reward!r:.50} for {name}; return a float or None") from error
    if not math.isfinite(value):
        raise NumericError(f"{who}: returned {value} for {name}; a reward is finite, or None")
    return value


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


def load_functions(
    references: Sequence[str], *, reward_weights: Sequence[float] | None = None, full_marks: float = 1.0
) -> FunctionVerifier:
    """The verifier around the functions that each path:function names; its labels are packed rows.

    Runs the files. Raises InputError when one cannot be read or run, or has no such function.
    """
    functions = [own_code.load(reference, PLACE, "function", callable) for reference in references]
    return FunctionVerifier(
        function=functions, reward_weights=reward_weights or None, packed=True, full_marks=full_marks
    )
