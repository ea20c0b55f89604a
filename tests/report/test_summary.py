"""What the summary says about a run, and what it refuses to say."""

from __future__ import annotations

import json
import subprocess
import sys
from io import StringIO
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from headwater.errors import IntegrityError
from headwater.evaluation.estimate import average_at_k, pass_at_k
from headwater.evaluation.verdict import Planned, holm, judge, sentence
from headwater.report import print_summary, summarise, to_markdown
from headwater.report.results import printable

PRIMARY = "arithmetic-test"


def entries(folder, name):
    return [arm for arm in folder.graph["arms"] if arm["name"] == name]


def scores(folder, name, seed):
    (entry,) = (arm for arm in entries(folder, name) if arm["seed"] == seed)
    return json.loads(folder.files[entry["evaluation"][PRIMARY], "scores.json"])


def forget(folder, name, seeds):
    """The evaluations of an arm's seeds have not run yet."""
    for entry in entries(folder, name):
        if entry["seed"] in seeds:
            folder.finished.discard(entry["evaluation"][PRIMARY])


def row(summary, name):
    (found,) = (arm for arm in summary.arms if arm.name == name)
    return found


def test_scores_are_those_of_estimate(lab):
    summary = summarise(lab)
    for arm in summary.arms:
        for score in arm.scores:
            correct = np.array(scores(lab, arm.name, score.seed)["correct"])
            assert score.average == average_at_k(correct, 16)
            assert score.passed == pass_at_k(correct, 16, 16)
        means = [score.average.mean for score in arm.scores]
        assert arm.mean == pytest.approx(np.mean(means))
        assert arm.spread == pytest.approx(np.std(means, ddof=1))


def test_contrasts_are_those_of_the_verdicts_in_the_declared_order(lab):
    summary = summarise(lab)
    planned = [
        Planned(
            **{
                side: {seed: np.array(scores(lab, contrast[side], seed)["correct"]) / 16 for seed in (0, 1, 2)}
                for side in ("treatment", "control")
            }
        )
        for contrast in lab.graph["contrasts"]
    ]
    for contrast, judged in zip(summary.contrasts, judge(planned), strict=True):
        assert contrast.difference == judged.difference
        assert contrast.adjusted_p == judged.adjusted_p
        assert contrast.word == judged.word
        assert contrast.sentence == sentence(contrast.treatment, contrast.control, judged)


def test_arms_that_share_nothing_trained_are_compared_as_the_plan_declared(lab):
    before = summarise(lab).contrasts[0]
    lab.graph["contrasts"][0]["pairing"] = "unpaired"
    after = summarise(lab).contrasts[0]
    assert (before.pairing, after.pairing) == ("paired", "unpaired")
    assert after.difference.overall.mean == before.difference.overall.mean
    assert after.difference.overall.low != before.difference.overall.low


def test_seeds_that_agree_are_a_count_and_one_seed_is_never_better(make_lab):
    three, one = summarise(make_lab()), summarise(make_lab(seeds=(0,)))
    assert all(row.signs == f"{row.difference.agreeing} of 3" for row in three.contrasts)
    assert not {"better", "worse"} & {row.word for row in one.contrasts}


def test_problems_are_paired_by_id_whatever_their_order(lab):
    before = summarise(lab).contrasts
    for entry in entries(lab, "R1"):
        told = scores(lab, "R1", entry["seed"])
        for field in ("problems", "correct", "ungraded"):
            told[field].reverse()
        lab.put(entry["evaluation"][PRIMARY], "scores.json", told)
    after = summarise(lab).contrasts
    assert [c.difference.overall.mean for c in after] == pytest.approx([c.difference.overall.mean for c in before])


def test_different_problems_are_never_paired(lab):
    (entry, *_) = entries(lab, "R1")
    told = scores(lab, "R1", 0)
    told["problems"][0] = "another problem"
    lab.put(entry["evaluation"][PRIMARY], "scores.json", told)
    with pytest.raises(IntegrityError, match="different problems"):
        summarise(lab)


def test_every_arm_is_scored_on_every_benchmark_and_the_primary_one_speaks(make_lab):
    folder = make_lab(seeds=(0, 1), more={"aime": 30, "other": 12})
    alone, summary = summarise(make_lab(seeds=(0, 1))), summarise(folder)
    assert [benchmark["name"] for benchmark in summary.benchmarks] == [PRIMARY, "aime", "other"]
    assert summary.evaluations_planned == 3 * alone.evaluations_planned
    assert summary.headline.startswith(f"On {PRIMARY}: R3-full ")
    assert {row.benchmark for row in summary.contrasts} == {PRIMARY}
    for arm in summary.arms:
        for on in arm.others:
            correct = [
                json.loads(folder.files[entry["evaluation"][on.benchmark], "scores.json"])["correct"]
                for entry in entries(folder, arm.name)
            ]
            assert [score.average for score in on.scores] == [average_at_k(np.array(c), 16) for c in correct]
            assert on.mean == pytest.approx(np.mean(correct) / 16)


