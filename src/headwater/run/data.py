"""The problems of a run: labelled pools, held-out benchmark, and the answers kept apart from both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from headwater.fingerprint import derive_seed
from headwater.problems import arithmetic
from headwater.problems.files import FileSource, read_problems
from headwater.problems.generated import from_rows
from headwater.problems.labels import LabelSet
from headwater.problems.overlap import drop_overlap
from headwater.problems.pools import Pools, check_overlap, halves
from headwater.records import Problem
from headwater.routes.recipe import ProblemSource


@dataclass(frozen=True)
class RunData:
    """What a recipe's `problems` stands for; read or made on first use, the same on every machine."""

    source: ProblemSource

    @cached_property
    def _held_out(self) -> LabelSet:
        if self.source.benchmark is not None:
            return read_problems(self.source.benchmark).draw(self.source.held_out, self.source.seed)
        return self._made(self.source.held_out, "held out", frozenset())

    @cached_property
    def _labelled(self) -> tuple[LabelSet, list[str]]:
        """The labelled set, and what must be noted of how it came about."""
        if self.source.labels is None:
            return self._made(self.source.labelled, "labelled", frozenset(self._held_out.answers)), []
        read = read_problems(self.source.labels)
        notes = self._dropped(read, self.source.labels)
        if self.source.drop_overlap:
            kept, record = drop_overlap(read.problems, {"held-out": self._held_out.problems})
            read = read.keep({problem.problem_id for problem in kept})
            notes.append(str(record))
        return read.draw(self.source.labelled, self.source.seed), notes

    def _made(self, count: int, purpose: str, exclude: frozenset[str]) -> LabelSet:
        seed = derive_seed(self.source.seed, purpose)
        problems, answers = arithmetic.problem_set(count, seed, exclude=exclude)
        rows = ({"prompt": p.prompt, "answer": answers[p.problem_id], "source": p.source} for p in problems)
        return from_rows(rows, name=f"arithmetic, {purpose}")

    @staticmethod
    def _dropped(read: LabelSet, source: FileSource) -> list[str]:
        """Rows that were left out by choice are said."""
        if not read.dropped:
            return []
        first = read.dropped[0]
        return [f"{len(read.dropped)} rows of {source.path} were dropped (first: line {first.line}, {first.reason})"]

    @property
    def labelled(self) -> tuple[Problem, ...]:
        """The labelled pool, in a fixed order."""
        return self._labelled[0].problems

    @property
    def answers(self) -> Mapping[str, str]:
        """The labels. Only an AnswerKey hands them on."""
        return self._labelled[0].answers

    @property
    def demonstrations(self) -> Mapping[str, str]:
        """Worked solutions, where the labels bring some. Only an AnswerKey hands them on."""
        return self._labelled[0].demonstrations

    @property
    def held_out(self) -> tuple[Problem, ...]:
        """The benchmark's problems."""
        return self._held_out.problems

    @property
    def held_out_answers(self) -> Mapping[str, str]:
        """The benchmark's answers: they train nothing."""
        return self._held_out.answers

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
        notes = list(self._labelled[1])
        if near:
            notes.append(f"{len(near)} problems of the pool are near-duplicates of held-out problems")
        return notes

    @property
    def label_digest(self) -> str:
        """Identity of the labelled set: prompts, answers and demonstrations."""
        return self._labelled[0].content_digest

    @property
    def benchmark_digest(self) -> str:
        """Identity of the benchmark: its problems and answers."""
        return self._held_out.content_digest

    def corpus_exclusions(self) -> frozenset[str]:
        """Problems that pretraining must never show: labelled and held out."""
        return frozenset(self.answers) | frozenset(self.held_out_answers)
