"""Claims about reading labelled problems from JSON Lines and Parquet files, in any of the common layouts."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet
from pydantic import ValidationError

from headwater.errors import InputError
from headwater.problems.columns import Columns, Example
from headwater.problems.files import FileSource, read_problems
from headwater.problems.labels import LabelSet
from headwater.problems.pools import find_overlaps, identity, prompt_text
from headwater.records import Message

PLAIN = [{"prompt": "What is $2+2$?", "answer": "4"}, {"prompt": "What is $2+3$?", "answer": "5"}]
TRL = [
    {
        "prompt": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": row["prompt"]}],
        "solution": row["answer"],
    }
    for row in PLAIN
]
VERL = [
    {
        "data_source": "openai/gsm8k",
        "prompt": [{"role": "user", "content": row["prompt"]}],
        "ability": "math",
        "reward_model": {"style": "rule", "ground_truth": row["answer"]},
        "extra_info": {"split": "train", "index": index, "answer": "a worked solution", "question": row["prompt"]},
    }
    for index, row in enumerate(PLAIN)
]


def write(folder: Path, rows: list[dict[str, Any]], suffix: str) -> str:
    path = folder / f"labels{suffix}"
    if suffix == ".parquet":
        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    else:
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return str(path)


def read(folder: Path, rows: list[dict[str, Any]], suffix: str = ".jsonl", **options: Any) -> LabelSet:
    return read_problems(FileSource(path=write(folder, rows, suffix), **options))


def gold(labels: LabelSet) -> list[str]:
    return [labels.answers[problem.problem_id] for problem in labels.problems]


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
@pytest.mark.parametrize("prompt", ["prompt", "problem", "question"])
@pytest.mark.parametrize("answer", ["answer", "solution", "label", "gold"])
def test_the_known_names_are_read_from_both_formats(tmp_path: Path, suffix: str, prompt: str, answer: str) -> None:
    labels = read(tmp_path, [{prompt: row["prompt"], answer: row["answer"]} for row in PLAIN], suffix)
    assert [problem.prompt for problem in labels.problems] == ["What is $2+2$?", "What is $2+3$?"]
    assert gold(labels) == ["4", "5"]
    assert labels.rows == 2
    assert labels.columns[:2] == (prompt, answer)


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_trls_layout_is_read_unchanged(tmp_path: Path, suffix: str) -> None:
    labels = read(tmp_path, TRL, suffix)
    system, user = Message(role="system", content="Be brief."), Message(role="user", content="What is $2+2$?")
    assert labels.problems[0].prompt == (system, user)
    assert gold(labels) == ["4", "5"]


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_verls_layout_is_read_unchanged(tmp_path: Path, suffix: str) -> None:
    labels = read(tmp_path, VERL, suffix)
    assert labels.problems[1].prompt == (Message(role="user", content="What is $2+3$?"),)
    assert labels.problems[1].source == "openai/gsm8k"
    assert gold(labels) == ["4", "5"]


def test_verls_ground_truth_comes_before_a_worked_solution(tmp_path: Path) -> None:
    assert gold(read(tmp_path, [{**row, "solution": "2 and 2 make 4", "answer": "see above"} for row in VERL])) == [
        "4",
        "5",
    ]


def test_one_problem_has_one_id_in_every_layout(tmp_path: Path) -> None:
    sets = [read(tmp_path, rows, suffix) for rows in (PLAIN, TRL, VERL) for suffix in (".jsonl", ".parquet")]
    assert len({tuple(problem.problem_id for problem in labels.problems) for labels in sets}) == 1
    assert sets[0].problems[0].problem_id == identity("what is 2 + 2?")


def test_a_column_map_reaches_nested_values_lists_and_names_with_dots(tmp_path: Path) -> None:
    rows = [{"in": {"q": "What is $2+2$?"}, "final": ["4"], "a.b": "two and two"}]
    columns = Columns(prompt="in.q", answer="final.0", demonstration="a.b")
    labels = read(tmp_path, rows, columns=columns)
    assert gold(labels) == ["4"]
    assert list(labels.demonstrations.values()) == ["two and two"]


def test_demonstrations_are_read_only_from_a_mapped_column(tmp_path: Path) -> None:
    rows = [{**PLAIN[0], "solution": "2 and 2 make 4"}]
    assert read(tmp_path, rows).demonstrations == {}
    labels = read(tmp_path, rows, columns=Columns(demonstration="solution"))
    assert labels.demonstrations == {labels.problems[0].problem_id: "2 and 2 make 4"}
    assert gold(labels) == ["4"]


def test_a_problem_does_not_hold_its_answer_and_no_repr_shows_it(tmp_path: Path) -> None:
    labels = read(
        tmp_path,
        [{"prompt": "Say it.", "answer": "sesame", "how": "a sesame seed"}],
        columns=Columns(demonstration="how"),
    )
    shown = f"{labels!r} {labels.problems}"
    assert "sesame" not in shown


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("72", "72"),
        ("-0.10", "-0.10"),
        ("1e400", "1e400"),
        ("12345678901234567890.123", "12345678901234567890.123"),
        ("9" * 5000, "9" * 5000),
        ('"  72 "', "72"),
    ],
)
def test_a_number_stays_as_it_is_written(tmp_path: Path, written: str, kept: str) -> None:
    path = tmp_path / "n.jsonl"
    path.write_text(f'{{"prompt": "How many?", "answer": {written}}}\n')
    assert gold(read_problems(FileSource(path=str(path)))) == [kept]


def test_parquet_numbers_are_answers_too(tmp_path: Path) -> None:
    assert gold(read(tmp_path, [{"prompt": "How many?", "answer": 72}], ".parquet")) == ["72"]
    assert gold(read(tmp_path, [{"prompt": "How many?", "answer": 0.5}], ".parquet")) == ["0.5"]


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c"])
def test_only_a_line_feed_ends_a_row(tmp_path: Path, separator: str) -> None:
    path = tmp_path / "u.jsonl"
    escaped = separator if ord(separator) > 0x7F else f"\\u{ord(separator):04x}"
    path.write_text(f'{{"prompt": "one{escaped}two", "answer": "4"}}\n', encoding="utf-8", newline="\n")
    (problem,) = read_problems(FileSource(path=str(path))).problems
    assert problem.prompt == f"one{separator}two"


@pytest.mark.parametrize(
    "data",
    [
        b'{"prompt": "one?", "answer": "1"}\r\n{"prompt": "two?", "answer": "2"}\r\n',
        b'\xef\xbb\xbf{"prompt": "one?", "answer": "1"}\n{"prompt": "two?", "answer": "2"}\n',
        b'{"prompt": "one?", "answer": "1"}\n{"prompt": "two?", "answer": "2"}',
        b'{"prompt": "one?", "answer": "1"}\n{"prompt": "two?", "answer": "2"}\n\n \r\n',
    ],
    ids=["CRLF", "byte order mark", "no last line feed", "blank lines at the end"],
)
def test_harmless_ways_of_writing_a_file_are_read(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "labels.jsonl"
    path.write_bytes(data)
    assert gold(read_problems(FileSource(path=str(path)))) == ["1", "2"]


def test_the_digest_is_of_the_bytes_and_the_content_digest_of_what_they_say(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one, other = read(tmp_path / "a", PLAIN), read(tmp_path / "b", PLAIN, ".parquet")
    assert one.digest == read(tmp_path / "a", PLAIN).digest != other.digest
    assert one.content_digest == other.content_digest
    changed = read(tmp_path / "a", [PLAIN[0], {**PLAIN[1], "answer": "6"}])
    assert changed.content_digest != one.content_digest


def test_a_system_prompt_is_put_first_and_changes_content_but_no_id(tmp_path: Path) -> None:
    bare, told = read(tmp_path, PLAIN), read(tmp_path, PLAIN, system_prompt="Box the answer.")
    assert told.problems[0].prompt == (
        Message(role="system", content="Box the answer."),
        Message(role="user", content="What is $2+2$?"),
    )
    assert [p.problem_id for p in told.problems] == [p.problem_id for p in bare.problems]
    assert told.content_digest != bare.content_digest
    with pytest.raises(InputError, match="line 1: 'prompt' has a system message already; leave system_prompt out"):
        read(tmp_path, TRL, system_prompt="Box the answer.")


SHOT = Example(prompt="What is $1+1$?", response="It is 2.")


def test_worked_examples_stand_before_every_prompt_and_change_content_but_no_id(tmp_path: Path) -> None:
    bare, told = read(tmp_path, PLAIN), read(tmp_path, PLAIN, few_shot=(SHOT,))
    assert told.problems[0].prompt == "What is $1+1$?\nIt is 2.\n\nWhat is $2+2$?"
    assert [p.problem_id for p in told.problems] == [p.problem_id for p in bare.problems]
    assert [prompt_text(p) for p in told.problems] == [prompt_text(p) for p in bare.problems]
    assert told.content_digest != bare.content_digest
    held = {"held": bare.problems}
    assert find_overlaps(told.problems, held) == find_overlaps(bare.problems, held)


def test_worked_examples_of_a_chat_are_turns_behind_the_system_message(tmp_path: Path) -> None:
    told = read(tmp_path, PLAIN, few_shot=(SHOT,), system_prompt="Be brief.")
    assert [(turn.role, turn.content) for turn in told.problems[0].prompt] == [
        ("system", "Be brief."),
        ("user", "What is $1+1$?"),
        ("assistant", "It is 2."),
        ("user", "What is $2+2$?"),
    ]


def test_a_problem_that_is_an_example_itself_is_a_bad_row(tmp_path: Path) -> None:
    shot = Example(prompt="What is 2 + 2?", response="4")
    with pytest.raises(InputError, match="line 1: its problem is an example of few_shot"):
        read(tmp_path, PLAIN, few_shot=(shot,))


def test_limit_reads_rows_from_the_start(tmp_path: Path) -> None:
    labels = read(tmp_path, [*PLAIN, {"prompt": "bad"}], limit=2)
    assert (labels.rows, len(labels.problems)) == (2, 2)


REPEATED = [
    {"prompt": "What is $2+2$?", "answer": "4"},
    {"prompt": "what is 2 + 2 ?", "answer": "$4$"},
    {"prompt": "What is $2+2$?", "answer": "4"},
    {"prompt": "What is $3+3$?", "answer": "6"},
]


def test_repeated_rows_are_one_problem_and_counted(tmp_path: Path) -> None:
    labels = read(tmp_path, REPEATED)
    assert [problem.prompt for problem in labels.problems] == ["What is $2+2$?", "What is $3+3$?"]
    assert labels.merged == {labels.problems[0].problem_id: 2}
    assert labels.rows == len(labels.problems) + sum(labels.merged.values()) == 4


CONTRADICTORY = [
    {"prompt": "What is $2+2$?", "answer": "4"},
    {"prompt": "What is $3+3$?", "answer": "6"},
    {"prompt": "what is 2+2 ?", "answer": "5"},
    {"prompt": "What is $2+2$?", "answer": "4"},
    {"prompt": "What is $9+9$?", "answer": "18"},
    {"prompt": "WHAT IS 9+9?", "answer": "19"},
]


def test_contradictory_answers_are_listed_and_refused_without_being_shown(tmp_path: Path) -> None:
    with pytest.raises(InputError) as refusal:
        read(tmp_path, CONTRADICTORY)
    assert str(refusal.value) == (
        f"problems {tmp_path / 'labels.jsonl'}: 2 problems have rows with different answers (line 1 and line 3; line 5 "
        "and line 6); correct them, or set on_bad to drop (every dropped row is recorded)"
    )


def test_contradictory_rows_are_dropped_by_choice_all_of_them_and_recorded(tmp_path: Path) -> None:
    labels = read(tmp_path, CONTRADICTORY, on_bad="drop")
    assert [problem.prompt for problem in labels.problems] == ["What is $3+3$?"]
    assert [(row.line, row.rows) for row in labels.dropped] == [(1, 2), (3, 1), (5, 1), (6, 1)]
    assert labels.dropped[1].reason == "rows of this problem have different answers (first row: line 1)"
    assert labels.rows == len(labels.problems) + sum(row.rows for row in labels.dropped)


def test_bad_rows_are_refused_with_the_first_and_their_number_and_dropped_by_choice(tmp_path: Path) -> None:
    rows = [PLAIN[0], {"prompt": "no answer?"}, PLAIN[1], {"prompt": "", "answer": "1"}, PLAIN[1]]
    with pytest.raises(InputError) as refusal:
        read(tmp_path, rows)
    assert str(refusal.value) == (
        f"problems {tmp_path / 'labels.jsonl'}, line 2: no column 'answer'; the rows before have one. 2 of 5 rows are "
        "bad: correct them, or set on_bad to drop (every dropped row is recorded)"
    )
    labels = read(tmp_path, rows, on_bad="drop")
    assert gold(labels) == ["4", "5"]
    assert [(row.line, row.reason) for row in labels.dropped] == [
        (2, "no column 'answer'; the rows before have one"),
        (4, "'prompt' is empty; allowed: text, or messages that each have role and content"),
    ]
    assert labels.rows == len(labels.problems) + sum(labels.merged.values()) + len(labels.dropped)


def test_a_bad_first_row_does_not_decide_the_columns(tmp_path: Path) -> None:
    labels = read(tmp_path, [{"id": 1}, *PLAIN], on_bad="drop")
    assert gold(labels) == ["4", "5"]
    assert labels.dropped[0].line == 1


def test_a_later_row_is_not_read_from_another_column(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="line 2: no column 'answer'"):
        read(tmp_path, [PLAIN[0], {"prompt": "What is $2+3$?", "label": "5"}])


def test_keep_narrows_everything_that_is_keyed_by_problem(tmp_path: Path) -> None:
    labels = read(tmp_path, REPEATED)
    kept = labels.keep([labels.problems[1].problem_id])
    assert (gold(kept), len(kept.answers), kept.merged, kept.rows) == (["6"], 1, {}, 4)


def test_a_label_set_is_a_value(tmp_path: Path) -> None:
    labels = read(tmp_path, PLAIN)
    with pytest.raises(AttributeError):
        labels.rows = 0  # type: ignore[misc]
    assert labels == read(tmp_path, PLAIN)


@pytest.mark.parametrize(
    "wrong",
    [
        {"path": ""},
        {"path": "a.jsonl", "on_bad": "skip"},
        {"path": "a.jsonl", "limit": 0},
        {"path": "a.jsonl", "column": {}},
        {"path": "a.jsonl", "columns": {"prompts": "text"}},
        {"path": "a.jsonl", "split": "train"},
        {"path": "a.parquet", "revision": "main"},
    ],
)
def test_a_source_that_means_nothing_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        FileSource.model_validate(wrong)


def test_reading_files_imports_no_torch_pandas_or_datasets(tmp_path: Path) -> None:
    code = (
        "import sys; from headwater.problems.files import FileSource, read_problems; "
        f"read_problems(FileSource(path={write(tmp_path, PLAIN, '.jsonl')!r})); "
        f"read_problems(FileSource(path={write(tmp_path, PLAIN, '.parquet')!r})); "
        "import headwater.problems.generated, headwater.problems.overlap, headwater.problems.reasoning_gym; "
        "print({'torch', 'transformers', 'datasets', 'pandas', 'reasoning_gym'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