def test_the_primary_benchmark_is_a_family_behind_its_first_contrast_and_the_others_are_holms(make_lab):
    summary = summarise(make_lab(seeds=(0, 1), more={"aime": 30, "other": 12}))
    first, *rest = summary.contrasts
    assert first.adjusted_p == first.difference.overall.p_value
    behind = holm({str(i): row.difference.overall.p_value for i, row in enumerate(rest)})
    assert [row.adjusted_p for row in rest] == [max(first.adjusted_p, p) for p in behind.values()]
    others = holm({str(i): row.difference.overall.p_value for i, row in enumerate(summary.other_contrasts)})
    assert [row.adjusted_p for row in summary.other_contrasts] == list(others.values())
    assert len(summary.other_contrasts) == 2 * len(summary.contrasts)
    assert len(summary.contrasts_on("aime")) == len(summary.contrasts)
    assert summary.contrasts_on("aime")[0].difference.overall.problems == 30


def test_terminal_and_markdown_show_every_benchmark(make_lab):
    summary = summarise(make_lab(seeds=(0, 1), more={"aime": 30}))
    out = StringIO()
    print_summary(summary, Console(file=out, width=110, color_system=None))
    assert "on aime, 30 problems:" in out.getvalue()
    assert max(len(line) for line in out.getvalue().splitlines()) <= 110
    markdown = to_markdown(summary)
    assert "| spread | aime avg@16 % |" in markdown
    assert "On aime (30 problems):" in markdown
    assert markdown.count("R3-full − R1") == 2


def test_the_headline_is_the_first_planned_contrast_whatever_it_says(lab):
    assert summarise(lab).headline.startswith("R3-full ")
    lab.graph["contrasts"].reverse()
    assert summarise(lab).headline.startswith("bridge-raw ")


def test_labels_read_by_the_teacher_are_inherited_and_by_the_student_direct(lab):
    summary = summarise(lab)
    expected = {  # direct, inherited, distinct, reads, prompts alone
        "R1": (256, 0, 256, 256, 0),
        "R3-full": (0, 256, 256, 256, 0),
        "R5-half": (128, 128, 256, 256, 0),
        "R6": (128, 128, 256, 256, 0),  # demonstrations are labels too
        "R7": (128, 128, 128, 256, 0),  # the same half twice
        "bridge-raw": (0, 0, 0, 0, 256),  # a raw teacher owes nothing
        "raw-student": (0, 0, 0, 0, 0),
        "teacher-rl-1H": (128, 0, 128, 128, 0),  # as an arm of its own the teacher read them itself
    }
    for name, counts in expected.items():
        for use in row(summary, name).labels:
            assert (use.direct, use.inherited, use.distinct, use.reads, use.prompts) == counts


def test_the_label_flow_adds_up_to_the_reads_of_each_arm(lab):
    summary = summarise(lab)
    for arm in summary.arms:
        if arm.group == "model":
            continue
        flowing = sum(flow.problems for flow in summary.flows if flow.arm == arm.name)
        assert flowing == arm.labels[0].reads


def test_what_has_not_run_is_said_and_never_a_zero(lab):
    forget(lab, "R5-half", {0, 1, 2})
    summary = summarise(lab)
    arm = row(summary, "R5-half")
    assert arm.state == "not run yet"
    assert (arm.mean, arm.passed, arm.ungraded, arm.scores[0].average) == (None, None, None, None)
    touched = [c for c in summary.contrasts if "R5-half" in (c.treatment, c.control)]
    assert {c.word for c in touched} == {"not run yet"}
    assert all(c.difference is None and c.adjusted_p is None for c in touched)
    assert summary.evaluations_done == 33
    assert summary.tally["not measured"] == len(touched)


def test_a_half_finished_arm_is_compared_over_the_seeds_that_both_sides_have(lab):
    forget(lab, "R1", {1})
    summary = summarise(lab)
    assert row(summary, "R1").state == "2 of 3 seeds"
    (contrast,) = (c for c in summary.contrasts if c.name == "bridge against direct GRPO")
    assert contrast.seeds == (0, 2)
    assert len(contrast.difference.per_seed) == 2
    assert summary.headline.startswith("So far, on 2 of 3 seeds: R3-full")


def test_a_run_that_has_only_begun_has_no_verdict(lab):
    lab.finished.clear()
    summary = summarise(lab)
    assert summary.headline == "No verdict yet: 0 of 36 evaluations are done."
    assert all(arm.mean is None for arm in summary.arms)
    assert not any(arm.labels for arm in summary.arms if arm.stages)
    assert not summary.curves
    assert not summary.flows


