"""Claims about grading a file of responses from the command line."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from headwater import cli
from headwater.verifiers.grading import Grading, make_verifier, second_judge


def lines(path: Path, *rows: dict[str, Any] | str) -> Path:
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows) + "\n")
    return path


def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: str) -> tuple[int, str, str]:
    monkeypatch.setattr("sys.argv", ["headwater", "verify", *arguments])
    try:
        cli.main()
        code = 0
    except SystemExit as stop:
        code = int(stop.code or 0)
    said = capsys.readouterr()
    return code, said.out, said.err


ROWS: tuple[dict[str, Any], ...] = (
    {"id": "a", "gold": r"\frac{1}{2}", "response": r"\boxed{0.5}", "label": True},
    {"id": "b", "answer": "3", "response": r"\boxed{4}", "label": True},
    {"answer": r"\sqrt{8}", "response": r"\boxed{2\sqrt2}", "note": "ignored"},
    {"answer": "3", "response": "no answer\u2028at all", "label": False},
)


def test_counts_and_disagreements_are_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = lines(tmp_path / "out.jsonl", *ROWS)
    code, out, err = call(capsys, monkeypatch, str(path), "--answer-type", "expression")
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        f"{path}: 4 responses graded as expression: 2 correct, 2 wrong, 0 ungraded",
        "3 have a label, 1 of them disagree",
        "  line 2 (b): gold '3', answer '4', graded wrong, labelled correct",
    ]


def test_json_holds_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = lines(tmp_path / "out.jsonl", {"gold": "7", "response": "so ANSWER 7 END", "label": False})
    arguments = ("--answer-type", "integer", "--extractor", "marker", "--marker", "ANSWER", "--end", "END", "--json")
    code, out, _ = call(capsys, monkeypatch, str(path), *arguments)
    found = json.loads(out)
    assert code == 0
    assert (found["responses"], found["correct"], found["wrong"], found["ungraded"], found["labelled"]) == (
        1,
        1,
        0,
        0,
        1,
    )
    assert found["disagreements"] == [
        {"line": 1, "id": "line 1", "gold": "7", "answer": "7", "verdict": "correct", "label": False}
    ]
    assert found["grading"]["marker"] == "ANSWER"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "line 2: not JSON"),
        ("[1]", "line 2: found a list of 1; expected one JSON object a line"),
        ('{"response": "x"}', "line 2: gold or answer is missing"),
        ('{"gold": [3], "response": "x"}', "line 2: 'gold' is a list of 1; allowed: text or a number"),
        ('{"gold": "3"}', "line 2: response is missing"),
        ('{"gold": "3", "response": "x", "label": 1}', "line 2: label is 1, neither true nor false"),
        ("[" * 100_000, "line 2: values are nested too deeply"),
    ],
)
def test_a_malformed_line_is_named_and_nothing_is_graded(
    line: str, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = lines(tmp_path / "out.jsonl", ROWS[0], line)
    code, out, err = call(capsys, monkeypatch, str(path), "--answer-type", "integer")
    assert (code, out) == (2, "")
    assert str(path) in err and reason in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{path}"], "add --answer-type"),
        (["nowhere.jsonl", "--answer-type", "integer"], "cannot read nowhere.jsonl"),
        (["{path}", "--answer-type", "integer", "--tolerance", "0.1"], "tolerance is for decimals"),
        (["{path}", "--answer-type", "colour"], "colour"),
        (["{empty}", "--answer-type", "integer"], "no line to grade"),
    ],
)
def test_a_wrong_call_says_what_to_do(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = {"path": lines(tmp_path / "out.jsonl", ROWS[0]), "empty": lines(tmp_path / "empty.jsonl", "")}
    code, _, err = call(capsys, monkeypatch, *(argument.format(**names) for argument in arguments))
    assert code == 2
    assert message in err


def test_a_grading_is_a_strict_frozen_value() -> None:
    for wrong in ({"answer_type": "auto"}, {"marker": ""}, {"tolerance": -1.0}, {"extra": 1}, {"tolerance": 0.5}):
        with pytest.raises(ValidationError):
            Grading.model_validate(wrong)
    with pytest.raises(ValidationError):
        Grading().answer_type = "set"  # type: ignore[misc]


def test_every_declared_type_has_a_verifier_and_a_second_judge() -> None:
    golds = {
        "integer": "1",
        "fraction": "1/2",
        "decimal": "0.5",
        "tuple": "(1,2)",
        "set": r"\{1\}",
        "choice": "B",
        "expression": "x",
    }
    for answer_type, gold in golds.items():
        for extractor in ("boxed", "marker", "tag"):
            grading = Grading.model_validate({"answer_type": answer_type, "extractor": extractor})
            verifier = make_verifier(grading)
            verifier.check_golds({"p": gold})
            assert verifier.judge.name.startswith(answer_type)
            assert second_judge(grading, verifier).name != verifier.judge.name
            verifier.close()


def test_a_parquet_file_is_graded_like_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    path = tmp_path / "out.parquet"
    parquet.write_table(pyarrow.table({"answer": [3, 4], "response": [r"\boxed{3}", "4"], "label": [True, True]}), path)
    code, out, _ = call(capsys, monkeypatch, str(path), "--answer-type", "integer", "--json")
    found = json.loads(out)
    assert (code, found["correct"], found["wrong"]) == (0, 1, 1)
    assert [row["line"] for row in found["disagreements"]] == [2]
    path.write_bytes(path.read_bytes()[:-9])
    code, _, err = call(capsys, monkeypatch, str(path), "--answer-type", "integer")
    assert (code, len(err.splitlines())) == (2, 1)
    assert "not a whole Parquet file" in err


def test_a_function_of_ones_own_grades_a_file_with_its_columns(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "rewards.py").write_text(
        "def score(completions, answer, level):\n"
        "    return [float(gold in text) / n for text, gold, n in zip(completions, answer, level)]\n"
    )
    rows = [{"answer": "3", "response": "it is 3", "level": level, "label": True} for level in (1, 2)]
    path = lines(tmp_path / "out.jsonl", *rows)
    code, out, _ = call(capsys, monkeypatch, str(path), "--function", f"{tmp_path}/rewards.py:score")
    assert code == 0
    assert "2 responses graded by" in out and "1 correct, 1 wrong, 0 ungraded" in out


def test_more_than_half_a_percent_ungraded_is_exit_code_7_after_the_counts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = lines(tmp_path / "out.jsonl", {"gold": "x", "response": r"\boxed{3}"}, {"gold": 3, "response": r"\boxed{3}"})
    code, out, err = call(capsys, monkeypatch, str(path), "--answer-type", "integer")
    assert code == 7
    assert "1 correct, 0 wrong, 1 ungraded" in out
    assert "1 of 2 responses have no verdict; at most 0.50%" in err


def test_number_golds_keep_every_digit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    long = "12345678901234567890.12345678901234567891"
    path = lines(
        tmp_path / "out.jsonl",
        f'{{"gold": {long}, "response": "\\\\boxed{{{long}}}", "label": true}}',
        f'{{"gold": {long}, "response": "\\\\boxed{{{long[:-1]}2}}", "label": false}}',
        '{"gold": 0.10, "response": "\\\\boxed{0.1}", "label": true}',
    )
    code, out, _ = call(capsys, monkeypatch, str(path), "--answer-type", "decimal", "--json")
    assert (code, json.loads(out)["disagreements"]) == (0, [])


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"gold": NaN, "response": "x"}', "line 2: NaN is not JSON"),
        ('{"gold": "3", "gold": "4", "response": "x"}', "line 2: the key 'gold' stands there twice"),
        ('{"gold": " ", "response": "x"}', "line 2: 'gold' is empty"),
        ('{"gold": ["4"], "response": "x"}', "line 2: 'gold' is a list of 1"),
        ('{"gold": "3", "response": 4}', "line 2: response is a number; allowed: text"),
    ],
)
def test_what_is_no_gold_is_named_with_its_line(
    line: str, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, err = call(
        capsys, monkeypatch, str(lines(tmp_path / "out.jsonl", ROWS[0], line)), "--answer-type", "text"
    )
    assert (code, out) == (2, "")
    assert reason in err


def test_a_compressed_file_is_read_and_an_array_is_refused_in_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    row = json.dumps({"gold": "7", "response": r"\boxed{7}"})
    packed = tmp_path / "out.jsonl.gz"
    packed.write_bytes(gzip.compress(row.encode()))
    code, out, _ = call(capsys, monkeypatch, str(packed), "--answer-type", "integer")
    assert code == 0 and "1 correct, 0 wrong" in out
    packed.write_bytes(packed.read_bytes()[:-6])
    assert call(capsys, monkeypatch, str(packed), "--answer-type", "integer")[0] == 2
    array = tmp_path / "array.json"
    array.write_text(f"[{row},\n{row}]")
    code, _, err = call(capsys, monkeypatch, str(array), "--answer-type", "integer")
    assert code == 2 and "a JSON array; write each of its objects on a line" in err


def test_a_prompt_that_opens_a_thought_is_told_by_option_or_by_row(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    open_ended = {"gold": "4", "response": r"Perhaps \boxed{4}? Let me", "label": False}
    closed = {"gold": "4", "response": r"so 4</think> It is \boxed{4}.", "label": True}
    path = lines(tmp_path / "out.jsonl", open_ended, closed)
    for option, wrong in ((["--prompt-end", "<think>\n"], []), ([], [1])):
        _, out, _ = call(capsys, monkeypatch, str(path), "--answer-type", "integer", *option, "--json")
        assert [row["line"] for row in json.loads(out)["disagreements"]] == wrong
    path = lines(
        tmp_path / "rows.jsonl", {**open_ended, "prompt": "2+2?\n<think>\n"}, {**closed, "prompt": "2+2?<think>"}
    )
    _, out, _ = call(capsys, monkeypatch, str(path), "--answer-type", "integer", "--json")
    assert json.loads(out)["disagreements"] == []


def test_a_second_opinion_is_asked_for_and_changes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = lines(
        tmp_path / "out.jsonl",
        {"gold": r"5\text{ cm}", "response": r"\boxed{5\text{ m}}"},
        {"gold": "x^2-1", "response": r"\boxed{(x-1)(x+1)}"},
    )
    _, out, _ = call(capsys, monkeypatch, str(path), "--answer-type", "expression", "--second")
    assert "1 correct, 1 wrong" in out
    assert "1 agree, 0 have none, 1 differ (lines 1)" in out
