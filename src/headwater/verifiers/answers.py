"""A verifier in two halves: where the answer stands in a response, and whether that answer is right.

The second half is a `Judge`. It sees the gold answer and the answer alone, which is what makes its verdicts
worth caching and what a second judge can be asked again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

from headwater.errors import InputError
from headwater.records import Verdict
from headwater.verifiers.extract import find_answer

AnswerType = Literal["integer", "fraction", "decimal", "tuple", "set", "choice", "text", "expression"]
Extractor = Literal["boxed", "marker", "tag", "number"]
Answers = Mapping[str, tuple[str, str | None]]
"""rollout id -> (gold answer, the response's answer; None when it has none)"""


class Judge(Protocol):
    """Says whether an answer is the gold answer."""

    @property
    def name(self) -> str:
        """Type, settings and version: two judges of one name give one verdict."""

    def judge(self, answers: Answers) -> dict[str, Verdict]:
        """A verdict for every id; no answer is WRONG, a gold answer that cannot be graded UNGRADED."""

    def close(self) -> None:
        """Give back what it holds: processes, files."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AnswerVerifier:
    r"""A `Verifier`: finds the answer ("boxed", "marker", "tag" or "number") and has it judged.

    Raises InputError for another extractor, or an empty marker.
    """

    judge: Judge
    extractor: Extractor = "boxed"
    marker: str = "####"
    end: str = ""

    def __post_init__(self) -> None:
        if self.extractor not in get_args(Extractor) or not self.marker:
            raise InputError(
                f"verifier: extractor {self.extractor!r} (allowed: boxed, marker, tag, number), marker {self.marker!r} "
                "(must not be empty)"
            )

    def grade(self, responses: Mapping[str, tuple[str, str]]) -> dict[str, Verdict]:
        """From rollout id -> (gold answer, response text) to rollout id -> verdict, for every id given.

        A malformed response is WRONG; UNGRADED is a gold answer that cannot be read, or a grader that failed.
        """
        return self.judge.judge({name: (gold, self.find(text)) for name, (gold, text) in responses.items()})

    @property
    def name(self) -> str:
        """The judge's."""
        return self.judge.name

    def find(self, text: str) -> str | None:
        """The answer of a response, or None."""
        return find_answer(text, self.extractor, self.marker, self.end)

    def check_golds(self, golds: Mapping[str, str]) -> None:
        """Raise InputError unless every gold answer (by problem id) is read, and is right against itself."""
        verdicts = self.grade({name: (gold, self._written(gold)) for name, gold in golds.items()})
        bad = [name for name in golds if verdicts[name] is not Verdict.CORRECT]
        if bad:
            more = ", ..." if len(bad) > 10 else ""
            kind = self.judge.name.partition("/")[0]
            raise InputError(
                f"verifier: {len(bad)} of {len(golds)} gold answers are not of type {kind} "
                f"(problems {', '.join(bad[:10])}{more}). Drop these problems or choose another answer type"
            )

    def close(self) -> None:
        """Give back what the judge holds."""
        self.judge.close()

    def _written(self, gold: str) -> str:
        if self.extractor == "boxed":
            return f"\\boxed{{{gold}}}"
        if self.extractor == "number":
            return gold
        return f"<answer>{gold}</answer>" if self.extractor == "tag" else f"{self.marker} {gold}{self.end}"
