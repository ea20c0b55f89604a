"""How often the advice was right: pilots against R3-full less R1 of the same seeds, as the table of docs/advice.md.

    python tests/advice/measured.py docs/advice.md RUNS [RUNS ...]

RUNS are folders of runs of the lab's recipes in which R1 and R3-full are made and seeds piloted (`make advice`).
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import log
from pathlib import Path

import numpy as np

from headwater.advice.advise import Advice, advice
from headwater.advice.pilot import Pilot, pilot
from headwater.errors import InputError
from headwater.evaluation.difference import Difference, paired_difference
from headwater.evaluation.estimate import percent
from headwater.folder import RunFolder, begun
from headwater.routes.recipe import Recipe, read_recipe

RECIPES = {name: name for name in ("lab", "support-gap", "same-size", "raw-better")}
RECIPES["weak-teacher"] = str(Path(__file__).with_name("weak-teacher.yaml"))
"""Name -> the recipe."""
SEEN = {("lab", 0), ("lab", 1), ("lab", 2), *((name, seed) for name in list(RECIPES)[1:4] for seed in (0, 1))}
"""Cases off which the constants of `levels` were read: they say nothing of how well these do."""
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


@dataclass(frozen=True)
class Case:
    """One recipe at one seed: what was advised, and what came out."""

    recipe: str
    seed: int
    advice: Advice
    direct: float
    upstream: float
    teacher: float
    truth: Difference
    exponents: tuple[float, float]
    """of student and teacher: what GROWTH would have been right"""
    lead: float
    """of the pilot's bridged student over the other, on the logistic scale"""

    @property
    def outcome(self) -> str:
        """Right, wrong or not decided; a route where the two end alike by two errors is wrong."""
        route = self.advice.ruling.route
        if route == "not decided":
            return route
        sure = abs(self.truth.mean) > 2 * self.truth.standard_error
        better = "upstream" if self.truth.mean > 0 else "direct"
        return "right" if sure and route == better else "wrong"


def cases(roots: Sequence[Path]) -> Iterator[Case]:
    """Every piloted seed of every recipe whose two routes are made, by recipe and seed."""
    found = []
    for root in roots:
        for name in RECIPES:
            if begun(root / name):
                folder = RunFolder(root / name)
                seeds = folder.graph["seeds"]
                found += [case for seed in seeds if (case := _case(folder, name, seed)) is not None]
    yield from sorted(found, key=lambda case: (list(RECIPES).index(case.recipe), case.seed))


def _case(folder: RunFolder, name: str, seed: int) -> Case | None:
    recipe: Recipe = read_recipe(RECIPES[name], (f"seeds=[{seed}]", "routes=[R1,R3-full]"))
    planned = pilot(recipe)
    try:
        given = advice(planned, folder)
    except InputError:
        return None  # not piloted
    shares = {arm: _shares(folder, arm, seed) for arm in ("R1", "R3-full", "teacher-rl-pool")}
    if any(one is None for one in shares.values()):
        return None
    direct, upstream, teacher = (np.asarray(shares[arm]) for arm in shares)
    return Case(
        recipe=name,
        seed=seed,
        advice=given,
        direct=float(direct.mean()),
        upstream=float(upstream.mean()),
        teacher=float(teacher.mean()),
        truth=paired_difference(upstream, direct, draws=400),
        exponents=(
            _exponent(planned, folder, "student", float(direct.mean())),
            _exponent(planned, folder, "teacher", float(teacher.mean())),
        ),
        lead=_logit(_rate(planned, folder, "student after bridge"))
        - _logit(_rate(planned, folder, "student after RL")),
    )


def _shares(folder: RunFolder, arm: str, seed: int) -> np.ndarray | None:

    try:
        node = next(iter(folder.arm(arm, seed)["evaluation"].values()))
    except InputError:
        return None
    raw = folder.result(node, "scores.json")
    if raw is None:
        return None
    scores = json.loads(raw)
    return np.array(scores["correct"]) / scores["samples"]


