"""Responses that are kept to be read: what was said, seen, found and judged, through the layers that only listen."""

from __future__ import annotations

from pathlib import Path

import pytest

from headwater.evaluation.benchmark import Benchmark
from headwater.interfaces import Generator, Seeds
from headwater.plan.node import Node
from headwater.records import Group, Problem, Rollout, Sampling, StepRecord
from headwater.run import responses
from headwater.run.responses import STEP_ROWS, Kept, Watched, first_look, samples_kept
from headwater.verifiers.answers import AnswerVerifier
from headwater.verifiers.typed import TypedJudge
from micro import Finished, finished, headwater, make, micro

GRADER = AnswerVerifier(judge=TypedJudge(answer_type="integer"), extractor="marker", marker="#")
SAMPLING, SEEDS = Sampling(max_response_tokens=4), Seeds(run=0, stream="s", step=0)


class Says(Generator):
    """Says these texts to every problem."""

    def __init__(self, *texts: str) -> None:
        self.texts, self.synced = texts, 0

    def generate(self, problems: list[Problem], samples: int, sampling: Sampling, seeds: Seeds) -> list[Group]:
        return [
            Group(
                problem=problem,
                rollouts=tuple(
                    Rollout(
                        rollout_id=f"{seeds.step}/{problem.problem_id}/{i}", problem_id=problem.problem_id,
                        prompt_ids=(1, 2), response_ids=(3,), response_text=text, logprobs=(0.0,),
                        policy_version=0, finish_reason="stop",
                    )
                    for i, text in enumerate(self.texts)
                ),
            )
            for problem in problems
        ]  # fmt: skip

    def sync(self) -> None:
        self.synced += 1


def problems(count: int) -> list[Problem]:
    return [Problem(problem_id=f"p{i}", prompt="") for i in range(count)]


def sampled(watched: Watched, inner: Says, count: int = 1, step: int = 0) -> None:
    """One step: sample, and grade against 7."""
    groups = watched.generator(inner).generate(problems(count), len(inner.texts), SAMPLING, SEEDS)
    told = {r.rollout_id: ("7", r.response_text) for group in groups for r in group.rollouts}
    assert watched.verifier(GRADER).grade(told) == GRADER.grade(told)


def shown(ids: tuple[int, ...]) -> str:
    return "<bos>" + " ".join(map(str, ids))


def test_a_row_says_what_the_model_saw_said_and_got() -> None:
    watched = Watched(shown)
    sampled(watched, Says("# 7", "# 8", "nothing"))
    assert watched.metrics() == {"unanswered": pytest.approx(1 / 3)}
    right, wrong, none = watched.step(0)
    assert right == Kept(step=0, problem_id="p0", sample=0, prompt="<bos>1 2", response="# 7", finish_reason="stop",
                         answer="7", gold="7", verdict="correct", reward=1.0)  # fmt: skip
    assert (wrong.answer, wrong.verdict, none.answer, none.verdict) == ("8", "wrong", None, "wrong")
    assert "'<bos>1 2'" in first_look([right])
    assert "answer '7', gold '7': correct" in first_look([right])
    assert "no answer found" in first_look([none])


def test_the_first_and_the_last_step_are_kept_and_no_more_than_a_few() -> None:
    watched = Watched(shown)
    for step in range(4):
        sampled(watched, Says(f"# {step} "), count=STEP_ROWS + 5, step=step)
        watched.step(step)
    assert [row.step for row in watched.kept] == [0] * STEP_ROWS + [3] * STEP_ROWS
    again = Watched(shown, responses.read(responses.written(watched.kept)["responses.parquet"]))
    assert [row.step for row in again.kept] == [0] * STEP_ROWS  # after a resume the last step comes anew


def test_without_a_grader_there_is_no_verdict_and_no_share() -> None:
    watched = Watched(shown)
    watched.generator(Says("a")).generate(problems(1), 1, SAMPLING, SEEDS)
    assert watched.metrics() == {}
    (row,) = watched.step(0)
    assert (row.answer, row.verdict) == (None, None)
    assert "nobody grades it" in first_look([row])


