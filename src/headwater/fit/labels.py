"""A user's labels as a first recipe can use them: bare golds of one type, and a benchmark where none is given.

Rows are copied to files of their own only where something has to change: golds that stand behind `####` in a worked
solution, rows that cannot be graded, or a part held out. The user's files stay as they are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from headwater.errors import InputError
from headwater.fingerprint import derive_seed
from headwater.problems.columns import Columns
from headwater.problems.files import FileSource, read_problems
from headwater.problems.labels import LabelSet
from headwater.records import Verdict
from headwater.verifiers.answers import AnswerType
from headwater.verifiers.grading import Grading, make_verifier

TYPES: tuple[AnswerType, ...] = ("integer", "fraction", "choice", "expression", "text")
"""From the narrowest to the widest; fractions read decimals, tuples and sets are expressions."""
LEAST_SHARE = 0.95
"""Of golds that a type has to read; the others are left out and counted."""
LONGEST_GOLD = 200
"""Characters; longer ones are worked solutions, and no grader compares those."""
HELD_OUT = 0.25
"""Share of the labels that becomes the benchmark when there is none."""
MOST_HELD_OUT = 256
MARK = "####"


@dataclass(frozen=True, kw_only=True)
class Labels:
    """Labels and benchmark as they will be read, with what was done to them."""

    labels: LabelSet
    benchmark: LabelSet
    answer_type: AnswerType
    notes: tuple[str, ...]
    own_labels: bool
    """the labels stand in a file that is written beside the recipe"""
    own_benchmark: bool


def read_labels(labels: str, benchmark: str | None, columns: Columns) -> Labels:
    """Read both, find the answers' type, and hold problems out where no benchmark is given. Raises InputError."""
    notes: list[str] = []
    found, changed = _read(labels, columns, notes)
    held, held_changed = (None, False) if benchmark is None else _read(benchmark, columns, notes)
    golds = {**found.answers, **(held.answers if held else {})}
    answer_type, bad = find_type(golds)
    if bad:
        notes.append(f"{len(bad)} golds are not of type {answer_type} and were left out (first: {bad[0]})")
        found, changed = _without(found, bad), changed or not found.answers.keys().isdisjoint(bad)
        if held is not None:
            held, held_changed = _without(held, bad), held_changed or not held.answers.keys().isdisjoint(bad)
    if held is None:
        found, held = _split(found, notes)
        changed = held_changed = True
    return Labels(
        labels=found,
        benchmark=held,
        answer_type=answer_type,
        notes=tuple(notes),
        own_labels=changed,
        own_benchmark=held_changed,
    )


def _read(path: str, columns: Columns, notes: list[str]) -> tuple[LabelSet, bool]:
    """A set, and whether it differs from what its file holds."""
    source = FileSource(path=path, columns=columns)
    try:
        found = read_problems(source)
    except InputError as error:
        try:
            found = read_problems(source.model_copy(update={"on_bad": "drop"}))
        except InputError:
            raise error from None
        if len(found.dropped) > 0.1 * found.rows:
            raise
        notes.append(f"{len(found.dropped)} of {found.rows} rows of {path} cannot be used (first: {found.dropped[0]})")
    marked = {name: gold for name, gold in found.answers.items() if MARK in gold}
    if len(marked) > LEAST_SHARE * len(found.answers):
        notes.append(f"{path}: answers are worked solutions; what stands behind {MARK} is the gold")
        return replace(found, answers={n: g.rpartition(MARK)[2].strip() for n, g in marked.items()}), True
    return found, bool(found.dropped)


def find_type(golds: Mapping[str, str]) -> tuple[AnswerType, list[str]]:
    """The narrowest type that reads (nearly) every gold, and the problems whose gold it cannot read.

    Raises InputError when no type does.
    """
    long = [name for name, gold in golds.items() if len(gold) > LONGEST_GOLD]
    if len(long) > (1 - LEAST_SHARE) * len(golds):
        raise InputError(
            f"init: {len(long)} of {len(golds)} answers have more than {LONGEST_GOLD} characters (first: {long[0]}): "
            "they are worked solutions. Name the column of the bare answer with --answer-column"
        )
    best: list[str] = []
    for kind in TYPES:
        best = _unread(kind, golds)
        if not best:
            return kind, []
        if kind == "expression" and len(best) <= (1 - LEAST_SHARE) * len(golds):
            return kind, best
    raise InputError(
        f"init: {len(best)} of {len(golds)} answers can be graded as no type (first: {best[0]}); write bare answers, "
        "or a reward function (problems.grading.function)"
    )


def _unread(kind: AnswerType, golds: Mapping[str, str]) -> list[str]:
    verifier = make_verifier(Grading(answer_type=kind))
    try:
        verdicts = verifier.grade({name: (gold, f"\\boxed{{{gold}}}") for name, gold in golds.items()})
    finally:
        verifier.close()
    return [name for name in golds if verdicts[name] is not Verdict.CORRECT]


def _without(found: LabelSet, bad: list[str]) -> LabelSet:
    return found.keep(found.answers.keys() - set(bad))


def _split(found: LabelSet, notes: list[str]) -> tuple[LabelSet, LabelSet]:
    """A quarter of the problems, at most 256, drawn by text: the benchmark that was not given."""
    count = min(MOST_HELD_OUT, round(HELD_OUT * len(found.problems)))
    if count < 2:
        raise InputError(
            f"init: {len(found.problems)} labels are too few to hold some out; give a benchmark with --benchmark FILE"
        )
    order = sorted(found.answers, key=lambda name: derive_seed("held out", 0, name))
    notes.append(
        f"no benchmark was given: {count} of {len(found.problems)} problems are held out and train nothing. With "
        "--benchmark FILE all labels train"
    )
    return found.keep(order[count:]), found.keep(order[:count])


def write_rows(path: Path, found: LabelSet) -> None:
    """The set as JSON Lines that a recipe reads without a column map."""
    lines = []
    for problem in found.problems:
        prompt = problem.prompt
        said = prompt if isinstance(prompt, str) else [{"role": m.role, "content": m.content} for m in prompt]
        row = {"prompt": said, "answer": found.answers[problem.problem_id], "source": problem.source}
        lines.append(json.dumps(row, ensure_ascii=False))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
