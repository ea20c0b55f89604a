"""Problems of a reasoning-gym family: made from a name, a seed and a size, with one right answer each.

Needs `pip install 'headwater[gym]'`. The package's own scorers are never called: several evaluate the model's
text (`eval`, sympy's `parse_expr`), and others give full marks away (game_of_life_halting to any answer). What
counts here is full marks by the strictest reading: the extracted answer is the family's answer, as the declared
grading compares it (`answer_type: text` letter by letter; `integer` and the other types by value). Families whose
problems have several right answers, or whose answer can be written in several ways, are therefore refused,
unless they keep the package's default scorer, which by its contract means one answer.

Reviewed against reasoning-gym 0.1.25. Left out: partial credit, composites and curricula.
"""

from __future__ import annotations

import difflib
import importlib.metadata
from collections.abc import Iterator
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from headwater.errors import InputError
from headwater.problems.columns import Columns
from headwater.problems.labels import LabelSet, Reading, gather
from headwater.problems.rows import Row

_ONE_ANSWER = """
ab binary_matrix bitwise_arithmetic calendar_arithmetic chain_sum circuit_logic color_cube_rotation
decimal_chain_sum dice emoji_mystery family_relationships figlet_font fraction_simplification futoshiki
game_of_life_halting gsm_symbolic knights_knaves letter_jumble manipulate_matrix mini_sudoku needle_haystack
number_format path_star prime_factorization products rectangle_count self_reference sentence_reordering
spell_backward spiral_matrix string_insertion sudoku survo time_intervals tsumego word_sorting zebra_puzzles
"""
ONE_ANSWER = frozenset(_ONE_ANSWER.split())
"""Families with a scorer of their own that were read: one right answer, which the question says how to write."""

Parameter = int | float | str | bool | list[int] | list[float] | list[str]


class GymSource(BaseModel):
    """A family of reasoning-gym problems."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    family: str = Field(min_length=1, description="name of the family, such as chain_sum")
    size: int = Field(ge=1, le=1_000_000, description="problems made; repeats among them are merged")
    seed: int = Field(0, description="which problems are drawn")
    parameters: dict[str, Parameter] = Field({}, description="the family's own settings, such as max_terms")
    system_prompt: str | None = Field(None, min_length=1, description="system message put before every prompt")
    on_bad: Literal["refuse", "drop"] = Field("refuse", description="contradictory repeats are refused, or dropped")


def read_family(source: GymSource, *, packed: bool = False) -> LabelSet:
    """The family's problems as a label set; the same source gives the same set under one version of the package.

    With `packed` each label is its whole row as JSON, for a reward function of the user's own.

    Raises InputError: the package is missing, the family unknown or not graded here, or a parameter wrong.
    """
    family = _family(source)
    reading = Reading(
        name=f"reasoning-gym/{source.family}",
        source=source.family,
        columns=Columns(prompt="question", answer="answer"),
        system_prompt=source.system_prompt,
        on_bad=source.on_bad,
        packed=packed,
        revision=importlib.metadata.version("reasoning-gym"),
    )
    return gather(_rows(family, reading.name, source.size), reading)


def _rows(family: Any, name: str, size: int) -> Iterator[Row]:
    for index in range(size):
        entry = family[index]
        yield Row(name, index + 1, {"question": entry["question"], "answer": entry["answer"]}, ("question", "answer"))


def _family(source: GymSource) -> Any:
    try:
        import reasoning_gym  # noqa: PLC0415  an optional extra
        from reasoning_gym.dataset import ProceduralDataset  # noqa: PLC0415
        from reasoning_gym.factory import DATASETS  # noqa: PLC0415
    except ImportError as error:
        raise InputError(
            f"problems: family {source.family!r:.60} needs reasoning-gym; install it with "
            "`pip install 'headwater[gym]'`"
        ) from error
    if source.family not in DATASETS:
        close = difflib.get_close_matches(source.family, DATASETS, n=3) or sorted(DATASETS)[:5]
        raise InputError(
            f"problems: reasoning-gym has no family {source.family!r:.60}; close to it: {', '.join(close)}"
        )
    kind = DATASETS[source.family][0]
    if source.family not in ONE_ANSWER and kind.score_answer is not ProceduralDataset.score_answer:
        raise InputError(
            f"problems: family {source.family} has several right answers or spellings, which only its own scorer "
            "knows, and that is not run on model text; choose a family with one answer, such as chain_sum"
        )
    try:
        return reasoning_gym.create_dataset(source.family, seed=source.seed, size=source.size, **source.parameters)
    except (TypeError, ValueError, AssertionError) as error:
        reason = " ".join(str(error).split())[:160] or "out of its range"
        raise InputError(f"problems: family {source.family} refuses its parameters ({reason}); correct them") from error
