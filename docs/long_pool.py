"""How long 20,000 problems take to read, to hold against benchmarks and to split: CPU seconds, printed.

python docs/long_pool.py [problems]
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet as parquet

from headwater.problems.files import FileSource, read_problems
from headwater.problems.overlap import drop_overlap
from headwater.problems.pools import halves

WORDS = [f"word{i}" for i in range(3000)]


def rows(first: int, count: int) -> Iterator[dict[str, Any]]:
    """Rows in verl's layout, none like another."""
    rng = random.Random(first)
    for i in range(first, first + count):
        text = f"Problem {i}: {' '.join(rng.choices(WORDS, k=60))}. Find the value of $x_{{{i}}}$."
        yield {
            "data_source": "made",
            "prompt": [{"role": "user", "content": text}],
            "ability": "math",
            "reward_model": {"style": "rule", "ground_truth": str(i)},
            "extra_info": {"index": i, "split": "train"},
        }


def timed(what: str, work: Callable[[], Any]) -> Any:
    """The result, its CPU seconds printed."""
    begun = time.process_time()
    result = work()
    print(f"{what}: {time.process_time() - begun:.1f} s")
    return result


def main(count: int) -> None:
    """Reads, compares and splits so many problems."""
    with tempfile.TemporaryDirectory() as folder:
        files = {suffix: str(Path(folder) / f"labels{suffix}") for suffix in (".parquet", ".jsonl")}
        made = list(rows(0, count))
        parquet.write_table(pyarrow.Table.from_pylist(made), files[".parquet"])
        Path(files[".jsonl"]).write_text("".join(f"{json.dumps(row)}\n" for row in made))
        benchmark = Path(folder) / "benchmark.jsonl"
        benchmark.write_text("".join(f"{json.dumps(row)}\n" for row in [*made[:3], *rows(10**6, 497)]))
        held = read_problems(FileSource(path=str(benchmark))).problems
        for suffix, path in files.items():
            labels = timed(f"read {count:,} rows, {suffix}", lambda path=path: read_problems(FileSource(path=path)))
    timed("overlap with one benchmark", lambda: drop_overlap(labels.problems, {"one": held}))
    three = dict.fromkeys(("one", "two", "three"), held)
    kept, _ = timed("overlap with three", lambda: drop_overlap(labels.problems, three))
    drawn = timed("draw", lambda: labels.draw(len(kept), 0))
    timed("halves", lambda: halves(drawn.problems, 0))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000)
