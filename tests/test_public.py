"""The public names: which they are, that each is there, and that asking for none of them costs nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import headwater

NAMES = [
    "CachedTeacher",
    "Divergence",
    "EngineSettings",
    "FunctionVerifier",
    "Grading",
    "HeadwaterError",
    "Imitation",
    "Labels",
    "LanguageModel",
    "Message",
    "OnPolicy",
    "Optimiser",
    "Problem",
    "Recipe",
    "Recorded",
    "Reward",
    "Route",
    "RunFolder",
    "RunOptions",
    "Sampling",
    "Schedule",
    "Stage",
    "read_recipe",
    "record",
    "run_recipe",
    "train",
]


def test_the_public_names_are_these() -> None:
    assert headwater.__all__ == NAMES
    assert dir(headwater) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_public_name_is_there_and_says_what_it_is(name: str) -> None:
    value = getattr(headwater, name)
    assert value.__name__ == name
    assert value.__module__.startswith("headwater.")
    assert value.__doc__


def test_a_name_that_is_not_there_is_told_with_those_that_are() -> None:
    with pytest.raises(AttributeError, match=r"no attribute 'Rout'; public names: CachedTeacher, .*train"):
        _ = headwater.Rout


def test_type_checkers_and_python_see_the_same_names() -> None:
    text = Path(headwater.__file__).read_text(encoding="utf-8")
    seen = text.partition("if TYPE_CHECKING:")[2].partition("_HOMES")[0].split("import ")[1:]
    imported = {name.strip() for line in seen for name in line.partition("\n")[0].split(",")}
    assert imported == set(NAMES)


def test_importing_headwater_alone_imports_no_torch() -> None:
    code = "import sys, headwater; print(sorted({'torch', 'transformers', 'numpy'} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
