"""The teacher's rollouts and next-token distributions on disk: made once, checked at opening, read often.

`rollouts.jsonl` holds one rollout a line (ids are the record, text is for people); `distributions.safetensors`
holds the teacher's distribution at every response position, rows in the same order: every logprob for a small
vocabulary, or the k likeliest tokens and the mass of the rest. The bridge reads it through `CachedTeacher`,
so a live teacher never runs over cached rollouts.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from headwater.batch import ExactDistribution, FullDistribution, TeacherDistribution, TopKDistribution
from headwater.errors import InputError, IntegrityError
from headwater.interfaces import Teacher
from headwater.records import Group, Problem, Rollout, rollouts_of

STORED_ID = torch.int32
ROLLOUT_BYTES = 128  # a response token's id, logprob and text in a line of rollouts, at most about
ROLLOUTS = "rollouts.jsonl"
DISTRIBUTIONS = "distributions.safetensors"


def write_rollouts(path: Path, rollouts: Sequence[Rollout]) -> None:
    """One JSON object a line, in order."""
    lines = [json.dumps(dataclasses.asdict(rollout), ensure_ascii=False) for rollout in rollouts]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def read_rollouts(path: Path) -> list[Rollout]:
    """The rollouts that `write_rollouts` wrote. A line that is no rollout raises IntegrityError."""
    rollouts = []
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                row = json.loads(line)
                rollouts.append(
                    Rollout(
                        **{
                            **row,
                            "prompt_ids": tuple(row["prompt_ids"]),
                            "response_ids": tuple(row["response_ids"]),
                            "logprobs": tuple(row["logprobs"]),
                        }
                    )
                )
            except (ValueError, TypeError, KeyError) as error:
                raise IntegrityError(
                    f"teacher cache {path}, line {number}: not a rollout ({error}); record it again"
                ) from error
    return rollouts


def sizes(tokens: int, width: int, keep: int | None) -> dict[str, int]:
    """Bytes by file that recording so many response tokens writes, at most; `width` is the vocabulary's."""
    row = 4 * width if keep is None else 8 * keep + 4
    return {DISTRIBUTIONS: tokens * row, ROLLOUTS: tokens * ROLLOUT_BYTES}


def write(
    directory: Path,
    groups: Sequence[Group],
    teacher: Teacher,
    *,
    temperature: float,
    keep: int | None,
    vocabulary: str = "",
) -> None:
    """Record rollouts with the teacher's distributions.

    Args: keep: tokens kept of each distribution, the mass of the rest in one bucket; None keeps every logprob.
    vocabulary: the teacher's `LanguageModel.vocabulary`. Raises InputError when the teacher is not exact, or its
    vocabulary too wide for the integers that are stored.
    """
    rollouts = rollouts_of(groups)
    parts: list[TeacherDistribution] = []
    for group in groups:
        for distribution in teacher.distributions(group.rollouts):
            if not isinstance(distribution, ExactDistribution):
                raise InputError("teacher cache: the recording teacher must give exact distributions")
            logprobs = distribution.logprobs()
            if logprobs.shape[-1] > torch.iinfo(STORED_ID).max:
                raise InputError(f"teacher cache: {logprobs.shape[-1]} token ids do not fit {STORED_ID}")
            parts.append(
                FullDistribution(full=logprobs) if keep is None else TopKDistribution.from_logprobs(logprobs, keep)
            )
    joined = parts[0].join(parts)
    tensors = {
        f.name: value.contiguous()
        for f in dataclasses.fields(joined)
        if isinstance(value := getattr(joined, f.name), Tensor)
    }
    if "token_ids" in tensors:
        tensors["token_ids"] = tensors["token_ids"].to(STORED_ID)
    directory.mkdir(parents=True, exist_ok=True)
    write_rollouts(directory / ROLLOUTS, rollouts)
    about = json.dumps({"temperature": temperature, "vocabulary": vocabulary})
    # One key: safetensors writes several in an order that differs from process to process.
    save_file(tensors, directory / DISTRIBUTIONS, metadata={"recording": about})