def _exponent(planned: Pilot, folder: RunFolder, role: str, final: float) -> float:
    """The exponent with which the power law of `levels` would have met the final level."""
    before, after = (_logit(_rate(planned, folder, name)) for name in (role, f"{role} after RL"))
    times = planned.updates(role) / planned.graph.nodes[planned.nodes[f"{role} RL"]].updates
    ratio = (_logit(final) - before) / (after - before)
    return log(ratio) / log(times) if ratio > 0 else float("nan")


def _rate(planned: Pilot, folder: RunFolder, name: str) -> float:
    scores = json.loads(folder.result(planned.nodes[name], "scores.json") or b"{}")
    return float(np.mean(scores["correct"]) / scores["samples"])


def _logit(share: float) -> float:
    return log(share / (1 - share))


def tables(found: Sequence[Case]) -> str:
    """A line a seed, and a line a recipe."""
    lines = [
        "| recipe | seed | raw | S\\* | R1 | T\\* | teacher | L | lost | T\\* − L − S\\* | R3-full − R1 | advice | |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for case in found:
        seen, ruling = case.advice.evidence, case.advice.ruling
        numbers = [
            f"{percent(seen.student.value)}, {percent(seen.teacher.value)}",
            f"{percent(seen.student_levels.whole.value)} ± {percent(seen.student_levels.whole.error)}",
            percent(case.direct),
            f"{percent(seen.teacher_levels.whole.value)} ± {percent(seen.teacher_levels.whole.error)}",
            percent(case.teacher),
            f"{percent(seen.loss.value)} ± {percent(seen.loss.error)}",
            percent(case.teacher - case.upstream),
            f"{percent(ruling.difference.value)} ± {percent(ruling.difference.error)}",
            f"{percent(case.truth.mean)} ± {percent(case.truth.standard_error)}",
        ]
        mark = "" if (case.recipe, case.seed) not in SEEN else " †"
        lines.append(f"| {case.recipe} | {case.seed}{mark} | {' | '.join(numbers)} | {ruling.route} | {case.outcome} |")
    lines += [
        "",
        "| recipe | seeds | right | not decided | wrong | pilot of R1 + R3-full |",
        "|---|---|---|---|---|---|",
    ]
    fresh = [case for case in found if (case.recipe, case.seed) not in SEEN]
    groups = {name: [case for case in found if case.recipe == name] for name in RECIPES}
    groups |= {"all": list(found), "all but †": fresh}
    for name, own in ((name, own) for name, own in groups.items() if own):
        counts = Counter(case.outcome for case in own)
        shares = sorted(case.advice.share or 0.0 for case in own)
        share = " to ".join(dict.fromkeys(f"{one:.1%}" for one in (shares[0], shares[-1])))
        row = " | ".join(str(counts[outcome]) for outcome in ("right", "not decided", "wrong"))
        lines.append(f"| {name} | {len(own)} | {row} | {share} |")
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> None:
    """Write the tables into a page between its marks, and print what the constants of the room would be."""
    page, *roots = map(Path, arguments)
    found = list(cases(roots))
    text = page.read_text(encoding="utf-8")
    block = f"{BEGIN}\n\n{tables(found)}\n\n{END}"
    page.write_text(re.sub(f"{BEGIN}.*{END}", lambda _: block, text, flags=re.DOTALL), encoding="utf-8")
    for name, place in (("student", 0), ("teacher", 1)):
        exponents = np.array([case.exponents[place] for case in found])
        print(f"exponent of the {name}: {np.nanmean(exponents):.3f}, spread {np.nanstd(exponents, ddof=1):.3f}")
        print("  " + " ".join(f"{case.recipe}/{case.seed}:{case.exponents[place]:.2f}" for case in found))
    slope = [(case.lead, _logit(case.upstream) - _logit(case.direct)) for case in found]
    ahead, ended = (np.array(side) for side in zip(*slope, strict=True))
    left = float((ahead * ended).sum() / (ahead**2).sum())
    spread = float(np.std(ended - left * ahead))
    print(f"of a lead is left {left:.2f}, exponent {-log(left) / log(10):.2f}, spread around it {spread:.2f}")
    differences = np.array([case.truth.mean for case in found])
    print(f"R3-full less R1: {differences.mean():.3f}, spread over all seeds {differences.std(ddof=1):.3f}")


if __name__ == "__main__":
    main(sys.argv[1:])
