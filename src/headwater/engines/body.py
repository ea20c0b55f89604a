"""The network of one process made ready: fast layers, and the fastest way through it that is right at a length.

Nothing is assumed of the network. Which ways are right is measured on a few layers of its architecture (`acceptance`),
and the one that is taken is compared once more on the network itself.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from headwater.engines import linears
from headwater.engines.attention import our_attention
from headwater.engines.cpu import takeovers
from headwater.engines.linears import Copies, Precision
from headwater.engines.packing import Layout, pack, pack_trees
from headwater.models.language_model import LanguageModel
from headwater.models.outline import dimensions
from headwater.models.size import Dimensions
from headwater.models.split import as_it_was
from headwater.records import Rollout

Scoring = Literal["trees", "open rows", "rows", "alone"]
"""How rollouts are laid out for a forward pass: prompts shared; padded rows, with our attention and no mask or with the
network's own; one at a time. Fastest first."""
Sampling = Literal["slots", "slots, its own attention", "its own cache", "no cache"]
"""How tokens are drawn: in slots of all ages, or a prompt's responses together by transformers' `generate`."""


@dataclass(frozen=True, kw_only=True)
class Ways:
    """How a network is gone through."""

    scoring: Scoring
    sampling: Sampling


AGREEMENT = 1e-3
"""Largest relative distance between the hidden states of two ways through a network; they differ by rounding."""
PROBE = 16
"""Tokens of the longest rollout on which a network's own weights are gone through in both ways."""
ROUNDED = 50
"""How many times as far they may be apart where weights or products are rounded to 16 bits, or to fewer."""


LONG = 4096
"""Tokens of a rollout beyond which no tree holds it: its mask is as large as its length squared (64 MiB there), where
open rows need none, with windows or without, and a row so long fills a pass."""


def idle(length: int) -> frozenset[Scoring]:
    """The ways that are not taken at this length, however right they are."""
    return frozenset({"trees"} if length > LONG else {"open rows"})


