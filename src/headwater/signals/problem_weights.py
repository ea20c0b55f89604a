"""Problems of middling difficulty weigh more: a wrapped dense loss times what the student's pass rate says (PACED).

    product   w = p (1 - p)                    arXiv 2603.11178
    root      w = sqrt(p (1 - p))              arXiv 2605.27765
    divided by the mean over the step's problems, before the pass

p is the share of right ones among the step's own responses to the problem, so that it is of the present student and a
resume needs no state; at n responses it is known to about 0.5 / sqrt(n). Its answers are labels, read directly. A
problem that is always or never solved weighs 0; where that holds for a whole step no step is made.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from headwater.batch import Scored
from headwater.interfaces import At, Need, Watch, Workers
from headwater.records import Group
from headwater.signals.divergence import Divergence
from headwater.signals.grades import right
from headwater.signals.inner import Inner, Wrapper, weighted
from headwater.verifiers.answers import UNGRADED_LIMIT


class ProblemWeights(Wrapper):
    """A wrapped signal, each problem's losses weighted by how undecided the student is on it."""

    of: Inner = Field(default=Divergence(direction="reverse"), description="the signal whose problems are weighted")
    form: Literal["product", "root"] = Field(default="product", description="p (1 - p), or its square root")
    ungraded_limit: float = Field(
        default=UNGRADED_LIMIT, ge=0, le=1, description="largest share of a step's rollouts that may go ungraded"
    )

    @property
    def needs(self) -> frozenset[Need]:
        """What the wrapped one needs, and answers with verdicts on them."""
        return self.of.needs | {Need.ANSWERS, Need.VERIFIER}

    @property
    def least_samples(self) -> int:
        """Of one response a pass rate is 0 or 1."""
        return max(2, self.of.least_samples)

    @property
    def watch(self) -> tuple[Watch, ...]:
        """The pass rate, and what the wrapped one shows."""
        return (*self.of.watch, Watch("pass_rate", "pass rate"))

    def score(self, groups: Sequence[Group], workers: Workers, at: At) -> Scored:
        """Grade every response, and score with the wrapped signal under the weights of the problems."""
        verdicts = right(groups, workers, self.ungraded_limit, "problem-weights")
        rates: dict[str, float] = {}
        for group in groups:
            known = [verdicts[r.rollout_id] for r in group.rollouts if r.rollout_id in verdicts]
            rates[group.problem.problem_id] = sum(known) / len(known) if known else 0.0
        raw = {name: self._weight(rate) for name, rate in rates.items()}
        mean = sum(raw.values()) / max(len(raw), 1)
        scored = self.of.score(groups, workers, at)
        factors = [raw[member.rollout.problem_id] / mean if mean else 0.0 for member in scored.rollouts]
        return weighted(scored, factors, pass_rate=sum(rates.values()) / max(len(rates), 1))

    def _weight(self, rate: float) -> float:
        spread = rate * (1.0 - rate)
        return spread if self.form == "product" else math.sqrt(spread)
