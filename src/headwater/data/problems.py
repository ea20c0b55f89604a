"""The problems of a run: labelled pools, held-out benchmarks, and the answers kept apart from both."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from headwater.data.source import HELD_OUT, ProblemSource, Source
from headwater.errors import InputError, LabelError
from headwater.fingerprint import derive_seed
from headwater.problems import arithmetic
from headwater.problems.files import read_problems
from headwater.problems.generated import from_rows
from headwater.problems.labels import LabelSet
from headwater.problems.overlap import OverlapRecord, drop_overlap
from headwater.problems.pools import Pools, halves
from headwater.problems.reasoning_gym import GymSource, read_family
from headwater.records import Problem
from headwater.verifiers.extract import answer_finder
from headwater.verifiers.grading import Grading


@dataclass(frozen=True)
class PromptLimit:
    """The longest prompt that is allowed, in tokens, and what counts them."""

    tokens: int
    encode: Callable[[Problem], Sequence[int]]

    def beyond(self, problems: Iterable[Problem]) -> dict[str, int]:
        """Problem -> tokens of its prompt, for those that are longer."""
        return {p.problem_id: n for p in problems if (n := len(self.encode(p))) > self.tokens}


@dataclass(frozen=True)
class RunData:
    """What a recipe's `problems` stands for; read or made on first use, the same on every machine."""

    source: ProblemSource
    longest: PromptLimit | None = None
    """labelled problems with prompts beyond it are left out"""

    @cached_property
    def benchmarks(self) -> Mapping[str, LabelSet]:
        """The held-out problems by name, the primary benchmark first. Their answers train nothing."""
        if self.source.kind == "arithmetic":
            return {HELD_OUT: self._made(self.source.held_out, "held out", frozenset())}
        return {name: self.benchmark(name) for name in self.source.names}

    def benchmark(self, name: str) -> LabelSet:
        """One benchmark of files or of a family, read anew."""
        choice = self.source.benchmarks[name]
        found = _read(choice.source, self.source.grading_of(name))
        return found if choice.problems is None else found.draw(choice.problems, self.source.seed)

    @cached_property
    def _all(self) -> LabelSet:
        """Every labelled problem of the source, but for those with too long a prompt."""
        return self.everything.keep(frozenset(self.everything.answers) - frozenset(self._long))

    @cached_property
    def _long(self) -> dict[str, int]:
        """Problem -> tokens of its prompt, where they are too many."""
        return {} if self.longest is None else self.longest.beyond(self.everything.problems)

    @cached_property
    def everything(self) -> LabelSet:
        """The labelled problems of the source, before any is left out."""
        if self.source.labels is not None:
            return _read(self.source.labels, self.source.grading)
        held_out = frozenset[str]().union(*(found.answers for found in self.benchmarks.values()))
        return self._made(self.source.labelled or 0, "labelled", held_out)

    @cached_property
    def overlap(self) -> OverlapRecord:
        """What of the labelled problems is in which benchmark."""
        held = {name: found.problems for name, found in self.benchmarks.items()}
        return drop_overlap(self._all.problems, held, near=self.source.drop_overlap == "near")[1]

    @cached_property
    def _pool(self) -> LabelSet:
        """What labels are drawn from."""
        if not self.source.drop_overlap:
            return self._all
        return self._all.keep(frozenset(self._all.answers) - frozenset(self.overlap.dropped))

    @cached_property
    def _labelled(self) -> LabelSet:
        """The labelled set: as many of the pool as the recipe says."""
        if self.source.labelled is None:
            raise InputError("problems.labelled: not yet known; `Recipe.sized` writes it out")
        return self._pool.draw(self.source.labelled, self.source.seed)

    @property
    def available(self) -> int:
        """Problems that labels are drawn from."""
        return len(self._pool.problems)

    def of(self, source: ProblemSource) -> RunData:
        """The same sources with another number of labels; what was read is kept."""
        other = replace(self, source=source)
        kept = ("benchmarks", "everything", "_long", "_all", "overlap", "_pool")
        vars(other).update({name: value for name, value in vars(self).items() if name in kept})
        return other

    def _made(self, count: int, purpose: str, exclude: frozenset[str]) -> LabelSet:
        seed = derive_seed(self.source.seed, purpose)
        problems, answers = arithmetic.problem_set(count, seed, exclude=exclude)
        named = arithmetic.by_operations if self.source.sources == "operations" else (lambda problem: problem.source)
        rows = ({"prompt": p.prompt, "answer": answers[p.problem_id], "source": named(p)} for p in problems)
        return from_rows(rows, name=f"arithmetic, {purpose}", packed=self.source.grading.packed)

    @property
    def labelled(self) -> tuple[Problem, ...]:
        """The labelled pool, in a fixed order."""
        return self._labelled.problems

    @property
    def answers(self) -> Mapping[str, str]:
        """The labels. Only an AnswerKey hands them on."""
        return self._labelled.answers

    @property
    def places(self) -> Mapping[str, str]:
        """File and line of each label."""
        return self._labelled.places

    @property
    def demonstrations(self) -> Mapping[str, str]:
        """Worked solutions, where the labels bring some. Only an AnswerKey hands them on."""
        return self._labelled.demonstrations

    def refuse_without_demonstration(self, stage: str, pool: str, seed: int) -> None:
        """Raise LabelError unless every problem of a pool has a worked solution."""
        missing = [name for name in self.pools(seed).part(pool) if name not in self.demonstrations]
        if missing:
            raise LabelError(
                f"{stage}: {len(missing)} problems of {pool} have no worked solution (first: {missing[0]}). Map a "
                "column to demonstration, or let the teacher imitate its own right responses (sampler kind recorded)"
            )

    def pools(self, seed: int) -> Pools:
        """The pool and its halves for one seed, split by problem cluster, never by row; and what lies beside it.

        "validation" is the part of the labelled set that no stage trains on; "prompts" the prompts without labels, or
        those of the pool where there are none.
        """
        if seed not in self._halves:
            ids = [problem.problem_id for problem in self.labelled]
            by_lot = sorted(ids, key=lambda name: (derive_seed("validation", self.source.seed, name), name))
            kept = frozenset(by_lot[: self.source.validation])
            split = halves([problem for problem in self.labelled if problem.problem_id not in kept], seed)
            prompts = tuple(problem.problem_id for problem in self.unlabelled) or split.ids["pool"]
            validation = tuple(name for name in ids if name in kept)
            self._halves[seed] = split.beside({"prompts": prompts, "validation": validation})
        return self._halves[seed]

    @property
    def unlabelled(self) -> tuple[Problem, ...]:
        """Prompts that are trained on without a label, in a fixed order. Their answers, if any, are nowhere here."""
        return () if self._unlabelled is None else self._unlabelled.problems

    @cached_property
    def _unlabelled(self) -> LabelSet | None:
        """None where the recipe asks for none. What a benchmark holds is left out, or refused, as of the labels."""
        source, count = self.source.prompts, self.source.unlabelled
        if not count:
            return None
        if source is None:
            held = frozenset(self.answers).union(*(found.answers for found in self.benchmarks.values()))
            return self._made(count, "unlabelled", held)
        found = read_family(source) if isinstance(source, GymSource) else read_problems(source, answers=False)
        held_out = {name: benchmark.problems for name, benchmark in self.benchmarks.items()}
        near = self.source.drop_overlap == "near"
        overlap = drop_overlap(found.problems, held_out, pool_name="prompts", near=near)[1]
        if overlap.dropped and not self.source.drop_overlap:
            raise LabelError(
                f"prompts: {len(overlap.dropped)} problems also occur in a benchmark (first: {overlap.dropped[0]}). "
                "Remove them with --drop-overlap or choose other prompts"
            )
        return found.keep(frozenset(found.answers) - frozenset(overlap.dropped)).draw(count, self.source.seed)

    def content_of(self, pool: str) -> str:
        """Identity of what a stage on this pool may be shown: the labelled set, or the prompts without labels."""
        return (self._prompt_digest if pool == "prompts" else None) or self.label_digest

    @cached_property
    def _halves(self) -> dict[int, Pools]:
        return {}

    def problems(self, pool: str, seed: int) -> list[Problem]:
        """The problems of one pool, in the pool's order."""
        by_id = {problem.problem_id: problem for problem in (*self.unlabelled, *self.labelled)}
        return [by_id[problem_id] for problem_id in self.pools(seed).part(pool)]

    def check(self) -> list[str]:
        """Refuse a pool that shares a problem with a benchmark (LabelError); notes for the report otherwise."""
        drawn = frozenset(self.answers)
        notes = [note for read in (self._all, *self.benchmarks.values()) for note in _dropped(read)]
        if self._long and self.longest is not None:
            notes.append(
                f"{len(self._long)} labelled problems with prompts of more than {self.longest.tokens:,} tokens are "
                f"left out (longest: {max(self._long.values()):,})"
            )
        if not self.source.drop_overlap:
            notes += self._refused_or_near(drawn)
        if self.source.drop_overlap:
            notes.append(str(self.overlap))
        if len(drawn) < self.available:
            notes.append(f"{len(drawn):,} of {self.available:,} labelled problems are used, drawn by seed and text")
        return notes

    def _refused_or_near(self, drawn: frozenset[str]) -> list[str]:
        shared = {name: sorted(found.same & drawn) for name, found in self.overlap.benchmarks.items()}
        parts = [f"{len(ids)} problems of pool also occur in benchmark {name}" for name, ids in shared.items() if ids]
        if parts:
            first = next(ids[0] for ids in shared.values() if ids)
            raise LabelError(
                f"labels: {', '.join(parts)} (first: {first}). Remove them with --drop-overlap (recorded in the "
                "report) or change the split."
            )
        near = {name: {pair.pool_id for pair in found.near} & drawn for name, found in self.overlap.benchmarks.items()}
        words = "problems of the pool are near-duplicates of"
        return [f"{len(ids)} {words} {name} problems" for name, ids in near.items() if ids]

    def overlap_counts(self) -> dict[str, Any]:
        """How much of the pool was or is in each benchmark, for the report: no id, no text."""
        ids = frozenset(self.overlap.dropped) | frozenset(self.answers)
        return {
            "problems": self.overlap.problems,
            "removed": len(self.overlap.dropped) if self.source.drop_overlap else 0,
            "near_removed": self.overlap.near_dropped,
            "benchmarks": [
                {
                    "benchmark": name,
                    "problems": found.problems,
                    "exact": len({pool_id for pool_id, _ in found.exact} & ids),
                    "normalised": len({pool_id for pool_id, _ in found.normalised} & ids),
                    "near": len(({pair.pool_id for pair in found.near} & ids) - found.same),
                }
                for name, found in self.overlap.benchmarks.items()
            ],
        }

    @cached_property
    def label_digest(self) -> str:
        """Identity of the labelled set: prompts, answers and demonstrations."""
        return self._labelled.content_digest

    def benchmark_digest(self, name: str) -> str:
        """Identity of a benchmark: its problems and answers."""
        return self._benchmark_digests[name]

    @cached_property
    def _benchmark_digests(self) -> Mapping[str, str]:
        return {name: found.content_digest for name, found in self.benchmarks.items()}

    @cached_property
    def _prompt_digest(self) -> str | None:
        return None if self._unlabelled is None else self._unlabelled.content_digest

    def contents(self) -> dict[str, str]:
        """Place in the recipe, with what is read there -> digest of the problems that came of it."""
        found = {f"problems.labels{_said(self.source.labels)}": self.label_digest}
        if self._prompt_digest is not None:
            found[f"problems.prompts{_said(self.source.prompts)}"] = self._prompt_digest
        for name in self.benchmarks:
            choice = self.source.benchmarks.get(name)
            place = f"problems.benchmarks.{name}{_said(choice.source if choice else None)}"
            found[place] = self.benchmark_digest(name)
        return found

    def corpus_exclusions(self) -> frozenset[str]:
        """Problems that pretraining must never show: labelled, held out, and prompts without labels."""
        held_out = (found.answers for found in self.benchmarks.values())
        return frozenset(self.answers).union(*held_out, (problem.problem_id for problem in self.unlabelled))


def _said(source: Source | None) -> str:
    return "" if source is None else f" ({source.family if isinstance(source, GymSource) else source.path})"


def _read(source: Source, grading: Grading) -> LabelSet:
    if isinstance(source, GymSource):
        return read_family(source, packed=grading.packed)
    return read_problems(source, packed=grading.packed, answer_of=answer_finder(source.columns.answer_from))


def _dropped(read: LabelSet) -> list[str]:
    """Rows that were left out by choice are said."""
    if not read.dropped:
        return []
    first = read.dropped[0]
    return [f"{len(read.dropped)} rows of {read.name} were dropped (first: line {first.line}, {first.reason})"]
