"""Claims about the label ledger and the answer key."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from headwater.errors import IntegrityError, LabelError, LockedError, ResourceError
from headwater.ledger import AnswerKey, Ledger, NoAnswers, genesis
from headwater.records import Problem

A, B = "a" * 64, "b" * 64


def problems(*names: str) -> list[Problem]:
    return [Problem(problem_id=name, prompt=f"problem {name}", source="test") for name in names]


def fill(ledger: Ledger, stage: str, steps: range) -> str:
    for step in steps:
        ledger.expose(stage, step, problems(f"p{step}", f"p{step + 1}"))
        ledger.record(stage, step, f"p{step}", "answer")
        ledger.commit(stage)
    return ledger.head(stage)


def tamper(path: Path, statement: str) -> None:
    with sqlite3.connect(path) as connection:
        assert connection.execute(statement).rowcount != 0
    connection.close()


def run(script: str, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", script, *arguments])


def test_counts_rows_and_distinct_problems_per_use(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    fill(ledger, A, range(3))
    assert ledger.counts(A) == {"prompt": 6, "answer": 3, "demonstration": 0, "validation": 0, "pilot": 0}
    assert ledger.labels(A) == {
        "prompt": {"p0", "p1", "p2", "p3"},
        "answer": {"p0", "p1", "p2"},
        "demonstration": set(),
        "validation": set(),
        "pilot": set(),
    }
    assert ledger.counts(B) == {"prompt": 0, "answer": 0, "demonstration": 0, "validation": 0, "pilot": 0}


def test_one_use_in_one_step_counts_once_even_after_a_commit(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    for _ in range(3):
        ledger.record(A, 0, "p", "answer")
    ledger.commit(A)
    ledger.record(A, 0, "p", "answer")
    ledger.record(A, 1, "p", "answer")
    ledger.commit(A)
    assert ledger.counts(A)["answer"] == 2
    reopened = Ledger(tmp_path / "ledger.sqlite")
    reopened.record(A, 1, "p", "answer")
    assert reopened.commit(A) == ledger.head(A)


def test_an_unknown_use_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match="peek"):
        Ledger(tmp_path / "ledger.sqlite").record(A, 0, "p", "peek")


@pytest.mark.parametrize(
    ("statement", "seq"),
    [
        ("UPDATE uses SET problem_id = 'other' WHERE stage LIKE 'a%' AND seq = 4", 4),
        ("UPDATE uses SET step = 9 WHERE stage LIKE 'a%' AND seq = 0", 0),
        ("UPDATE uses SET use = 'prompt' WHERE stage LIKE 'a%' AND use = 'answer' AND step = 1", 3),
        ("UPDATE uses SET problem_id = x'00ff' WHERE stage LIKE 'a%' AND seq = 2", 2),
        ("DELETE FROM uses WHERE stage LIKE 'a%' AND seq = 3", 3),
        ("DELETE FROM uses WHERE stage LIKE 'a%' AND seq < 3", 0),
        ("UPDATE uses SET seq = CASE seq WHEN 1 THEN -2 ELSE -1 END WHERE seq IN (1, 2)", 0),
    ],
)
def test_verify_names_the_row_that_was_edited_deleted_or_reordered(tmp_path: Path, statement: str, seq: int) -> None:
    path = tmp_path / "ledger.sqlite"
    with Ledger(path) as ledger:
        fill(ledger, A, range(3))
        ledger.verify()
    tamper(path, statement)
    with pytest.raises(IntegrityError, match=f"stage {A} seq {seq} "):
        Ledger(path).verify()


def test_two_swapped_rows_are_found(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    with Ledger(path) as ledger:
        fill(ledger, A, range(3))
    for old, new in ((4, 99), (5, 4), (99, 5)):
        tamper(path, f"UPDATE uses SET seq = {new} WHERE seq = {old}")
    with pytest.raises(IntegrityError, match="seq 4 "):
        Ledger(path).verify()


def test_rows_cut_off_the_end_are_found_when_the_head_is_known(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    with Ledger(path) as ledger:
        head = fill(ledger, A, range(3))
        ledger.verify({A: head})
    tamper(path, "DELETE FROM uses WHERE seq = 8")
    Ledger(path).verify()
    with pytest.raises(IntegrityError, match=head[:12]):
        Ledger(path).verify({A: head})


def test_a_file_that_is_no_ledger_is_an_integrity_error(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    path.write_bytes(b"not a database, " * 512)
    with pytest.raises(IntegrityError, match="not a readable ledger"):
        Ledger(path)
    with pytest.raises(ResourceError):
        Ledger(tmp_path / "missing folder" / "ledger.sqlite")


def test_a_full_disk_is_named_and_the_commit_can_be_repeated(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    head = fill(ledger, A, range(2))
    ledger._connection.execute("PRAGMA max_page_count = 2")
    for index in range(200):
        ledger.record(A, 2, f"p{index}", "answer")
    with pytest.raises(ResourceError, match="full"):
        ledger.commit(A)
    assert ledger.head(A) == head
    ledger._connection.execute("PRAGMA max_page_count = 1000")
    ledger.commit(A)
    assert ledger.counts(A)["answer"] == 202


def test_a_file_held_too_long_by_another_writer_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    holder = Ledger(tmp_path / "ledger.sqlite")
    monkeypatch.setattr("headwater.ledger.BUSY_SECONDS", 0.1)
    waiting = Ledger(tmp_path / "ledger.sqlite")
    waiting.record(A, 0, "p", "answer")
    with holder._transaction(), pytest.raises(LockedError, match="held by another process"):
        waiting.commit(A)
    waiting.commit(A)
    assert holder.labels(A)["answer"] == {"p"}


def test_the_digest_does_not_depend_on_how_two_stages_interleave(tmp_path: Path) -> None:
    one, other = Ledger(tmp_path / "one.sqlite"), Ledger(tmp_path / "other.sqlite")
    fill(one, A, range(4))
    fill(one, B, range(3))
    for step in range(4):
        fill(other, B, range(step, min(step + 1, 3)))
        fill(other, A, range(step, step + 1))
    assert one.digest() == other.digest()
    assert one.heads() == other.heads() == {A: one.head(A), B: one.head(B)}
    assert one.digest() != Ledger(tmp_path / "empty.sqlite").digest()
    fill(other, A, range(9, 10))
    assert one.digest() != other.digest()


def test_the_head_does_not_depend_on_the_order_of_reads_in_a_step_or_on_when_steps_are_committed(
    tmp_path: Path,
) -> None:
    one, other = Ledger(tmp_path / "one.sqlite"), Ledger(tmp_path / "other.sqlite")
    for step in range(2):
        for name in ("x", "y", "z"):
            one.record(A, step, name, "answer")
        one.commit(A)
        for name in ("z", "x", "y"):
            other.record(A, step, name, "answer")
    assert one.head(A) == other.commit(A)


WRITER = """
import sys
from headwater.ledger import Ledger
path, stage = sys.argv[1:]
with Ledger(path) as ledger:
    for step in range(20):
        for problem in range(4):
            ledger.record(stage, step, f"p{problem}", "answer")
        ledger.commit(stage)
