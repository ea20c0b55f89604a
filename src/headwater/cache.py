"""The teacher's rollouts and next-token distributions on disk: made once, checked at opening, read often.

A recording is made of shards, one for each piece of the pool that was gone through. `rollouts-N.arrow` holds one
rollout a row (ids are the record, text is for people); `distributions-N.safetensors` the teacher's distribution at
every response position, rows in the same order, as `Recording` says: every logprob; the k likeliest tokens and the
mass of the rest; or the last hidden states, exact at any vocabulary with the teacher's head in `head.safetensors`.
Rows are written as they are made and read where they lie (the files are mapped into memory), so neither needs room
for all of them. The bridge reads them through `CachedTeacher`: a live teacher never runs over cached rollouts.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from headwater.batch import (
    ExactDistribution,
    FullDistribution,
    HiddenDistribution,
    PerToken,
    TeacherDistribution,
    TokenIds,
    TopKDistribution,
)
from headwater.errors import InputError, IntegrityError
from headwater.interfaces import Teacher
from headwater.models.logits import UNCHANGED, LogitChange
from headwater.recording import Recording
from headwater.records import Group, Rollout
from headwater.rollouts import RolloutTable, write_rollouts

ROLLOUTS = "rollouts-{:08}.arrow"
DISTRIBUTIONS = "distributions-{:08}.safetensors"
"""Of the shard that begins with this problem of the pool."""
HEAD = "head.safetensors"
KINDS = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16", torch.int32: "I32"}
"""What safetensors calls the dtypes that are stored."""


def write(
    directory: Path,
    groups: Sequence[Group],
    teacher: Teacher,
    recording: Recording = Recording(),  # noqa: B008  a frozen value
    *,
    temperature: float,
    vocabulary: str = "",
    first: int = 0,
) -> None:
    """Record rollouts with the teacher's distributions as one shard, a group at a time.

    first: the place in the pool of the first group's problem, which names the shard. vocabulary: the teacher's
    `LanguageModel.vocabulary`. Raises InputError when more is to be kept than the teacher says, its vocabulary is too
    wide for the integers that are stored, or no response has a token.
    """
    directory.mkdir(parents=True, exist_ok=True)
    for old in [] if first else _shards(directory, ROLLOUTS) + _shards(directory, DISTRIBUTIONS):
        old.unlink()  # of another recording, whose later shards would be read as this one's
    rollouts = [rollout for group in groups for rollout in group.rollouts]
    tokens = sum(len(rollout.response_ids) for rollout in rollouts)
    if not tokens:
        raise InputError("teacher cache: no response to record")
    about = {"temperature": temperature, "vocabulary": vocabulary}
    table = _Table(directory / DISTRIBUTIONS.format(first), tokens, about)
    head: dict[str, Tensor] = {}
    for group in groups:
        for distribution in teacher.distributions(group.rollouts, temperature):
            for columns in recording.columns(distribution):
                table.add(columns)
            if isinstance(distribution, HiddenDistribution):
                head = _head_of(distribution)
    table.close()
    if recording.keep == "hidden" and head and not first:
        save_file({name: part.detach().cpu().clone().contiguous() for name, part in head.items()}, directory / HEAD)
    write_rollouts(directory / ROLLOUTS.format(first), rollouts)


def _shards(directory: Path, name: str) -> list[Path]:
    """The files of that kind, in the order of the pool."""
    return sorted(directory.glob(name.replace("{:08}", "*")))


class _Table:
    """A safetensors file of columns with a known number of rows, written row after row as they are made."""

    def __init__(self, path: Path, rows: int, about: Mapping[str, Any]):
        self._path, self._rows, self._about = path, rows, about
        self._starts: dict[str, int] = {}
        self._file = path.open("wb")

    def add(self, columns: Mapping[str, Tensor]) -> None:
        """Some more rows of every column."""
        if not self._starts:
            self._begin(columns)
        for name, values in columns.items():
            content = values.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
            self._file.seek(self._starts[name])
            self._file.write(content)
            self._starts[name] += len(content)

    def _begin(self, columns: Mapping[str, Tensor]) -> None:
        # One key of metadata: others come back in an order that differs from process to process.
        header: dict[str, Any] = {"__metadata__": {"recording": json.dumps(self._about)}}
        end = 0
        for name, values in columns.items():
            shape = [self._rows, *values.shape[1:]]
            start, end = end, end + self._rows * values[:1].numel() * values.element_size()
            header[name] = {"dtype": KINDS[values.dtype], "shape": shape, "data_offsets": [start, end]}
            self._starts[name] = start
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        self._file.write(len(text).to_bytes(8, "little") + text)
        self._starts = {name: 8 + len(text) + start for name, start in self._starts.items()}

    def close(self) -> None:
        """All rows were written."""
        self._file.close()


def _open_table(path: Path) -> tuple[Mapping[str, Any], dict[str, Any]]:
    """What a recording says of itself, and its columns; a row is read when it is asked for."""
    try:
        file = safe_open(path, framework="pt")
        about = json.loads((file.metadata() or {})["recording"])
        columns = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        return {"temperature": float(about["temperature"]), "vocabulary": str(about["vocabulary"])}, columns
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise IntegrityError(f"teacher cache {path}: not a recording ({error}); record it again") from error


class CachedTeacher(Teacher):
    """A teacher that remembers: answers for the rollouts it was recorded on, and for no others."""

    def __init__(self, directory: Path, device: torch.device | None = None):
        """Open a cache; `device` is where its head is used."""
        self.rollouts = RolloutTable(_shards(directory, ROLLOUTS))
        shards = [_open_table(path) for path in _shards(directory, DISTRIBUTIONS)]
        stored = [next(iter(columns.values())).get_shape()[0] for _, columns in shards]
        tokens = [int(rows[-1]) for rows in self.rollouts.rows]
        about = {json.dumps([facts, sorted(columns)]) for facts, columns in shards}
        if stored != tokens or len(about) != 1:
            raise IntegrityError(
                f"teacher cache {directory}: {sum(stored)} distributions in {len(stored)} files for {sum(tokens)} "
                f"response tokens in {len(tokens)}, made in {len(about)} ways; record it again"
            )
        self._shards = [columns for _, columns in shards]
        facts = shards[0][0]
        self._temperature, self._vocabulary = facts["temperature"], facts["vocabulary"]
        self.exact = "token_ids" not in self._shards[0]
        self._head = _read_head(directory / HEAD, device) if "hidden" in self._shards[0] else {}

    def check_student(self, vocabulary: str, width: int) -> None:
        """Raise InputError when this recording's token ids are not the ids of a student of that vocabulary."""
        if self._vocabulary != vocabulary:
            raise InputError(
                "teacher cache: recorded with another tokenizer or chat template than the student's; use a pair "
                "that shares both, and record again"
            )
        kept = [] if self.exact else [int(columns["token_ids"][:].max()) for columns in self._shards]
        if (largest := max((self.rollouts.largest_id, *kept))) >= width:
            raise InputError(
                f"teacher cache: it holds token id {largest}, and the student's end at {width - 1}; "
                "resize the student's embeddings to the teacher's"
            )

    def distributions(self, rollouts: Sequence[Rollout], temperature: float) -> list[TeacherDistribution]:
        """Looked up by rollout id, with the token ids compared. An unknown rollout raises InputError."""
        self._check(temperature)
        return [self._read(*self._place(rollout)) for rollout in rollouts]

    def _read(self, shard: int, place: slice) -> TeacherDistribution:
        rows = {name: column[place] for name, column in self._shards[shard].items()}
        if "full" in rows:
            return FullDistribution(full=rows["full"])
        if self._head:
            return HiddenDistribution(hidden=rows["hidden"], temperature=self._temperature, **self._head)
        rows["token_ids"] = rows["token_ids"].long()
        return TopKDistribution(**rows)

    def logprobs(self, rollouts: Sequence[Rollout], temperature: float) -> list[PerToken]:
        """The teacher's logprob of each recorded token, whoever wrote it; of top-k distributions InputError."""
        if not self.exact:
            raise InputError(
                "teacher cache: it holds the likeliest tokens alone, and a recorded token may be none of them; record "
                "whole distributions (cache.keep full or hidden)"
            )
        ids = [torch.tensor(rollout.response_ids) for rollout in rollouts]
        said = self.distributions(rollouts, temperature)
        return [_logprobs_of(one, tokens) for one, tokens in zip(said, ids, strict=True)]

    def _check(self, temperature: float) -> None:
        if temperature != self._temperature:
            raise InputError(
                f"teacher cache: recorded at temperature {self._temperature}, the stage scores at {temperature}. "
                "Set both to one value."
            )

    def _place(self, rollout: Rollout) -> tuple[int, slice]:
        known = self.rollouts.get(rollout.rollout_id)
        if known is None or (known.prompt_ids, known.response_ids) != (rollout.prompt_ids, rollout.response_ids):
            raise InputError(
                f"teacher cache: rollout {rollout.rollout_id} was not recorded with these token ids; "
                "use the live teacher, or record again."
            )
        return self.rollouts.place(rollout.rollout_id)


