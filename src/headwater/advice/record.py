"""What is known of the rule itself: how often it was right, wrong or undecided, where the truth was made afterwards."""

from __future__ import annotations

from typing import NamedTuple


class Tried(NamedTuple):
    """One recipe over seeds: for how many the advice was right, "not decided", wrong."""

    recipe: str
    right: int
    undecided: int
    wrong: int


RECORD: tuple[Tried, ...] = ()
"""As in docs/advice.md."""
HINDSIGHT = "in hindsight, with levels known: 8 of 9 cases of the lab, three pairs of the paper"


def record() -> str:
    """The record in a sentence."""
    if not RECORD:
        return f"the rule's own record: {HINDSIGHT}; none made beforehand"
    right, undecided, wrong = (sum(getattr(tried, name) for tried in RECORD) for name in Tried._fields[1:])
    recipes = ", ".join(f"{tried.recipe} {tried.right}/{tried.undecided}/{tried.wrong}" for tried in RECORD)
    return (
        f"the rule's own record: from pilots, right {right}, not decided {undecided}, wrong {wrong} of "
        f"{right + undecided + wrong} ({recipes}); {HINDSIGHT}"
    )