"""


def test_two_processes_write_two_stages_into_one_file_at_once(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    writers = [run(WRITER, str(path), stage) for stage in (A, B)]
    assert [writer.wait(timeout=60) for writer in writers] == [0, 0]
    alone = tmp_path / "alone.sqlite"
    for stage in (B, A):
        assert run(WRITER, str(alone), stage).wait(timeout=60) == 0
    ledger = Ledger(path)
    ledger.verify()
    assert ledger.counts(A)["answer"] == ledger.counts(B)["answer"] == 80
    assert ledger.digest() == Ledger(alone).digest()


CRASH = """
import os, sys
from headwater.ledger import Ledger
ledger = Ledger(sys.argv[1])
ledger.record(sys.argv[2], 1, "lost", "answer")
if sys.argv[3] == "inside":
    with ledger._transaction():
        ledger._connection.execute("INSERT INTO uses VALUES (?, 9, 9, 'lost', 'answer', '')", (sys.argv[2],))
        os._exit(9)
os._exit(9)
"""


@pytest.mark.parametrize("where", ["before", "inside"])
def test_a_crash_before_the_commit_leaves_the_old_head(tmp_path: Path, where: str) -> None:
    path = tmp_path / "ledger.sqlite"
    with Ledger(path) as ledger:
        head = fill(ledger, A, range(2))
    assert run(CRASH, str(path), A, where).wait(timeout=60) == 9
    with Ledger(path) as ledger:
        ledger.verify({A: head})
        assert "lost" not in ledger.labels(A)["answer"]


def test_rollback_drops_the_rows_and_the_buffer_after_a_head(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    other = fill(ledger, B, range(2))
    kept = fill(ledger, A, range(3))
    full = fill(ledger, A, range(3, 5))
    ledger.record(A, 7, "p", "answer")
    ledger.rollback_to(A, kept)
    assert ledger.commit(A) == kept
    ledger.verify({A: kept, B: other})
    assert fill(ledger, A, range(3, 5)) == full, "replayed steps give the same chain"


@pytest.mark.parametrize("nothing", [None, genesis(A)])
def test_rollback_to_nothing_empties_the_stage(tmp_path: Path, nothing: str | None) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    fill(ledger, A, range(3))
    ledger.rollback_to(A, nothing)
    assert ledger.head(A) == genesis(A)
    assert ledger.heads() == {}


def test_rollback_to_an_unknown_head_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    head = fill(ledger, A, range(3))
    with pytest.raises(IntegrityError, match="no row with head"):
        ledger.rollback_to(A, "f" * 64)
    with pytest.raises(IntegrityError):
        ledger.rollback_to(B, head)
    assert ledger.head(A) == head


def key(ledger: Ledger) -> AnswerKey:
    return AnswerKey(
        ledger=ledger,
        stage=A,
        stage_name="student-rl",
        pool=frozenset({"in", "bare"}),
        pool_name="2H",
        answers={"in": "secret 42", "out": "secret 43"},
        demonstrations={"in": "secret way"},
    )


def test_reading_an_answer_is_recorded_at_the_current_step(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    answers = key(ledger)
    answers.at(5)
    assert answers.read("in") == "secret 42"
    assert answers.read("in", "demonstration") == "secret way"
    ledger.commit(A)
    assert ledger.counts(A) == {"prompt": 0, "answer": 1, "demonstration": 1, "validation": 0, "pilot": 0}
    rows = ledger._connection.execute("SELECT step, problem_id, use FROM uses").fetchall()
    assert sorted(rows) == [(5, "in", "answer"), (5, "in", "demonstration")]


def test_what_a_pilot_reads_is_noted_as_the_pilots(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    answers = AnswerKey(ledger=ledger, stage=A, pool=frozenset({"in"}), answers={"in": "42"}, charged="pilot")
    assert answers.read("in") == "42"
    ledger.commit(A)
    assert ledger.counts(A) == {"prompt": 0, "answer": 0, "demonstration": 0, "validation": 0, "pilot": 1}
    assert ledger.labels(A)["pilot"] == {"in"}
    with pytest.raises(LabelError, match="only"):  # it is a way of noting, and nothing to ask for
        answers.read("in", "pilot")


@pytest.mark.parametrize(
    ("problem_id", "use", "message"),
    [
        ("out", "answer", "stage student-rl step 0 .*problem out.* 2 problems of 2H"),
        ("bare", "answer", "problem bare of 2H has no answer"),
        ("bare", "demonstration", "problem bare of 2H has no demonstration"),
        ("in", "prompt", "only"),
    ],
)
def test_a_refused_read_is_one_line_and_leaves_no_row(tmp_path: Path, problem_id: str, use: str, message: str) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    with pytest.raises(LabelError, match=message) as refusal:
        key(ledger).read(problem_id, use)
    assert "\n" not in str(refusal.value)
    assert "secret" not in str(refusal.value)
    assert ledger.commit(A) == genesis(A)


def test_answers_do_not_show_in_repr(tmp_path: Path) -> None:
    answers = key(Ledger(tmp_path / "ledger.sqlite"))
    assert "secret" not in repr(answers)
    assert "secret" not in str(answers)
    assert "2H" in repr(answers)


def test_a_dense_stage_reads_no_label() -> None:
    answers = NoAnswers("warm-up")
    answers.at(3)
    for use in ("answer", "demonstration"):
        with pytest.raises(LabelError, match="dense stage warm-up reads no label"):
            answers.read("p", use)
