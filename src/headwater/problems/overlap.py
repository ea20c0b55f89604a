"""Taking a benchmark's problems out of a pool, with a record of what was taken and why.

The same problem (word for word, or after normalisation) is always taken out. A near-duplicate is kept and listed
unless it is asked for: a template with other numbers shares most of its words with a problem it does not give
away. A record holds ids and counts, no text and no answer, so that a report may show it.

Left out: overlap between benchmarks, and paraphrases (see `pools`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from headwater.errors import LabelError
from headwater.problems.pools import Overlap, find_overlaps
from headwater.records import Problem


@dataclass(frozen=True, kw_only=True, slots=True)
class OverlapRecord:
    """What `drop_overlap` did to one pool, with the overlap by benchmark; `str` writes it as a line."""

    pool: str
    problems: int
    kept: int
    near_dropped: bool
    dropped: tuple[str, ...]
    benchmarks: Mapping[str, Overlap]

    def __str__(self) -> str:
        near = "near-duplicates removed too" if self.near_dropped else "near-duplicates kept"
        found = "; ".join(_said(name, overlap) for name, overlap in self.benchmarks.items())
        return f"{len(self.dropped)} of {self.problems} problems of {self.pool} removed, {near}: {found}"


def drop_overlap(
    pool: Sequence[Problem],
    benchmarks: Mapping[str, Sequence[Problem]],
    *,
    pool_name: str = "pool",
    near: bool = False,
) -> tuple[list[Problem], OverlapRecord]:
    """The pool without what the benchmarks (by name) hold, in the pool's order, and the record of it.

    `near` takes near-duplicates out as well. Raises LabelError when nothing is left.
    """
    found = find_overlaps(pool, benchmarks)
    taken = set[str]().union(*(overlap.same for overlap in found.values()))
    if near:
        taken |= {pair.pool_id for overlap in found.values() for pair in overlap.near}
    kept = [problem for problem in pool if problem.problem_id not in taken]
    if pool and not kept:
        raise LabelError(
            f"labels: all {len(pool)} problems of {pool_name} also occur in benchmark {', '.join(benchmarks)}; "
            "choose another split or other labels"
        )
    return kept, OverlapRecord(
        pool=pool_name,
        problems=len(pool),
        kept=len(kept),
        near_dropped=near,
        dropped=tuple(problem.problem_id for problem in pool if problem.problem_id in taken),
        benchmarks=found,
    )


def _said(name: str, overlap: Overlap) -> str:
    near = len({pair.pool_id for pair in overlap.near} - overlap.same)
    exact = len({pool_id for pool_id, _ in overlap.exact})
    return (
        f"{len(overlap.same)} in {name} ({exact} word for word, {len(overlap.same) - exact} after "
        f"normalisation; {near} more are near-duplicates)"
    )