class Body:
    """A model's network, ready for use. The layers are taken over in place; its names and parameters stay.

    `ways` settles how it is gone through, unmeasured.
    """

    def __init__(self, model: LanguageModel, precision: Precision = "float32", ways: Ways | None = None):
        self.model = model
        self.precision: Precision = precision
        self.copies: Copies | None = None
        """what is rounded for the work in hand"""
        self.keeps = precision == "bfloat16"
        """whether to keep it: of weights that are gathered layer by layer, copies would be the whole network"""
        linears.take_over(model.network, precision)
        takeovers.take_over(model.network)
        self._given = ways
        self._found: dict[int, Ways] = {}
        self._fails = frozenset() if ways else self._failing("trees", "open rows", "rows")

    def ways(self, length: int) -> Ways:
        """The fastest ways that are right for rollouts of so many tokens. Raises InputError where none is right."""
        if self._given is not None:
            return self._given
        if length not in self._found:  # asked at every pass, and the account of an architecture is long
            self._found[length] = self._measured(length)
        return self._found[length]

    def _measured(self, length: int) -> Ways:
        from headwater.engines.acceptance import accept  # noqa: PLC0415  it measures with bodies of its own

        without: frozenset[Scoring] = frozenset()
        while True:
            found = accept(self.model.network.config, length, without).ways
            if found.scoring not in self._fails:
                return found
            without |= {found.scoring}

    @cached_property
    def sizes(self) -> Dimensions:
        """The network's, by which memory goes."""
        return dimensions(self.model.network)

    @contextmanager
    def work(self) -> Iterator[None]:
        """Passes forward and backward, and decoding, go inside it. No weight may change in here."""
        with linears.shared_copies(self.model.network) if self.keeps else nullcontext() as copies:
            self.copies = copies
            try:
                yield
            finally:
                self.copies = None

    def attention(self, layout: Layout) -> AbstractContextManager[None]:
        """A pass over this layout, forward and backward, goes inside it."""
        own = layout.tree is None and not layout.open
        return nullcontext() if own else our_attention(self.model.network.config)

    def decoding(self, way: Sampling) -> AbstractContextManager[None]:
        """Drawing tokens in this way goes inside it."""
        return our_attention(self.model.network.config) if way == "slots" else nullcontext()

    def pack(self, rollouts: Sequence[Rollout], budget: int, beside: int = 0) -> Iterator[Layout]:
        """The rollouts in micro-batches of at most so many tokens, those over LONG apart, each as is fastest.

        Args: beside: tokens of a longer rollout, as which they are laid out.
        """
        lengths = [max(beside, len(rollout.prompt_ids) + len(rollout.response_ids)) for rollout in rollouts]
        for long in (False, True):
            members = [i for i, length in enumerate(lengths) if (length > LONG) is long]
            if members:
                way = self.ways(max(lengths[i] for i in members)).scoring
                for layout in self._packed([rollouts[i] for i in members], budget, way):
                    yield replace(layout, members=tuple(members[i] for i in layout.members))

    def _packed(self, rollouts: Sequence[Rollout], budget: int, way: Scoring) -> Iterator[Layout]:
        if way == "trees":
            return pack_trees(rollouts, budget)
        rows = pack(rollouts, 1 if way == "alone" else budget, self.model.pad_id)
        return (replace(layout, open=way == "open rows") for layout in rows)

    def scored_hidden(self, layout: Layout) -> Float[Tensor, "token hidden"]:
        """The hidden state that scores each response token, on the token axis; inside `work`."""
        device = self.model.network.device
        ids = layout.input_ids.to(device)
        if layout.tree is None:
            hidden = self.model.hidden(ids)
        else:
            tree = layout.tree.to(device)
            hidden = self.model.states(input_ids=ids, position_ids=tree.position_ids, use_cache=False, tree=tree)
        return hidden.reshape(-1, hidden.shape[-1]).index_select(0, layout.scored_at.to(device))

    @torch.no_grad()
    def _failing(self, *checked: Scoring) -> frozenset[Scoring]:
        """In which of these ways this network's own weights do not give what plain transformers gives."""
        rollouts = probes(PROBE, self.model.emitted)
        with as_it_was(self.model.network):
            plain = [self.scored_hidden(layout) for one in rollouts for layout in pack([one], 1, self.model.pad_id)]
        expected = torch.cat(plain).float()
        return frozenset(way for way in checked if not self._agrees(way, rollouts, expected))

    def _agrees(self, way: Scoring, rollouts: Sequence[Rollout], expected: Float[Tensor, "token hidden"]) -> bool:
        found: dict[int, Tensor] = {}
        try:
            for layout in self._packed(rollouts, 10**9, way):
                with self.attention(layout):
                    hidden = self.scored_hidden(layout)
                found.update(zip(layout.members, hidden.split(layout.response_lengths), strict=True))
        except Exception:  # noqa: BLE001  other people's network code; there is another way
            return False
        apart = (torch.cat([found[i] for i in range(len(rollouts))]).float() - expected).norm()
        return bool(apart <= AGREEMENT * (ROUNDED if self.rounds else 1) * expected.norm())

    @property
    def rounds(self) -> bool:
        """Whether any product is coarser than float32."""
        short = self.model.network.dtype in (torch.bfloat16, torch.float16)
        return self.precision == "bfloat16" or short or self.model.quantised


def probes(length: int, vocabulary: int) -> list[Rollout]:
    """Rollouts of up to so many tokens: short beside long, branches of one trunk, one without a token, a lone one."""
    draw = random.Random(length)  # noqa: S311  nothing is secret here

    def ids(count: int) -> tuple[int, ...]:
        return tuple(draw.randrange(min(2, vocabulary - 1), vocabulary) for _ in range(count))

    half = length // 2
    long, short, lone = ids(max(half, 1)), ids(min(3, half) or 1), ids(min(2, half) or 1)
    sizes = [(short, 2), (short, 4), (short, 0), (long, length - len(long)), (long, 3), (lone, 5)]
    return [probe(prompt, ids(max(min(size, length - len(prompt)), 0))) for prompt, size in sizes]


def probe(prompt: tuple[int, ...], response: tuple[int, ...]) -> Rollout:
    """A rollout that nobody drew."""
    return Rollout(
        rollout_id="probe",
        problem_id="probe",
        prompt_ids=prompt,
        response_ids=response,
        response_text="",
        logprobs=(0.0,) * len(response),
        policy_version=-1,
        finish_reason="stop",
    )
