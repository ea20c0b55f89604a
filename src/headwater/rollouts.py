"""Rollouts on disk: Arrow tables, a row a rollout, mapped into memory and read when they are asked for.

`datasets.Dataset.from_file` opens such a file. Of each rollout its row and a checksum of its tokens stay in memory: a
recording may hold more tokens than fit there.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, overload

import numpy as np
import pyarrow as pa

from headwater.errors import IntegrityError
from headwater.records import Rollout

KEPT = 4096
"""Rollouts that were read lately and stay in memory."""

_IDS = pa.list_(pa.int32())
SCHEMA = pa.schema(
    {
        "rollout_id": pa.string(),
        "problem_id": pa.string(),
        "prompt_ids": _IDS,
        "response_ids": _IDS,
        "response_text": pa.string(),
        "logprobs": pa.list_(pa.float64()),
        "policy_version": pa.int64(),
        "finish_reason": pa.string(),
    }
)


def write_rollouts(path: Path, rollouts: Sequence[Rollout]) -> None:
    """One row each, in order."""
    columns = {name: [getattr(rollout, name) for rollout in rollouts] for name in SCHEMA.names}
    table = pa.Table.from_pydict(columns, SCHEMA)
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, SCHEMA) as stream:
        stream.write_table(table)


class RolloutTable(Mapping[str, Rollout]):
    """The rollouts of some files by their id, in the files' order."""

    def __init__(self, paths: Sequence[Path]):
        """Map the files. One that is no table of rollouts, or an id that occurs twice, raises IntegrityError."""
        self._tables: list[pa.Table] = []
        self._places: dict[str, tuple[int, int, int]] = {}
        """rollout id -> its file, its row there, and the checksum of its tokens"""
        self.rows: list[np.ndarray] = []
        """of each file: where each rollout's response tokens begin, counted from the file's first; and their end"""
        self._by_problem: dict[str, _OfProblem] = {}
        self.largest_id = 0
        self._read = lru_cache(maxsize=KEPT)(self._read_row)
        for path in paths:
            try:
                self._add(pa.ipc.open_stream(pa.memory_map(str(path))).read_all())
            except (OSError, ValueError, TypeError, pa.ArrowException) as error:
                raise IntegrityError(f"teacher cache {path}: no rollouts ({error}); record it again") from error

    def _add(self, table: pa.Table) -> None:
        if table.schema != SCHEMA or any(column.null_count for column in table.columns):
            raise ValueError("its columns are not those of rollouts")
        table.validate(full=True)
        number, checksums = len(self._tables), _checksums(table)
        self._tables.append(table)
        names = zip(table["rollout_id"].to_pylist(), table["problem_id"].to_pylist(), strict=True)
        for row, (rollout_id, problem_id) in enumerate(names):
            if rollout_id in self._places:
                raise ValueError(f"id {rollout_id} occurs twice")
            self._places[rollout_id] = (number, row, checksums[row])
            self._by_problem.setdefault(problem_id, _OfProblem(self)).ids.append(rollout_id)
        self.rows.append(_bounds(table["response_ids"]))
        ids = (_flat(table[name]) for name in ("prompt_ids", "response_ids"))
        self.largest_id = max(self.largest_id, *(int(each.max(initial=0)) for each in ids))

    @property
    def by_problem(self) -> Mapping[str, Sequence[Rollout]]:
        """The rollouts of each problem that has any."""
        return self._by_problem

    def place(self, rollout_id: str) -> tuple[int, slice]:
        """The file that holds a rollout, and which of its response tokens are the rollout's."""
        number, row, _ = self._places[rollout_id]
        return number, slice(int(self.rows[number][row]), int(self.rows[number][row + 1]))

    def __getitem__(self, rollout_id: str) -> Rollout:
        return self._read(rollout_id)

    def _read_row(self, rollout_id: str) -> Rollout:
        number, place, checksum = self._places[rollout_id]
        row: dict[str, Any] = self._tables[number].slice(place, 1).to_pylist()[0]
        ids = (np.array(row[name], dtype=np.int32) for name in ("prompt_ids", "response_ids"))
        if _checksum(*ids) != checksum:
            raise IntegrityError(
                f"teacher cache: rollout {rollout_id} was changed since its file was opened; record it again"
            )
        row |= {name: tuple(row[name]) for name in ("prompt_ids", "response_ids", "logprobs")}
        return Rollout(**row)

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


class _OfProblem(Sequence[Rollout]):
    """One problem's rollouts, each read when it is asked for."""

    def __init__(self, table: RolloutTable):
        self._table = table
        self.ids: list[str] = []

    @overload
    def __getitem__(self, index: int) -> Rollout: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Rollout, ...]: ...
    def __getitem__(self, index: int | slice) -> Rollout | tuple[Rollout, ...]:
        if isinstance(index, slice):
            return tuple(self._table[rollout_id] for rollout_id in self.ids[index])
        return self._table[self.ids[index]]

    def __len__(self) -> int:
        return len(self.ids)


def _flat(column: pa.ChunkedArray) -> np.ndarray:
    """The numbers of a column of lists, end to end."""
    return column.combine_chunks().flatten().to_numpy(zero_copy_only=False)


def _bounds(column: pa.ChunkedArray) -> np.ndarray:
    """Where each row's list begins in `_flat`, and where the last one ends."""
    lengths = np.array(column.combine_chunks().value_lengths(), dtype=np.int64)
    return np.concatenate([[0], lengths.cumsum()])


def _checksums(table: pa.Table) -> list[int]:
    """Of each rollout's prompt and response ids."""
    prompts, responses = (_lists(table[name]) for name in ("prompt_ids", "response_ids"))
    return [_checksum(*ids) for ids in zip(prompts, responses, strict=True)]


def _checksum(prompt_ids: np.ndarray, response_ids: np.ndarray) -> int:
    return zlib.crc32(response_ids.tobytes(), zlib.crc32(prompt_ids.tobytes()))


def _lists(column: pa.ChunkedArray) -> list[np.ndarray]:
    flat, bounds = _flat(column), _bounds(column)
    return [flat[a:b] for a, b in itertools.pairwise(bounds)]
