"""What a run that teaches nothing says of itself: pure functions from its measurements to alarms.

An alarm stops nothing (the guard does that) and changes no result. It is shown while the run goes on and on the first
screen of the report, each kind once a stage. Metrics are those of `StepRecord`; what is not measured raises none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

from headwater.records import StepRecord, ends, measured

STEPS = 10
"""Steps that a judgement of a stage needs; a shorter stage is judged when it is done."""
MOST = 0.5
"""Share of responses from which on "most" is said."""
MIXED = 0.05
"""Share of mixed groups below which there is nothing for reward to learn from."""
STILL = 0.05
"""Share of weights, in their own precision, below which an update moved nothing."""
GAP = 0.01
"""Nats between sampled and trained logprobs: a few times what bfloat16 makes."""
DRIFT = 1.0
"""Nats a token from the reference; the guard's own limit is far beyond."""
GROWTH, NEAR = 1.25, 0.05
"""A divergence grew when it ends at so many times its beginning, and so many nats above it; a reward by the latter."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Alarm:
    """`kind` names it, `where` the stage or arm, `said` what was found and what to do."""

    kind: str
    where: str
    said: str

    def __str__(self) -> str:
        return f"{self.where}: {self.said}"


def of_stage(where: str, records: Sequence[StepRecord], *, done: bool) -> tuple[Alarm, ...]:
    """The alarms that a stage's steps so far deserve; `done` says that no more will come."""
    found = [*_still(records), *(_learning(records) if done or len(records) >= STEPS else ())]
    return tuple(Alarm(kind=kind, where=where, said=said) for kind, said in found)


def of_start(where: str, before: float, mean: float, low: float) -> tuple[Alarm, ...]:
    """An arm that ended within its errors of where its student started, or below it.

    Shares of 1: the start, and the difference made, with the low end of its interval.
    """
    if low > 0.0:
        return ()
    moved = f"{100 * before:.1f} % before, {100 * (before + mean):.1f} % after"
    said = f"ended within errors of where its student started, or below ({moved}): nothing was learned that can be seen"
    return (Alarm(kind="no better than its start", where=where, said=said),)


def of_teacher(where: str, before: float, mean: float, low: float) -> tuple[Alarm, ...]:
    """A teacher that is no better after its stage than raw; as `of_start`."""
    if low > 0.0:
        return ()
    moved = f"{100 * before:.1f} % raw, {100 * (before + mean):.1f} % after"
    said = f"its teacher is no better after its stage ({moved}): what the bridge carries is a raw teacher (C1)"
    return (Alarm(kind="teacher no better", where=where, said=said),)


Found = Iterator[tuple[str, str]]


def _still(records: Sequence[StepRecord]) -> Found:
    moved = next((record.metrics["weights_changed"] for record in records if "weights_changed" in record.metrics), None)
    if moved is not None and moved < STILL:
        yield (
            "weights do not move",
            f"the first update changed {100 * moved:.2g} % of the weights in their own precision: the learning rate is "
            "below what they can hold; raise it, or train in float32 or with an adapter",
        )


def _learning(records: Sequence[StepRecord]) -> Found:
    """Judgements that need some steps."""
    yield from _rewards(records)
    answers, cut = _last(records, "unanswered"), _last(records, "truncated")
    if answers is not None and answers > MOST:
        yield (
            "no answer found",
            f"in {100 * answers:.0f} % of the last responses no answer was found: look at grading.extractor and at "
            "what the prompt asks for; such responses have reward 0 whatever they say",
        )
    if cut is not None and cut > MOST:
        yield (
            "cut off",
            f"{100 * cut:.0f} % of the last responses were cut at the length limit: raise max_response_tokens, or use "
            "a prompt that asks for less",
        )
    yield from _divergences(records)


def _rewards(records: Sequence[StepRecord]) -> Found:
    rewards = measured(records, "reward")
    mixed = measured(records, "mixed_groups")
    if rewards and max(rewards) == 0.0:
        yield (
            "reward 0 throughout",
            f"no response was right in {len(rewards)} steps: nothing to learn from; use a stronger start, easier "
            "problems or another grading",
        )
    elif rewards and min(rewards) == 1.0:
        yield "reward 1 throughout", f"every response was right in {len(rewards)} steps: nothing is left to learn"
    elif mixed and fmean(mixed) < MIXED:
        yield (
            "no mixed groups",
            f"{100 * fmean(mixed):.1f} % of the groups held right and wrong answers in {len(mixed)} steps: reward has "
            "no gradient from the others; use problems of middling difficulty or more samples a problem",
        )


def _divergences(records: Sequence[StepRecord]) -> Found:
    first, last = ends(records, "kl")
    if last > GROWTH * first and last > first + NEAR:
        yield "KL grows", f"the divergence it should lower grew from {first:.3f} to {last:.3f} nats a token"
    drift = _last(records, "reference_kl")
    if drift is not None and drift > DRIFT:
        first, last = ends(records, "reward")
        if last <= first + NEAR:  # where the reward has risen, the way was worth going
            yield (
                "far from the reference",
                f"KL to the reference is {drift:.2f} nats a token, and the reward has not risen ({first:.3f} at the "
                f"beginning, {last:.3f} now): lower the learning rate",
            )
    gap = _last(records, "sampler_gap")
    if gap is not None and gap > GAP:
        yield (
            "sampler and learner disagree",
            f"sampled and trained logprobs are {gap:.3f} nats apart: they are not one policy; see engine.precision",
        )


def _last(records: Sequence[StepRecord], name: str) -> float | None:
    """The mean over the last steps that measured it."""
    values = measured(records, name)[-STEPS:]
    return fmean(values) if values else None
