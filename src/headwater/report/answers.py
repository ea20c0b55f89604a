"""The three answers of a report's first screen: which route, how sure, at what cost."""

from __future__ import annotations

from collections.abc import Sequence

from headwater.evaluation.estimate import percent
from headwater.evaluation.verdict import BETTER, WORSE, detects
from headwater.report.costs import cost_words, label_words
from headwater.report.rows import Answers, ArmRow, ContrastRow


def answers(arms: Sequence[ArmRow], contrasts: Sequence[ContrastRow], headline: str) -> Answers:
    """Of the first planned comparison, whatever it says; what is not known yet is said to be so."""
    named = {arm.name: arm for arm in arms}
    first = contrasts[0] if contrasts else None
    sides = [named[name] for name in (first.treatment, first.control) if name in named] if first else []
    return Answers(which=_which(sides, arms), how_sure=_sure(first, headline), cost=tuple(_cost(arm) for arm in sides))


def _which(sides: Sequence[ArmRow], arms: Sequence[ArmRow]) -> str:
    """Levels in words: those of the first comparison, and the highest of all routes."""
    measured = [arm for arm in arms if arm.mean is not None and arm.group == "route"]
    if not measured:
        return "No route is measured yet."
    told = [f"{_spoken(arm)}: {_level(arm)}" for arm in sides]
    best = max(measured, key=lambda arm: (arm.mean or 0.0, arm.name))
    if best.name not in [arm.name for arm in sides]:
        told.append(f"Highest of {len(measured)} routes is {_spoken(best)}: {_level(best)}")
    return ". ".join(told) + "."


def _spoken(arm: ArmRow) -> str:
    return f"{arm.name} ({arm.title})"


def _level(arm: ArmRow) -> str:
    if arm.mean is None:
        return arm.state
    seeds = sum(score.average is not None for score in arm.scores)
    return f"{percent(arm.mean)} %" + (f" over {seeds} seeds" if seeds > 1 else " (1 seed)")


def _sure(first: ContrastRow | None, headline: str) -> str:
    """The verdict in its own words, and what the design could have seen where that is not part of them."""
    if first is None or first.difference is None or first.word not in (BETTER, WORSE):
        return headline
    return f"{headline} This design detects {detects(first.difference)} points or more."


def _cost(arm: ArmRow) -> str:
    labels = label_words(arm.labels[0]) if arm.labels else "labels not known yet"
    return f"{arm.name}: {labels}; {cost_words(arm.cost)}."
