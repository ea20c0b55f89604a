"""Where a run's problems come from: the labelled pool, and the benchmarks on which every arm is measured.

A source is a user's files or data set, a reasoning-gym family, or the arithmetic made here. The first benchmark
that a recipe names is the primary one: headline and verdicts are its. Its problems, and those of every other
benchmark, must not stand in the pool.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Discriminator, Field, Tag, model_validator

from headwater.models.choice import MOST, Count
from headwater.problems.files import FileSource
from headwater.problems.reasoning_gym import GymSource
from headwater.value import Value
from headwater.verifiers.grading import Grading

HELD_OUT = "held-out"
"""The one benchmark of problems made here."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")


def _kind_of_source(value: Any) -> str:
    family = "family" in value if isinstance(value, Mapping) else isinstance(value, GymSource)
    return "[family]" if family else "[files]"


Source = Annotated[
    Annotated[FileSource, Tag("[files]")] | Annotated[GymSource, Tag("[family]")], Discriminator(_kind_of_source)
]


class BenchmarkChoice(Value):
    """Held-out problems on which every arm is measured; their answers train nothing."""

    source: Source = Field(description="path of files or a data set, or a reasoning-gym family")
    problems: Annotated[int, Field(ge=2, le=MOST)] | None = Field(None, description="problems drawn; null takes all")
    samples: Count | None = Field(None, description="k of avg@k here; null takes evaluation.samples")
    grading: Grading | None = Field(None, description="of these answers; null grades them as the labels")


class ProblemSource(Value):
    """Where labelled and held-out problems come from, and how answers are graded."""

    kind: Literal["arithmetic", "files", "reasoning-gym"] = Field("arithmetic", description="made here, or named below")
    labelled: Annotated[int, Field(ge=2, le=MOST)] | None = Field(
        256, description="labels that training may read; null takes all that fill whole batches"
    )
    validation: int = Field(0, ge=0, le=MOST, description="of the labels, kept out of training to look at it; even")
    unlabelled: int = Field(0, ge=0, le=MOST, description="prompts without labels: the pool `prompts` of a stage")
    prompts: Source | None = Field(None, description="where these come from: files, whose answers are not read")
    held_out: int = Field(400, ge=2, le=MOST, description="test problems made here (kind arithmetic)")
    seed: int = Field(0, description="which problems are drawn")
    sources: Literal["one", "operations"] = Field(
        "one", description="kind arithmetic: all of one source, or of one for each number of operations (operations-4)"
    )
    labels: Source | None = Field(None, description="labelled problems: path of files or a data set, or a family")
    benchmarks: dict[str, BenchmarkChoice] = Field({}, description="held-out problems by name")
    primary: str | None = Field(None, description="benchmark of headline and verdicts; null takes the first named")
    drop_overlap: bool | Literal["near"] = Field(
        False, description="take benchmark problems (near: and near-duplicates) out of the pool, noted in the report"
    )
    drop_long: bool = Field(
        False, description="take prompts beyond any stage's max_prompt_tokens out of the pool, noted in the report"
    )
    grading: Grading = Field(
        Grading(answer_type="integer", extractor="marker", marker="#", end="<eos>"),
        description="type of the answers, and where a response gives its own",
    )

    @model_validator(mode="before")
    @classmethod
    def _first_is_primary(cls, data: Any) -> Any:
        """Written out, since the order of a mapping's keys is part of no identity."""
        named = data.get("benchmarks") if isinstance(data, dict) else None
        if isinstance(named, dict) and named and data.get("primary") is None:
            return {**data, "primary": next(iter(named))}
        return data

    @model_validator(mode="before")
    @classmethod
    def _marker_of_the_lab(cls, data: Any) -> Any:
        """Answers of the arithmetic made here have a form of their own; all others are graded by the one default."""
        if isinstance(data, dict) and data.get("kind", "arithmetic") != "arithmetic" and "grading" not in data:
            return {**data, "grading": {}}
        return data

    @model_validator(mode="after")
    def _sources_are_named(self) -> Self:
        made_here = self.kind == "arithmetic"
        named = [name for name in ("labels", "benchmarks") if getattr(self, name)]
        wanted = [] if made_here else ["labels", "benchmarks"]
        if named != wanted:
            raise ValueError(
                f"kind {self.kind} takes {', '.join(wanted) or 'no files'}; given: {', '.join(named) or 'none'}"
            )
        if made_here and self.labelled is None:
            raise ValueError("labelled: problems made here have no end; give their number")
        if not made_here and self.held_out != type(self).model_fields["held_out"].default:
            raise ValueError(f"held_out is of kind arithmetic; kind {self.kind} has problems under a benchmark's name")
        if bool(self.unlabelled) != (self.prompts is not None) and not (made_here and self.prompts is None):
            raise ValueError(
                "unlabelled: give both their number here and their source under prompts"
                + ("; problems made here need the number alone" if made_here else "")
            )
        if self.labelled is not None and self.validation >= self.labelled:
            raise ValueError(f"validation: {self.validation} of {self.labelled} labels leave none to train on")
        wrong = [name for name in self.benchmarks if not _NAME.fullmatch(name)]
        if wrong:
            raise ValueError(f"benchmarks: the name {wrong[0]!r:.60}; allowed: up to 40 letters, digits, . _ and -")
        if self.primary is not None and self.primary not in self.benchmarks:
            known = ", ".join(self.benchmarks) or "none"
            raise ValueError(f"primary: no benchmark {self.primary!r:.60}; named under benchmarks: {known}")
        if (self.kind == "reasoning-gym") != isinstance(self.labels, GymSource):
            asked = "a family" if self.kind == "reasoning-gym" else "no family"
            raise ValueError(f"kind {self.kind} takes {asked} as labels")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """The benchmarks: the primary one, then the others by name."""
        first = self.primary or HELD_OUT
        return (first, *sorted(name for name in self.benchmarks if name != first))

    def grading_of(self, benchmark: str) -> Grading:
        """How a benchmark's answers are graded."""
        choice = self.benchmarks.get(benchmark)
        return self.grading if choice is None or choice.grading is None else choice.grading

    @property
    def gradings(self) -> tuple[Grading, ...]:
        """The ways of grading in a run, each once: that of the labels first."""
        return tuple(dict.fromkeys((self.grading, *map(self.grading_of, self.names))))

    def samples_of(self, benchmark: str, usual: int) -> int:
        """k of avg@k on a benchmark."""
        choice = self.benchmarks.get(benchmark)
        return usual if choice is None or choice.samples is None else choice.samples


def source_model(tag: str) -> type[BaseModel]:
    """The kind of source that a place in an error message speaks of."""
    return GymSource if tag == "[family]" else FileSource
