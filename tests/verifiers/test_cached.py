"""Claims about remembered verdicts: they are the judge's own, and bounded."""

from __future__ import annotations

from pathlib import Path

import pytest

from headwater.errors import IntegrityError
from headwater.records import Verdict
from headwater.verifiers import expression
from headwater.verifiers.answers import Answers
from headwater.verifiers.cached import CachedJudge
from headwater.verifiers.expression import ExpressionJudge


class Scripted:
    """Right when the texts agree, no verdict on a question mark; remembers what it was asked."""

    def __init__(self, name: str = "scripted/1"):
        self.name = name
        self.asked: list[tuple[str, str | None]] = []

    def judge(self, answers: Answers) -> dict[str, Verdict]:
        self.asked += answers.values()
        said = {None: Verdict.WRONG, "?": Verdict.UNGRADED}
        return {
            name: said.get(answer, Verdict.CORRECT if gold == answer else Verdict.WRONG)
            for name, (gold, answer) in answers.items()
        }

    def close(self) -> None:
        pass


ANSWERS: Answers = {"a": ("1", "1"), "b": ("1", "2"), "c": ("2", None), "d": ("2", "?"), "e": ("1", "\ud800")}
VERDICTS = {"a": "correct", "b": "wrong", "c": "wrong", "d": "ungraded", "e": "wrong"}


def said(judge: CachedJudge) -> dict[str, str]:
    return {name: verdict.value for name, verdict in judge.judge(ANSWERS).items()}


def test_a_verdict_is_asked_for_once_and_a_failure_again() -> None:
    judge = Scripted()
    cached = CachedJudge(judge)
    assert said(cached) == said(cached) == VERDICTS
    assert judge.asked == [*ANSWERS.values(), ("2", None), ("2", "?")]
    assert (cached.hits, cached.misses, cached.name) == (3, 7, "scripted/1")


def test_the_file_serves_the_next_process_and_only_a_judge_of_the_same_name(tmp_path: Path) -> None:
    path = tmp_path / "verdicts.sqlite"
    said(CachedJudge(Scripted(), path=path))
    same, other = Scripted(), Scripted("scripted/2")
    assert said(CachedJudge(same, path=path)) == said(CachedJudge(other, path=path)) == VERDICTS
    assert len(same.asked) == 2
    assert len(other.asked) == 5
    assert b"correct" in path.read_bytes()


def test_a_raised_version_of_the_rules_finds_no_old_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "verdicts.sqlite"
    before = CachedJudge(ExpressionJudge(), path=path)
    before.judge({"a": ("5", "5.0")})
    again = CachedJudge(ExpressionJudge(), path=path)
    again.judge({"a": ("5", "5.0")})
    monkeypatch.setattr(expression, "EXPRESSION_VERSION", "1000")
    raised = CachedJudge(ExpressionJudge(), path=path)
    raised.judge({"a": ("5", "5.0")})
    assert [cached.hits for cached in (before, again, raised)] == [0, 1, 0]


def test_no_more_than_the_limit_stays_in_memory_and_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "verdicts.sqlite"
    cached = CachedJudge(Scripted(), path=path, limit=10)
    for i in range(5):
        cached.judge({str(n): (str(n), "1") for n in range(i * 10, i * 10 + 10)})
    assert len(cached._memory) == 10
    late = Scripted()
    CachedJudge(late, path=path, limit=10).judge({str(n): (str(n), "1") for n in range(50)})
    assert len(late.asked) == 40


def test_a_file_that_is_no_cache_is_named(tmp_path: Path) -> None:
    path = tmp_path / "verdicts.sqlite"
    path.write_bytes(b"not a database" * 100)
    with pytest.raises(IntegrityError, match=r"verdicts\.sqlite cannot be used .*delete it"):
        said(CachedJudge(Scripted(), path=path))
