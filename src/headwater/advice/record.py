"""What is known of the rule itself: how often it was right, undecided or wrong, where the truth was made afterwards."""

from __future__ import annotations

from typing import NamedTuple


class Tried(NamedTuple):
    """One recipe over seeds: for how many the advice was right, "not decided", wrong."""

    recipe: str
    right: int
    undecided: int
    wrong: int


RECORD = (
    Tried("lab", 2, 3, 0),
    Tried("support-gap", 5, 0, 0),
    Tried("same-size", 1, 1, 0),
    Tried("raw-better", 1, 1, 0),
    Tried("weak-teacher", 1, 0, 0),
)
"""As in docs/advice.md, which a test compares."""
FITTED = 9
"""Cases among them off which the constants of `levels` were read."""


def record() -> str:
    """The record in a sentence."""
    right, undecided, wrong = (sum(getattr(tried, name) for tried in RECORD) for name in Tried._fields[1:])
    recipes = ", ".join(f"{tried.recipe} {tried.right}/{tried.undecided}/{tried.wrong}" for tried in RECORD)
    return (
        f"the rule's own record on the lab: right {right}, not decided {undecided}, wrong {wrong} of "
        f"{right + undecided + wrong} pilots, {FITTED} of which set its constants ({recipes}); in hindsight, with "
        "levels known: 8 of 9 cases of the lab, three pairs of the paper"
    )
