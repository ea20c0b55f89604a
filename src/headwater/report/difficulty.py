"""Where arms gain: quarters of the problems from hard to easy, and the problems on which two arms differ most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from headwater.report.examples import prompts
from headwater.report.results import arms_by_name, printable, problem_shares
from headwater.report.rows import ProblemRow, QuarterRow

if TYPE_CHECKING:
    from headwater.folder import RunFolder

QUARTERS = 4
MOST = 8  # problems listed at each end


def arm_shares(folder: RunFolder, graph: Mapping[str, Any], benchmark: str) -> dict[str, dict[str, float]]:
    """Arm -> problem -> share of right answers, the mean over the seeds that are measured."""
    found: dict[str, dict[str, float]] = {}
    for name, entries in arms_by_name(graph["arms"]).items():
        seeds = [s for e in entries if (s := problem_shares(folder, e["evaluation"].get(benchmark))) is not None]
        if seeds and all(seed.keys() == seeds[0].keys() for seed in seeds):
            found[name] = {problem: float(np.mean([seed[problem] for seed in seeds])) for problem in seeds[0]}
    return found


def quarters(shares: Mapping[str, Mapping[str, float]]) -> tuple[QuarterRow, ...]:
    """Each arm's share on the hardest quarter of the problems to the easiest, by the mean of all arms."""
    tables = list(shares.values())
    if not tables or any(table.keys() != tables[0].keys() for table in tables) or len(tables[0]) < QUARTERS:
        return ()
    order = sorted(tables[0], key=lambda problem: (np.mean([table[problem] for table in tables]), problem))
    parts = np.array_split(np.array(order, dtype=object), QUARTERS)
    return tuple(
        QuarterRow(arm=name, shares=tuple(float(np.mean([table[problem] for problem in part])) for part in parts))
        for name, table in shares.items()
    )


def most_apart(
    folder: RunFolder, graph: Mapping[str, Any], shares: Mapping[str, Mapping[str, float]], benchmark: str
) -> tuple[ProblemRow, ...]:
    """The problems on which the first comparison's arms differ most, either way."""
    if not graph["contrasts"]:
        return ()
    sides = [graph["contrasts"][0][side] for side in ("treatment", "control")]
    if not all(side in shares for side in sides) or shares[sides[0]].keys() != shares[sides[1]].keys():
        return ()
    ours, theirs = shares[sides[0]], shares[sides[1]]
    order = sorted(ours, key=lambda problem: (ours[problem] - theirs[problem], problem))
    chosen: Sequence[str] = order if len(order) <= 2 * MOST else [*order[:MOST], *order[-MOST:]]
    nodes = [entry["evaluation"].get(benchmark) for entry in graph["arms"] if entry["name"] in sides]
    text = prompts(folder, nodes)
    return tuple(
        ProblemRow(problem=printable(p), prompt=text.get(p, ""), treatment=ours[p], control=theirs[p])
        for p in reversed(chosen)
    )
