"""Which rollouts go to which rank: a function of the batch and the number of ranks alone.

Rollouts of one prompt stay together, since the prompt is read once for all of them. Where that would leave ranks
waiting (few prompts, many ranks), a prompt's responses are parted, and its prompt is read once a part.
"""

from __future__ import annotations

from collections.abc import Sequence

from headwater.records import Rollout

UNEVEN = 1.2
"""A part may cost so many times a rank's even share before its responses are parted."""


def deal(rollouts: Sequence[Rollout], ranks: int) -> list[list[int]]:
    """For each rank the indices of its rollouts, ascending; every rollout once. Cost is tokens read."""
    families: dict[tuple[int, ...], list[int]] = {}
    for i, rollout in enumerate(rollouts):
        families.setdefault(rollout.prompt_ids, []).append(i)
    room = UNEVEN * sum(_cost(rollouts, members) for members in families.values()) / ranks
    parts = [part for members in families.values() for part in _parts(rollouts, members, room)]
    loads, dealt = [0] * ranks, [list[int]() for _ in range(ranks)]
    for part in sorted(parts, key=lambda part: (-_cost(rollouts, part), part[0])):
        rank = min(range(ranks), key=lambda rank: (loads[rank], rank))
        loads[rank] += _cost(rollouts, part)
        dealt[rank] += part
    return [sorted(members) for members in dealt]


def _parts(rollouts: Sequence[Rollout], members: Sequence[int], room: float) -> list[list[int]]:
    """One prompt's responses, in parts that fit the room where there are several."""
    parts: list[list[int]] = [[]]
    for i in members:
        if parts[-1] and _cost(rollouts, [*parts[-1], i]) > room:
            parts.append([])
        parts[-1].append(i)
    return parts


def _cost(rollouts: Sequence[Rollout], members: Sequence[int]) -> int:
    return len(rollouts[members[0]].prompt_ids) + sum(len(rollouts[i].response_ids) for i in members)
