"""A label set: problems, and apart from them their answers, with an account of every row they were made of.

    rows read = problems + rows merged into them (the same problem again) + rows dropped

Rows are one problem when their normalised texts are equal (`pools.identity`, which is also the problem's id).
Rows of one problem with different answers contradict each other; a bad row or a contradiction refuses the
whole set, or, by choice, is dropped and recorded. Reasons and messages never hold an answer.

Left out: which answers mean the same (1/2 and 0.5 contradict each other here): that is a verifier's matter.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from operator import itemgetter
from typing import Any, Literal, NamedTuple

from headwater.errors import InputError
from headwater.fingerprint import derive_seed, fingerprint
from headwater.problems.columns import (
    AnswerOf,
    Columns,
    Example,
    Layout,
    Parts,
    RowFault,
    brief,
    find_layout,
    missing,
    read_parts,
    with_examples,
)
from headwater.problems.packed import packed
from headwater.problems.pools import contradictions, identity, prompt_text
from headwater.problems.rows import Row, named
from headwater.records import Problem

MOST_ROWS = 10_000_000
"""Rows of one set: stops a generator without an end."""
LISTED = 10
"""Contradictory pairs named in a message before "..."."""

OnBad = Literal["refuse", "drop"]


@dataclass(frozen=True, kw_only=True, slots=True)
class DroppedRow:
    """A row that is no problem of the set, and why; `rows` counts it and its exact repeats."""

    file: str
    line: int
    reason: str
    rows: int = 1

    def __str__(self) -> str:
        return f"{named(self.file)}, line {self.line}: {self.reason}"


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelSet:
    """Problems with their answers and, where a column is mapped to them, demonstrations, by problem id.

    `merged` counts, by problem id, the further rows that were the same problem. `rows`, `dropped` and `digest`
    (of the source's bytes; of the content when there is no file) are of the reading, also after `keep`.
    `revision` is the commit of a hub data set.
    """

    name: str
    problems: tuple[Problem, ...]
    answers: Mapping[str, str] = field(repr=False)
    demonstrations: Mapping[str, str] = field(repr=False)
    merged: Mapping[str, int] = field(repr=False)
    dropped: tuple[DroppedRow, ...] = field(repr=False)
    rows: int
    columns: Layout
    digest: str
    places: Mapping[str, str] = field(default_factory=dict, repr=False)
    """problem id -> file and line of its answer"""
    revision: str | None = None

    def keep(self, problem_ids: Collection[str]) -> LabelSet:
        """The set with these problems alone, in its own order."""
        ids = frozenset(problem_ids)
        return replace(
            self,
            problems=tuple(problem for problem in self.problems if problem.problem_id in ids),
            answers={name: answer for name, answer in self.answers.items() if name in ids},
            demonstrations={name: text for name, text in self.demonstrations.items() if name in ids},
            merged={name: count for name, count in self.merged.items() if name in ids},
        )

    def draw(self, count: int, seed: int) -> LabelSet:
        """`count` of the problems, chosen by seed and text alone, in the set's own order.

        Raises InputError when there are fewer.
        """
        ids = [problem.problem_id for problem in self.problems]
        if count > len(ids):
            raise InputError(
                f"problems {named(self.name)}: {count} problems are asked for and {len(ids)} are left of {self.rows} "
                "rows; ask for fewer or add rows"
            )
        return self.keep(
            sorted(ids, key=lambda problem_id: (derive_seed("draw", seed, problem_id), problem_id))[:count]
        )

    @property
    def content_digest(self) -> str:
        """SHA-256 over problems, answers and demonstrations: what a run's identity is made of. 64 hex digits."""
        return _content_digest(self.problems, self.answers, self.demonstrations)


def _content_digest(problems: Iterable[Problem], answers: Mapping[str, str], demonstrations: Mapping[str, str]) -> str:
    # Without `source`: a moved or renamed file is the same content.
    prompts = [[problem.problem_id, problem.prompt] for problem in problems]
    return fingerprint({"prompts": prompts, "answers": answers, "demonstrations": demonstrations})


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """How rows are made into a label set; `name` stands in messages, `source` in problems without a source column.

    With `packed` a label is its whole row as JSON (`problems.packed`), for a reward function of the user's own. Without
    `answers` each label is empty: rows that have none are sound, and those that have one keep it to themselves.
    """

    name: str
    source: str
    columns: Columns = field(default_factory=Columns)
    system_prompt: str | None = None
    few_shot: Sequence[Example] = ()
    limit: int | None = None
    on_bad: OnBad = "refuse"
    packed: bool = False
    answer_of: AnswerOf | None = None
    answers: bool = True
    digest: str | None = None
    revision: str | None = None


class _Entry(NamedTuple):
    """A good row that no earlier row repeats word by word; `position` counts all rows of all files."""

    position: int
    file: str
    line: int
    parts: Parts
    label: str


@dataclass(slots=True)
class _Gathered:
    """What is read so far; mutable. An entry's key is its number as text; `clusters` maps it to a problem id."""

    count: int = 0
    layout: Layout | None = None
    seen: dict[tuple[Any, str], str] = field(default_factory=dict)
    entries: dict[str, _Entry] = field(default_factory=dict)
    clusters: dict[str, str] = field(default_factory=dict)
    repeats: Counter[str] = field(default_factory=Counter)
    bad: list[tuple[int, DroppedRow]] = field(default_factory=list)


def gather(rows: Iterable[Row], reading: Reading) -> LabelSet:
    """Rows as a label set. Raises InputError: one line with file, line, what was found and what is allowed."""
    found = _Gathered()
    unplaced: Row | None = None  # the first row that is sound and yet shows no column for prompt or answer
    for found.count, row in enumerate(islice(rows, reading.limit), 1):
        if found.count > MOST_ROWS:
            raise InputError(f"problems {named(reading.name)}: more than {MOST_ROWS:,} rows; set limit to read fewer")
        try:
            _add(found, row, reading)
        except RowFault as fault:
            found.bad.append((found.count, DroppedRow(file=row.file, line=row.line, reason=str(fault))))
            if found.layout is None and not row.fault:
                unplaced = unplaced or row
    if not found.count:
        raise InputError(f"problems {named(reading.name)}: no rows; expected rows with a prompt and an answer")
    if found.layout is None and unplaced is not None:
        reason = missing(reading.columns, unplaced.values, unplaced.names)
        raise InputError(f"problems {named(unplaced.file)}, line {unplaced.line}: {reason} (all rows lack it)")
    if found.bad and reading.on_bad == "refuse":
        raise InputError(
            f"problems {found.bad[0][1]}. {len(found.bad)} of {found.count} rows are bad: correct them, or set on_bad "
            f"to drop (every dropped row is recorded){_also_disputed(found, reading)}"
        )
    return _label_set(found, reading, _take_disputed(found, reading))


def _add(found: _Gathered, row: Row, reading: Reading) -> None:
    if row.fault:
        raise RowFault(row.fault)
    layout = found.layout or find_layout(reading.columns, row.values, answers=reading.answers)
    if layout is None:
        raise RowFault(missing(reading.columns, row.values, row.names))
    found.layout = layout
    parts = read_parts(row.values, layout, reading.system_prompt, reading.answer_of)
    # Released sets repeat a row up to a hundred times: an exact repeat costs one look-up.
    content = (parts.prompt, parts.answer)
    if (key := found.seen.get(content)) is not None:
        found.repeats[key] += 1
        return
    own = prompt_text(Problem(problem_id="", prompt=parts.prompt, source=""))
    cluster = identity(own)
    if cluster == _NOTHING:
        raise RowFault(f"{brief(layout.prompt)} holds nothing but spaces and marks; allowed: the text of a problem")
    if any(identity(example.prompt) == cluster for example in reading.few_shot):
        raise RowFault("its problem is an example of few_shot, so that every prompt would show its answer")
    parts = with_examples(parts, reading.few_shot, own)
    label = packed(row.values, parts) if reading.packed else parts.answer
    key = str(len(found.entries))
    found.seen[content] = key
    found.entries[key] = _Entry(found.count, row.file, row.line, parts, label)
    found.clusters[key] = cluster


_NOTHING = identity("")


def _take_disputed(found: _Gathered, reading: Reading) -> frozenset[str]:
    """The problems whose rows contradict each other: refused, or noted as dropped rows."""
    pairs = contradictions(found.clusters, {key: entry.parts.answer for key, entry in found.entries.items()})
    disputed = frozenset(found.clusters[first] for first, _ in pairs)
    if not pairs:
        return disputed
    if reading.on_bad == "refuse":
        shown = "; ".join(f"{_place(found, one)} and {_place(found, other)}" for one, other in pairs[:LISTED])
        raise InputError(
            f"problems {named(reading.name)}: {len(disputed)} problems have rows with different answers ({shown}"
            f"{'; ...' if len(pairs) > LISTED else ''}); correct them, or set on_bad to drop (every dropped row is "
            "recorded)"
        )
    first = {found.clusters[one]: one for one, _ in reversed(pairs)}
    for key, entry in found.entries.items():
        if (cluster := found.clusters[key]) in disputed:
            reason = f"rows of this problem have different answers (first row: {_place(found, first[cluster])})"
            row = DroppedRow(file=entry.file, line=entry.line, reason=reason, rows=1 + found.repeats[key])
            found.bad.append((entry.position, row))
    return disputed


def _also_disputed(found: _Gathered, reading: Reading) -> str:
    """Contradictions beside bad rows: one reading of the file names both."""
    try:
        _take_disputed(found, reading)
    except InputError as error:
        return f". Also, {error}"
    return ""


def _place(found: _Gathered, key: str) -> str:
    entry = found.entries[key]
    several = found.entries["0"].file != next(reversed(found.entries.values())).file
    return f"{named(entry.file)} line {entry.line}" if several else f"line {entry.line}"


def _label_set(found: _Gathered, reading: Reading, disputed: frozenset[str]) -> LabelSet:
    problems: dict[str, Problem] = {}
    places: dict[str, str] = {}
    answers: dict[str, str] = {}
    demonstrations: dict[str, str] = {}
    merged: Counter[str] = Counter()
    for key, entry in found.entries.items():
        problem_id, parts = found.clusters[key], entry.parts
        if problem_id in disputed:
            continue
        merged[problem_id] += found.repeats[key] + (problem_id in problems)
        if problem_id in problems:
            continue
        source = parts.source or reading.source
        problems[problem_id] = Problem(problem_id=problem_id, prompt=parts.prompt, source=source, asked=parts.asked)
        answers[problem_id] = entry.label
        places[problem_id] = f"{named(entry.file)}, line {entry.line}"
        if parts.demonstration is not None:
            demonstrations[problem_id] = parts.demonstration
    dropped = tuple(row for _, row in sorted(found.bad, key=itemgetter(0)))
    if not problems or found.layout is None:
        raise InputError(
            f"problems {named(reading.name)}: no problem is left, all {found.count} rows are bad (first: "
            f"{dropped[0]}). Correct them or the column map"
        )
    return LabelSet(
        name=reading.name,
        problems=tuple(problems.values()),
        answers=answers,
        demonstrations=demonstrations,
        merged={problem_id: count for problem_id, count in merged.items() if count},
        dropped=dropped,
        rows=found.count,
        columns=found.layout,
        places=places,
        digest=reading.digest or _content_digest(problems.values(), answers, demonstrations),
        revision=reading.revision,
    )
