"""The advice in words: numbers with their errors, the rule that fired, prices, a design. In percentage points."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from headwater.advice.levels import Measured
from headwater.advice.price import Price
from headwater.advice.rule import Choice, Ruling
from headwater.evaluation.estimate import percent

if TYPE_CHECKING:
    from headwater.advice.advise import Advice

SAID: Mapping[Choice, str] = {
    "upstream": "spend the labels on the teacher, then the bridge (R3-full)",
    "direct": "spend the labels on the student (R1)",
    "nobody": "spend them on neither: labels teach nobody here. A better teacher, easier problems, or worked solutions",
    "not decided": "not decided: run both on 3 to 5 seeds",
}
WARM_UP = {
    "needed": "needed: the student starts far from the teacher after GRPO",
    "speed only": "buys speed only: the student starts near the teacher",
    "not decided": "not decided; it costs little, so keep it",
}
HOLD_BACK = {
    "yes": "yes: half for the teacher, then the bridge, then the rest on the student (R5-half)",
    "no": "no: the teacher gains more from them",
    "not decided": "not decided, so none",
}
_UNITS = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def announced(name: str, before: Price, share: float | None) -> str:
    """What the pilot will cost at most, before it begins."""
    return f"pilot of {name}: at most {_price(before)}{_share(share)}"


def lines(advice: Advice) -> Iterator[str]:
    """The advice for a person, the answer first."""
    found, ruling = advice.evidence, advice.ruling
    yield f"{advice.name}, {advice.labelled} labels: {SAID[ruling.route]}"
    yield f"  rule {ruling.rule}, {'decided' if ruling.decided else 'not decided'}: {_why(advice)}"
    yield f"  with half of the labels: {SAID[ruling.at_half]}"
    yield f"  warm-up: {WARM_UP[ruling.warm_up]}"
    yield f"  labels held back for the student: {HOLD_BACK[ruling.hold_back]}; never the same labels again"
    yield f"measured on problems of the pool, seed {advice.seed}:"
    yield f"  pass rate before any label: student {_points(found.student)} %, teacher {_points(found.teacher)} %"
    yield (
        f"  groups with right and wrong answers: student {_points(found.student_mixed)} %, teacher "
        f"{_points(found.teacher_mixed)} %"
    )
    yield f"  KL(student to teacher after GRPO) {found.kl.value:.2f} ± {found.kl.error:.2f} nats a token, overlap " + (
        f"{found.overlap.value:.2f} ± {found.overlap.error:.2f}"
    )
    for name, levels in (("student, S*", found.student_levels), ("teacher, T*", found.teacher_levels)):
        yield (
            f"  level after GRPO on the {name}: {_points(levels.whole)} % with all labels, {_points(levels.half)} % "
            "with half"
        )
    yield (
        f"  what the bridge loses, L: {_points(found.loss)} points (other pairs: 5 to 11 from a larger teacher, 0 to 1 "
        "from one of the student's size)"
    )
    yield f"the pilot cost {_price(advice.after)}; foreseen at most {_price(advice.before)}{_share(advice.share)}"
    for name, price in advice.routes.items():
        yield f"  {name:8} at most {_price(price)}"
    yield _design(advice)
    yield advice.record


def _why(advice: Advice) -> str:
    if advice.ruling.rule == 1:
        return "groups with right and wrong answers are under 5 % for both, and the teacher is mostly wrong"
    return f"T* − L − S* is {_points(advice.ruling.difference)} points{_turned(advice.ruling)}"


def _turned(ruling: Ruling) -> str:
    return "; more labels turn it" if {ruling.route, ruling.at_half} == {"upstream", "direct"} else ""


def _design(advice: Advice) -> str:
    expected, found = advice.ruling.difference.value, advice.design
    if found is None:
        return (
            f"a difference of {percent(abs(expected))} points is too small to resolve with 50 seeds on this benchmark"
        )
    return (
        f"to resolve a difference of {percent(abs(expected))} points: {found.seeds} seeds of both routes on the "
        f"{found.problems:,} held-out problems (80 % power)"
    )


def _points(measured: Measured) -> str:
    return f"{percent(measured.value)} ± {percent(measured.error)}"


def _share(share: float | None) -> str:
    return "" if share is None else f"; {share:.1%} of R1 and R3-full"


def _price(price: Price) -> str:
    parts = [
        f"{price.labels} labels",
        f"{_amount(price.generated)} tokens generated",
        f"{_amount(price.trained)} trained",
    ]
    parts += [f"{_amount(price.flops)}FLOP" if price.flops is not None else "FLOPs not known"]
    parts += [f"{price.seconds:,.0f} s of one worker"] if price.seconds is not None else []
    return ", ".join(parts)


def _amount(value: float) -> str:
    return next((f"{value / unit:.3g} {name}" for unit, name in _UNITS if value >= unit), f"{value:.0f} ")
