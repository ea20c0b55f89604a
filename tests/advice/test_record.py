"""The record that the advice tells of itself is that of docs/advice.md."""

import re
from pathlib import Path

from headwater.advice.record import FITTED, RECORD, record

PAGE = (Path(__file__).parents[2] / "docs" / "advice.md").read_text(encoding="utf-8")


def test_the_record_is_that_of_the_page() -> None:
    rows = re.findall(r"^\| ([\w-]+) \| (\d+) \| (\d+) \| (\d+) \| (\d+) \| [\d.]+%", PAGE, re.MULTILINE)
    stated = {name: tuple(map(int, counts)) for name, *counts in rows if name != "all"}
    assert stated == {one.recipe: (sum(one[1:]), *one[1:]) for one in RECORD}


def test_every_case_of_the_page_is_counted_and_those_that_set_the_constants_are_marked() -> None:
    cases = re.findall(r"^\| [\w-]+ \| \d+( †)? \| [\d.]+, ", PAGE, re.MULTILINE)
    assert len(cases) == sum(sum(one[1:]) for one in RECORD)
    assert sum(bool(mark) for mark in cases) == FITTED
    assert f"{FITTED} of which" in record()
