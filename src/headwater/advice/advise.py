"""`headwater advise`: make the pilot in the folder of the run that may follow, and say what the rule makes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console

from headwater.advice import price, words
from headwater.advice.design import Design, design
from headwater.advice.evidence import evidence
from headwater.advice.pilot import Pilot, pilot, pilot_graph
from headwater.advice.price import Price
from headwater.advice.record import record
from headwater.advice.rule import Evidence, Ruling, rule
from headwater.folder import RunFolder
from headwater.routes.recipe import Recipe
from headwater.run.workflow import RunOptions, make_beside


@dataclass(frozen=True, kw_only=True)
class Advice:
    """What a pilot measured, what the rule says, and what everything costs."""

    name: str
    seed: int
    labelled: int
    evidence: Evidence
    ruling: Ruling
    before: Price
    after: Price
    share: float | None
    """FLOPs of the pilot, at most, of those of R1 and R3-full"""
    routes: Mapping[str, Price]
    design: Design | None
    record: str

    def to_json(self) -> dict[str, Any]:
        """As plain data; shares are fractions of 1, each number with its error."""
        return {**asdict(self), "decided": self.ruling.decided, "loss": asdict(self.evidence.loss)}


def advise(recipe: Recipe, options: RunOptions, console: Console) -> Advice:
    """Make what is missing of the pilot, with the recipe's first seed, and advise.

    Raises what a run raises: InputError, LockedError, Interrupted when stopped (the same call goes on), NumericError
    when the pilot's GRPO collapses.
    """
    planned = pilot(recipe)
    before = price.foreseen(planned)
    prices = price.routes(planned.graph.recipe, None)
    share = _share(before, prices)
    console.print(words.announced(planned.graph.recipe.name, before, share), markup=False, highlight=False)
    return advice(planned, make_beside(recipe, pilot_graph, options, console))


def advice(planned: Pilot, folder: RunFolder) -> Advice:
    """The advice of a pilot that is made."""
    found = evidence(planned, folder)
    ruling = rule(found)
    recipe, before, after = planned.graph.recipe, price.foreseen(planned), price.spent(planned, folder)
    prices = price.routes(recipe, price.speed(after))
    benchmark = next(iter(planned.graph.data.benchmarks.values()))
    return Advice(
        name=recipe.name,
        seed=planned.seed,
        labelled=len(planned.graph.data.labelled),
        evidence=found,
        ruling=ruling,
        before=before,
        after=after,
        share=_share(before, prices),
        routes=prices,
        design=design(ruling.difference.value, len(benchmark.problems)),
        record=record(),
    )


def _share(before: Price, prices: Mapping[str, Price]) -> float | None:
    compared = [prices[name] for name in price.COMPARED if name in prices]
    return price.share(before, compared) if len(compared) == len(price.COMPARED) else None
