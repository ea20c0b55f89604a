"""A run's grading: the second opinion on each stage, reward functions of the user's own, graders that fail."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from pathlib import Path

import pytest

import tiny
from headwater import FunctionVerifier, Labels, OnPolicy, Reward, Schedule, Stage, train
from headwater.errors import GraderError, InputError, Interrupted
from headwater.folder import RunFolder
from headwater.plan import build_graph
from headwater.plan.preflight import check_labels
from headwater.routes.recipe import read_recipe
from headwater.run.auditing import AUDIT, SAMPLE, Auditor
from headwater.store import Store
from micro import FILE, Finished, finished, headwater, make, micro

FUNCTION = "problems.grading={function: rewards.py:score}"
REWARDS = '''
def score(completions, prompts, answer, **columns):
    """Part marks for a number, full marks for the right one."""
    assert len(completions) == len(prompts) == len(answer) == len(columns["source"])
    finals = [text.rpartition("#")[2].removesuffix("<eos>").strip() for text in completions]
    return [1.0 if final == gold else 0.25 if final.isdigit() else 0.0 for final, gold in zip(finals, answer)]
'''
BROKEN = "def score(completions, **_):\n    return [None if n % 16 == 5 else 0.0 for n in range(len(completions))]\n"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    return finished(tmp_path_factory)


def test_every_stage_that_grades_and_no_other_stores_an_audit_of_its_verdicts(run: Finished) -> None:
    kinds = Counter()
    for name, node in run.folder.graph["nodes"].items():
        stored = run.folder.result(name, AUDIT)
        assert (stored is not None) == (node["reads_labels"] or node["kind"] == "evaluate")
        assert run.folder.result(name, SAMPLE) is None
        if stored is None:
            continue
        audit = json.loads(stored)
        graded = node["updates"] * 16 if node["kind"] == "train" else 24
        assert audit["checked"] == len(audit["sample"]) == min(graded, 200)
        assert audit["agreed"] + audit["undecided"] + len(audit["disagreements"]) == audit["checked"]
        assert audit["first"].startswith("integer/")
        assert audit["second"].startswith("expression/")
        kinds[node["kind"]] += 1
    assert kinds == {"train": 3, "evaluate": 5}


def test_a_stage_in_progress_keeps_its_sample_and_goes_on_with_it(run: Finished, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        steps = iter([False] * 11 * 2 + [False, False, True])  # into the first stage that grades; no last step asks
        make(micro(), tmp_path, stopping=lambda: next(steps))
    store = Store(tmp_path)
    (name,) = [name for name in store.nodes() if not (head := store.head(name)) or not head.done]
    kept = json.loads(store.read(name, SAMPLE))
    assert len(kept) == 16 * store.head(name).step  # type: ignore[union-attr]
    make(micro(), tmp_path)
    assert store.read(name, AUDIT) == run.folder.result(name, AUDIT)


# A reward function of the user's own


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "rewards.py").write_text(REWARDS)
    shutil.copy(FILE, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_function_of_ones_own_grades_a_run_in_its_worker_processes_and_stops_it_when_it_fails(home: Path) -> None:
    command = ("run", "micro.yaml", "--workers", "2", "--set", FUNCTION, "--set", "routes=[R1]")
    (home / "rewards.py").write_text(BROKEN)
    stopped = headwater(*command, cwd=home)
    assert stopped.returncode == 7, stopped.stderr
    assert len(stopped.stderr.splitlines()) == 1
    assert re.search(r"[12] of (24|16) rollouts have no verdict", stopped.stderr)

    (home / "rewards.py").write_text(REWARDS)  # mended: the same command goes on
    done = headwater(*command, cwd=home)
    assert done.returncode == 0, done.stderr
    folder = RunFolder(home / "runs" / "micro")
    stage = next(arm for arm in folder.graph["arms"] if arm["name"] == "R1")["stages"][0]
    rewards = [json.loads(line)["metrics"]["reward"] for line in folder.result(stage, "metrics.jsonl").splitlines()]
    assert any(reward * 16 % 1 for reward in rewards)  # part marks: no mean of sixteen zeros and ones
    audit = json.loads(folder.result(stage, AUDIT) or b"")
    assert (audit["disagreements"], audit["second"]) == ([], "reward function score, asked again")
    assert "rewards.py:score (SHA-256 of the file" in (home / "runs" / "micro" / "report.html").read_text()


def test_a_changed_function_makes_what_it_graded_another_piece_of_work_and_no_more(home: Path) -> None:
    before = build_graph(read_recipe("micro.yaml", [FUNCTION])).nodes
    (home / "rewards.py").write_text(REWARDS.replace("0.25", "0.5"))
    after = build_graph(read_recipe("micro.yaml", [FUNCTION])).nodes
    gone = [before[name] for name in before.keys() - after.keys()]
    assert {node.kind for node in gone} >= {"train", "evaluate"}
    assert all(node.kind != "model" for node in gone)
    assert {node.title for node in gone} >= {"teacher-rl on 1H", "student-rl on 2H"}


BRIEF = """

async def brief(completions, **columns):
    return [-len(text) / 100 for text in completions]
