"""`headwater verify FILE`: grade a JSONL file of responses, count, and compare with its labels if it has any.

One object a line: `response` (text), `gold` or `answer` (text), and optionally `id` and `label` (true or false).
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from headwater.errors import InputError
from headwater.records import Verdict
from headwater.verifiers.choose import make_verifier
from headwater.verifiers.grading import Grading

_LISTED = 5
"""Bad lines that the error names."""
_SHOWN = 20
"""Disagreements that are printed; --json has all of them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Disagreement:
    """A response on which grader and label differ."""

    line: int
    id: str
    gold: str
    answer: str | None
    verdict: str
    label: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Tally:
    """What came of a file; `labelled` rows have a label, `disagreements` are the graded ones among them."""

    file: str
    grading: dict[str, Any]
    responses: int
    correct: int
    wrong: int
    ungraded: int
    labelled: int
    disagreements: tuple[Disagreement, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    def to_text(self) -> str:
        """Counts in one line, then the disagreements."""
        lines = [
            f"{self.file}: {self.responses} responses graded as {self.grading['answer_type']}: "
            f"{self.correct} correct, {self.wrong} wrong, {self.ungraded} ungraded"
        ]
        if self.labelled:
            lines.append(f"{self.labelled} have a label, {len(self.disagreements)} of them disagree")
        for row in self.disagreements[:_SHOWN]:
            lines.append(
                f"  line {row.line} ({row.id}): gold {row.gold!r:.60}, answer {row.answer!r:.60}, "
                f"graded {row.verdict}, labelled {'correct' if row.label else 'wrong'}"
            )
        if len(self.disagreements) > _SHOWN:
            lines.append(f"  ... and {len(self.disagreements) - _SHOWN} more, all in --json")
        return "\n".join(lines)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Row:
    line: int
    id: str
    gold: str
    response: str
    label: bool | None


def verify_file(path: Path, grading: Grading, *, workers: int = 1) -> Tally:
    """Grade every line of the file. Raises InputError, with the lines and reasons, when one is malformed."""
    rows = _read(path)
    verifier = make_verifier(grading, workers=workers)
    try:
        verdicts = verifier.grade({str(row.line): (row.gold, row.response) for row in rows})
    finally:
        verifier.close()
    graded = [(row, verdicts[str(row.line)].verdict) for row in rows]
    counts = {verdict: sum(given is verdict for _, given in graded) for verdict in Verdict}
    disagreements = tuple(
        Disagreement(
            line=row.line,
            id=row.id,
            gold=row.gold,
            answer=verifier.find(row.response),
            verdict=given.value,
            label=row.label,
        )
        for row, given in graded
        if row.label is not None and given is not Verdict.UNGRADED and row.label != (given is Verdict.CORRECT)
    )
    return Tally(
        file=str(path),
        grading=grading.model_dump(),
        responses=len(rows),
        correct=counts[Verdict.CORRECT],
        wrong=counts[Verdict.WRONG],
        ungraded=counts[Verdict.UNGRADED],
        labelled=sum(row.label is not None for row in rows),
        disagreements=disagreements,
    )


def _read(path: Path) -> list[_Row]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"verify: cannot read {path} ({error.strerror})") from error
    rows: list[_Row] = []
    faults: list[str] = []
    for number, line in enumerate(content.split(b"\n"), start=1):  # not splitlines: U+2028 may stand in a text
        if line.strip():
            row = _row(number, line)
            if isinstance(row, str):
                faults.append(row)
            else:
                rows.append(row)
    if faults:
        more = f"; {len(faults) - _LISTED} more" if len(faults) > _LISTED else ""
        raise InputError(f"verify: {path}: {'; '.join(faults[:_LISTED])}{more}. Mend these lines")
    if not rows:
        raise InputError(f"verify: {path} has no line to grade")
    return rows


def _row(number: int, line: bytes) -> _Row | str:
    """The row, or what is wrong with the line."""
    try:
        value = json.loads(line)
    except UnicodeDecodeError:
        return f"line {number}: not UTF-8"
    except (ValueError, RecursionError) as error:
        return f"line {number}: no JSON ({str(error)[:60]})"
    if not isinstance(value, dict):
        return f"line {number}: a {type(value).__name__} where an object is needed"
    gold, response = value.get("gold", value.get("answer")), value.get("response")
    if not isinstance(gold, str) or not isinstance(response, str):
        name, text = ("response", response) if isinstance(gold, str) else ("gold or answer", gold)
        return f"line {number}: {name} is {'missing' if text is None else 'no text'}"
    label = value.get("label")
    if label is not None and not isinstance(label, bool):
        return f"line {number}: label is {label!r:.20}, neither true nor false"
    return _Row(line=number, id=str(value.get("id", f"line {number}")), gold=gold, response=response, label=label)
