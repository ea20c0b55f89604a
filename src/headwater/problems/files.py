"""Problems from a user's files: a JSON Lines or Parquet file, a directory of them, or a Hugging Face data set.

    read_problems(FileSource(path="labels.jsonl"))
    read_problems(FileSource(path="HuggingFaceH4/MATH-500", split="test"))
    read_problems(FileSource(path="dapo.parquet", columns=Columns(answer="extra_info.answer"), on_bad="drop"))

Left out: reading from the middle of a file, sampling, and shuffling: a stage's order comes from its seed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from headwater.errors import InputError
from headwater.places import require_place
from headwater.problems import hub
from headwater.problems.columns import AnswerOf, Columns, Example
from headwater.problems.labels import MOST_ROWS, LabelSet, Reading, gather
from headwater.problems.rows import SUFFIXES, Row, digest_of, file_rows, named

_WANTED = f"allowed: a {' or '.join(SUFFIXES)} file, a directory of them, or a hub id"


class FileSource(BaseModel):
    """Where labelled problems are read from, and how."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    path: str = Field(min_length=1, description=".jsonl or .parquet file, a directory of them, or a hub id owner/name")
    config: str | None = Field(None, description="configuration of a data set; null: its default")
    split: str | None = Field(None, description="split of a data set; null: train")
    revision: str | None = Field(None, description="hub revision; null: main")
    columns: Columns = Field(Columns(), description="column names, where they are not the known ones")
    system_prompt: str | None = Field(None, min_length=1, description="system message put before every prompt")
    few_shot: tuple[Example, ...] = Field((), strict=False, description="worked examples shown before every prompt")
    limit: Annotated[int, Field(ge=1, le=MOST_ROWS)] | None = Field(None, description="rows read; null: all")
    on_bad: Literal["refuse", "drop"] = Field("refuse", description="a bad row ends the run, or is dropped, recorded")

    @model_validator(mode="after")
    def _one_file_has_no_split(self) -> Self:
        given = [name for name in ("config", "split", "revision") if getattr(self, name) is not None]
        if given and Path(self.path).suffix in SUFFIXES:
            raise ValueError(f"{given[0]} is of a data set with several files; {self.path!r:.80} is one file")
        return self


def read_problems(
    source: FileSource, *, packed: bool = False, answer_of: AnswerOf | None = None, answers: bool = True
) -> LabelSet:
    """The problems of a source, their answers apart from them, and an account of every row.

    With `packed` each label is its whole row as JSON, for a reward function of the user's own; `answer_of` finds
    the answer in its column (`columns.answer_from` in words). Without `answers` prompts alone are read.

    Raises InputError, one line with file, line, what was found and what is allowed: for a source that cannot be
    read, and, unless `on_bad` is "drop", for the first bad row (with their number) and contradictory answers.
    """
    reading = Reading(
        name=source.path,
        source=source.path,
        columns=source.columns,
        system_prompt=source.system_prompt,
        few_shot=source.few_shot,
        limit=source.limit,
        on_bad=source.on_bad,
        packed=packed,
        answer_of=answer_of,
        answers=answers,
    )
    wanted = None if packed else source.columns.top_level
    path = Path(source.path).expanduser()
    if path.suffix in SUFFIXES or _is_file(path):
        rows = file_rows(path, wanted)
        return gather(rows, replace(reading, source=path.name, digest=digest_of([(path.name, path)])))
    revision = None
    if _is_directory(path):
        if source.revision is not None:
            raise InputError(
                f"problems {named(path)}: revision {source.revision!r:.60} is of a hub data set, and this is a local "
                "directory; leave revision out"
            )
    elif hub.HUB_ID.fullmatch(source.path):
        require_place("problems", source.path, _WANTED, lambda: hub.cached(source.path, source.revision))
        path, revision = hub.snapshot(source.path, source.revision)
    else:
        raise InputError(
            f"problems {named(source.path)[:200]}: no such file or directory, and no hub id (owner/name); {_WANTED}"
        )
    files = hub.split_files(path, named(source.path), source.config, source.split or "train")
    reading = replace(reading, source=path.name if revision is None else source.path, revision=revision)
    return gather(_all_rows(files, source.path, wanted), replace(reading, digest=digest_of(files)))


def _all_rows(files: list[tuple[str, Path]], source: str, wanted: frozenset[str] | None) -> Iterator[Row]:
    for name, path in files:
        # Messages and records name the file inside the data set: its place in a cache says nothing.
        yield from (replace(row, file=f"{source}/{name}") for row in file_rows(path, wanted))


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that is too long, or a NUL in it
        return False


def _is_directory(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False
