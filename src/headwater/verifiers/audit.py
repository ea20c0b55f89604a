"""A second opinion on up to 200 random verdicts of a stage: what two graders see differently, a person should.

The sample is the verdicts whose hash of (seed, rollout id) is smallest. It does not depend on the order in
which rollouts are graded, and a stage that is resumed with its sample ends with the same one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from heapq import nsmallest
from typing import Any

from headwater.fingerprint import derive_seed
from headwater.records import Verdict
from headwater.verifiers.answers import AnswerVerifier, Judge

AUDITED = 200
"""Verdicts of a stage that are graded twice."""

Row = dict[str, str | None]
"""{"rollout": id, "gold": text, "answer": text or None, "verdict": "correct"}: plain data, for a file."""


class AuditedVerifier:
    """A `Verifier` that keeps a random sample of its verdicts. Mutable: the sample.

    `sample` of an earlier part of the stage goes in again as `earlier`.
    """

    def __init__(
        self, verifier: AnswerVerifier, *, seed: str, limit: int = AUDITED, earlier: Sequence[Mapping[str, Any]] = ()
    ):
        self._verifier = verifier
        self._seed = seed
        self._limit = limit
        self._rows: dict[str, Row] = {str(row["rollout"]): dict(row) for row in earlier}

    def grade(self, responses: Mapping[str, tuple[str, str]]) -> dict[str, Verdict]:
        """The verifier's verdicts."""
        verdicts = self._verifier.grade(responses)
        kept = nsmallest(self._limit, {*self._rows, *responses}, key=self._rank)
        self._rows = {name: self._rows.get(name) or self._row(name, responses[name], verdicts[name]) for name in kept}
        return verdicts

    def check_golds(self, golds: Mapping[str, str]) -> None:
        """The verifier's check."""
        self._verifier.check_golds(golds)

    def close(self) -> None:
        """Give back what the verifier holds."""
        self._verifier.close()

    @property
    def sample(self) -> list[Row]:
        """The rows kept so far, sorted by rollout id."""
        return [self._rows[name] for name in sorted(self._rows)]

    def _rank(self, rollout_id: str) -> tuple[int, str]:
        return derive_seed("audit", self._seed, rollout_id), rollout_id

    def _row(self, name: str, response: tuple[str, str], verdict: Verdict) -> Row:
        gold, text = response
        return {"rollout": name, "gold": gold, "answer": self._verifier.find(text), "verdict": verdict.value}


def audit(sample: Sequence[Mapping[str, Any]], first: str, second: Judge) -> dict[str, Any]:
    """Grade the sample again and list the disagreements: plain data, to be stored as audit.json.

    `first` names the first judge. A verdict that either side could not give is counted as undecided.
    """
    again = second.judge({str(row["rollout"]): (str(row["gold"]), row["answer"]) for row in sample})
    opinions = [(row, again[str(row["rollout"])].value) for row in sample]
    undecided = [row for row, opinion in opinions if Verdict.UNGRADED.value in (opinion, row["verdict"])]
    decided = [(row, opinion) for row, opinion in opinions if row not in undecided]
    disagreements = [{**row, "second": opinion} for row, opinion in decided if opinion != row["verdict"]]
    return {
        "first": first,
        "second": second.name,
        "checked": len(sample),
        "agreed": len(decided) - len(disagreements),
        "undecided": len(undecided),
        "disagreements": disagreements,
    }
