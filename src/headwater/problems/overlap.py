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
from headwater.problems.pools import NearDuplicate, Overlap, find_overlaps, prompt_text
from headwater.records import Problem


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchmarkOverlap:
    """What of the pool is in one benchmark: pairs (pool id, benchmark id), each pair in one list.

    exact: the same text; normalised: the same but for case, spaces, LaTeX marks or an instruction around it;
    near: shared word 8-grams. A problem that is in two benchmarks is in both records.
    """

    benchmark: str
    problems: int
    exact: tuple[tuple[str, str], ...]
    normalised: tuple[tuple[str, str], ...]
    near: tuple[NearDuplicate, ...]

    @property
    def same(self) -> frozenset[str]:
        """Ids of the pool's problems that are in the benchmark, near-duplicates not counted."""
        return frozenset(pool_id for pool_id, _ in (*self.exact, *self.normalised))

    def __str__(self) -> str:
        near = len({pair.pool_id for pair in self.near} - self.same)
        exact = len({pool_id for pool_id, _ in self.exact})
        return (
            f"{len(self.same)} in {self.benchmark} ({exact} word for word, {len(self.same) - exact} after "
            f"normalisation; {near} more are near-duplicates)"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class OverlapRecord:
    """What `drop_overlap` did to one pool; `fingerprint.plain` writes it as JSON, `str` as a line."""

    pool: str
    problems: int
    kept: int
    near_dropped: bool
    dropped: tuple[str, ...]
    benchmarks: tuple[BenchmarkOverlap, ...]

    def __str__(self) -> str:
        near = "near-duplicates removed too" if self.near_dropped else "near-duplicates kept"
        found = "; ".join(str(benchmark) for benchmark in self.benchmarks)
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
    texts = {problem.problem_id: prompt_text(problem) for problem in pool}
    overlaps = find_overlaps(pool, benchmarks)
    found = [_overlap(overlaps[name], texts, name, problems) for name, problems in benchmarks.items()]
    taken = set[str]().union(*(overlap.same for overlap in found))
    if near:
        taken |= {pair.pool_id for overlap in found for pair in overlap.near}
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
        benchmarks=tuple(found),
    )


def _overlap(overlap: Overlap, texts: Mapping[str, str], name: str, problems: Sequence[Problem]) -> BenchmarkOverlap:
    held = {problem.problem_id: prompt_text(problem) for problem in problems}
    exact = tuple(pair for pair in overlap.same if texts[pair[0]] == held[pair[1]])
    return BenchmarkOverlap(
        benchmark=name,
        problems=len(problems),
        exact=exact,
        normalised=tuple(pair for pair in overlap.same if texts[pair[0]] != held[pair[1]]),
        near=overlap.near,
    )
