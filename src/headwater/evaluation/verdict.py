"""Which words a family of comparisons allows: the order of testing, the verdicts, the sentences.

The order is fixed before there are results. The first comparison is tested alone at 5 %; only if it is resolved the
others are, all at once, by Holm (1979). So adding arms to a run never changes what its headline says, and the chance of
any false "better" or "worse" in the family is at most 5 %.

One training seed compares two checkpoints and never two recipes: its words say "here".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jaxtyping import Real

from headwater.errors import InputError
from headwater.evaluation.difference import DRAWS, Pairing, SeededDifference, seeded_difference
from headwater.evaluation.estimate import Array, percent

BETTER, WORSE, OPEN = "better", "worse", "not resolved"
HIGHER, LOWER = "higher here (1 seed)", "lower here (1 seed)"
WORDS = (BETTER, HIGHER, WORSE, LOWER, OPEN)

ALPHA = 0.05


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A comparison in its place in the order: seed -> shares [problem] of either arm, as far as they are measured."""

    treatment: Mapping[int, Real[Array, " problem"]]
    control: Mapping[int, Real[Array, " problem"]]
    pairing: Pairing = "paired"

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds that are measured on both sides, in order."""
        return tuple(seed for seed in self.treatment if seed in self.control)


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """What was found of a planned comparison. `held_back`: resolved but for the first comparison, which is open."""

    seeds: tuple[int, ...]
    difference: SeededDifference
    adjusted_p: float
    held_back: bool
    word: str


def judge(planned: Sequence[Planned], *, gate: bool = True, draws: int = DRAWS) -> list[Judged | None]:
    """The verdicts of one family, in order; None where no seed is finished on both sides.

    Args: gate: whether the first comparison stands alone before the others; else all are one Holm family.
    """
    found: dict[str, SeededDifference] = {}
    for place, plan in enumerate(planned):
        if plan.seeds:
            sides = [[side[seed] for seed in plan.seeds] for side in (plan.treatment, plan.control)]
            found[str(place)] = seeded_difference(sides[0], sides[1], plan.pairing, draws)
    p_values = {place: difference.overall.p_value for place, difference in found.items()}
    first = "0" if gate else None
    alone = holm({place: p for place, p in p_values.items() if place != first})
    adjusted = gatekeeping(p_values, first) if first is not None else alone
    return [
        None
        if str(place) not in found
        else Judged(
            seeds=plan.seeds,
            difference=found[str(place)],
            adjusted_p=adjusted[str(place)],
            held_back=alone.get(str(place), 1.0) < ALPHA <= adjusted[str(place)],
            word=verdict(found[str(place)], adjusted[str(place)]),
        )
        for place, plan in enumerate(planned)
    ]


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Holm's step-down p values, in the order given: one below alpha holds for the whole family at alpha."""
    for name, p in p_values.items():
        if not 0.0 <= p <= 1.0:
            raise InputError(f"holm: p value of {name!r} is {p}, allowed 0 to 1")
    adjusted: dict[str, float] = {}
    largest = 0.0
    for rank, name in enumerate(sorted(p_values, key=lambda name: p_values[name])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[name]))
        adjusted[name] = largest
    return {name: adjusted[name] for name in p_values}


def gatekeeping(p_values: Mapping[str, float], first: str) -> dict[str, float]:
    """p values after the fixed order: the first as it is, the others by Holm and never below the first's.

    A first comparison that is not measured yet keeps the gate shut: the others' are then 1.
    """
    gate = p_values.get(first, 1.0)
    others = holm({name: p for name, p in p_values.items() if name != first})
    return {name: p if name == first else max(gate, others[name]) for name, p in p_values.items()}


def verdict(seeded: SeededDifference, adjusted_p: float, alpha: float = ALPHA) -> str:
    """One of `WORDS`, for the treatment against the control.

    Resolved only if the adjusted p value is below alpha and the 95 % interval excludes 0.
    """
    if not 0.0 <= adjusted_p <= 1.0:
        raise InputError(f"verdict: adjusted p value is {adjusted_p}, allowed 0 to 1")
    overall = seeded.overall
    if adjusted_p >= alpha or overall.low <= 0.0 <= overall.high:
        return OPEN
    up, down = (HIGHER, LOWER) if len(seeded.per_seed) == 1 else (BETTER, WORSE)
    return up if overall.mean > 0.0 else down


def sentence(treatment: str, control: str, judged: Judged) -> str:
    """The comparison in words that its numbers allow, in percentage points."""
    seeded, word = judged.difference, judged.word
    overall, seeds = seeded.overall, len(seeded.per_seed)
    if overall.standard_error == 0.0 and overall.mean == 0.0:
        return f"{treatment} and {control} score alike on every problem: not resolved, and nothing says how near."
    p, size = p_text(judged.adjusted_p), f"{percent(abs(overall.mean))} ± {percent(overall.standard_error)}"
    side = "higher" if overall.mean > 0 else "lower"
    counted = f"{side} on {seeded.agreeing} of {seeds} seeds, {p}" if seeds > 1 else f"1 seed, {p}"
    if word == OPEN and judged.held_back:
        return (
            f"{treatment} against {control} is not resolved: difference {overall} points ({counted}); it would be, but "
            "the first comparison is not, and the others are tested only behind it."
        )
    if word == OPEN:
        return (
            f"{treatment} against {control} is not resolved: difference {overall} points ({counted}); "
            f"this design detects {detects(seeded)} or more (80 % power)."
        )
    if word in (HIGHER, LOWER):
        return (
            f"{treatment} is {side} here than {control} by {size} points ({counted}). That is these two checkpoints: "
            "another seed may say otherwise, and a claim about the recipe needs five."
        )
    verb = "beats" if word == BETTER else "is worse than"
    return f"{treatment} {verb} {control} by {size} points ({counted})."


def detects(seeded: SeededDifference) -> str:
    """What the design can detect, in points: a range, as far as its seeds leave their own spread open."""
    low, high = (percent(min(end, 1.0)) for end in (seeded.overall.detectable_low, seeded.overall.detectable_high))
    return low if low == high else f"{low} to {high}"


def p_text(p: float) -> str:
    """A p value as text; one below the level never reads as the level."""
    if p < 0.001:
        return "p < 0.001"
    text = f"{p:.3f}" if p < 0.1 else f"{p:.2f}"
    return f"p = {p:.4f}" if text == "0.050" else f"p = {text}"
