"""A recipe on a user's own model directories and label files: the same run, other problems and models."""

from __future__ import annotations

import json
import multiprocessing
import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from headwater.data.problems import RunData
from headwater.errors import InputError, IntegrityError, Interrupted, LabelError
from headwater.folder import LEDGER, RunFolder
from headwater.ledger import Ledger
from headwater.models.family import build
from headwater.models.shape import QwenShape
from headwater.plan import build_graph
from headwater.plan.graph import Graph
from headwater.plan.preflight import check_labels
from headwater.problems.arithmetic import VOCABULARY, problem_set
from headwater.report import summarise
from headwater.routes.recipe import Recipe, read_recipe
from headwater.run import RunOptions, run_recipe, workflow
from headwater.run.consistency import mixed, redo
from headwater.run.execute import Executor
from headwater.run.processes import Orders, _executor, _Wish
from headwater.store import Store
from micro import heads

SHAPE = QwenShape(hidden_size=16, layers=1, heads=2, kv_heads=1, head_dim=8, ff_size=32)


def rows(path: Path, count: int, seed: int, exclude: frozenset[str] = frozenset()) -> Path:
    problems, answers = problem_set(count, seed, exclude=exclude)
    lines = [json.dumps({"problem": p.prompt, "solution": answers[p.problem_id]}) for p in problems]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def recipe(folder: Path, **problems: object) -> Path:
    """A recipe on files and on a model directory, both made in `folder`."""
    held_out = frozenset(problem_set(12, 2)[1])
    labels = rows(folder / "labels.jsonl", 24, 1, held_out)
    benchmark = rows(folder / "benchmark.jsonl", 12, 2)
    build(SHAPE, VOCABULARY, 0).save(folder / "model")
    data = {
        "name": "mine",
        "routes": ["R1"],
        "student": {"path": str(folder / "model")},
        "teacher": {"path": str(folder / "model")},
        "problems": {
            "kind": "files",
            "labelled": 16,
            "labels": {"path": str(labels)},
            "benchmarks": {"held-out": {"source": {"path": str(benchmark)}}},
            **problems,
        },
        "stages": {"student_rl": {"epochs": 1, "problems": 8, "samples": 2}},
        "evaluation": {"samples": 2},
    }
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    return path


def test_labels_and_models_of_ones_own_run_to_a_report(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    read = read_recipe(str(recipe(tmp_path)))
    folder = run_recipe(read, RunOptions(runs=tmp_path / "runs", workers=1))
    arm = next(arm for arm in folder.graph["arms"] if arm["name"] == "R1")
    scores = json.loads(folder.result(arm["evaluation"]["held-out"], "scores.json") or b"{}")
    assert len(scores["problems"]) == 12
    assert len(folder.labels(arm["stages"][0])["answer"]) == 16  # and no label of the eight that were not drawn
    capfd.readouterr()
    assert re.fullmatch("[0-9a-f]{64}", summarise(folder).identity[f"model {tmp_path / 'model'}"])

    # the same command again: problems that changed are refused by the key that names them
    for name, key in (("labels", "problems.labels"), ("benchmark", "problems.benchmarks.held-out")):
        path = tmp_path / f"{name}.jsonl"
        before = path.read_text()
        path.write_text(before.replace('"solution": "', '"solution": "1'))
        with pytest.raises(InputError, match=rf"the content of {key} \({path}\) was \w+, is now \w+.*--name"):
            run_recipe(read, RunOptions(runs=tmp_path / "runs"))
        path.write_text(before.replace("\n", " \n"))  # the same problems, written otherwise
        run_recipe(read, RunOptions(runs=tmp_path / "runs"))


def in_this_process(graph: Graph, root: Path, done: set[str], *_: object) -> None:
    with Ledger(root / LEDGER) as ledger:
        executor = Executor(graph=graph, store=Store(root), ledger=ledger)
        for node in graph.nodes.keys() - done:
            make_with_parents(executor, node)


def make_with_parents(executor: Executor, node: str) -> None:
    for parent in executor.graph.nodes[node].parents.values():
        make_with_parents(executor, parent)
    executor.execute(node)


def test_a_model_directory_that_changed_is_refused_and_redo_makes_again_all_that_comes_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workflow, "_make", in_this_process)
    read, options = read_recipe(str(recipe(tmp_path))), RunOptions(runs=tmp_path / "runs")
    store = Store(run_recipe(read, options).root)
    before = heads(store.root)
    build(SHAPE, VOCABULARY, 1).save(tmp_path / "model")
    with pytest.raises(IntegrityError, match=r"another path than the one that is there now.*--redo \w{64}") as refused:
        run_recipe(read, options)
    assert heads(store.root) == before
    run_recipe(read, replace(options, redo=str(refused.value).split()[-1]))
    after = heads(store.root)
    assert after.keys() == before.keys()
    assert not set(after.values()) & set(before.values())
    assert mixed(build_graph(read), store) == {}
    assert RunFolder(store.root).verify() == []


