"""The sampler's key/value cache: preallocated slots, each with its own place, taken and given back.

Because each slot writes at its own place and sees only the places it has written, responses of different
age and prompt length stand side by side without left padding, and a finished one makes room for another.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import Cache


class PromptCache(Cache):
    """Collects each layer's keys and values [row head time dim] while prompts are read."""

    def __init__(self) -> None:
        super().__init__(layers=[])
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Keep the layer's states; attention sees just these."""
        self.keys.append(key_states)
        self.values.append(value_states)
        return key_states, value_states

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Nothing was read before the prompt."""
        return 0

    def get_mask_sizes(self, *args: object, **kwargs: object) -> tuple[int, int]:
        """(keys, offset); unused, because the mask is given."""
        return 0, 0


class SlotCache(Cache):
    """Keys and values [slot head place dim] of `slots` responses; slot i's next token goes to place `lengths[i]`.

    Room for the longest response is taken at once. As many of its places are in use as the longest slot needs, in
    whole blocks and without a gap: products over what lies scattered copy it first, and take twice as long. `moved`
    counts how often slots or places became others; in between the tensors stay where they are.
    """

    def __init__(self, slots: int, most: int, device: torch.device, dtype: torch.dtype, block: int):
        """Room for `most` places a slot; at first one `block` is in use."""
        super().__init__(layers=[])
        self.lengths = torch.zeros(slots, dtype=torch.long, device=device)
        self.moved = 0
        self._longest = 0
        self._block, self._most = block, most
        self._held = torch.zeros_like(self.lengths)
        self._places = min(block, most)
        self._unseen = torch.full((slots, self._places), -torch.inf, dtype=dtype, device=device)
        self._next: dict[int, Tensor] = {}
        self._room: list[Tensor] = []
        self._layers: list[Tensor] = []
        """keys and values of each layer in turn, each the beginning of its room"""

    def take(self, slots: Int[Tensor, " new"], prompts: PromptCache, owner: Int[Tensor, " new"], ends: Tensor) -> None:
        """Begin in these slots with the states of the prompts that own them; `ends` [prompt] are their lengths."""
        self._make_room(int(ends.max()))
        read = [states for pair in zip(prompts.keys, prompts.values, strict=True) for states in pair]
        if not self._room:
            sizes = [len(self.lengths) * states.shape[1] * self._most * states.shape[3] for states in read]
            self._room = [states.new_empty(size) for states, size in zip(read, sizes, strict=True)]
            self._lay([states.new_empty((len(self.lengths), states.shape[1], 0, states.shape[3])) for states in read])
        for layer, states in zip(self._layers, read, strict=True):
            width = min(states.shape[2], self._places)  # padding may reach beyond the last place
            layer[slots, :, :width] = states[owner, :, :width]
        self.lengths[slots], self._held[slots] = ends[owner], 1
        beyond = torch.arange(self._places, device=ends.device) >= ends[owner][:, None]
        self._unseen[slots] = torch.zeros_like(self._unseen[slots]).masked_fill_(beyond, -torch.inf)
        self._longest = int(self.lengths.max())

    def _make_room(self, longest: int) -> None:
        """Places for the next token of a response so long. Blocks grow with it, so that few copies are made."""
        block = max(self._block, 2 ** longest.bit_length() // 16)
        more = min((longest // block + 1) * block, self._most) - self._places
        if more > 0:
            self._places += more
            self._unseen = nn.functional.pad(self._unseen, (0, more), value=-torch.inf)
            self._lay(layer.clone() for layer in self._layers)

    def _lay(self, layers: Iterable[Float[Tensor, "slot _ place _"]]) -> None:
        """Put these states, which lie elsewhere, at the first of the present places; 0 behind them."""
        laid = []
        for room, states in zip(self._room, layers, strict=False):
            slots, heads, places, dim = states.shape
            layer = room[: slots * heads * self._places * dim].view(slots, heads, self._places, dim)
            layer[:, :, :places], layer[:, :, places:] = states, 0
            laid.append(layer)
        self._layers = laid
        self.moved += 1

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Write one token a slot at its own place; return all places."""
        keys, values = self._layers[2 * layer_idx : 2 * layer_idx + 2]
        for buffer, states in ((keys, key_states), (values, value_states)):
            at = self._next_places(buffer.shape[1])
            buffer.view(-1, buffer.shape[-1]).index_copy_(0, at, states.reshape(-1, states.shape[-1]))
        return keys, values

    def _next_places(self, heads: int) -> Int[Tensor, " slot_head"]:
        """Where each slot's next token goes in a buffer of so many heads, taken as [slot head place] end to end."""
        if heads not in self._next:
            first = torch.arange(len(self.lengths) * heads, device=self.lengths.device) * self._places
            self._next[heads] = first + self.lengths.repeat_interleave(heads)
        return self._next[heads]

    def begin_step(self) -> Float[Tensor, "slot one one place"]:
        """The mask: 0 at the places that each slot's next token may see (itself included), -inf elsewhere."""
        self._next.clear()  # what is captured must work the places out from the lengths of its own time
        self._unseen.view(-1).index_fill_(0, self._next_places(1), 0)
        return self._unseen[:, None, None]

    def advance(self) -> None:
        """Every slot that is held has written one token."""
        self.lengths += self._held
        self._longest += 1
        self._make_room(self._longest)

    def give_back(self, slots: Int[Tensor, " ended"]) -> None:
        """These slots hold nothing any more; until they are taken they write over their first place."""
        self.lengths[slots], self._held[slots] = 0, 0
        self._unseen[slots] = -torch.inf
        self._longest = int(self.lengths.max())

    def keep(self, slots: Int[Tensor, " kept"]) -> None:
        """Go on with these slots alone."""
        self._lay(layer[slots] for layer in self._layers)
        self.lengths, self._held, self._unseen = self.lengths[slots], self._held[slots], self._unseen[slots]
        self._longest = int(self.lengths.max())

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """As many tokens as were read, with the next the places there are."""
        return self._places - 1

    def get_mask_sizes(self, *args: object, **kwargs: object) -> tuple[int, int]:
        """(keys, offset); unused, because the mask is given."""
        return self._places, 0
