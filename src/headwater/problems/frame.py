"""The instruction that a data set writes around every problem, and the problem without it.

verl's DAPO opens each prompt with "Solve the following math problem step by step. ..." and ends it with
"Remember to put your answer on its own line ...". The problem inside is the benchmark's, the whole text is not,
so an overlap is looked for with and without the frame. A frame is what all texts of one source share at their
start or end, cut at a line's end or between words, of at least 5 words.

Left out: frames that differ from row to row.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

FEWEST_TEXTS = 8
"""Different texts of one source; fewer may begin alike by chance."""
FEWEST_WORDS = 5
"""Words of a frame; "What is the value of" alone is how problems begin."""


def unframed(texts: Sequence[str], sources: Sequence[str]) -> list[str]:
    """The texts without the frame that all texts of their source share; a text without a frame is unchanged."""
    by_source: dict[str, set[str]] = defaultdict(set)
    for text, source in zip(texts, sources, strict=True):
        by_source[source].add(text)
    frames = {source: _frame(members) for source, members in by_source.items()}
    inner = []
    for text, source in zip(texts, sources, strict=True):
        start, end = frames[source]
        inner.append(text[start : len(text) - end].strip() or text)
    return inner


def _frame(texts: set[str]) -> tuple[int, int]:
    """Characters of the frame at the start and at the end of these texts."""
    if len(texts) < FEWEST_TEXTS:
        return 0, 0
    # A line's end parts an instruction from problems that begin or end alike; without one, the last whole word does.
    start = _shared_start(texts)
    start = start[: start.rfind("\n") + 1] or start[: len(start) - len(start.rpartition(" ")[2])]
    end = _shared_start({text[len(start) :][::-1] for text in texts})[::-1]
    end = "\n" + end.partition("\n")[2] if "\n" in end else end[len(end.partition(" ")[0]) :]
    return _long_enough(start), _long_enough(end)


def _shared_start(texts: set[str]) -> str:
    # What the first and the last in sorted order share, all between them share.
    first, last = min(texts), max(texts)
    return first[
        : next((index for index, pair in enumerate(zip(first, last, strict=False)) if len(set(pair)) > 1), len(first))
    ]


def _long_enough(frame: str) -> int:
    return len(frame) if len(frame.split()) >= FEWEST_WORDS else 0