def test_an_evaluation_beyond_the_size_keeps_fewer_samples_of_every_problem() -> None:
    def benchmark(count: int, tokens: int) -> Benchmark:
        sampling = Sampling(max_response_tokens=tokens)
        return Benchmark(name="b", problems=tuple(problems(count)), answers={}, samples=16, sampling=sampling)

    assert samples_kept(benchmark(1000, 14)) == 16
    assert samples_kept(benchmark(500, 1024)) == 1
    assert samples_kept(benchmark(500, 16384)) == 1
    assert samples_kept(benchmark(30, 8192)) == 4
    watched = Watched(shown, samples=2)
    sampled(watched, Says("# 7", "# 8", "x", "y"), count=2)
    assert [(row.problem_id, row.sample) for row in watched.all] == [(f"p{p}", s) for p in range(2) for s in range(2)]
    assert watched.unanswered == 4  # of all, kept or not


def test_rows_survive_their_file_whatever_the_text() -> None:
    row = Kept(step=0, problem_id="p", sample=0, prompt="\x00\u202e", response="half \ud800", finish_reason="length")
    (read,) = responses.read(responses.written([row])["responses.parquet"])
    assert (read.prompt, read.response, read.verdict) == ("\x00\u202e", "half ?", None)
    assert responses.written([]) == {}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    return finished(tmp_path_factory)


def test_a_run_keeps_the_responses_of_stages_that_sample_and_of_every_evaluation(run: Finished) -> None:
    folder = run.folder
    for name, entry in folder.graph["nodes"].items():
        raw = folder.result(name, "responses.parquet")
        on_policy = entry["stage"] in ("teacher-rl", "student-rl", "on-policy-distillation")
        assert (raw is not None) == (on_policy or entry["kind"] == "evaluate"), entry["title"]
        rows = responses.read(raw) if raw else []
        assert all(row.prompt for row in rows)
        if entry["kind"] == "evaluate":
            assert len(rows) == 12 * 2
        elif rows:
            assert {row.step for row in rows} == {0, entry["updates"] - 1}


def test_a_run_says_one_response_and_its_alarms_while_it_goes_on(tmp_path: Path) -> None:
    said: list[tuple[str, str, str]] = []
    steps: list[StepRecord] = []

    def word(node: Node, kind: str, text: str) -> None:
        said.append((node.title, kind, text))

    make(
        micro("routes=[R1, raw-opd]", "stages.on_policy_distillation.optimiser.learning_rate=1.0e-30"),
        tmp_path,
        on_word=word,
        on_step=lambda node, record: steps.append(record),
    )
    looks = {title: text for title, kind, text in said if kind == "look"}
    assert looks.keys() == {"student-rl on pool", "on-policy-distillation on pool"}
    assert all("the model sees" in text for text in looks.values())
    assert "gold" in looks["student-rl on pool"]
    assert "nobody grades it" in looks["on-policy-distillation on pool"]
    still = [title for title, kind, text in said if kind == "alarm" and "changed 0 % of the weights" in text]
    assert still == ["on-policy-distillation on pool"]
    graded = [record.metrics for record in steps if "reward" in record.metrics]
    assert all(0.0 <= metrics["unanswered"] <= 1.0 for metrics in graded)


def test_rollouts_are_a_dataset_and_show_prints_them(run: Finished, tmp_path: Path) -> None:
    table = run.folder.rollouts("R5-half")
    assert len(table) == 12 * 2
    assert {"prompt", "response", "answer", "gold", "verdict", "seed"} <= set(table.column_names)
    assert set(table.to_pandas()["seed"]) == {0}
    said = headwater("show", "micro", "R5-half", "--wrong", "2", "--runs", str(run.root.parent), cwd=tmp_path)
    assert said.returncode == 0, said.stderr
    assert said.stdout.count("problem ") == 2
    assert "24 kept responses" in said.stdout
    missing = headwater("show", "micro", "R9", "--runs", str(run.root.parent), cwd=tmp_path)
    assert missing.returncode == 2
    assert "no arm R9" in missing.stderr