def _read_distributions(path: Path) -> tuple[float, str, dict[str, Tensor]]:
    """The temperature and the vocabulary of a recording, and its tensors."""
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {})["recording"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
            return float(about["temperature"]), str(about["vocabulary"]), tensors
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise IntegrityError(f"teacher cache {path}: not a recording ({error}); record it again") from error


class CachedTeacher(Teacher):
    """A teacher that remembers: answers for the rollouts it was recorded on, and for no others."""

    def __init__(self, directory: Path, temperature: float):
        """Open a cache. Another temperature than it was recorded at raises InputError."""
        rollouts = read_rollouts(directory / ROLLOUTS)
        self.rollouts = {rollout.rollout_id: rollout for rollout in rollouts}
        if len(self.rollouts) != len(rollouts):
            raise IntegrityError(f"teacher cache {directory}: a rollout id occurs twice; record it again")
        recorded, self._vocabulary, tensors = _read_distributions(directory / DISTRIBUTIONS)
        if recorded != temperature:
            raise InputError(
                f"teacher cache: recorded at temperature {recorded}, the stage scores at {temperature}. "
                "Set both to one value."
            )
        self._all: TeacherDistribution = (
            FullDistribution(full=tensors["full"])
            if "full" in tensors
            else TopKDistribution(
                token_ids=tensors["token_ids"].long(),
                top_logprobs=tensors["top_logprobs"],
                tail_logprob=tensors["tail_logprob"],
            )
        )
        self._start: dict[str, int] = {}
        place = 0
        for rollout in self.rollouts.values():
            self._start[rollout.rollout_id] = place
            place += len(rollout.response_ids)
        stored = len(next(iter(tensors.values())))
        if stored != place:
            raise IntegrityError(
                f"teacher cache {directory}: {stored} distributions for {place} response tokens; record it again"
            )

    def check_student(self, vocabulary: str, width: int) -> None:
        """Raise InputError when this recording's token ids are not the ids of a student of that vocabulary."""
        if self._vocabulary != vocabulary:
            raise InputError(
                "teacher cache: recorded with another tokenizer or chat template than the student's; use a pair "
                "that shares both, and record again"
            )
        kept = [int(self._all.token_ids.max())] if isinstance(self._all, TopKDistribution) else []
        said = (i for rollout in self.rollouts.values() for i in (*rollout.prompt_ids, *rollout.response_ids))
        if (largest := max((*kept, *said), default=0)) >= width:
            raise InputError(
                f"teacher cache: it holds token id {largest}, and the student's end at {width - 1}; "
                "resize the student's embeddings to the teacher's"
            )

    def groups(self, problems: Sequence[Problem]) -> Mapping[str, Group]:
        """The recorded rollouts of each of these problems that has any."""
        by_problem: dict[str, list[Rollout]] = {}
        for rollout in self.rollouts.values():
            by_problem.setdefault(rollout.problem_id, []).append(rollout)
        return {
            problem.problem_id: Group(problem=problem, rollouts=tuple(by_problem[problem.problem_id]))
            for problem in problems
            if problem.problem_id in by_problem
        }

    def distributions(self, rollouts: Sequence[Rollout]) -> list[TeacherDistribution]:
        """Looked up by rollout id, with the token ids compared. An unknown rollout raises InputError."""
        return [self._all.rows(self._place(rollout)) for rollout in rollouts]

    def logprobs(self, rollouts: Sequence[Rollout]) -> list[Float[Tensor, " token"]]:
        """The teacher's logprob of each recorded token, as it was when the token was drawn."""
        for rollout in rollouts:
            self._place(rollout)
        return [torch.tensor(self.rollouts[rollout.rollout_id].logprobs) for rollout in rollouts]

    def _place(self, rollout: Rollout) -> slice:
        known = self.rollouts.get(rollout.rollout_id)
        if known is None or known.response_ids != rollout.response_ids or known.prompt_ids != rollout.prompt_ids:
            raise InputError(
                f"teacher cache: rollout {rollout.rollout_id} was not recorded with these token ids; "
                "use the live teacher, or record again."
            )
        start = self._start[rollout.rollout_id]
        return slice(start, start + len(rollout.response_ids))
