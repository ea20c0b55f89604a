"""`headwater verify FILE`: grade a file of responses, count, and compare with its labels if it has any.

One object a line (JSON Lines), or one a row (Parquet): `response` (text), `gold` or `answer` (text or a number), and
optionally `id` and `label` (true or false).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from headwater.errors import GraderError, InputError
from headwater.records import Verdict
from headwater.verifiers.choose import make_verifier
from headwater.verifiers.grading import Grading
from headwater.verifiers.ungraded import UNGRADED_LIMIT

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

    def refuse_ungraded(self) -> None:
        """Raise GraderError when more than 0.5 % have no verdict: a count of right answers would then say little."""
        if self.ungraded > UNGRADED_LIMIT * self.responses:
            raise GraderError(
                f"verify: {self.file}: {self.ungraded} of {self.responses} responses have no verdict; at most "
                f"{UNGRADED_LIMIT:.2%} may. Is every gold answer of type {self.grading['answer_type']}?"
            )

    @property
    def _how(self) -> str:
        function = self.grading["function"]
        return f"by {function}" if function else f"as {self.grading['answer_type']}"

    def to_text(self) -> str:
        """Counts in one line, then the disagreements."""
        lines = [
            f"{self.file}: {self.responses} responses graded {self._how}: "
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


def verify_file(path: Path, grading: Grading) -> Tally:
    """Grade every line of the file. Raises InputError, with the lines and reasons, when one is malformed."""
    rows = _read(path, grading.packed)
    verifier = make_verifier(grading)
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


def _read(path: Path, packed: bool) -> list[_Row]:
    rows: list[_Row] = []
    faults: list[str] = []
    for number, value in _parquet(path) if path.suffix == ".parquet" else _lines(path):
        row = value if isinstance(value, str) else _row(number, value, packed)
        if isinstance(row, str):
            faults.append(f"line {number}: {row}")
        else:
            rows.append(row)
    if faults:
        more = f"; {len(faults) - _LISTED} more" if len(faults) > _LISTED else ""
        raise InputError(f"verify: {path}: {'; '.join(faults[:_LISTED])}{more}. Mend these lines")
    if not rows:
        raise InputError(f"verify: {path} has no line to grade")
    return rows


def _lines(path: Path) -> Iterator[tuple[int, Any]]:
    """Line numbers with their value; a text says what is wrong with the line."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"verify: cannot read {path} ({error.strerror})") from error
    for number, line in enumerate(content.split(b"\n"), start=1):  # not splitlines: U+2028 may stand in a text
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except UnicodeDecodeError:
            yield number, "not UTF-8"
        except (ValueError, RecursionError) as error:
            yield number, f"no JSON ({str(error)[:60]})"
        else:
            yield number, value if isinstance(value, dict) else f"a {type(value).__name__} where an object is needed"


def _parquet(path: Path) -> Iterator[tuple[int, Any]]:
    import pyarrow  # noqa: PLC0415  who grades JSON Lines does not wait for it
    from pyarrow import parquet  # noqa: PLC0415

    try:
        with parquet.ParquetFile(path) as file:
            yield from enumerate((row for batch in file.iter_batches() for row in batch.to_pylist()), start=1)
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:120]
        raise InputError(f"verify: {path} is no whole Parquet file ({reason})") from error


def _row(number: int, value: dict[str, Any], packed: bool) -> _Row | str:
    """The row, or what is wrong with it."""
    gold, response = value.get("gold", value.get("answer")), value.get("response")
    gold = str(gold) if isinstance(gold, int | float) and not isinstance(gold, bool) else gold
    if not isinstance(gold, str) or not isinstance(response, str):
        name, text = ("response", response) if isinstance(gold, str) else ("gold or answer", gold)
        return f"{name} is {'missing' if text is None else 'no text'}"
    label = value.get("label")
    if label is not None and not isinstance(label, bool):
        return f"label is {label!r:.20}, neither true nor false"
    if packed:  # a function of the user's own sees the row, but neither label nor response among its columns
        columns = {name: item for name, item in value.items() if name not in ("response", "label")}
        gold = json.dumps({"answer": gold, **columns}, default=str)
    return _Row(line=number, id=str(value.get("id", f"line {number}")), gold=gold, response=response, label=label)
