"""Claims about data files that are wrong: one line says which file, which line, what was found and what to do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from headwater.errors import InputError
from headwater.problems.columns import Columns
from headwater.problems.files import FileSource, read_problems

GOOD = b'{"prompt": "What is 2+2?", "answer": "4"}\n'


def refusal_of(path: Path, **options: Any) -> str:
    with pytest.raises(InputError) as refusal:
        read_problems(FileSource(path=str(path), **options))
    message = str(refusal.value)
    assert len(message.splitlines()) == 1
    assert message.isprintable()
    assert len(message) < 700
    return message


BAD_LINES = {
    "a line that is no JSON": (b"prompt: What is 2+2?", "not JSON (Expecting value at column 1)"),
    "a line that is cut off": (b'{"prompt": "What is', "not JSON (Unterminated string at column 12)"),
    "two objects in a line": (GOOD.strip() + GOOD.strip(), "not JSON (Extra data at column 42)"),
    "a comma at the end": (GOOD.strip() + b",", "not JSON (Extra data"),
    "a raw control character": (b'{"prompt": "a\x01b", "answer": "4"}', "not JSON (Invalid control character"),
    "a raw NUL": (b'{"prompt": "a\x00b", "answer": "4"}', "not JSON (Invalid control character"),
    "NaN": (b'{"prompt": "How many?", "answer": NaN}', "NaN is not JSON; write a finite number, text or null"),
    "Infinity": (b'{"prompt": "How many?", "answer": -Infinity}', "-Infinity is not JSON"),
    "NaN in a column that is not read": (b'{"prompt": "How?", "answer": 1, "x": NaN}', "NaN is not JSON"),
    "deeply nested lists": (b'{"prompt": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
    "deeply nested objects": (b'{"a":' * 50_000 + b"1" + b"}" * 50_000, "nested too deeply"),
    "text that is not UTF-8": (b'{"prompt": "caf\xe9", "answer": "4"}', "not UTF-8 (byte 0xe9 at 16)"),
    "random bytes": (bytes(range(128, 256)), "not UTF-8 (byte 0x80 at 1)"),
    "half a surrogate pair": (b'{"prompt": "\\ud800?", "answer": "4"}', "'prompt' holds half a character"),
    "a key twice": (b'{"prompt": "How?", "answer": 1, "answer": 2}', "the key 'answer' stands there twice"),
    "a list": (b'["What is 2+2?", "4"]', "found a list of 2; expected one JSON object a line"),
    "a number": (b"4", "found a number; expected one JSON object a line"),
    "null": (b"null", "found null; expected one JSON object a line"),
    "a blank line between rows": (b"", "the line is blank"),
    "a line of spaces between rows": (b" \t\r", "the line is blank"),
    "no prompt": (b'{"answer": "4"}', "no column 'prompt'; the rows before have one"),
    "no answer": (b'{"prompt": "What is 2+2?"}', "no column 'answer'; the rows before have one"),
    "an answer that is null": (b'{"prompt": "How?", "answer": null}', "'answer' is null; allowed: text or a number"),
    "an empty answer": (b'{"prompt": "How?", "answer": " "}', "'answer' is empty; allowed: text or a number"),
    "an answer that is true": (b'{"prompt": "How?", "answer": true}', "'answer' is true or false; allowed: text or"),
    "a list of answers": (b'{"prompt": "How?", "answer": ["4", "5"]}', "'answer' is a list of 2; allowed: text or"),
    "an object as answer": (b'{"prompt": "How?", "answer": {"a": 1}}', "'answer' is an object; allowed: text or"),
    "a prompt that is null": (b'{"prompt": null, "answer": "4"}', "'prompt' is null; allowed: text, or messages"),
    "an empty prompt": (b'{"prompt": "", "answer": "4"}', "'prompt' is empty; allowed: text, or messages"),
    "a prompt of marks only": (b'{"prompt": " $$ ", "answer": "4"}', "'prompt' holds nothing but spaces and marks"),
    "a prompt that is a number": (b'{"prompt": 7, "answer": "4"}', "'prompt' is a number; allowed: text, or messages"),
    "no message": (b'{"prompt": [], "answer": "4"}', "'prompt' is an empty list; allowed: text, or messages"),
    "messages that are text": (
        b'{"prompt": ["How?"], "answer": "4"}',
        "'prompt.0' is text; allowed: a message with role",
    ),
    "an unknown role": (
        b'{"prompt": [{"role": "human", "content": "How?"}], "answer": "4"}',
        "'prompt.0'.role is 'human'; allowed: system, user, assistant",
    ),
    "a message without a role": (b'{"prompt": [{"content": "How?"}], "answer": "4"}', "'prompt.0'.role is null"),
    "a message without content": (b'{"prompt": [{"role": "user"}], "answer": "4"}', "'prompt.0.content' is null"),
    "a message of parts": (
        b'{"prompt": [{"role": "user", "content": [{"type": "text", "text": "How?"}]}], "answer": "4"}',
        "'prompt.0.content' is a list of 1; allowed: text",
    ),
    "a message with a tool call": (
        b'{"prompt": [{"role": "user", "content": "How?", "tool_calls": []}], "answer": "4"}',
        "'prompt.0' has the key 'tool_calls'; allowed: role and content",
    ),
    "an assistant's turn at the end": (
        b'{"prompt": [{"role": "user", "content": "How?"}, {"role": "assistant", "content": "So"}], "answer": "4"}',
        "'prompt' ends in a turn of the assistant; allowed: a user's turn last",
    ),
    "a source that is no text": (b'{"prompt": "How?", "answer": "4", "data_source": 3}', "'data_source' is a number"),
}


@pytest.mark.parametrize("claim", BAD_LINES)
def test_a_bad_line_is_refused_with_its_place_and_dropped_by_choice(claim: str, tmp_path: Path) -> None:
    line, reason = BAD_LINES[claim]
    path = tmp_path / "labels.jsonl"
    first = GOOD.replace(b"}", b', "data_source": "here"}')
    path.write_bytes(first + line + b"\n" + GOOD.replace(b"2+2", b"2+3"))
    message = refusal_of(path)
    assert message.startswith(f"problems {path}, line 2: ")
    assert reason in message
    assert message.endswith("1 of 3 rows are bad: correct them, or set on_bad to drop (every dropped row is recorded)")
    labels = read_problems(FileSource(path=str(path), on_bad="drop"))
    assert [row.line for row in labels.dropped] == [2]
    assert reason in labels.dropped[0].reason
    assert (labels.rows, len(labels.problems)) == (3, 2)


BAD_FILES = {
    "an empty file": (b"", "the file is empty; expected rows with a prompt and an answer"),
    "blank lines only": (b"\n \n\r\n", "no rows; expected rows with a prompt and an answer"),
    "a byte order mark only": (b"\xef\xbb\xbf", "no rows; expected rows"),
    "UTF-16": (b"\xff\xfe" + '{"prompt": "How?"}'.encode("utf-16-le"), "found UTF-16 text; save it as UTF-8"),
    "UTF-16, the other way round": (b"\xfe\xff\x00{", "found UTF-16 text; save it as UTF-8"),
    "a gzip file": (b"\x1f\x8b\x08\x00rest", "found gzip-compressed; decompress it with `gunzip`"),
    "a zip archive": (b"PK\x03\x04rest", "found a zip archive; unpack it"),
    "a Parquet file under another name": (b"PAR1rest", "found a Parquet file; rename it to .parquet"),
    "a JSON array over several lines": (
        b'[\n{"prompt": "How?", "answer": "4"}\n]\n',
        "found a JSON array; write each of its objects",
    ),
    "a pretty-printed object": (b'{\n "prompt": "How?",\n "answer": "4"\n}\n', "line 1: not JSON"),
    "no known column": (
        b'{"input": "How?", "output": "4"}\n',
        "line 1: no prompt column of prompt, problem, question; found: 'input', 'output'; name it with columns.prompt",
    ),
    "no answer column": (
        b'{"prompt": "How?", "target": "4"}\n',
        "no answer column of reward_model.ground_truth, answer, solution, label, gold; found: 'prompt', 'target'; name",
    ),
    "one column a row": (b'{"prompt": "How?"}\n{"answer": "4"}\n', "line 1: no answer column"),
    "an empty object": (b"{}\n", "no prompt column of prompt, problem, question; found: no column"),
    "a hostile column name": (b'{"\\u001b[31m\\n\\u2028": 1}\n', "found: '\\x1b[31m\\n\\u2028'"),
}


@pytest.mark.parametrize("claim", BAD_FILES)
@pytest.mark.parametrize("on_bad", ["refuse", "drop"])
def test_a_bad_file_is_refused_whatever_is_done_with_bad_rows(claim: str, on_bad: str, tmp_path: Path) -> None:
    data, reason = BAD_FILES[claim]
    path = tmp_path / "labels.jsonl"
    path.write_bytes(data)
    message = refusal_of(path, on_bad=on_bad)
    assert message.startswith(f"problems {path}")
    assert reason in message


def test_a_set_of_bad_rows_alone_is_refused_even_if_they_may_be_dropped(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    path.write_bytes(b'{"prompt": "", "answer": "4"}\n' * 3)
    message = refusal_of(path, on_bad="drop")
    assert f"no problem is left, all 3 rows are bad (first: {path}, line 1: 'prompt' is empty" in message


def test_a_missing_file_is_named_with_the_folder_it_was_looked_for_in(tmp_path: Path) -> None:
    message = refusal_of(tmp_path / "no.jsonl")
    assert message == f"problems {tmp_path / 'no.jsonl'}: there is no such file (in {Path.cwd()}); check the path"


@pytest.mark.parametrize("name", ["labels.csv", "labels.json", "labels.jsonl.gz", "labels", "labels.JSONL"])
def test_another_format_is_refused_with_the_two_that_are_read(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(GOOD)
    message = refusal_of(tmp_path / name)
    assert f"problems {tmp_path / name}: found a file that ends in" in message
    assert "allowed: .jsonl and .parquet files. Convert it" in message


@pytest.mark.parametrize("name", ["labels.jsonl", "labels.parquet"])
def test_a_directory_under_a_files_name_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    assert "found a directory or device, expected a file" in refusal_of(tmp_path / name)


def test_a_device_is_refused_and_not_read() -> None:
    assert "no such file or directory, and no hub id (owner/name)" in refusal_of(Path("/dev/zero"))


@pytest.mark.parametrize(
    "name", ["a\0b.jsonl", "x" * 5000 + ".jsonl", "a\0b", "x" * 5000, "no where/at all", "nowhere"]
)
def test_an_impossible_path_is_an_input_error(name: str) -> None:
    with pytest.raises(InputError) as refusal:
        read_problems(FileSource(path=name))
    assert "\0" not in str(refusal.value)


def test_a_line_without_an_end_is_not_read_into_memory(tmp_path: Path) -> None:
    path = tmp_path / "long.jsonl"
    with path.open("wb") as file:  # a sparse file, which takes no disk
        file.write(b'{"prompt": "')
        file.truncate(66 * 2**20)
    assert "line 1: longer than 64 MiB; expected JSON Lines" in refusal_of(path)


def test_nothing_in_a_file_is_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    canary = "__import__('pathlib').Path('canary').touch()"
    row = {"prompt": f"{{{{{canary}}}}} ${{{canary}}} !!python/object {canary}", "answer": canary, canary: canary}
    (tmp_path / "l.jsonl").write_text(json.dumps(row) + "\n")
    labels = read_problems(FileSource(path="l.jsonl"))
    assert list(labels.answers.values()) == [canary]
    refusal_of(Path("l.jsonl"), columns=Columns(prompt=canary, answer=f"{canary}.{canary}"))
    assert not (tmp_path / "canary").exists()


def table(tmp_path: Path, columns: dict[str, Any]) -> Path:
    path = tmp_path / "labels.parquet"
    parquet.write_table(pyarrow.table(columns), path)
    return path


def test_a_parquet_file_that_is_none_or_cut_off_is_refused(tmp_path: Path) -> None:
    path = table(tmp_path, {"prompt": ["How?"] * 5000, "answer": [str(n) for n in range(5000)]})
    whole = path.read_bytes()
    for data in (GOOD, b"PAR1", whole[: len(whole) // 2], whole[:-1], b"\0" * 1000, whole[:-8] + b"\xff" * 4 + b"PAR1"):
        path.write_bytes(data)
        message = refusal_of(path)
        assert message.startswith(f"problems {path}, after row 0: not a whole Parquet file (")
        assert message.endswith("write or download it again")


def test_a_parquet_file_that_is_damaged_inside_is_refused_or_read_as_other_rows(tmp_path: Path) -> None:
    path = table(tmp_path, {"prompt": [f"What is {n}?" for n in range(200)], "answer": [str(n) for n in range(200)]})
    whole = path.read_bytes()
    for place in range(4, len(whole) - 8, max(1, len(whole) // 60)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        try:
            read_problems(FileSource(path=str(path), on_bad="drop"))  # the file has no check sums: the digest tells
        except InputError as error:
            assert str(error).startswith(f"problems {path}")


def test_a_parquet_file_without_rows_or_known_columns_is_refused(tmp_path: Path) -> None:
    assert "no rows; expected rows" in refusal_of(table(tmp_path, {"prompt": pyarrow.array([], pyarrow.string())}))
    message = refusal_of(table(tmp_path, {"input": ["How?"], "output": ["4"]}))
    assert "line 1: no prompt column of prompt, problem, question; found: 'input', 'output'" in message


PARQUET_ROWS = {
    "a null answer": (pyarrow.array(["4", None]), "'answer' is null"),
    "an answer that is not a number": (pyarrow.array([4.0, float("nan")]), "'answer' is nan, not a finite number"),
    "an infinite answer": (pyarrow.array([4.0, float("inf")]), "'answer' is inf, not a finite number"),
    "bytes": (pyarrow.array([b"4", b"5"]), "'answer' is bytes; allowed: text or a number"),
    "text that is not UTF-8": (
        pyarrow.Array.from_buffers(
            pyarrow.string(), 2, [None, pyarrow.py_buffer(b"\0\0\0\0\1\0\0\0\2\0\0\0"), pyarrow.py_buffer(b"4\xff")]
        ),
        "a value cannot be read (UnicodeDecodeError); expected UTF-8 text",
    ),
    "a date": (pyarrow.array([1, 2], pyarrow.date32()), "'answer' is of type date; allowed: text or a number"),
    "a date beyond Python's years": (
        pyarrow.array([0, 2**62], pyarrow.timestamp("us")),
        "'answer' is of type datetime; allowed: text or a number",
    ),
}


@pytest.mark.parametrize("claim", PARQUET_ROWS)
def test_a_bad_parquet_row_is_named_by_its_number(claim: str, tmp_path: Path) -> None:
    answers, reason = PARQUET_ROWS[claim]
    path = table(tmp_path, {"prompt": ["What is 2+2?", "What is 2+3?"], "answer": answers})
    message = refusal_of(path)
    assert reason in message
    assert message.startswith(f"problems {path}, line ")


def test_two_parquet_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "labels.parquet"
    one = pyarrow.array(["4"])
    parquet.write_table(pyarrow.Table.from_arrays([one, one, one], names=["prompt", "answer", "answer"]), path)
    assert "two columns have one name" in refusal_of(path)


def test_a_mapped_column_that_is_missing_is_named(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    path.write_bytes(GOOD)
    message = refusal_of(path, columns=Columns(answer="extra.gold"))
    assert "no answer column 'extra.gold'; found: 'prompt', 'answer'; name it with columns.answer" in message
    message = refusal_of(path, columns=Columns(demonstration="how"))
    assert "line 1: no column 'how'" in message
