"""The methods after the paper: each has its file, its page and its arm in the recipe `beyond`, and the arms train."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from headwater.errors import InputError
from headwater.folder import RunFolder
from headwater.interfaces import Method
from headwater.plan.graph import build_graph
from headwater.report.summary import summarise
from headwater.routes import methods
from headwater.routes.recipe import Recipe, read_recipe
from headwater.routes.shipped import recipe_text
from micro import FILE, headwater

PAGES = Path(__file__).parents[2] / "docs" / "stages" / "methods"
OF_THE_PAPER = {"reward", "divergence", "imitation", "on-policy", "recorded", "demonstrations"}
KINDS: dict[str, Any] = {
    name: kind for name, kind in {**methods.SIGNALS, **methods.SAMPLERS}.items() if name not in OF_THE_PAPER
}
EVERY = pytest.mark.parametrize("name", KINDS)


def stages(recipe: Recipe) -> list[Any]:
    """Every stage of every arm of a recipe."""
    return [recipe.stage(route, step) for route in recipe.routes_by_name().values() for step in route.steps]


def kinds(found: list[Any]) -> set[type[Method]]:
    return {type(part) for stage in found for method in (stage.sampler, stage.signal) for part in method.made_of}


# pages


@EVERY
def test_a_method_has_a_page_with_its_settings_as_they_are(name: str) -> None:
    text = (PAGES / f"{name}.md").read_text(encoding="utf-8")
    section = text.split("## Settings\n")[1].split("\n## ")[0]
    stated = re.findall(r"^\| `(\w+)` \| (`.*?`|required) \|", section, re.MULTILINE)
    recipes_own = {"samples", "temperature", "max_response_tokens"}
    fields = {key: field for key, field in KINDS[name].model_fields.items() if key not in recipes_own}
    assert [key for key, _ in stated] == list(fields)
    for key, default in stated:
        assert default == said(fields[key]), key


def said(field: Any) -> str:
    """A default as the page writes it."""
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, Method):
        kind = next(name for name, kind in methods.SIGNALS.items() if kind is type(value))
        given = {key: getattr(value, key) for key, own in type(value).model_fields.items() if own.is_required()}
        return "`{" + ", ".join([f"kind: {kind}", *(f"{key}: {one}" for key, one in given.items())]) + "}`"
    words = {None: "null", True: "true", False: "false"}
    text = words[value] if value is None or isinstance(value, bool) else str(value)
    return "`" + text.replace("\n", "\\n") + "`"


@EVERY
def test_the_arms_of_a_page_are_made_of_the_method(name: str, tmp_path: Path) -> None:
    text = (PAGES / f"{name}.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    (tmp_path / "arm.yaml").write_text(block)
    assert KINDS[name] in kinds(stages(read_recipe(str(tmp_path / "arm.yaml"))))


def test_the_index_leads_to_every_page() -> None:
    linked = set(re.findall(r"\((\S+)\.md\)", (PAGES / "index.md").read_text(encoding="utf-8")))
    assert linked == set(KINDS) == {page.stem for page in PAGES.glob("*.md")} - {"index"}


# what it declares


@pytest.mark.parametrize("name", methods.SIGNALS)
def test_a_signal_that_asks_the_present_weights_declares_it_and_no_other_does(name: str) -> None:
    kind = methods.SIGNALS[name]
    asks = ".present()" in Path(inspect.getfile(kind)).read_text(encoding="utf-8")
    assert ("looks" in vars(kind)) == asks


@pytest.mark.parametrize("name", methods.SIGNALS)
def test_a_signal_that_reads_its_teachers_before_the_update_declares_it_and_no_other_does(name: str) -> None:
    """Of these alone ranks are asked beforehand; the others get promises."""
    kind = methods.SIGNALS[name]
    reads = re.search(r"\bexact\((?!distribution: Target)", Path(inspect.getfile(kind)).read_text(encoding="utf-8"))
    assert ("reads_teachers" in vars(kind)) == bool(reads)


def test_no_other_room_imports_a_method_so_a_new_one_touches_its_own_files_alone() -> None:
    source = Path(inspect.getfile(methods)).parents[1]
    rooms = ("signals", "samplers", "export")  # methods made of methods, and what another trainer has for one
    named = "|".join(name.replace("-", "_") for name in KINDS)
    imported = re.compile(rf"(?:signals|samplers)(?:\.| import .*\b)(?:{named})\b")
    files = [file for file in source.rglob("*.py") if file.relative_to(source).parts[0] not in rooms]
    assert len(files) > 100
    assert [file.name for file in files if imported.search(file.read_text(encoding="utf-8"))] == []


# the recipe


def test_the_shipped_recipe_has_an_arm_of_every_method() -> None:
    assert set(KINDS.values()) <= kinds(stages(read_recipe("beyond")))


def test_a_signal_within_another_has_the_recipes_own_settings_unless_it_says_otherwise() -> None:
    usual = ["reward.kl_coefficient=0.25", "distillation.direction=jsd"]
    signal = "stages.student_rl.signal={kind: mixture, sparse: {kind: reward-k2, clip_high: 0.3}}"
    (mixed,) = stages(read_recipe("lab", [*usual, signal, "routes=[R1]"]))
    sparse, dense = mixed.signal.parts
    assert (type(sparse), sparse.kl_coefficient, sparse.clip_high) == (methods.SIGNALS["reward-k2"], 0.25, 0.3)
    assert dense.direction == "jsd"
    inner = "stages.student_rl.signal={kind: placebo, what: constant-reward, of: {kind: token-choice}}"
    (emptied,) = stages(read_recipe("lab", [*usual, inner, "routes=[R1]"]))
    assert emptied.signal.of.of.direction == "jsd"


def test_every_arm_is_in_a_contrast() -> None:
    recipe = read_recipe("beyond")
    contrasts = recipe.all_contrasts()
    assert {arm.name for arm in recipe.arms} <= {name for c in contrasts for name in (c.treatment, c.control)}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """The recipe with the models and numbers of the micro one, and an arm of every method."""
    home = tmp_path_factory.mktemp("beyond")
    recipe, small = yaml.safe_load(recipe_text("beyond")), yaml.safe_load(FILE.read_text())
    for key in ("seeds", "student", "teacher", "cached_samples", "stages", "evaluation"):
        recipe[key] = small[key]
    recipe["problems"] |= {"labelled": 16, "held_out": 12}
    recipe["routes"], recipe["contrasts"] = ["R5-half"], []
    recipe["arms"] = [arm for arm in recipe["arms"] if arm["name"] in LABELS]
    (home / "small.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
    run = headwater("run", "small.yaml", "--workers", "1", "--name", "small", cwd=home)
    assert run.returncode == 0, run.stderr
    return RunFolder(home / "runs" / "small")


LABELS = {
    "R5-half": 8,
    "mixture": 8,
    "mixture-switch": 8,
    "mixture-advantage": 8,
    "gated": 8,
    "problem-weights": 8,
    "routing": 8,
    "shuffled-labels": 8,
    "k2": 8,
    "hinted": 16,
    "more-opd": 0,
    "majority": 0,
    "constant-reward": 0,
    "sampled": 0,
    "extrapolation": 0,
    "entropy-gate": 0,
    "horizon": 0,
    "recorded-states": 0,
    "tokens-half": 0,
    "two-teachers": 0,
}
"""Arm of the small run -> the labels that its student read itself."""


def test_every_method_trains_and_is_measured(done: RunFolder) -> None:
    arms = {row.name: row for row in summarise(done).arms}
    assert set(LABELS) <= set(arms)
    assert all(row.mean is not None for row in arms.values())
    recipe = read_recipe("beyond")
    run = [recipe.routes_by_name()[name] for name in LABELS]
    assert set(KINDS.values()) <= kinds([recipe.stage(route, step) for route in run for step in route.steps])


def test_the_report_charges_each_arm_with_the_labels_that_it_read(done: RunFolder) -> None:
    arms = {row.name: row for row in summarise(done).arms}
    assert {name: arms[name].labels[0].direct for name in LABELS} == LABELS
    assert {name: arms[name].labels[0].inherited for name in LABELS} == {
        name: 16 if "student-rl" not in text(name) else 8 for name in LABELS
    }


def text(arm: str) -> str:
    """The stages of an arm, in words."""
    return " ".join(step.stage for step in read_recipe("beyond").routes_by_name()[arm].steps)


def test_a_reward_of_responses_that_are_cut_short_is_refused() -> None:
    short = "stages.student_rl.sampler={kind: horizon, first: 4}"
    with pytest.raises(InputError, match="cuts responses before they reach an answer, and reward grades them"):
        build_graph(read_recipe(str(FILE), [short, "max_response_tokens=14"]))
