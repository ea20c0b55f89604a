"""Rollouts on disk, one JSON object a line: every line is checked at opening, and read again where it lies.

Of each rollout its place and a hash of its tokens stay in memory: a recording may hold more tokens than fit there.
Those of the first tokens stay as well, so a small recording is read once.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import overload

from headwater.errors import IntegrityError
from headwater.records import Rollout

KEPT = 2**17
"""Response tokens whose rollouts stay in memory (about 10 MB)."""


def write_rollouts(path: Path, rollouts: Sequence[Rollout]) -> None:
    """One line each, in order."""
    lines = [json.dumps(dataclasses.asdict(rollout), ensure_ascii=False) for rollout in rollouts]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """Where a rollout lies: bytes of the file, and rows of the table that has one for each response token."""

    offset: int
    size: int
    start: int
    tokens: int
    told: int
    """hash of prompt and response ids"""

    @property
    def rows(self) -> slice:
        """The table's rows."""
        return slice(self.start, self.start + self.tokens)


class RolloutFile(Mapping[str, Rollout]):
    """The rollouts of a file by their id, in the file's order."""

    def __init__(self, path: Path):
        """Read and check every line. One that is no rollout, or an id that occurs twice, raises IntegrityError."""
        self._file = path.open("rb")
        self._kept: dict[str, Rollout] = {}
        self.lines: dict[str, Line] = {}
        self._by_problem: dict[str, _OfProblem] = {}
        self.tokens = self.largest_id = 0
        offset = 0
        for number, content in enumerate(self._file, start=1):
            try:
                rollout = _parsed(content)
                self._note(rollout, offset, len(content))
            except (ValueError, TypeError, KeyError) as error:
                raise IntegrityError(
                    f"teacher cache {path}, line {number}: not a rollout ({error}); record it again"
                ) from error
            offset += len(content)

    def _note(self, rollout: Rollout, offset: int, size: int) -> None:
        if rollout.rollout_id in self.lines:
            raise ValueError(f"id {rollout.rollout_id} occurs twice")
        tokens = len(rollout.response_ids)
        line = Line(offset=offset, size=size, start=self.tokens, tokens=tokens, told=told(rollout))
        self.lines[rollout.rollout_id] = line
        self._by_problem.setdefault(rollout.problem_id, _OfProblem(self)).ids.append(rollout.rollout_id)
        self.tokens += tokens
        if self.tokens <= KEPT:
            self._kept[rollout.rollout_id] = rollout
        self.largest_id = max((self.largest_id, *rollout.prompt_ids, *rollout.response_ids))

    @property
    def by_problem(self) -> Mapping[str, Sequence[Rollout]]:
        """The rollouts of each problem that has any."""
        return self._by_problem

    def __getitem__(self, rollout_id: str) -> Rollout:
        if rollout_id in self._kept:
            return self._kept[rollout_id]
        line = self.lines[rollout_id]
        self._file.seek(line.offset)
        with suppress(ValueError, TypeError, KeyError):
            rollout = _parsed(self._file.read(line.size))
            if told(rollout) == line.told:
                return rollout
        raise IntegrityError(
            f"teacher cache {self._file.name}: rollout {rollout_id} was changed since the file was opened; "
            "record it again"
        )

    def __iter__(self) -> Iterator[str]:
        return iter(self.lines)

    def __len__(self) -> int:
        return len(self.lines)


class _OfProblem(Sequence[Rollout]):
    """One problem's rollouts, each read when it is asked for."""

    def __init__(self, file: RolloutFile):
        self._file = file
        self.ids: list[str] = []

    @overload
    def __getitem__(self, index: int) -> Rollout: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Rollout, ...]: ...
    def __getitem__(self, index: int | slice) -> Rollout | tuple[Rollout, ...]:
        if isinstance(index, slice):
            return tuple(self._file[rollout_id] for rollout_id in self.ids[index])
        return self._file[self.ids[index]]

    def __len__(self) -> int:
        return len(self.ids)


def told(rollout: Rollout) -> int:
    """A hash of a rollout's prompt and response ids."""
    return hash((rollout.prompt_ids, rollout.response_ids))


def _parsed(content: bytes) -> Rollout:
    row = json.loads(content)
    tuples = {name: tuple(row[name]) for name in ("prompt_ids", "response_ids", "logprobs")}
    return Rollout(**{**row, **tuples})
