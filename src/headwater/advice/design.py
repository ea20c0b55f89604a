"""How many seeds and problems would tell two routes apart, if they differ by as much as a pilot expects."""

from __future__ import annotations

from dataclasses import dataclass

from headwater.evaluation.difference import foreseen

SEED_SD = 0.02
"""Standard deviation over seeds of R3-full less R1, as the lab's recipes show it (docs/advice.md)."""
PROBLEM_SD = 0.13
"""Standard deviation over problems of the same, averaged over seeds."""
MOST_SEEDS = 50
FEWEST_SEEDS = 3


@dataclass(frozen=True, kw_only=True)
class Design:
    """Seeds and held-out problems, and the difference that they find four times in five."""

    seeds: int
    problems: int
    finds: float


def design(difference: float, problems: int) -> Design | None:
    """The fewest seeds that resolve a difference on so many problems; None where even 50 do not.

    For paired seeds, at p < 0.05 and 80 % power.
    """
    for seeds in range(FEWEST_SEEDS, MOST_SEEDS + 1):
        finds = foreseen(seeds, problems, SEED_SD, PROBLEM_SD)
        if finds <= abs(difference):
            return Design(seeds=seeds, problems=problems, finds=finds)
    return None
