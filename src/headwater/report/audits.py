"""What the second grader thought of each stage's verdicts, stages of one name together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from headwater.report.results import printable, read_json
from headwater.report.rows import AuditRow, Disagreement

if TYPE_CHECKING:
    from headwater.folder import RunFolder


def audits(folder: RunFolder, graph: Mapping[str, Any]) -> tuple[AuditRow, ...]:
    """A row a name of stage and pair of graders, of the stages that have graded so far."""
    found: dict[tuple[str, str, str], list[tuple[int, Mapping[str, Any]]]] = {}
    for node, entry in graph["nodes"].items():
        audit = read_json(folder, node, "audit.json")
        if audit is not None:
            key = tuple(printable((entry["title"], audit["first"], audit["second"])))
            found.setdefault(key, []).append((entry["seed"], audit))
    return tuple(_row(*key, parts) for key, parts in sorted(found.items(), key=lambda item: item[0]))


def audit_line(rows: tuple[AuditRow, ...]) -> str:
    """All of them in a sentence; empty when nothing was graded again."""
    checked, undecided = sum(row.checked for row in rows), sum(row.undecided for row in rows)
    if not checked:
        return ""
    differ = sum(len(row.disagreements) for row in rows)
    apart = f", {undecided:,} without a verdict of both" if undecided else ""
    return f"{checked:,} random verdicts were graded again by a second grader: {differ:,} disagree{apart}"


def _row(title: str, first: str, second: str, parts: list[tuple[int, Mapping[str, Any]]]) -> AuditRow:
    audited = [audit for _, audit in parts]
    return AuditRow(
        title=title,
        first=first,
        second=second,
        seeds=tuple(sorted({seed for seed, _ in parts})),
        stages=len(parts),
        checked=sum(audit["checked"] for audit in audited),
        agreed=sum(audit["agreed"] for audit in audited),
        undecided=sum(audit["undecided"] for audit in audited),
        disagreements=tuple(row for seed, audit in parts for row in _disagreements(seed, audit)),
    )


def _disagreements(seed: int, audit: Mapping[str, Any]) -> list[Disagreement]:
    rows = {row["rollout"]: row for row in audit["sample"]}
    return [
        Disagreement(
            seed=seed,
            rollout=printable(name),
            gold=printable(rows[name]["gold"]),
            answer=printable(rows[name]["answer"]),
            verdict=printable(rows[name]["verdict"]),
            second=printable(rows[name]["second"]),
            reward=printable(rows[name]["reward"]),
            second_reward=printable(rows[name]["second_reward"]),
        )
        for name in audit["disagreements"]
    ]
