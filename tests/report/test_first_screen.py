"""The first screen answers three questions, alarms stand on it, and responses can be read."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from headwater.report import summarise
from headwater.report.costs import label_words
from headwater.report.page import render_page
from headwater.report.rows import LabelUse
from headwater.run.responses import Kept, written

PRIMARY = "arithmetic-test"


def first_screen(page: str) -> str:
    """What stands before the links to the sections, as words."""
    head = page[page.index("<body>") : page.index("<nav")]
    return " ".join(re.sub(r"<[^>]+>", " ", head).split())


def keep(lab: Any, node: str, *rows: tuple[str, str, str | None]) -> None:
    """A node keeps these responses: problem, text and verdict."""
    kept = [
        Kept(step=step, problem_id=problem, sample=0, prompt=f"<bos>ask {problem}", response=text,
             finish_reason="stop", answer=None if verdict == "none" else text, gold="7",
             verdict="wrong" if verdict == "none" else verdict, reward=0.0)
        for step in (0, 9) for problem, text, verdict in rows
    ]  # fmt: skip
    lab.files[node, "responses.parquet"] = written(kept)["responses.parquet"]


def node_of(lab: Any, title: str) -> str:
    return next(node for node, entry in lab.graph["nodes"].items() if entry["title"] == title)


def test_the_three_answers_stand_on_the_first_screen(lab: Any) -> None:
    for entry in lab.graph["nodes"].values():
        entry["flops"] = 2e9
    summary = summarise(lab)
    named = {arm.name: arm for arm in summary.arms}
    which, how_sure, cost = summary.answers.which, summary.answers.how_sure, summary.answers.cost
    for name in ("R3-full", "R1"):
        assert f"{name} ({named[name].title}): {100 * named[name].mean:.1f} % over 3 seeds" in which
    assert how_sure.startswith(summary.headline)
    assert cost[0].startswith("R3-full: 256 labels, read by the teacher; ")
    assert cost[1].startswith("R1: 256 labels, read by the student; ")
    assert "FLOPs at most" in cost[0]
    assert "of one worker" in cost[0]
    said = first_screen(render_page(summary))
    for answer in (which, how_sure, *cost):
        assert " ".join(answer.replace("'", "&#39;").split()) in said.replace("'", "&#39;")


def test_an_arm_costs_all_its_stages_and_none_of_the_raw_models(lab: Any) -> None:
    for entry in lab.graph["nodes"].values():
        entry["flops"] = {"train": 2.0, "pretrain": 1e9}.get(entry["kind"], 1e6)
    named = {arm.name: arm for arm in summarise(lab).arms}
    assert named["R3-full"].cost.flops == 6.0  # teacher RL, warm-up, on-policy distillation
    assert named["R1"].cost.flops == 2.0
    assert named["R1"].cost.seconds == 11.5
    assert named["raw-student"].cost.flops is None


def test_labels_that_teacher_and_student_share_read_as_the_same() -> None:
    def use(direct: int, inherited: int, distinct: int) -> str:
        return label_words(
            LabelUse(direct=direct, inherited=inherited, distinct=distinct, reads=direct + inherited, prompts=0)
        )

    assert use(128, 128, 128) == "128 labels, the same for teacher and student"  # R7
    assert use(128, 128, 256) == "256 labels: 128 read by the teacher, 128 by the student"  # R5
    assert use(100, 60, 120) == "120 labels: 60 read by the teacher, 100 by the student, 40 of them the same"
    assert use(256, 0, 256) == "256 labels, read by the student"
    assert use(0, 0, 0) == "no labels"


def test_a_healthy_run_raises_no_alarm(lab: Any) -> None:
    assert summarise(lab).alarms == ()


def test_an_alarm_stands_on_the_first_screen_with_three_problems_responses(lab: Any) -> None:
    node = node_of(lab, "student-rl on pool")
    lines = [json.dumps({"step": s, "metrics": {"reward": 0.0, "mixed_groups": 0.0}}) for s in range(20)]
    lab.files[node, "metrics.jsonl"] = "\n".join(lines).encode()
    keep(lab, node, *((f"p{i}", f"nonsense {i}", "none") for i in range(5)))
    summary = summarise(lab)
    (alarm,) = summary.alarms
    assert (alarm.kind, alarm.where, alarm.seeds) == ("reward 0 throughout", "student-rl on pool", (0,))
    assert [row.problem for row in alarm.responses] == ["p0", "p1", "p2"]
    assert {row.step for row in alarm.responses} == {9}
    page = render_page(summary)
    assert "reward 0 throughout student-rl on pool, seeds 0:" in first_screen(page)
    assert "nonsense 2" in page
    assert "nonsense 3" not in page.partition("Behind the alarms")[2]


def test_an_arm_that_learned_nothing_and_a_teacher_that_rl_did_not_help_say_so(lab: Any) -> None:
    before = {arm["seed"]: arm["student_before"] for arm in lab.graph["arms"] if arm["name"] == "R3-full"}
    for entry in lab.graph["arms"]:
        if entry["name"] == "R1":
            entry["student_before"] = before[entry["seed"]]
            same = lab.files[before[entry["seed"]][PRIMARY], "scores.json"]
            lab.files[entry["evaluation"][PRIMARY], "scores.json"] = same
        if entry["name"] == "R3-full":
            raw = lab.files[entry["teacher"]["before"][PRIMARY], "scores.json"]
            lab.files[entry["teacher"]["after"][PRIMARY], "scores.json"] = raw
    seeds = {(alarm.kind, alarm.where): alarm.seeds for alarm in summarise(lab).alarms}
    assert seeds["no better than its start", "R1"] == tuple(before)  # it is of them together
    assert seeds["teacher no better", "R3-full"] == tuple(before)
    assert not any(where == "R5-half" for _, where in seeds)


def test_responses_are_shown_by_arm_and_the_first_that_was_graded(lab: Any) -> None:
    entry = next(arm for arm in lab.graph["arms"] if arm["name"] == "R1")
    rows = (
        ("t0", "right one", "correct"),
        ("t1", "wrong one", "wrong"),
        ("t2", "no box", "none"),
        ("t3", "more", "wrong"),
    )
    keep(lab, entry["evaluation"][PRIMARY], *rows)
    keep(lab, node_of(lab, "teacher-rl on 1H"), ("p5", "the first of all", "wrong"))
    summary = summarise(lab)
    (found,) = summary.examples
    assert [row.response for row in found.responses] == ["right one", "wrong one", "no box"]
    assert [row.answer for row in found.responses] == ["right one", "wrong one", None]
    assert summary.first_look is not None
    assert summary.first_look.response == "the first of all"
    page = render_page(summary)
    for text in ("&lt;bos&gt;ask t0", "right one", "no box", "the first of all"):
        assert text in page
    assert len(page.encode()) < 2_000_000


def test_where_arms_gain_adds_up_to_their_means(lab: Any) -> None:
    summary = summarise(lab)
    means = {arm.name: arm.mean for arm in summary.arms}
    for row in summary.quarters:
        assert sum(row.shares) / 4 == pytest.approx(means[row.arm])  # 32 problems: four quarters of eight
    assert summary.quarters[0].shares[0] < summary.quarters[0].shares[3]
    gains = [row.treatment - row.control for row in summary.problems]
    assert gains == sorted(gains, reverse=True)


def test_stages_stand_in_the_order_they_ran(lab: Any) -> None:
    kinds = [stage.kind for stage in summarise(lab).stages]
    assert kinds[0] == "pretrain"
    places = {stage.title: place for place, stage in enumerate(summarise(lab).stages)}
    assert places["teacher-rl on pool"] < places["warm-up on pool"] < places["on-policy-distillation on pool"]


def test_graded_twice_is_a_line_where_nothing_differs(lab: Any) -> None:
    node = node_of(lab, "student-rl on pool")
    audit = {
        "first": "a",
        "second": "b",
        "checked": 200,
        "agreed": 200,
        "undecided": 0,
        "disagreements": [],
        "sample": [],
    }
    lab.put(node, "audit.json", audit)
    section = render_page(summarise(lab)).partition('<section id="audits">')[2].partition("</section>")[0]
    assert "200 random verdicts were graded again by a second grader: 0 disagree." in section
    assert "<table>" not in section