def test_absent_and_refused_arms_are_named(lab):
    lab.graph["contrasts"][0]["control"] = "R99"
    lab.graph["contrasts"][1]["refused"] = "the arms differ in batch size too"
    for name in ("R5-half", "R7"):
        forget(lab, name, {0, 1, 2})
    first, second = summarise(lab).contrasts[:2]
    assert "no arm named R99" in first.reason
    assert (second.state, second.reason) == ("refused", "the arms differ in batch size too")


def test_one_seed_says_here_and_means_two_checkpoints(make_lab):
    lab = make_lab(seeds=(4,))
    lab.graph["contrasts"].reverse()  # first a raw bridge against direct GRPO: far below it
    contrast = summarise(lab).contrasts[0]
    assert contrast.word == "lower here (1 seed)"
    assert "another seed may say otherwise" in contrast.sentence


def test_c1_and_c2_stand_side_by_side(lab):
    rows = {condition.arm: condition for condition in summarise(lab).conditions}
    assert rows["R5-half"].shaped_by == "reward"
    assert rows["R6"].shaped_by == "imitation"
    raw = rows["bridge-raw"]
    assert raw.shaped_by == "nothing"
    assert raw.teacher_after == raw.teacher_before
    cold = {c.when: c.kl_student_teacher for c in raw.closeness if c.seed == 0}
    far = {c.when: c.kl_student_teacher for c in rows["R5-half"].closeness if c.seed == 0}
    assert cold["before"] < far["before"]  # nearer, and still the worse source
    assert "after warm-up" not in {c.when for c in rows["R8"].closeness}


def test_numbers_that_are_not_finite_become_unknown(lab):
    entry = entries(lab, "R1")[0]
    told = scores(lab, "R1", 0) | {"entropy": float("nan"), "truncated": float("inf")}
    lab.put(entry["evaluation"][PRIMARY], "scores.json", told)
    node = entry["stages"][0]
    lines = [{"step": s, "metrics": {"reward": float("nan") if s == 1 else 0.5}} for s in range(3)]
    lab.files[node, "metrics.jsonl"] = "\n".join(map(json.dumps, lines)).encode()
    summary = summarise(lab)
    assert row(summary, "R1").scores[0].entropy is None
    (curve,) = (c for c in summary.curves if c.label == "R1" and c.seed == 0)
    assert (curve.values, curve.not_finite) == ((0.5, 0.5), 1)
    json.dumps(summary.to_json(), allow_nan=False)


def test_nodes_that_differ_in_their_seed_alone_are_one_stage(lab):
    stages = [s for s in summarise(lab).stages if s.title == "teacher-rl on pool"]
    assert [len(stage.nodes) for stage in stages] == [3]
    assert stages[0].arms == ("R3-full", "opd-only")
    assert stages[0].settings["pool"] == "digest of pool"  # each seed has its own


@pytest.mark.parametrize("text", ["\x1b[31mred", "a\u202eb", "a\ud800b", "a\x00b", "a\u2066b\u2069", "tab\tnew\nline"])
def test_printable_text_cannot_steer_a_terminal(text):
    told = printable({"name": [text]})["name"][0]
    assert told.isprintable()
    told.encode()


def test_broken_results_are_an_integrity_error(lab):
    lab.files[entries(lab, "R1")[0]["evaluation"][PRIMARY], "scores.json"] = b"{"
    with pytest.raises(IntegrityError, match="not JSON"):
        summarise(lab)


@pytest.mark.parametrize("width", [80, 100])
def test_the_terminal_table_fits_and_reads_no_markup(lab, width):
    for entry in entries(lab, "R1"):
        entry["name"] = "[red]R1[/red]"
    lab.graph["notes"] = ["overlap of 3 problems was allowed [bold]"]
    forget(lab, "R7", {0, 1, 2})
    out = StringIO()
    print_summary(summarise(lab), Console(file=out, width=width, color_system=None))
    text = out.getvalue()
    assert max(len(line) for line in text.splitlines()) <= width
    assert "[red]" in text
    assert "overlap of 3 problems was allowed [bold]" in text
    assert "not run yet" in " ".join(text.split())
    assert "nan" not in text.lower()


def test_report_imports_neither_torch_nor_transformers():
    code = "import sys, headwater.report; sys.exit(any(m in sys.modules for m in ('torch', 'transformers')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_summaries_read_nothing_but_the_folder_interface(lab):
    narrow = SimpleNamespace(
        name=lab.name,
        graph=lab.graph,
        done=lab.done,
        result=lab.result,
        labels=lab.labels,
        ledger_digest=lab.ledger_digest,
        piloted=lab.piloted,
        harness=lab.harness,
    )
    assert summarise(narrow) == summarise(lab)
