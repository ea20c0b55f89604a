"""What is kept of a teacher's distributions on disk, as a value: rows by column, and bytes a token."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from headwater.batch import ExactDistribution, HiddenDistribution, TeacherDistribution, TopKDistribution
from headwater.errors import InputError
from headwater.late import Tensor, torch
from headwater.value import Value

ITEM = {"float32": 4, "bfloat16": 2, "float16": 2}
"""Bytes of a number on disk."""
STORED_ID = "int32"
ROLLOUT_BYTES = 24  # a response token's id, logprob and text in a row of rollouts, at most about
PIECE = 2**24
"""Logprobs that are made at once while recording."""


class Recording(Value):
    """What is kept of the teacher's distribution at each response position."""

    keep: Literal["full", "top_k", "hidden"] = Field(
        "full", description="every logprob; the likeliest tokens and the rest's mass; or hidden states (exact)"
    )
    top_k: int = Field(64, ge=1, le=2**20, description="tokens kept a position, for keep top_k")
    dtype: Literal["float32", "bfloat16", "float16"] = Field("float32", description="of logprobs and states on disk")

    @property
    def stored(self) -> torch.dtype:
        """`dtype` as torch has it."""
        return _dtype(self.dtype)

    def bytes_a_token(self, vocabulary: int, hidden: int) -> int:
        """Bytes of one position's distribution, for a teacher of that many token ids and hidden size."""
        size = ITEM[self.dtype]
        top = min(self.top_k, vocabulary)
        return {"full": size * vocabulary, "hidden": size * hidden, "top_k": top * (size + 4) + size}[self.keep]

    def columns(self, distribution: TeacherDistribution) -> Iterator[dict[str, Tensor]]:
        """A rollout's rows by column, some rows at a time. Raises InputError for more than the teacher says."""
        if isinstance(distribution, TopKDistribution):
            yield self._likeliest(self._of_fewer(distribution))
            return
        if not isinstance(distribution, ExactDistribution):
            raise InputError(
                f"teacher cache: a {type(distribution).__name__} cannot be kept; use an exact or top-k one"
            )
        if distribution.width > torch.iinfo(_dtype(STORED_ID)).max:
            raise InputError(f"teacher cache: {distribution.width} token ids do not fit {STORED_ID}")
        if self.keep == "hidden":
            if not isinstance(distribution, HiddenDistribution):
                raise InputError("teacher cache: this teacher gives no hidden states; keep full or top_k")
            yield {"hidden": self._cast(distribution.hidden)}
            return
        rows = max(1, PIECE // distribution.width)
        for start in range(0, distribution.tokens, rows):
            logprobs = distribution.rows(slice(start, start + rows)).logprobs()
            if self.keep == "full":
                yield {"full": self._cast(logprobs)}
                continue
            yield self._likeliest(TopKDistribution.from_logprobs(logprobs, min(self.top_k, logprobs.shape[-1])))

    def _likeliest(self, top: TopKDistribution) -> dict[str, Tensor]:
        return {
            "token_ids": top.token_ids.to(_dtype(STORED_ID)),
            "top_logprobs": self._cast(top.top_logprobs),
            "tail_logprob": self._cast(top.tail_logprob),
        }

    def _of_fewer(self, told: TopKDistribution) -> TopKDistribution:
        """What a teacher says that knows its likeliest tokens alone, cut to as many as are kept."""
        known = told.token_ids.shape[-1]
        if self.keep != "top_k" or self.top_k > known:
            asked = f"the {self.top_k} likeliest" if self.keep == "top_k" else f"all ({self.keep})"
            raise InputError(
                f"teacher cache: this teacher knows its {known} likeliest tokens, and {asked} are to be kept; set "
                f"cache.keep to top_k and cache.top_k to at most {known}"
            )
        return told.likeliest(self.top_k)

    def _cast(self, values: Tensor) -> Tensor:
        stored = values.to(self.stored)
        if self.dtype == "float16" and bool((torch.isinf(stored) & torch.isfinite(values)).any()):
            raise InputError("teacher cache: a value of the teacher's is too large for float16; store bfloat16")
        return stored


def _dtype(name: str) -> torch.dtype:
    found: torch.dtype = getattr(torch, name)
    return found


def sizes(tokens: int, recording: Recording, *, vocabulary: int, hidden: int) -> dict[str, int]:
    """Bytes by what they hold that recording so many response tokens writes, at most."""
    files = {
        "distributions": tokens * recording.bytes_a_token(vocabulary, hidden),
        "rollouts": tokens * ROLLOUT_BYTES,
    }
    if recording.keep == "hidden":
        files["head"] = 4 * vocabulary * hidden
    return files
