"""The report says how many verdicts were graded twice, and shows the disagreements as text."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from rich.console import Console

from headwater.report import summarise, to_markdown
from headwater.report.page import render_page
from headwater.report.terminal import print_summary

HOSTILE = "</td><script>alert(1)</script>\u202e[bold]"


def audit(*rows: tuple[str, str | None, str, str], checked: int = 200, undecided: int = 0) -> dict[str, Any]:
    """An audit.json with these disagreements: gold, answer, first and second verdict."""
    worth = {"correct": 1.0, "wrong": 0.0}
    sample = [
        {"rollout": f"r{i}", "gold": gold, "answer": answer, "verdict": first, "reward": worth[first]}
        | {"second": second, "second_reward": worth[second]}
        for i, (gold, answer, first, second) in enumerate(rows)
    ]
    return {
        "first": "integer/0.0/typed 2",
        "second": "expression/decide/2/sympy",
        "checked": checked,
        "agreed": checked - undecided - len(rows),
        "undecided": undecided,
        "disagreements": [row["rollout"] for row in sample],
        "sample": sample,
    }


@pytest.fixture
def audited(lab: Any) -> Any:
    titled = [(entry["title"], node) for node, entry in lab.graph["nodes"].items() if lab.done(node)]
    first, second = [node for title, node in titled if title.startswith("student-rl")][:2]
    lab.put(first, "audit.json", audit(("5", r"5\text{ cm}", "wrong", "correct"), undecided=2))
    lab.put(second, "audit.json", audit((HOSTILE, None, "wrong", "correct"), checked=1500))
    return lab


def test_counts_and_disagreements_are_summed_by_stage_and_stand_in_json(audited: Any) -> None:
    rows = json.loads(json.dumps(summarise(audited).to_json()))["audits"]
    assert sum(row["checked"] for row in rows) == 1700
    assert sum(row["agreed"] for row in rows) == 1696
    assert sum(row["undecided"] for row in rows) == 2
    assert all(row["title"].startswith("student-rl") for row in rows)
    (found,) = [found for row in rows for found in row["disagreements"] if found["gold"] == "5"]
    assert (found["answer"], found["verdict"], found["second"]) == (r"5\text{ cm}", "wrong", "correct")


def test_a_line_in_the_terminal_and_in_markdown_says_it(audited: Any) -> None:
    said = "1,700 random verdicts were graded again by a second grader: 2 disagree, 2 without a verdict of both."
    assert said in to_markdown(summarise(audited))
    console = Console(width=200, file=io.StringIO())
    print_summary(summarise(audited), console)
    assert said in console.file.getvalue()  # type: ignore[attr-defined]


def test_model_text_in_a_disagreement_is_text(audited: Any) -> None:
    page = render_page(summarise(audited))
    assert "<script>alert" not in page
    assert "&lt;/td&gt;&lt;script&gt;alert(1)&lt;/script&gt;\ufffd[bold]" in page
    assert r"5\text{ cm}" in page


def test_without_an_audit_nothing_is_claimed(lab: Any) -> None:
    assert summarise(lab).audits == ()
    assert "graded again" not in to_markdown(summarise(lab))
    assert "No stage has graded a response yet" in render_page(summarise(lab))
