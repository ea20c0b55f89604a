"""`headwater verify FILE`: grade a file of responses, count, and compare with its labels if it has any.

One object a line (JSON Lines, also compressed by gzip), or one a row (Parquet): `response` (text), `gold` or `answer`
(text or a number, of which every digit counts), and optionally `id`, `label` (true or false) and `prompt` (as the
model saw it: where it ends in <think>, the response goes on thinking).
"""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, cast

from headwater.errors import GraderError, InputError
from headwater.problems.columns import RowFault, Written, answer_text, kind
from headwater.problems.packed import plain
from headwater.problems.rows import BLANK, Row, jsonl_rows, parquet_rows
from headwater.records import Verdict
from headwater.verifiers.answers import UNGRADED_LIMIT, AnswerVerifier
from headwater.verifiers.function import FunctionVerifier
from headwater.verifiers.grading import Grading, make_verifier, second_judge
from headwater.verifiers.second import audit, row_of

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
    second: dict[str, Any] | None = None
    """a second opinion, if one was asked for: its name, how many agree or are undecided, and the lines that differ"""

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
        if self.second is not None:
            differ = self.second["differ"]
            shown = ", ".join(map(str, differ[:_SHOWN])) + (", ..." if len(differ) > _SHOWN else "")
            lines.append(
                f"second opinion ({self.second['name']}): {self.second['agreed']} agree, {self.second['undecided']} "
                f"have none, {len(differ)} differ" + (f" (lines {shown})" if differ else "")
            )
        return "\n".join(lines)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Row:
    line: int
    id: str
    gold: str
    response: str
    label: bool | None
    opening: str = ""
    """the end of the row's own prompt, where that opens a thought"""


def verify_file(path: Path, grading: Grading, *, second: bool = False) -> Tally:
    """Grade every line of the file. Raises InputError, with the lines and reasons, when one is malformed."""
    rows = _read(path, grading.packed)
    verifier = make_verifier(grading)
    texts = {str(row.line): (row.gold, row.opening + row.response) for row in rows}
    try:
        verdicts = verifier.grade(texts)
        opinion = _second(grading, verifier, texts, verdicts) if second else None
    finally:
        verifier.close()
    graded = [(row, verdicts[str(row.line)].verdict) for row in rows]
    counts = {verdict: sum(given is verdict for _, given in graded) for verdict in Verdict}
    disagreements = tuple(
        Disagreement(
            line=row.line,
            id=row.id,
            gold=row.gold,
            answer=verifier.find(row.opening + row.response),
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
        second=opinion,
    )


def _second(
    grading: Grading,
    verifier: AnswerVerifier | FunctionVerifier,
    texts: Mapping[str, tuple[str, str]],
    first: Mapping[str, Any],
) -> dict[str, Any]:
    """What another grader says of the same answers."""
    judge = second_judge(grading, verifier)
    try:
        found = audit([row_of(verifier, line, texts[line], first[line]) for line in texts], verifier.name, judge)
    finally:
        judge.close()
    differ = [int(line) for line in found["disagreements"]]
    return {"name": judge.name, "agreed": found["agreed"], "undecided": found["undecided"], "differ": differ}


def _read(path: Path, packed: bool) -> list[_Row]:
    rows: list[_Row] = []
    faults: list[str] = []
    try:
        for row in _rows(path):
            try:
                rows += [] if row.fault == BLANK else [_row(row, packed)]
            except RowFault as fault:
                faults.append(f"line {row.line}: {fault}")
    except InputError as error:
        raise InputError(f"verify: {str(error).removeprefix('problems ')}") from error
    if faults:
        more = f"; {len(faults) - _LISTED} more" if len(faults) > _LISTED else ""
        raise InputError(f"verify: {path}: {'; '.join(faults[:_LISTED])}{more}. Mend these lines")
    if not rows:
        raise InputError(f"verify: {path} has no line to grade")
    return rows


def _rows(path: Path) -> Iterator[Row]:
    if path.suffix == ".parquet":
        yield from parquet_rows(path)
        return
    try:
        with path.open("rb") as file:
            compressed = file.read(2) == b"\x1f\x8b"
        with gzip.open(path) if compressed else path.open("rb") as file:
            yield from jsonl_rows(str(path), cast("IO[bytes]", file))
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"cannot read {path} ({getattr(error, 'strerror', None) or error})") from error


def _row(row: Row, packed: bool) -> _Row:
    """The row. Raises RowFault."""
    if row.fault:
        raise RowFault(row.fault)
    column = "gold" if "gold" in row.values else "answer"
    for name in (column, "response"):
        if row.values.get(name) is None:
            raise RowFault(f"{'response' if name == 'response' else 'gold or answer'} is missing")
    gold, response = answer_text(row.values[column], column), row.values["response"]
    if not isinstance(response, str) or isinstance(response, Written):
        raise RowFault(f"response is {kind(response)}; allowed: text")
    label = plain(row.values.get("label"), "label")
    if label is not None and not isinstance(label, bool):
        raise RowFault(f"label is {label!r:.20}, neither true nor false")
    prompt = row.values.get("prompt")
    thought = re.search(r"<think(?:ing)?>\s*$", prompt) if isinstance(prompt, str) else None
    if packed:  # a function of the user's own sees the row, but neither label nor response among its columns
        columns = {name: plain(item, name) for name, item in row.values.items() if name not in ("response", "label")}
        gold = json.dumps({"answer": gold, **columns})
    return _Row(
        line=row.line,
        id=str(row.values.get("id", f"line {row.line}")),
        gold=gold,
        response=response,
        label=label,
        opening=thought[0] if thought is not None and not packed else "",
    )
