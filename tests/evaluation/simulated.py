"""Runs whose truth is known, judged by the code that the report uses: coverage, false claims and power.

    python tests/evaluation/simulated.py docs/statistics.md 4000     # writes the tables, of so many runs a cell

An arm's right answers are binomial: of a problem's difficulty, of how the arm takes to that problem, of the seed (which
moves all arms of a run that share something trained) and of the arm's own training at that seed. Spreads are given in
paired errors over problems, since coverage depends on nothing else; the lab's are 2 to 8 of them.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import binom

from headwater.evaluation.difference import Pairing
from headwater.evaluation.estimate import average_at_k
from headwater.evaluation.verdict import Planned, judge

PROBLEMS, SAMPLES = 120, 16
LEVEL, HARD, TASTE = 0.75, 0.14, 0.06  # mean share; its spread over problems; how arms differ on a problem
ERROR = math.sqrt((2 * TASTE**2 + 2 * (LEVEL * (1 - LEVEL) - HARD**2) / SAMPLES) / PROBLEMS)
"""The paired error over problems of one seed's difference: 1.5 points."""
COMMON = 6.0  # spread of what a seed does to all arms alike, in such errors

SPREADS = {"narrow (2)": 2.0, "usual (4)": 4.0, "wide (8)": 8.0}
SEEDS = (2, 3, 5, 8)
FAMILIES = (5, 18)
PAIRINGS: tuple[Pairing, ...] = ("paired", "unpaired")
LOW = [(problems, mean, alike) for problems in (30, 100, 500) for mean in (0.07, 0.2, 0.5) for alike in (1.0, 3.0)]
RUNS = 4000
BEGIN, END = "<!-- simulated -->", "<!-- /simulated -->"


@dataclass(frozen=True, kw_only=True)
class Design:
    """What is simulated; the spread of the seeds' differences and each contrast's effect are in paired errors."""

    seeds: int
    spread: float
    pairing: Pairing = "paired"
    effects: tuple[float, ...] = (0.0,)

    def draw(self, source: np.random.Generator) -> list[Planned]:
        """One run: a control and an arm for each contrast, with their shares [seed, problem]."""
        arms, seeds = len(self.effects) + 1, self.seeds
        hard = LEVEL + HARD * source.standard_normal(PROBLEMS)
        taste = TASTE * source.standard_normal((arms, 1, PROBLEMS))
        own = ERROR * self.spread / math.sqrt(2) * source.standard_normal((arms, seeds, 1))
        common = COMMON * ERROR * source.standard_normal((1, seeds, 1)) if self.pairing == "paired" else 0.0
        effects = ERROR * np.array([0.0, *self.effects])[:, None, None]
        chance = np.clip(hard + taste + own + common + effects, 0.0, 1.0)
        shares = source.binomial(SAMPLES, chance) / SAMPLES
        control = dict(enumerate(shares[0]))
        return [Planned(treatment=dict(enumerate(arm)), control=control, pairing=self.pairing) for arm in shares[1:]]


@dataclass(frozen=True, kw_only=True)
class Rates:
    """What came of many runs: shares of runs. `covered` and `resolved` are of the first contrast."""

    runs: int
    covered: float
    resolved: float
    false: float  # any claim about a contrast whose true difference is 0


def measure(design: Design, runs: int, seed: int, draws: int = 199) -> Rates:
    """Judge so many runs of a design."""
    source = np.random.default_rng(seed)
    covered = resolved = false = 0
    for _ in range(runs):
        judged = judge(design.draw(source), draws=draws)
        first = judged[0]
        assert first is not None
        overall, truth = first.difference.overall, ERROR * design.effects[0]
        covered += overall.low <= truth <= overall.high
        resolved += first.word in ("better", "worse")
        claims = [found is not None and found.word in ("better", "worse") for found in judged]
        false += any(said for said, effect in zip(claims, design.effects, strict=True) if effect == 0.0)
    return Rates(runs=runs, covered=covered / runs, resolved=resolved / runs, false=false / runs)