"""
SEVERAL = "problems.grading={function: [rewards.py:score, rewards.py:brief], reward_weights: [1.0, 0.5]}"


def test_several_functions_are_weighed_and_each_is_logged_apart(home: Path) -> None:
    (home / "rewards.py").write_text(REWARDS + BRIEF)
    recipe = read_recipe("micro.yaml", [SEVERAL, "routes=[R1]"])
    nodes = build_graph(recipe).nodes
    stage = next(name for name, node in nodes.items() if node.kind == "train")
    make(recipe, home / "run", nodes=[nodes[stage].parents["start"], stage])
    for line in Store(home / "run").read(stage, "metrics.jsonl").splitlines():
        metrics = json.loads(line)["metrics"]
        assert metrics["reward/brief"] <= 0 <= metrics["reward/score"]
        assert metrics["reward"] == pytest.approx(metrics["reward/score"] + 0.5 * metrics["reward/brief"])


def test_the_weights_of_functions_are_part_of_the_name_of_what_they_grade(home: Path) -> None:
    (home / "rewards.py").write_text(REWARDS + BRIEF)
    names = [
        set(build_graph(read_recipe("micro.yaml", [chosen])).nodes)
        for chosen in (SEVERAL, SEVERAL.replace("0.5", "0.4"), SEVERAL.replace(", reward_weights: [1.0, 0.5]", ""))
    ]
    assert names[0] != names[1] != names[2] != names[0]


def test_a_function_that_is_edited_while_a_run_goes_on_grades_nothing_under_the_old_ones_name(home: Path) -> None:
    graph = build_graph(read_recipe("micro.yaml", [FUNCTION]))
    node = next(node for node in graph.nodes.values() if node.kind == "evaluate")
    (home / "rewards.py").write_text(REWARDS.replace("0.25", "0.5"))
    with pytest.raises(InputError, match=r"the file of rewards\.py:score changed while the run went on"):
        Auditor().watch(node, graph.recipe.problems.grading)


def test_a_function_sees_the_row_and_nothing_is_graded_before_its_rows_fit(home: Path) -> None:
    graph = build_graph(read_recipe("micro.yaml", [FUNCTION]))
    check_labels(graph)
    data = graph.data
    row = json.loads(next(iter(data.answers.values())))
    assert row.keys() == {"prompt", "answer", "source"}
    assert row["prompt"] == data.labelled[0].prompt
    (home / "rewards.py").write_text("def score(completions, tests):\n    return [0.0] * len(completions)\n")
    with pytest.raises(InputError, match=r"asks for tests, and the rows have answer, prompts, source, completions"):
        check_labels(build_graph(read_recipe("micro.yaml", [FUNCTION])))


@pytest.mark.parametrize(
    ("grading", "content", "message"),
    [
        ("{function: rewards}", "", r"write path\.py:name, such as rewards\.py:score"),
        ("{function: 'rewards.py:a b'}", "", r"write path\.py:name"),
        ("{full_marks: 0.5}", "", r"full_marks is of a reward function"),
        ("{function: nowhere.py:score}", "", r"'nowhere\.py:score' cannot be read \(No such file"),
        ("{function: rewards.py:score}", "def other(): pass", r"has no function 'score'; it has other"),
        ("{function: rewards.py:score}", "score = 3", r"has no function 'score'; it has none"),
        ("{function: rewards.py:score}", "def score(:", r"rewards\.py, line 1: .*it is no Python"),
        ("{function: rewards.py:score}", "import nothing_of_that_name", r"cannot be run \(ModuleNotFoundError"),
        ("{function: [rewards.py:score, rewards.py:score]}", "", r"each with a name of its own"),
        ("{function: []}", "", r"names one function or more"),
        (
            "{function: [rewards.py:a, rewards.py:b], reward_weights: [1.0]}",
            "",
            r"1 for 2 functions; give one for each",
        ),
        ("{reward_weights: [1.0]}", "", r"reward_weights is of a reward function"),
    ],
)
def test_a_function_that_cannot_be_used_is_one_line(home: Path, grading: str, content: str, message: str) -> None:
    (home / "rewards.py").write_text(content)
    with pytest.raises(InputError, match=message) as raised:
        check_labels(build_graph(read_recipe("micro.yaml", [f"problems.grading={grading}"])))
    assert "\n" not in str(raised.value)


def test_a_function_in_python_trains_a_model_through_labels() -> None:
    problems = tiny.problems(2)
    seen: list[str] = []

    def shorter_is_better(completions: list[str], answer: list[str], **_: object) -> list[float]:
        seen.extend(answer)
        return [1.0 / (1 + len(text)) for text in completions]

    stage = Stage(
        name="student-rl",
        sampler=OnPolicy(samples=4, max_response_tokens=6),
        signal=Reward(),
        schedule=Schedule(updates=2, problems=2),
        optimiser=tiny.STEADY,
    )
    labels = Labels(
        answers={p.problem_id: p.problem_id for p in problems}, verifier=FunctionVerifier(function=shorter_is_better)
    )
    records = train(stage, tiny.qwen(), problems, labels=labels)
    assert sorted(seen) == sorted(p.problem_id for p in problems for _ in range(8))
    assert all(0 < record.metrics["reward"] < 1 for record in records)


def test_an_error_in_a_function_stops_the_run_and_names_it(home: Path) -> None:
    (home / "rewards.py").write_text("def score(completions, **_):\n    return [1 / 0 for _ in completions]\n")
    with pytest.raises(GraderError, match="reward function score: raised ZeroDivisionError"):
        make(micro(FUNCTION, "routes=[R1]"), home / "run")