def _logprobs_of(distribution: TeacherDistribution, ids: TokenIds) -> PerToken:
    """What an exact distribution says of one token at each place."""
    assert isinstance(distribution, ExactDistribution)  # noqa: S101  what an exact cache holds
    logprobs = distribution.logprobs()
    return logprobs.gather(-1, ids.to(logprobs.device)[:, None])[:, 0]


def _head_of(distribution: HiddenDistribution) -> dict[str, Tensor]:
    """What makes logits of hidden states, as tensors; what a head does not have is left out."""
    change = distribution.change
    parts = {"head": distribution.head}
    if distribution.bias is not None:
        parts["bias"] = distribution.bias
    if change != UNCHANGED:
        parts["change"] = torch.tensor([change.scale, change.cap or math.inf], dtype=torch.float64)
    return parts


def _read_head(path: Path, device: torch.device | None) -> dict[str, Any]:
    try:
        parts: dict[str, Any] = {name: part.to(device or "cpu") for name, part in load_file(path).items()}
    except (OSError, SafetensorError) as error:
        raise IntegrityError(f"teacher cache {path}: cannot be read ({error}); record it again") from error
    if "head" not in parts:
        raise IntegrityError(f"teacher cache {path}: it holds no head; record it again")
    if "change" in parts:
        scale, cap = parts["change"].tolist()
        parts["change"] = LogitChange(scale=scale, cap=None if math.isinf(cap) else cap)
    return parts
