"""The network of one process made ready: fast layers, and attention over trees where it fits.

Nothing is assumed of the network. Whether its attention goes through transformers' interface, and gives over
a tree what it gives for each rollout alone, is tried once; a network that fails gets padded rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext

import torch
from jaxtyping import Float
from torch import Tensor

from headwater.engines import embeddings, feed_forward, linears, norms
from headwater.engines.attention import our_attention
from headwater.engines.linears import Copies, Precision
from headwater.engines.packing import Layout, pack, pack_trees
from headwater.models.language_model import LanguageModel
from headwater.records import Rollout

AGREEMENT = 1e-3
"""Largest relative distance between the two ways through the network; they differ by rounding alone."""


class Body:
    """A model's network, ready for use. The layers are taken over in place; its names and parameters stay."""

    def __init__(self, model: LanguageModel, precision: Precision = "float32"):
        self.model = model
        self.precision: Precision = precision
        self.copies: Copies | None = None
        """what is rounded for the work in hand"""
        self.keeps = True
        """whether to keep it: of weights that are gathered layer by layer, copies would be the whole network"""
        linears.take_over(model.network, precision)
        norms.take_over(model.network)
        embeddings.take_over(model.network)
        feed_forward.take_over(model.network)
        self._trees: bool | None = None

    @property
    def trees(self) -> bool:
        """Whether a prompt can be shared by its responses."""
        if self._trees is None:
            self._trees = self._agrees()
        return self._trees

    @contextmanager
    def work(self) -> Iterator[None]:
        """Passes forward and backward, and decoding, go inside it. No weight may change in here."""
        attention = our_attention(self.model.network.config) if self.trees else nullcontext()
        kept = linears.shared_copies(self.model.network) if self.keeps else nullcontext()
        with attention, kept as copies:
            self.copies = copies
            try:
                yield
            finally:
                self.copies = None

    def pack(self, rollouts: Sequence[Rollout], budget: int) -> Iterator[Layout]:
        """The rollouts in micro-batches of at most so many tokens."""
        return pack_trees(rollouts, budget) if self.trees else pack(rollouts, budget, self.model.pad_id)

    def scored_hidden(self, layout: Layout) -> Float[Tensor, "token hidden"]:
        """The hidden state that scores each response token, on the token axis; inside `work`."""
        device = self.model.network.device
        ids = layout.input_ids.to(device)
        if layout.tree is None:
            hidden = self.model.hidden(ids)
        else:
            tree = layout.tree.to(device)
            hidden = self.model.body(
                input_ids=ids, position_ids=tree.position_ids, use_cache=False, tree=tree
            ).last_hidden_state
        return hidden.reshape(-1, hidden.shape[-1]).index_select(0, layout.scored_at.to(device))

    @torch.no_grad()
    def _agrees(self) -> bool:
        vocab = self.model.network.config.get_text_config().vocab_size
        rollouts = [_probe(*(tuple(i % vocab for i in ids) for ids in probe)) for probe in _PROBES]
        (rows,) = pack(rollouts, 10**6, self.model.pad_id)
        (tree,) = pack_trees(rollouts, 10**6)
        plain = dict(zip(rows.members, self.scored_hidden(rows).split(rows.response_lengths), strict=True))
        try:
            with our_attention(self.model.network.config):
                found = self.scored_hidden(tree).split(tree.response_lengths)
        except (TypeError, ValueError, KeyError, IndexError, RuntimeError):
            return False
        expected = torch.cat([plain[i] for i in tree.members]).float()
        return bool((torch.cat(found).float() - expected).norm() <= self._tolerance() * expected.norm())

    @property
    def rounds(self) -> bool:
        """Whether any product is coarser than float32."""
        return self.precision == "bfloat16" or self.model.network.dtype in (torch.bfloat16, torch.float16)

    def _tolerance(self) -> float:
        return 50 * AGREEMENT if self.rounds else AGREEMENT


_PROBES = (
    ((3, 1, 4), (1, 5)),
    ((3, 1, 4), (2, 6, 5, 3)),
    ((5, 8, 9, 7, 9), (3, 2, 3)),
    ((5, 8, 9, 7, 9), (8,)),
    ((4, 6), (2, 6, 4)),
)
"""Prompts and responses of every shape: branches of different length, one without a token, a lone response."""


def _probe(prompt: tuple[int, ...], response: tuple[int, ...]) -> Rollout:
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
