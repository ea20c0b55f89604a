"""The problems of a run: labelled pools, held-out benchmark, and the answers kept apart from both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from headwater.fingerprint import derive_seed, fingerprint
from headwater.problems import arithmetic
from headwater.problems.pools import Pools, check_overlap, halves
from headwater.records import Problem
from headwater.routes.recipe import ProblemSource


@dataclass(frozen=True)
class RunData:
    """What a recipe's `problems` stands for; made on first use, the same on every machine."""

    source: ProblemSource

    @cached_property
    def _held_out(self) -> tuple[list[Problem], dict[str, str]]:
        return arithmetic.problem_set(self.source.held_out, derive_seed(self.source.seed, "held out"))

    @cached_property
    def _labelled(self) -> tuple[list[Problem], dict[str, str]]:
        exclude = frozenset(self._held_out[1])
        return arithmetic.problem_set(self.source.labelled, derive_seed(self.source.seed, "labelled"), exclude=exclude)

    @property
    def labelled(self) -> list[Problem]:
        """The labelled pool, in a fixed order."""
        return self._labelled[0]

    @property
    def answers(self) -> Mapping[str, str]:
        """The labels. Only an AnswerKey hands them on."""
        return self._labelled[1]

    @property
    def held_out(self) -> list[Problem]:
        """The benchmark's problems."""
        return self._held_out[0]

    @property
    def held_out_answers(self) -> Mapping[str, str]:
        """The benchmark's answers: they train nothing."""
        return self._held_out[1]

    def pools(self, seed: int) -> Pools:
        """The pool and its halves for one seed; split by problem cluster, never by row."""
        return halves(self.labelled, seed)

    def problems(self, pool: str, seed: int) -> list[Problem]:
        """The problems of one pool, in the pool's order."""
        by_id = {problem.problem_id: problem for problem in self.labelled}
        return [by_id[problem_id] for problem_id in self.pools(seed).ids[pool]]

    def check(self) -> list[str]:
        """Refuse a pool that shares a problem with the benchmark (LabelError); notes for the report otherwise."""
        near = check_overlap(self.labelled, self.held_out, "pool", "held-out")
        return [f"{len(near)} problems of the pool are near-duplicates of held-out problems"] if near else []

    @property
    def benchmark_digest(self) -> str:
        """Identity of the benchmark: its problems and answers."""
        return fingerprint({"problems": [p.problem_id for p in self.held_out], "answers": self.held_out_answers})

    def corpus_exclusions(self) -> frozenset[str]:
        """Problems that pretraining must never show: labelled and held out."""
        return frozenset(self.answers) | frozenset(self.held_out_answers)
