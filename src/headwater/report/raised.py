"""The alarms of a run: its stages' own, arms that learned nothing, teachers that reward did not help."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from headwater import alarms
from headwater.evaluation.difference import Difference, seeded_difference
from headwater.records import StepRecord
from headwater.report.examples import three_problems
from headwater.report.results import arms_by_name, problem_shares, read_lines
from headwater.report.rows import AlarmRow

if TYPE_CHECKING:
    from headwater.folder import RunFolder

Entries = Sequence[Mapping[str, Any]]


def raised(folder: RunFolder, graph: Mapping[str, Any], benchmark: str) -> tuple[AlarmRow, ...]:
    """Every alarm, seeds together, with the responses of three problems where there are any."""
    found: dict[tuple[str, str], list[tuple[alarms.Alarm, int, str]]] = {}
    for alarm, seed, node in (*_of_stages(folder, graph), *_of_arms(folder, graph, benchmark)):
        found.setdefault((alarm.where, alarm.kind), []).append((alarm, seed, node))
    return tuple(
        AlarmRow(
            kind=kind,
            where=where,
            said=same[0][0].said,
            seeds=tuple(sorted({seed for _, seed, _ in same})),
            responses=three_problems(folder, same[0][2]),
        )
        for (where, kind), same in found.items()
    )


def _of_stages(folder: RunFolder, graph: Mapping[str, Any]) -> Iterator[tuple[alarms.Alarm, int, str]]:
    for node, entry in graph["nodes"].items():
        if entry["kind"] == "train":
            records = [StepRecord(**line) for line in read_lines(folder, node, "metrics.jsonl")]
            for alarm in alarms.of_stage(entry["title"], records, done=folder.done(node)):
                yield alarm, entry["seed"], node


def _of_arms(folder: RunFolder, graph: Mapping[str, Any], benchmark: str) -> Iterator[tuple[alarms.Alarm, int, str]]:
    teachers: set[str] = set()
    for name, entries in arms_by_name(graph["arms"]).items():
        students = [entry for entry in entries if entry.get("student_before")]
        before, found = _difference(
            folder, [(entry["student_before"], entry["evaluation"]) for entry in students], benchmark
        )
        if found is not None:
            for alarm in alarms.of_start(name, before, found.mean, found.low):
                yield from ((alarm, entry["seed"], entry["evaluation"][benchmark]) for entry in students)
        taught = [entry for entry in entries if entry.get("teacher") and entry["teacher"].get("after")]
        pairs = [(entry["teacher"]["before"], entry["teacher"]["after"]) for entry in taught]
        after = pairs[0][1].get(benchmark, "") if pairs else ""
        if not pairs or after in teachers or pairs[0][0] == pairs[0][1]:
            continue
        teachers.add(after)
        before, found = _difference(folder, pairs, benchmark)
        if found is not None:
            for alarm in alarms.of_teacher(name, before, found.mean, found.low):
                yield from ((alarm, entry["seed"], after) for entry in taught)


def _difference(
    folder: RunFolder, pairs: Sequence[tuple[Mapping[str, str], Mapping[str, str]]], benchmark: str
) -> tuple[float, Difference | None]:
    """The start, and what was gained on the same problems; None while no seed is measured on both sides."""
    both = [
        (start, end)
        for before, after in pairs
        if (start := problem_shares(folder, before.get(benchmark))) is not None
        and (end := problem_shares(folder, after.get(benchmark))) is not None
    ]
    if not both:
        return 0.0, None
    order = sorted(both[0][0])
    if any(start.keys() != set(order) or end.keys() != set(order) for start, end in both):
        return 0.0, None  # evaluated on other problems: the comparisons say so
    starts, ends = ([np.array([pair[side][p] for p in order]) for pair in both] for side in (0, 1))
    return float(np.mean(starts)), seeded_difference(ends, starts, draws=1).overall
