"""Label files of one- and two-digit sums for a model that speaks: a pool and two benchmarks, no sum in two of them.

    python docs/sums.py DIRECTORY

Each line is a chat and its answer, the form that `headwater` reads: {"prompt": [{"role", "content"}], "answer"}.
3 + 4 and 4 + 3 are one sum: both are in the pool, or neither is.
"""

import itertools
import json
import random
import sys
from pathlib import Path

QUESTION = "What is {} + {}? Answer with the number only."
HELD_OUT = 40


def line(pair):
    """One problem with its answer."""
    return json.dumps({"prompt": [{"role": "user", "content": QUESTION.format(*pair)}], "answer": sum(pair)})


def main(directory):
    """Write labels.jsonl, one-digit.jsonl and two-digit.jsonl."""
    draw = random.Random(0)
    digits = {"one-digit": range(10), "two-digit": range(10, 100)}
    labels = []
    directory.mkdir(parents=True, exist_ok=True)
    for name, numbers in digits.items():
        sums = list(itertools.combinations_with_replacement(numbers, 2))
        draw.shuffle(sums)
        held_out = [line(pair) for pair in ordered(sums[: HELD_OUT // 2])]
        (directory / f"{name}.jsonl").write_text("\n".join(held_out) + "\n", encoding="utf-8")
        labels += [line(pair) for pair in ordered(sums[HELD_OUT // 2 :])[:64]]
    draw.shuffle(labels)
    (directory / "labels.jsonl").write_text("\n".join(labels) + "\n", encoding="utf-8")


def ordered(sums):
    """Each sum in both orders, if there are two."""
    return [pair for a, b in sums for pair in dict.fromkeys([(a, b), (b, a)])]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
