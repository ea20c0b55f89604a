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
    if len(ungraded) > limit * len(verdicts):
        raise GraderError(
            f"{where}: {len(ungraded)} of {len(verdicts)} rollouts have no verdict, {ungraded[0]} first; "
            f"at most {limit:.2%} may. Look at the verifier, or raise reward.ungraded_limit"
        )
