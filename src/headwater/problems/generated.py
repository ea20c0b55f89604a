"""Problems made by a user's own Python: any iterable of rows becomes a label set, checked like a file's rows.

    def sums(count: int, seed: int) -> Iterator[dict[str, object]]:
        rng = random.Random(seed)
        for _ in range(count):
            a, b = rng.randrange(100), rng.randrange(100)
            yield {"problem": f"What is {a} + {b}?", "answer": a + b}

    labels = from_rows(sums(1000, seed=0), name="sums")

Left out: calling the user's function by a name in a recipe (nothing is imported by string); a generator's own
exception is handed on as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from headwater.problems.columns import Columns, kind
from headwater.problems.labels import LabelSet, OnBad, Reading, gather
from headwater.problems.rows import Row


def from_rows(
    rows: Iterable[Mapping[str, Any]],
    *,
    name: str = "rows",
    columns: Columns | None = None,
    system_prompt: str | None = None,
    limit: int | None = None,
    on_bad: OnBad = "refuse",
    packed: bool = False,
) -> LabelSet:
    """Rows as a label set; line n of a message is the n-th row. Raises InputError as `files.read_problems` does.

    `limit` is the number of rows taken; a generator without an end needs one. With `packed` each label is its whole
    row as JSON, for a reward function of the user's own.
    """
    reading = Reading(
        name=name,
        source=name,
        columns=columns or Columns(),
        system_prompt=system_prompt,
        limit=limit,
        on_bad=on_bad,
        packed=packed,
    )
    return gather(_numbered(rows, name), reading)


def _numbered(rows: Iterable[Any], name: str) -> Iterator[Row]:
    for line, values in enumerate(rows, 1):
        if isinstance(values, Mapping):
            yield Row(name, line, values, tuple(map(str, values)))
        else:
            yield Row(name, line, {}, fault=f"found {kind(values)}; expected a mapping with a prompt and an answer")