def test_what_was_begun_from_another_parent_is_not_gone_on_with(tmp_path: Path) -> None:
    graph = build_graph(read_recipe(str(recipe(tmp_path))))
    store = Store(tmp_path / "run")
    with store.lock(), Ledger(store.root / LEDGER) as ledger:
        with pytest.raises(Interrupted):
            executor = Executor(graph=graph, store=store, ledger=ledger, stopping=lambda: True)
            for node in graph.nodes:
                executor.execute(node)
        [stage] = [name for name, node in graph.nodes.items() if node.stage]
        [parent] = set(graph.nodes[stage].parents.values())
        begun = store.head(stage)
        assert begun is not None and not begun.done
        store.forget(parent)
        build(SHAPE, VOCABULARY, 1).save(tmp_path / "model")
        executor.execute(parent)
        with pytest.raises(IntegrityError, match=r"student-rl .* was made from another start"):
            executor.execute(stage)
        redo(graph, store, parent)
        assert store.head(stage) is None


def test_a_worker_that_reads_other_problems_than_its_parent_begins_nothing(tmp_path: Path) -> None:
    read = read_recipe(str(recipe(tmp_path)))
    _ours, theirs = multiprocessing.Pipe()
    orders = Orders(
        build=build_graph,
        recipe_json=read.model_dump_json(),
        work="of other files",
        root=tmp_path / "run",
        commit_seconds=1,
        environments=({},),
    )
    with pytest.raises(InputError, match="a file of problems, or the code, changed while the run began"):
        _executor(theirs, orders, _Wish())
    assert not (tmp_path / "run").exists()


def test_a_changed_answer_is_another_stage(tmp_path: Path) -> None:
    path = recipe(tmp_path)
    before = set(build_graph(read_recipe(str(path))).nodes)
    labels = (tmp_path / "labels.jsonl").read_text().splitlines()
    drawn = {p.prompt for p in RunData(read_recipe(str(path)).problems).labelled}
    changed = [
        line.replace('"solution": "', '"solution": "1') if json.loads(line)["problem"] in drawn else line
        for line in labels
    ]
    (tmp_path / "labels.jsonl").write_text("\n".join(changed) + "\n")
    after = set(build_graph(read_recipe(str(path))).nodes)
    assert before - after and after - before


def test_a_pool_that_holds_benchmark_problems_is_refused_or_cleaned_by_choice(tmp_path: Path) -> None:
    path = str(recipe(tmp_path))
    stolen = (tmp_path / "benchmark.jsonl").read_text().splitlines()[0]
    with (tmp_path / "labels.jsonl").open("a") as file:
        file.write(stolen.upper().replace("PROBLEM", "problem").replace("SOLUTION", "solution") + "\n")
    with pytest.raises(LabelError, match=r"1 problems of pool also occur in benchmark held-out"):
        RunData(read_recipe(path).problems.model_copy(update={"labelled": 25})).check()
    cleaned = RunData(read_recipe(path, ["problems.labelled=24", "problems.drop_overlap=true"]).problems)
    assert len(cleaned.labelled) == 24
    assert any("held-out" in note for note in cleaned.check())
    assert cleaned.overlap_counts()["removed"] == 1


def test_gold_answers_of_another_type_are_refused_before_training(tmp_path: Path) -> None:
    path = recipe(tmp_path)
    text = (tmp_path / "labels.jsonl").read_text()
    (tmp_path / "labels.jsonl").write_text(text.replace('"solution": "', '"solution": "x + '))
    with pytest.raises(InputError, match="no reading as integer"):
        check_labels(build_graph(read_recipe(str(path))))


@pytest.mark.parametrize(
    ("problems", "named"),
    [
        ({"kind": "files"}, "labels, benchmarks"),
        ({"kind": "arithmetic", "labels": {"path": "x.jsonl"}}, "takes no files"),
    ],
)
def test_files_are_named_when_and_only_when_they_are_used(problems: dict[str, object], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        Recipe.model_validate_json(json.dumps({"problems": problems}))


def test_a_prompt_longer_than_a_stage_allows_ends_the_run_before_its_first_step(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from headwater.run import RunOptions, run_recipe

    read = read_recipe(str(recipe(tmp_path)), ["stages.student_rl.max_prompt_tokens=6"])
    with pytest.raises(InputError, match=r"student-rl: \d+ of 16 prompts have more than max_prompt_tokens = 6 tokens"):
        run_recipe(read, RunOptions(runs=tmp_path / "runs", workers=1))
    capfd.readouterr()


def test_prompts_that_are_too_long_are_left_out_by_choice_and_counted(tmp_path: Path) -> None:
    chosen = ["problems.drop_long=true", "stages.warm_up.max_prompt_tokens=6", "stages.student_rl.max_prompt_tokens=7"]
    graph = build_graph(
        read_recipe(str(recipe(tmp_path)), [*chosen, "problems.labelled=8", "stages.student_rl.problems=4"])
    )
    assert all(len(str(problem.prompt).split()) <= 6 for problem in graph.data.labelled)
    every = RunData(graph.recipe.problems.model_copy(update={"drop_long": False, "labelled": 24})).labelled
    long = sum(len(str(problem.prompt).split()) > 6 for problem in every)
    assert 0 < long < 16
    assert graph.data.available == 24 - long
    assert f"{long} labelled problems with prompts of more than 6 tokens are left out" in graph.data.check()[0]
