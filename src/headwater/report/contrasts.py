"""The planned comparisons of a run, judged by `evaluation.verdict` over what is measured so far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from headwater.errors import IntegrityError
from headwater.evaluation.verdict import Judged, Planned, judge, sentence
from headwater.report.results import arms_by_name, problem_shares
from headwater.report.rows import MEASURED, NOT_RUN, REFUSED, ContrastRow

if TYPE_CHECKING:
    from headwater.folder import RunFolder

Entries = Sequence[Mapping[str, Any]]


def contrasts(
    folder: RunFolder, graph: Mapping[str, Any], benchmarks: Sequence[str], *, gate: bool
) -> tuple[ContrastRow, ...]:
    """Every planned contrast on these benchmarks, one family.

    The primary benchmark is a family whose first contrast is the gate; all others together are one more, without.
    """
    arms = arms_by_name(graph["arms"])
    planned = [
        {"matched": _matched(graph, arms, contrast), **contrast, "benchmark": benchmark}
        for benchmark in benchmarks
        for contrast in graph["contrasts"]
    ]
    judged = judge([_planned(folder, arms, contrast) for contrast in planned], gate=gate)
    return tuple(_row(contrast, arms, found) for contrast, found in zip(planned, judged, strict=True))


def _planned(folder: RunFolder, arms: Mapping[str, Entries], contrast: Mapping[str, Any]) -> Planned:
    """Both sides' shares by seed, their problems in one order: problems meet by id."""
    sides = [_shares(folder, arms.get(contrast[side], []), contrast["benchmark"]) for side in ("treatment", "control")]
    seeds = [seed for seed in sides[0] if seed in sides[1]]
    order = list(sides[0][seeds[0]]) if seeds else []
    for seed in seeds:
        if not set(order) == sides[0][seed].keys() == sides[1][seed].keys():
            raise IntegrityError(
                f"report: {contrast['treatment']} and {contrast['control']}, seed {seed}, "
                "were evaluated on different problems; paired statistics need the same ones"
            )
    treatment, control = (
        {seed: np.array([side[seed][problem] for problem in order]) for seed in seeds} for side in sides
    )
    return Planned(treatment=treatment, control=control, pairing=contrast.get("pairing", "paired"))


def _shares(folder: RunFolder, entries: Entries, benchmark: str) -> dict[int, dict[str, float]]:
    """Seed -> problem -> share of right answers, of the seeds that are measured."""
    measured = {entry["seed"]: problem_shares(folder, entry.get("evaluation", {}).get(benchmark)) for entry in entries}
    return {seed: shares for seed, shares in measured.items() if shares is not None}


def _matched(graph: Mapping[str, Any], arms: Mapping[str, Entries], contrast: Any) -> str:
    """What both sides spent on updates, for a reader who asks whether the contrast is a fair one."""
    sides = [arms[name][0] for name in (contrast["treatment"], contrast["control"]) if name in arms]
    spent = [sum(graph["nodes"][node]["updates"] or 0 for node in side["stages"]) for side in sides]
    return f"{spent[0]:,} against {spent[1]:,} updates in all stages" if len(spent) == 2 else ""


def _row(contrast: Mapping[str, Any], arms: Mapping[str, Entries], judged: Judged | None) -> ContrastRow:
    treatment, control = contrast["treatment"], contrast["control"]
    declares = contrast.get("declares") or ()
    state, reason = (MEASURED, "") if judged else _missing(contrast, arms)
    said = sentence(treatment, control, judged) if judged else f"{treatment} against {control}: {state} ({reason})."
    return ContrastRow(
        name=contrast["name"],
        benchmark=contrast["benchmark"],
        question=contrast.get("question") or "",
        treatment=treatment,
        control=control,
        declares=declares if isinstance(declares, str) else ", ".join(declares),
        pairing=contrast.get("pairing", "paired"),
        matched=contrast.get("matched") or "",
        state=state,
        reason=reason,
        seeds=judged.seeds if judged else (),
        planned=len(arms.get(treatment, ())),
        difference=judged.difference if judged else None,
        adjusted_p=judged.adjusted_p if judged else None,
        word=judged.word if judged else state,
        sentence=said,
    )


def _missing(contrast: Mapping[str, Any], arms: Mapping[str, Entries]) -> tuple[str, str]:
    """State and reason of a contrast without a result."""
    names = (contrast["treatment"], contrast["control"])
    refusals = [contrast.get("refused")] + [entry.get("refused") for name in names for entry in arms.get(name, ())]
    refusal = next((text for text in refusals if text), None)
    if refusal:
        return REFUSED, refusal
    absent = [name for name in names if name not in arms]
    return NOT_RUN, f"no arm named {' or '.join(absent)} in this run" if absent else "no seed is finished on both sides"
