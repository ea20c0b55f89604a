"""Claims about problems that a user's own Python makes."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from headwater.errors import InputError
from headwater.problems.columns import Columns
from headwater.problems.generated import from_rows
from headwater.problems.pools import halves


def sums(seed: int) -> Iterator[dict[str, Any]]:
    rng = random.Random(seed)
    while True:
        a, b = rng.randrange(1000), rng.randrange(1000)
        yield {"problem": f"What is {a} + {b}?", "answer": a + b}


def test_a_generator_without_an_end_is_read_up_to_the_limit() -> None:
    labels = from_rows(sums(0), name="sums", limit=100)
    assert labels.rows == 100 == len(labels.problems) + sum(labels.merged.values())
    assert labels.problems[0].source == "sums"
    assert labels == from_rows(sums(0), name="sums", limit=100)
    assert labels.digest != from_rows(sums(1), name="sums", limit=100).digest


@pytest.mark.parametrize(
    ("answer", "kept"),
    [(7, "7"), (0.5, "0.5"), (Decimal("0.50"), "0.50"), (Fraction(1, 2), "1/2"), (np.int64(7), "7"), (" 7 ", "7")],
)
def test_numbers_of_every_kind_are_answers(answer: Any, kept: str) -> None:
    assert list(from_rows([{"problem": "How many?", "answer": answer}]).answers.values()) == [kept]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (["How many?", "7"], "found a list of 2; expected a mapping with a prompt and an answer"),
        (None, "found null; expected a mapping"),
        ({"problem": "How many?", "answer": float("nan")}, "'answer' is nan, not a finite number"),
        ({"problem": "How many?", "answer": 10**5000}, "'answer' has too many digits; write it as text"),
        ({"problem": "How many?", "answer": np.array([7])}, "'answer' is of type ndarray"),
        ({"problem": b"How many?", "answer": "7"}, "'problem' is bytes; allowed: text, or messages"),
        ({"problem": "How\udc80?", "answer": "7"}, "'problem' holds half a character"),
    ],
)
def test_a_bad_row_is_refused_by_its_number_or_dropped_by_choice(row: Any, reason: str) -> None:
    rows = [{"problem": "What is 2+2?", "answer": 4}, row]
    with pytest.raises(InputError) as refusal:
        from_rows(rows, name="mine")
    assert str(refusal.value).startswith(f"problems mine, line 2: {reason}")
    labels = from_rows(rows, on_bad="drop")
    assert (len(labels.problems), labels.dropped[0].line) == (1, 2)


def test_no_rows_are_refused() -> None:
    with pytest.raises(InputError, match="problems mine: no rows"):
        from_rows([], name="mine")


def test_columns_and_system_prompt_are_those_of_files() -> None:
    rows = [{"x": {"q": "What is 2+2?"}, "y": 4, "how": "2 and 2"}]
    columns = Columns(prompt="x.q", answer="y", demonstration="how")
    labels = from_rows(rows, columns=columns, system_prompt="Be brief.")
    assert [turn.role for turn in labels.problems[0].prompt] == ["system", "user"]  # type: ignore[union-attr]
    assert list(labels.demonstrations.values()) == ["2 and 2"]


def test_a_generators_own_error_comes_through() -> None:
    rows = itertools.chain([{"problem": "What is 2+2?", "answer": 4}], (1 // 0 for _ in range(1)))
    with pytest.raises(ZeroDivisionError):
        from_rows(rows)  # type: ignore[arg-type]


def test_a_draw_depends_on_seed_and_texts_and_not_on_the_order_of_rows() -> None:
    rows = list(itertools.islice(sums(0), 60))
    labels, turned = from_rows(rows), from_rows(rows[::-1])
    drawn = labels.draw(20, 1)
    assert len(drawn.problems) == len(drawn.answers) == 20
    assert set(drawn.answers) == set(turned.draw(20, 1).answers) != set(labels.draw(20, 2).answers)
    assert [p for p in labels.problems if p.problem_id in drawn.answers] == list(drawn.problems)
    with pytest.raises(InputError, match="problems rows: 61 problems are asked for and 60 are left of 60 rows"):
        labels.draw(61, 0)


def test_twenty_thousand_problems_are_read_merged_and_split() -> None:
    rows = list(itertools.islice(sums(0), 20_000))
    labels = from_rows(rows + rows[:5_000])
    assert labels.rows == 25_000 == len(labels.problems) + sum(labels.merged.values())
    pools = halves(labels.problems, 0)
    assert abs(len(pools.ids["1H"]) - len(pools.ids["2H"])) <= 1
