"""A second opinion on up to 200 random verdicts of a stage: what two graders see differently, a person should.

The sample is the verdicts whose hash of (seed, rollout id) is smallest. It does not depend on the order in
which rollouts are graded, and a stage that is resumed with its sample ends with the same one.

Left out: changing a verdict. The first grader's stands, whatever the second one says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from heapq import nsmallest
from typing import Any, Protocol

from headwater.fingerprint import derive_seed
from headwater.records import Grade, Verdict
from headwater.verifiers.answers import Judge
from headwater.verifiers.function import FunctionAgain

AUDITED = 200
"""Verdicts of a stage that are graded twice."""

Row = dict[str, str | float | None]
"""{"rollout": id, "gold": text, "answer": text or None, "verdict": "correct", "reward": 1.0}: plain data."""


class Auditable(Protocol):
    """A verifier that can say what it took for the answer."""

    def grade(self, responses: Mapping[str, tuple[str, str]]) -> Mapping[str, Verdict | Grade]: ...

    def find(self, text: str) -> str | None: ...


class AuditedVerifier:
    """A `Verifier` that keeps a random sample of its verdicts. Mutable: the sample.

    `sample` of an earlier part of the stage goes in again as `earlier`.
    """

    def __init__(
        self, verifier: Auditable, *, seed: str, limit: int = AUDITED, earlier: Sequence[Mapping[str, Any]] = ()
    ):
        self._verifier = verifier
        self._seed = seed
        self._limit = limit
        self._rows: dict[str, Row] = {str(row["rollout"]): dict(row) for row in earlier}

    def grade(self, responses: Mapping[str, tuple[str, str]]) -> Mapping[str, Verdict | Grade]:
        """The verifier's verdicts."""
        verdicts = self._verifier.grade(responses)
        kept = nsmallest(self._limit, {*self._rows, *responses}, key=self._rank)
        self._rows = {
            name: self._rows.get(name) or row_of(self, name, responses[name], verdicts[name]) for name in kept
        }
        return verdicts

    def find(self, text: str) -> str | None:
        """What the verifier takes for the answer of a response."""
        return self._verifier.find(text)

    @property
    def sample(self) -> list[Row]:
        """The rows kept so far, sorted by rollout id."""
        return [self._rows[name] for name in sorted(self._rows)]

    def _rank(self, rollout_id: str) -> tuple[int, str]:
        return derive_seed("audit", self._seed, rollout_id), rollout_id


def row_of(verifier: Auditable, name: str, response: tuple[str, str], given: Verdict | Grade) -> Row:
    """A graded response as a row of a sample; `response` is (gold answer, text)."""
    gold, text = response
    return {
        "rollout": name,
        "gold": gold,
        "answer": verifier.find(text),
        "verdict": given.verdict.value,
        "reward": given.reward,
    }


def audit(sample: Sequence[Mapping[str, Any]], first: str, second: Judge | FunctionAgain) -> dict[str, Any]:
    """Grade the sample again and list the disagreements: plain data, to be stored as audit.json.

    `first` names the first judge. A verdict that either side could not give is counted as undecided. Each row of
    `sample` gets the second verdict; `disagreements` are the ids of those that differ in verdict or reward.
    """
    again = second.judge({str(row["rollout"]): (str(row["gold"]), row["answer"]) for row in sample})
    rows = [
        {**row, "second": again[row["rollout"]].verdict.value, "second_reward": again[row["rollout"]].reward}
        for row in sample
    ]
    decided = [row for row in rows if Verdict.UNGRADED.value not in (row["verdict"], row["second"])]
    differ = [row for row in decided if (row["verdict"], row["reward"]) != (row["second"], row["second_reward"])]
    return {
        "first": first,
        "second": second.name,
        "checked": len(rows),
        "agreed": len(decided) - len(differ),
        "undecided": len(rows) - len(decided),
        "disagreements": [row["rollout"] for row in differ],
        "sample": rows,
    }
