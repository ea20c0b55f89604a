"""`headwater verify FILE`: grade a file of responses, count, and compare with its labels if it has any.

One object a line (JSON Lines, also compressed by gzip), or one a row (Parquet): `response` (text), `gold` or `answer`
(text or a number, of which every digit counts), and optionally `id`, `label` (true or false) and `prompt` (as the
model saw it: where it ends in <think>, the response goes on thinking).
"""

from __future__ import annotations

import gzip
import json
import math
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, NoReturn

from headwater.errors import GraderError, InputError
from headwater.records import Verdict
from headwater.verifiers.answers import UNGRADED_LIMIT, AnswerVerifier
from headwater.verifiers.audit import audit, row_of
from headwater.verifiers.function import FunctionVerifier
from headwater.verifiers.grading import Grading, make_verifier, second_judge

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


class _Written(str):
    """A number as the file writes it: no digit of it is lost."""

    __slots__ = ()


def _lines(path: Path) -> Iterator[tuple[int, Any]]:
    """Line numbers with their value; a text says what is wrong with the line."""
    try:
        content = path.read_bytes()
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"verify: cannot read {path} ({getattr(error, 'strerror', None) or error})") from error
    content = content.removeprefix(b"\xef\xbb\xbf")
    if re.match(rb"\s*\[\s*(?:\{|\Z|\])", content):
        raise InputError(
            f"verify: {path} is one JSON array; write each of its objects on a line of its own (jq -c '.[]' FILE)"
        )
    for number, line in enumerate(content.split(b"\n"), start=1):  # not splitlines: U+2028 may stand in a text
        if not line.strip():
            continue
        try:
            value = json.loads(
                line.decode(),
                object_pairs_hook=_unique,
                parse_constant=_no_number,
                parse_float=_Written,
                parse_int=_Written,
            )
        except UnicodeDecodeError:
            yield number, "not UTF-8"
        except _Fault as error:
            yield number, str(error)
        except (ValueError, RecursionError) as error:
            yield number, f"no JSON ({str(error)[:60]})"
        else:
            yield number, value if isinstance(value, dict) else f"a {type(value).__name__} where an object is needed"


class _Fault(ValueError):
    """What is wrong with a line, in words."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [key for key, _ in pairs]
    twice = next((key for key in names if names.count(key) > 1), None) if len(set(names)) < len(names) else None
    if twice is not None:
        raise _Fault(f"the key {twice!r:.40} stands there twice")
    return dict(pairs)


def _no_number(constant: str) -> NoReturn:
    raise _Fault(f"{constant} is no number of JSON")


def _parquet(path: Path) -> Iterator[tuple[int, Any]]:
    import pyarrow  # noqa: PLC0415  who grades JSON Lines does not wait for it
    from pyarrow import parquet  # noqa: PLC0415

    try:
        with parquet.ParquetFile(path) as file:
            yield from enumerate(
                (row for batch in file.iter_batches(use_threads=False) for row in batch.to_pylist()), start=1
            )
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:120]
        raise InputError(f"verify: {path} is no whole Parquet file ({reason})") from error


def _row(number: int, value: dict[str, Any], packed: bool) -> _Row | str:
    """The row, or what is wrong with it."""
    gold, response = value.get("gold", value.get("answer")), value.get("response")
    if isinstance(gold, float) and not math.isfinite(gold):
        return f"gold or answer is {gold}, no finite number"
    gold = str(gold) if isinstance(gold, int | float | Decimal) and not isinstance(gold, bool) else gold
    for name, text in (("gold or answer", gold), ("response", response)):
        if not isinstance(text, str) or (name == "response" and isinstance(text, _Written)):
            found = "an array; write its one value as text" if isinstance(text, list) else "no text"
            return f"{name} is {'missing' if text is None else found}"
    if not str(gold).strip():
        return "gold or answer is empty"
    label = _plain(value.get("label"))
    if label is not None and not isinstance(label, bool):
        return f"label is {label!r:.20}, neither true nor false"
    prompt = value.get("prompt")
    thought = re.search(r"<think(?:ing)?>\s*$", prompt) if isinstance(prompt, str) else None
    if packed:  # a function of the user's own sees the row, but neither label nor response among its columns
        columns = {name: _plain(item) for name, item in value.items() if name not in ("response", "label")}
        gold = json.dumps({"answer": str(gold), **columns}, default=str)
    return _Row(
        line=number,
        id=str(value.get("id", f"line {number}")),
        gold=str(gold),
        response=str(response),
        label=label,
        opening=thought[0] if thought is not None and not packed else "",
    )


def _plain(item: Any) -> Any:
    """Written numbers as numbers again."""
    if isinstance(item, _Written):
        return json.loads(item)
    if isinstance(item, dict):
        return {name: _plain(part) for name, part in item.items()}
    return [_plain(part) for part in item] if isinstance(item, list) else item
