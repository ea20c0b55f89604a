"""A method is one file: of the package's rooms, or of a user's own, named by a recipe and by nothing else."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

import tiny
from headwater.engines.local import LocalTeacher
from headwater.engines.settings import EngineSettings
from headwater.errors import ContrastError, InputError
from headwater.folder import RunFolder
from headwater.interfaces import At
from headwater.plan.graph import Graph, build_graph
from headwater.report.page import render_page
from headwater.report.summary import summarise
from headwater.routes import methods
from headwater.routes.recipe import Recipe, read_recipe
from micro import FILE, headwater

MINE = Path(__file__).with_name("my_methods.py")
ARMS = """
routes: [R3-full]
arms:
  - name: gated
    title: "distillation, gated by the verdict"
    steps:
      - {stage: teacher-rl}
      - {stage: warm-up}
      - stage: on-policy-distillation
        settings:
          signal: {own: "my_methods.py:Gated", start: 0.5}
          sampler: {own: "my_methods.py:Horizon", first: 6}
contrasts:
  - name: gated against plain distillation
    treatment: gated
    control: R3-full
    declares: [on-policy-distillation.signal, on-policy-distillation.sampler]
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the file of methods and a recipe that names two of them."""
    shutil.copy(MINE, tmp_path)
    text = FILE.read_text().replace("routes: [R5-half, R7]\n", "").replace("name: micro", "name: mine")
    (tmp_path / "mine.yaml").write_text(text + ARMS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def mine(*overrides: str) -> Recipe:
    return read_recipe("mine.yaml", overrides)


def opd(graph: Graph, arm: str) -> str:
    return next(found.endpoint for found in graph.arms if found.name == arm)


def test_own_methods_are_run_from_a_recipe_to_their_row_and_their_curve_in_the_report(home: Path) -> None:
    done = headwater("run", "mine.yaml", "--workers", "1", cwd=home)
    assert done.returncode == 0, done.stderr
    summary = summarise(RunFolder(home / "runs" / "mine"))
    (row,) = (row for row in summary.arms if row.name == "gated")
    assert row.mean is not None
    assert (row.labels[0].direct, row.labels[0].inherited) == (16, 16)  # the gate reads answers, and says so
    (curve,) = (curve for curve in summary.curves if curve.metric == "gate")
    assert curve.measure == "share let through"
    assert curve.values == pytest.approx([0.5 - 0.5 * step / 3 for step in range(4)])  # the schedule of its stage
    (contrast,) = (row for row in summary.contrasts if row.treatment == "gated")
    assert contrast.difference is not None
    assert "runs code of the user" in render_page(summary)


def test_the_source_of_an_own_method_is_part_of_its_nodes_names_and_of_no_others(home: Path) -> None:
    before = build_graph(mine())
    said = before.own_code()
    with (home / "my_methods.py").open("a") as file:
        file.write("\n# another thought\n")
    after = build_graph(mine())
    assert opd(before, "gated") != opd(after, "gated")
    assert opd(before, "R3-full") == opd(after, "R3-full")
    assert said != after.own_code()


def test_a_plan_says_whose_code_it_would_run(home: Path) -> None:
    done = headwater("plan", "mine.yaml", cwd=home)
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stdout.split())
    assert "a stage runs code of the user's own, my_methods.py:Gated (SHA-256 of the file" in said
    assert "my_methods.py:Horizon" in said


def test_reading_a_recipe_runs_none_of_it(home: Path) -> None:
    (home / "my_methods.py").write_text("raise SystemExit('run')")
    mine()


@pytest.mark.parametrize(
    ("signal", "message"),
    [
        ("{own: 'my_methods.py:Gates'}", r"signal.own: my_methods.py has no signal 'Gates'; it has Gated"),
        ("{own: 'my_methods.py:Horizon'}", r"has no signal 'Horizon'; it has Gated"),
        ("{own: 'nowhere.py:Gated'}", r"'nowhere.py:Gated' cannot be read"),
        ("{kind: rewards}", r"signal.kind: no signal 'rewards' \(did you mean reward\?\); there are divergence, "),
        ("{direction: sideways}", r"stages.on_policy_distillation.signal.direction: input should be 'forward'"),
        ("{betta: 0.5}", r"signal.betta: unknown key \(did you mean beta\?\)"),
        ("{teacher: nobody}", r"asks for the model 'nobody'; there are student, teacher"),
    ],
)
def test_a_wrong_method_is_refused_before_anything_is_spent(home: Path, signal: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        build_graph(mine(f"stages.on_policy_distillation.signal={signal}"))


def test_the_signal_and_the_recipe_of_the_how_to_page_are_what_it_says(tmp_path: Path, monkeypatch: Any) -> None:
    page = (Path(__file__).parents[2] / "docs" / "howto" / "own-signal.md").read_text()
    yaml, code = (re.search(rf"```{kind}\n(.*?)```", page, re.DOTALL)[1] for kind in ("yaml", "python"))  # type: ignore[index]
    (tmp_path / "my_methods.py").write_text(code)
    (tmp_path / "mine.yaml").write_text(FILE.read_text().replace("routes: [R5-half, R7]", "routes: [R3-full]") + yaml)
    monkeypatch.chdir(tmp_path)
    graph = build_graph(mine())
    stage = graph.nodes[opd(graph, "gated")].stage
    assert stage is not None
    model, other = tiny.qwen(), LocalTeacher(tiny.qwen(seed=9), EngineSettings())
    groups = tiny.sample(model)
    gates = []
    for step in range(2):
        scored = stage.signal.score(groups, tiny.workers(teacher=other), At(step=step, updates=3))
        gates.append(scored.metrics["gate"])
        if step == 0:
            assert tiny.learner(model).update(scored, stage.signal)["gradient_norm"] > 0
    assert gates == [0.5, 0.25]


def test_an_arm_that_differs_in_an_undeclared_field_is_refused(home: Path) -> None:
    text = (home / "mine.yaml").read_text()
    (home / "mine.yaml").write_text(text.replace("        settings:\n", "        settings:\n          samples: 3\n"))
    with pytest.raises(ContrastError, match=r"differ in .*on-policy-distillation.samples"):
        mine()


@pytest.mark.parametrize(
    "settings",
    [
        "{signal: {kl_coefficient: 0.0}}",
        "{sampler: {max_response_tokens: 9}}",
        "{samples: 2}",
        "{optimiser: {learning_rate: 5.0e-4}}",
        "{epochs: 4}",
    ],
)
def test_an_arm_may_set_any_field_of_a_stage_otherwise(home: Path, settings: str) -> None:
    arm = f"[{{name: other, steps: [{{stage: student-rl, settings: {settings}}}]}}]"
    graph = build_graph(mine("routes=[R1]", f"arms={arm}", "contrasts=[]"))
    usual, other = (graph.nodes[opd(graph, name)].stage for name in ("R1", "other"))
    assert usual is not None
    assert other is not None
    changed = [name for name in type(usual).model_fields if getattr(usual, name) != getattr(other, name)]
    assert len(changed) == 1


def test_every_file_of_the_two_rooms_is_a_method_by_its_files_name() -> None:
    assert {"reward", "divergence", "imitation"} <= set(methods.SIGNALS)
    assert {"on-policy", "recorded", "demonstrations"} <= set(methods.SAMPLERS)


# several models


def test_a_signal_may_follow_another_model_by_name_or_a_model_as_it_was_before_any_stage(home: Path) -> None:
    models = "models={other: {shape: {hidden_size: 24}, pretraining: {single_step_updates: 2, mixture_updates: 2}}}"
    for name in ("other", "raw teacher", "start"):
        signal = f"stages.on_policy_distillation.signal={{teacher: {name}}}"
        graph = build_graph(mine("routes=[R3-full]", "arms=[]", "contrasts=[]", models, signal))
        node = graph.nodes[opd(graph, "R3-full")]
        raw = {arm.name: arm.endpoint for arm in graph.arms}
        expected = {"other": raw.get("raw other"), "raw teacher": raw["raw teacher"], "start": node.parents["start"]}
        assert node.parents[name] == expected[name]
        assert "teacher" not in node.parents


def test_a_recording_may_be_of_the_student_with_the_teachers_distributions(home: Path) -> None:
    sampler = "stages.on_policy_distillation.sampler={kind: recorded, of: student}"
    graph = build_graph(mine("arms=[]", "contrasts=[]", sampler))
    node = graph.nodes[opd(graph, "R3-full")]
    recording = graph.nodes[node.parents["recorded"]]
    assert recording.parents["writer"] == node.parents["start"]
    assert graph.nodes[recording.parents["teacher"]].title == "teacher-rl on pool"
    assert "teacher" not in node.parents  # its distributions are recorded
