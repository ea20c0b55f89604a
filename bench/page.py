"""docs/benchmarks.md, made from the files of `python -m bench --json` and `bench/r3_full.py --json`.

What stands below the mark in an older page was written by hand and is kept.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from bench.cases import CASES, Case
from bench.results import Figures, Ratio, figures, ratios
from headwater.bench.floor import floor_seconds

MARK = "<!-- Written by hand from here on; `python -m bench --page` keeps it. -->"
R3_FULL = "r3-full.json"
"""The file of bench/r3_full.py, read where it lies beside the other."""
R3_BAR = 3.0


def write_page(document: dict[str, Any], file: Path, page: Path) -> None:
    """Write the page anew, with the hand-written part that it has."""
    before = page.read_text(encoding="utf-8") if page.is_file() else ""
    kept = before.partition(MARK)[2] if MARK in before else "\n"
    page.write_text(render(document, file, r3_full(file.parent / R3_FULL)) + "\n" + MARK + kept, encoding="utf-8")


def render(document: dict[str, Any], file: Path, whole: dict[str, Any] | None = None) -> str:
    """The made part of the page as Markdown."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,
    )
    measured = [case for case in CASES if case.name in document["cases"]]
    bars = [(case, ratio) for case in measured for ratio in ratios(case, document["cases"][case.name])]
    return environment.get_template("page.md.jinja").render(
        machine=document["machine"],
        peak=document["peak"],
        versions=_versions(document),
        file=file.as_posix(),
        bars=[_bar(case, ratio) for case, ratio in bars],
        missed=[_missed(case, ratio, document) for case, ratio in bars if not ratio.reached],
        cases=[(case.name, [_side(case, f, document) for f in _figures(case, document)]) for case in measured],
        whole=whole,
    )


def _figures(case: Case, document: dict[str, Any]) -> list[Figures]:
    return figures(case, document["cases"][case.name])


def _versions(document: dict[str, Any]) -> dict[str, str]:
    found: dict[str, str] = {}
    for entry in document["cases"].values():
        for side in entry["sides"].values():
            found |= side["versions"]
    return dict(sorted(found.items()))


def _bar(case: Case, ratio: Ratio) -> dict[str, str]:
    """One row of the first table."""
    return {
        "case": case.name,
        "ours": ratio.ours.removeprefix("headwater "),
        "theirs": ratio.theirs,
        "time": f"{ratio.time:.2f}",
        "range": f"{ratio.least:.2f} to {ratio.most:.2f}",
        "time_bar": f"{ratio.bar.time:g}",
        "memory": f"{ratio.memory:.2f}",
        "memory_bar": f"{ratio.bar.memory:g}",
        "time_reached": _yes(ratio.time >= ratio.bar.time),
        "memory_reached": _yes(ratio.memory >= ratio.bar.memory),
    }


def _yes(reached: bool) -> str:
    return "yes" if reached else "**no**"


def _missed(case: Case, ratio: Ratio, document: dict[str, Any]) -> str:
    """By how much, and where both sides spend their time."""
    by_side = {figure.side: figure for figure in _figures(case, document)}
    short = []
    if ratio.time < ratio.bar.time:
        short.append(f"{ratio.time:.2f} x of {ratio.bar.time:g} x in time")
    if ratio.memory < ratio.bar.memory:
        short.append(f"{ratio.memory:.2f} x of {ratio.bar.memory:g} x in memory")
    spent = [
        f"{side} {', '.join(f'{name} {seconds:.2f} s' for name, seconds in by_side[side].parts.items())}"
        for side in (ratio.ours, ratio.theirs)
    ]
    return f"{case.name}, {ratio.ours} against {ratio.theirs}: {' and '.join(short)}. {'; '.join(spent)}."


def _side(case: Case, figure: Figures, document: dict[str, Any]) -> dict[str, str]:
    """One row of a case's table."""
    own = figure.side.startswith("headwater")
    generate, score, update = (
        f"{figure.parts[name]:.3f}" if name in figure.parts else "" for name in ("generate", "score", "update")
    )
    return {
        "side": figure.side,
        "micro": "" if figure.micro is None else f"{figure.micro} {'tokens' if own else 'rows'}",
        "seconds": f"{figure.seconds:.3f}",
        "rate": f"{figure.rate:,.0f}",
        "generate": generate,
        "score": score,
        "learn": update,  # a dict has an update of its own
        "padding": f"{figure.padding:.1%}" if own else "",
        "peak": f"{figure.peak / 2**20:,.0f}",
        "whole": f"{figure.whole / 2**20:,.0f}",
        "floor": f"{floor_seconds(case.work, figure.side.removeprefix('headwater '), document['peak']):.3f}"
        if own
        else "",
    }


def r3_full(path: Path) -> dict[str, Any] | None:
    """What bench/r3_full.py measured, with the ratio; None where it was not run."""
    if not path.is_file():
        return None
    measured: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    seconds = measured["seconds"]
    stages = list(measured["rounds"]["headwater"][0]["parts"])
    return {
        **measured,
        "stages": stages,
        "ratio": seconds["trl"] / seconds["headwater"],
        "bar": R3_BAR,
        "runs": [
            {
                "side": side,
                "setting": done["setting"],
                "parts": [f"{done['parts'][stage]:.1f}" for stage in stages],
                "sum": f"{sum(done['parts'].values()):.1f}",
                "student": _percent(done["accuracy"]),
                "teacher": _percent(done["teacher_accuracy"]),
            }
            for side, rounds in measured["rounds"].items()
            for done in rounds
        ],
    }


def _percent(accuracy: dict[str, float]) -> str:
    return f"{100 * accuracy['mean']:.1f} ± {100 * accuracy['standard_error']:.1f}"
