"""Claims about a user's reward function, in the form that TRL calls it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import numpy as np
import pytest
import torch

from headwater.errors import GraderError, HeadwaterError, InputError, NumericError
from headwater.records import Grade, Verdict
from headwater.signals.reward import Reward
from headwater.verifiers.function import FunctionVerifier
from scripted import ONCE, Script, ScriptedAnswers, scripted_group

RESPONSES = {"a": ("2", "it is 2"), "b": ("2", "3"), "c": ("5", "")}


def length_reward(completions: list[str], **_: Any) -> list[float]:
    return [len(text) / 10 for text in completions]


def accuracy(completions: list[str], answer: list[str], **_: Any) -> list[float | None]:
    return [None if not text else float(gold in text) for text, gold in zip(completions, answer, strict=True)]


def test_an_async_function_is_awaited() -> None:
    async def score(completions: list[str], answer: list[str], **_: object) -> list[float]:
        return [float(gold in text) for text, gold in zip(completions, answer, strict=True)]

    grades = FunctionVerifier(function=score).grade({"a": ("7", "it is 7"), "b": ("7", "it is 8")})
    assert [grades[name].reward for name in "ab"] == [1.0, 0.0]


def test_an_async_function_is_awaited_where_a_loop_runs_already_as_in_a_notebook() -> None:
    async def score(completions: list[str]) -> list[float]:
        await asyncio.sleep(0)
        return [1.0] * len(completions)

    async def cell() -> Grade:
        return FunctionVerifier(function=score).grade({"a": ("7", "7")})["a"]

    assert asyncio.run(cell()).reward == 1.0


def test_async_functions_wait_for_each_other_and_not_one_after_another() -> None:
    """Each goes on only when the other has begun: one after another they would wait for ever."""
    begun = [asyncio.Event(), asyncio.Event()]

    async def first(completions: list[str]) -> list[float]:
        begun[0].set()
        await asyncio.wait_for(begun[1].wait(), 30)
        return [1.0] * len(completions)

    async def second(completions: list[str]) -> list[float]:
        begun[1].set()
        await asyncio.wait_for(begun[0].wait(), 30)
        return [2.0] * len(completions)

    assert FunctionVerifier(function=[first, second]).grade({"a": ("7", "7")})["a"].reward == 3.0


def test_the_reward_of_several_functions_is_their_weighted_sum_over_those_that_give_a_verdict() -> None:
    verifier = FunctionVerifier(function=[accuracy, length_reward], reward_weights=[1.0, 0.5])
    grades = verifier.grade({**RESPONSES, "d": ("x", "x")})
    assert {name: grade.reward for name, grade in grades.items()} == {
        "a": pytest.approx(1.0 + 0.5 * 0.7),
        "b": pytest.approx(0.5 * 0.1),
        "c": 0.0,  # accuracy gives none on an empty response: the length's alone, and no zero for the other
        "d": pytest.approx(1.05),
    }
    assert grades["c"].parts == {"accuracy": None, "length_reward": 0.0}
    assert verifier.name == "reward functions accuracy, length_reward"


def test_a_response_on_which_no_function_gives_a_verdict_is_ungraded() -> None:
    def silent(completions: list[str]) -> list[None]:
        return [None] * len(completions)

    grades = FunctionVerifier(function=[accuracy, silent]).grade(RESPONSES)
    assert [grade.verdict.value for grade in grades.values()] == ["correct", "wrong", "ungraded"]


@pytest.mark.parametrize(
    ("functions", "weights", "message"),
    [
        ([], None, "none is given"),
        ([length_reward, length_reward], None, "two are called length_reward"),
        ([length_reward, accuracy], [1.0], r"reward_weights: \[1.0\] for length_reward, accuracy"),
        ([length_reward], [float("nan")], "give a finite number for each"),
    ],
)
def test_functions_and_weights_that_do_not_fit_are_one_line(functions: Any, weights: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        FunctionVerifier(function=functions, reward_weights=weights)


def test_rewards_are_carried_and_none_is_ungraded() -> None:
    assert FunctionVerifier(function=accuracy).grade(RESPONSES) == {
        "a": Grade(verdict=Verdict.CORRECT, reward=1.0),
        "b": Grade(verdict=Verdict.WRONG, reward=0.0),
        "c": Grade(verdict=Verdict.UNGRADED, reward=None),
    }
    assert FunctionVerifier(function=accuracy).grade({}) == {}


def test_only_full_marks_are_correct() -> None:
    grades = FunctionVerifier(function=length_reward, full_marks=0.7).grade(RESPONSES)
    assert [(grade.verdict.value, grade.reward) for grade in grades.values()] == [
        ("correct", 0.7), ("wrong", 0.1), ("wrong", 0.0)
    ]  # fmt: skip


def test_columns_come_from_the_packed_label_and_from_the_settings() -> None:
    seen: dict[str, Any] = {}

    def keep(**columns: Any) -> list[float]:
        seen.update(columns)
        return [1.0] * len(columns["completions"])

    row = json.dumps({"solution": "2", "level": 3, "prompt": "1+1?"})
    verifier = FunctionVerifier(function=keep, packed=True, conversational=True, columns={"style": "terse"})
    verifier.check_golds({"p": row})
    verifier.grade({"a": (row, "2"), "b": (row, "two")})
    assert seen == {
        "solution": ["2", "2"],
        "level": [3, 3],
        "prompts": ["1+1?", "1+1?"],
        "style": ["terse", "terse"],
        "completions": [[{"role": "assistant", "content": text}] for text in ("2", "two")],
    }


@pytest.mark.parametrize(
    "returned",
    [np.array([1.0, 0.0]), np.array([1, 0]), np.array([True, False]), [np.float32(1), np.float64(0)],
     (np.int64(1), np.bool_(False)), torch.tensor([1.0, 0.0])],
)  # fmt: skip
def test_rewards_may_be_numbers_and_arrays_of_numpys_and_torchs(returned: Any) -> None:
    def reward(completions: list[str]) -> Any:
        return returned

    found = FunctionVerifier(function=reward).grade({"a": ("1", "x"), "b": ("1", "y")})
    assert [grade.reward for grade in found.values()] == [1.0, 0.0]
    assert [type(grade.reward) for grade in found.values()] == [float, float]


@pytest.mark.parametrize(
    ("returned", "error", "message"),
    [
        ([1.0], InputError, "returned 1 rewards for 3 completions"),
        (1.0, InputError, "returned a float"),
        (["a", 1, 2], InputError, "returned 'a' for a"),
        (np.zeros((3, 1)), InputError, r"returned \[0.0\] for a"),
        (np.float64(1), InputError, "returned a float for 3 completions"),
        ([float("nan"), 1, 2], NumericError, "returned nan for a"),
        (ValueError("no key"), GraderError, "returning: raised ValueError: no key"),
    ],
)
def test_what_is_no_reward_is_named(returned: Any, error: type[HeadwaterError], message: str) -> None:
    def returning(**_: Any) -> Any:
        if isinstance(returned, Exception):
            raise returned
        return returned

    with pytest.raises(error, match=message):
        FunctionVerifier(function=returning).grade(RESPONSES)


@pytest.mark.parametrize(
    ("label", "message"), [("{", "is no JSON"), ("[1]", "no JSON object"), ('{"b": 1}', "has the columns")]
)
def test_a_packed_label_that_is_no_row_is_named(label: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        FunctionVerifier(function=length_reward, packed=True).check_golds({"p": '{"a": 1}', "q": label})


def test_the_reward_signal_centres_the_functions_rewards() -> None:
    def half_marks(completions: list[str], **_: Any) -> list[float]:
        return [0.25, 0.75]

    script = Script(answers=ScriptedAnswers(answers={"p": "1"}))
    workers = script.workers()
    workers.verifier = FunctionVerifier(function=half_marks)
    signal = Reward(divide_by_std=False, kl_coefficient=0.0)
    scored = signal.score([scripted_group("p", [[1], [2]])], workers, ONCE)
    assert scored.metrics["reward"] == 0.5
    assert [rollout.target.advantage.item() for rollout in scored.rollouts] == [-0.25, 0.25]  # type: ignore[attr-defined]


def test_what_each_function_gave_is_logged_apart_from_their_sum() -> None:
    def long(completions: list[str], **_: Any) -> list[float]:
        return [0.25, 0.75]

    def odd(completions: list[str], **_: Any) -> list[float | None]:
        return [None, 0.5]

    script = Script(answers=ScriptedAnswers(answers={"p": "1"}))
    workers = script.workers()
    workers.verifier = FunctionVerifier(function=[long, odd], reward_weights=[1.0, 2.0])
    scored = Reward(kl_coefficient=0.0).score([scripted_group("p", [[1], [2]])], workers, ONCE)
    assert scored.metrics["reward"] == (0.25 + 1.75) / 2
    assert (scored.metrics["reward/long"], scored.metrics["reward/odd"]) == (0.5, 0.5)


def test_a_grade_without_a_reward_is_ungraded_and_the_other_way_round() -> None:
    for verdict, reward in ((Verdict.CORRECT, None), (Verdict.UNGRADED, 0.0)):
        with pytest.raises(ValueError, match="grade"):
            Grade(verdict=verdict, reward=reward)
    assert Verdict.CORRECT.verdict is Verdict.CORRECT
