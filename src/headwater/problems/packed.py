"""A whole row as one label: what a reward function of the user's own is given, beside the response.

    {"prompt": "2 + 3?", "answer": "5", "level": 2, ...}      as JSON, keys sorted

`prompt` is what the model is asked (text, or messages with role and content), `answer` the gold answer where the
row has no column of that name; every other column is the row's own. As one text it goes the way of any answer:
through the answer key and the ledger.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from headwater.problems.columns import Parts, RowFault, Written, brief, kind

TAKEN = frozenset({"completions", "completion_ids", "prompts", "trainer_state"})
"""Names under which a reward function gets something else."""


def packed(values: Mapping[str, Any], parts: Parts) -> str:
    """The row as a label. Raises RowFault for a value that JSON cannot hold, and for a name that is taken."""
    row = {str(name): plain(value, str(name)) for name, value in values.items()}
    if taken := sorted(row.keys() & TAKEN):
        raise RowFault(f"the column {brief(taken[0])} has a name that reward functions use otherwise; rename it")
    prompt = parts.prompt
    asked = prompt if isinstance(prompt, str) else [{"role": turn.role, "content": turn.content} for turn in prompt]
    return json.dumps({"answer": parts.answer, **row, "prompt": asked}, sort_keys=True)


def plain(value: Any, name: str) -> Any:
    """A value of a row as JSON holds it, written numbers as numbers. Raises RowFault where it cannot."""
    if isinstance(value, Written):
        return json.loads(value)
    if value is None or isinstance(value, bool | int | float | str):
        if isinstance(value, float) and value - value != 0:  # NaN, infinity
            raise RowFault(f"{brief(name)} is {value}, which JSON cannot hold; write null or text")
        return value
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item, f"{name}.{key}") for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [plain(item, f"{name}.{index}") for index, item in enumerate(value)]
    raise RowFault(f"{brief(name)} is {kind(value)}; a reward function's row holds text, numbers, lists and objects")
