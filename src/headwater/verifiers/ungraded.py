"""When a grader that fails stops a run: an ungraded response is counted, and never taken for a wrong one."""

from __future__ import annotations

from collections.abc import Mapping

from headwater.errors import GraderError
from headwater.records import Grade, Verdict

UNGRADED_LIMIT = 0.005
"""Largest share of a step's responses that may have no verdict."""


def refuse_ungraded(verdicts: Mapping[str, Verdict | Grade], limit: float, where: str) -> None:
    """Raise GraderError when more than this share of the verdicts, by rollout id, are none."""
    ungraded = [name for name, given in verdicts.items() if given.verdict is Verdict.UNGRADED]
    refuse_share(len(ungraded), len(verdicts), limit, where, first=f", {ungraded[0]} first" if ungraded else "")


def refuse_share(ungraded: int, of: int, limit: float, where: str, first: str = "") -> None:
    """Raise GraderError when so many of so many are more than this share."""
    if ungraded > limit * of:
        raise GraderError(
            f"{where}: {ungraded} of {of} rollouts have no verdict{first}; at most {limit:.2%} may. Look at the "
            "verifier, or raise reward.ungraded_limit"
        )
