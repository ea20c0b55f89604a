"""A reward that even a tiny untrained model can learn to have and to lose: 1 for an even number of words."""

from collections.abc import Sequence


def even(completions: Sequence[str], answer: Sequence[str]) -> list[float]:
    return [float(len(text.split()) % 2 == 0) for text in completions]