def low_score(problems: int, mean: float, alike: float, runs: int, seed: int) -> tuple[float, float]:
    """Coverage of a score's interval and of mean ± t SE; problems differ as Beta(mean x alike, (1 - mean) x alike)."""
    source = np.random.default_rng(seed)
    counts = source.binomial(SAMPLES, source.beta(mean * alike, (1 - mean) * alike, (runs, problems)))
    found = [average_at_k(row, SAMPLES) for row in counts]
    plain = [abs(one.mean - mean) <= 2.0 * one.standard_error for one in found]
    return float(np.mean([one.low <= mean <= one.high for one in found])), float(np.mean(plain))


def seed_of(*parts: object) -> int:
    """A cell's own random numbers."""
    return int.from_bytes(repr(parts).encode()[-8:], "little")


def surely_outside(share: float, runs: int, low: float, high: float) -> bool:
    """Whether a share of so many runs cannot have come from a rate within low to high (1 in 1,000 each way)."""
    hits = round(share * runs)
    return bool(binom.cdf(hits, runs, low) < 1e-3 or binom.sf(hits - 1, runs, high) < 1e-3)


def coverage_rows(runs: int) -> Iterator[tuple[Pairing, str, int, Rates, Rates]]:
    """Each pairing, spread and number of seeds: without a difference, and with one of 6 paired errors."""
    for pairing in PAIRINGS:
        for name, spread in SPREADS.items():
            for seeds in SEEDS:
                null = Design(seeds=seeds, spread=spread, pairing=pairing)
                some = Design(seeds=seeds, spread=spread, pairing=pairing, effects=(6.0,))
                yield (
                    pairing,
                    name,
                    seeds,
                    measure(null, runs, seed_of(pairing, name, seeds)),
                    measure(some, runs // 2, seed_of(pairing, seeds, name)),
                )


def family_rows(runs: int) -> Iterator[tuple[int, bool, int, Rates]]:
    """Families of null contrasts, with a headline that is null too and with one that opens the gate."""
    for size in FAMILIES:
        for opened in (False, True):
            for seeds in SEEDS:
                effects = (60.0 if opened else 0.0, *([0.0] * (size - 1)))
                design = Design(seeds=seeds, spread=4.0, effects=effects)
                yield size, opened, seeds, measure(design, runs, seed_of(size, opened, seeds), draws=399)


def tables(runs: int) -> str:
    """The tables of docs/statistics.md, in Markdown."""
    lines = [
        "| seeds are | spread of seeds | seeds | coverage of 95 % | false claims | power at 6 errors |",
        "|---|---|---|---|---|---|",
    ]
    for pairing, name, seeds, null, some in coverage_rows(runs):
        numbers = " | ".join(f"{100 * share:.1f}" for share in (null.covered, null.false, some.resolved))
        lines.append(f"| {pairing} | {name} | {seeds} | {numbers} |")
    lines += ["", "| contrasts | the first is | seeds | any false claim |", "|---|---|---|---|"]
    for size, opened, seeds, found in family_rows(runs // 4):
        lines.append(f"| {size} | {'truly different' if opened else 'null'} | {seeds} | {100 * found.false:.1f} |")
    lines += [
        "",
        "| problems | score % | problems alike | interval covers | mean ± 2 SE covers |",
        "|---|---|---|---|---|",
    ]
    for problems, mean, alike in LOW:
        ours, plain = low_score(problems, mean, alike, runs, seed_of(problems, mean, alike))
        kind = "little (1)" if alike == 1.0 else "more (3)"
        lines.append(f"| {problems} | {100 * mean:.0f} | {kind} | {100 * ours:.1f} | {100 * plain:.1f} |")
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> None:
    """Print the tables, or write them into a page between its two marks."""
    runs = int(arguments[1]) if len(arguments) > 1 else RUNS
    text = tables(runs)
    if not arguments:
        print(text)
        return
    page = Path(arguments[0])
    block = f"{BEGIN}\n\n{text}\n\n{runs:,} runs a cell, half for power and a quarter for families.\n\n{END}"
    page.write_text(re.sub(f"{BEGIN}.*{END}", lambda _: block, page.read_text(encoding="utf-8"), flags=re.DOTALL))


if __name__ == "__main__":
    main(sys.argv[1:])
