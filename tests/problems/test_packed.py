"""Claims about whole rows as labels, for a reward function of the user's own."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from headwater.errors import InputError
from headwater.problems.columns import Columns
from headwater.problems.files import FileSource, read_problems
from headwater.problems.generated import from_rows
from headwater.problems.labels import LabelSet


def label(read: LabelSet) -> dict[str, Any]:
    (text,) = read.answers.values()
    return dict(json.loads(text))


def write(path: Path, *rows: dict[str, Any]) -> str:
    if path.suffix == ".parquet":
        parquet.write_table(pyarrow.Table.from_pylist(list(rows)), path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


ROW = {"problem": "How many?", "solution": "5", "level": 2, "weight": 0.5, "tests": ["a", "b"], "meta": {"easy": True}}


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.parquet"])
def test_a_label_is_the_row_with_what_the_model_is_asked_and_the_gold_answer(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, ROW)
    read = read_problems(FileSource(path=path), packed=True)
    assert label(read) == {**ROW, "prompt": "How many?", "answer": "5"}
    plain = read_problems(FileSource(path=path))
    assert list(plain.answers.values()) == ["5"]
    assert read.problems == plain.problems


def test_the_prompt_is_what_the_model_is_asked_messages_and_system_prompt_with_it(tmp_path: Path) -> None:
    row = {"prompt": [{"role": "user", "content": "How many?"}], "answer": 5}
    path = write(tmp_path / "rows.jsonl", row)
    read = read_problems(FileSource(path=path, system_prompt="Be brief."), packed=True)
    assert label(read) == {
        "prompt": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "How many?"}],
        "answer": 5,
    }


def test_other_columns_make_no_contradiction_and_other_answers_do() -> None:
    rows = [{"prompt": "How many?", "answer": "5", "index": index} for index in (1, 2)]
    read = from_rows(rows, packed=True)
    assert label(read)["index"] == 1
    assert sum(read.merged.values()) == 1
    with pytest.raises(InputError, match="different answers"):
        from_rows([*rows, {"prompt": "How many?", "answer": "6", "index": 3}], packed=True)


def test_the_gold_answer_may_be_any_column_by_the_map(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", ROW)
    mapped = read_problems(FileSource(path=path, columns=Columns(answer="tests.0")), packed=True)
    assert label(mapped)["answer"] == "a"


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("completions", "x", "the column 'completions' has a name that reward functions use otherwise; rename it"),
        ("day", date(2020, 1, 1), "'day' is of type date; a reward function's row holds text, numbers"),
        ("raw", b"x", "'raw' is bytes"),
        ("share", float("nan"), "'share' is nan, which JSON cannot hold"),
    ],
)
def test_what_a_function_cannot_be_given_is_a_bad_row(column: str, value: Any, reason: str) -> None:
    rows = [{"prompt": "How many?", "answer": "5", column: value}]
    assert from_rows(rows).problems
    with pytest.raises(InputError, match=reason):
        from_rows(rows, packed=True)
