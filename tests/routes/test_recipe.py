"""The recipe: what is written is what is meant, and whatever cannot be meant is refused in one line."""

from __future__ import annotations

import json
import typing
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from headwater.errors import InputError
from headwater.fingerprint import fingerprint
from headwater.models.choice import ModelChoice, Pretraining
from headwater.models.shape import QwenShape
from headwater.optimiser import Optimiser
from headwater.plan import build_graph
from headwater.plan.preflight import check_labels
from headwater.routes import table
from headwater.routes.contrast import Contrast
from headwater.routes.recipe import (
    Evaluation,
    ProblemSource,
    Recipe,
    Stages,
    StageSettings,
    read_recipe,
    recipe_text,
    shipped,
)
from headwater.routes.stages import student_rl, warm_up
from headwater.routes.table import BY_NAME, Route

BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "\n".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
MINE = "arms: [{name: mine, steps: [{stage: student-rl}]}]\n"


def contrast(control: str, declares: str) -> str:
    """A recipe with an arm and a contrast of its own."""
    return MINE + f"contrasts: [{{name: c, treatment: mine, control: {control}, declares: {declares}}}]"


MALFORMED: dict[str, tuple[str, tuple[str, ...]]] = {
    # what is wrong: the file's text, and what the line must say
    # keys
    "an unknown key": ("name: a\nnmae: b", ("line 2", "unknown key nmae", "allowed here: name, seeds, student")),
    "an unknown stage": ("stages:\n  teacher_rk: {}", ("line 2", "unknown key stages.teacher_rk", "teacher_rl")),
    "an unknown key, four deep": (
        "stages:\n  teacher_rl:\n    optimiser:\n      lr: 1",
        ("line 4", "unknown key stages.teacher_rl.optimiser.lr", "allowed here: learning_rate, beta1"),
    ),
    "an unknown size": ("student: {shape: {width: 8}}", ("student.shape.width", "allowed here: hidden_size, layers")),
    "an unknown key in a list": (
        "arms: [{name: a, steps: [{stage: warm-up, pol: 1H}]}]",
        ("line 1", "unknown key arms.0.steps.0.pol", "allowed here: stage, pool, budget, replaces"),
    ),
    "a number as a key": ("name: a\n7: b", ("unknown key 7",)),
    "a key given twice": ("name: a\nseeds: [0]\nname: b", ("line 3", "'name' is given twice")),
    "a nested key given twice": ("stages: {warm_up: {epochs: 1, epochs: 2}}", ("line 1", "'epochs' is given twice")),
    # types
    "a number for a list": ("seeds: 0", ("line 1", "seeds = 0", "array")),
    "texts for numbers in a list": ("seeds: ['0']", ('seeds.0 = "0"', "integer")),
    "a list for a text": ("name: [a]", ('name = ["a"]', "string")),
    "a number for a text": ("name: 5", ("name = 5", "string")),
    "nothing for a text": ("name:", ("name = null", "string")),
    "a list for a mapping": ("stages: [1]", ("stages = [1]", "object")),
    "a number for a mapping": ("student: 5", ("student = 5", "object")),
    "nothing for a mapping": ("problems:", ("problems = null", "object")),
    "a mapping for a list": ("arms: {}", ("arms = {}", "array")),
    "a name for an arm": ("arms: [R1]", ('arms.0 = "R1"', "object")),
    "a text for a number": ("temperature: hot", ('temperature = "hot"', "number")),
    "a quoted number": ("stages: {warm_up: {epochs: '3'}}", ('stages.warm_up.epochs = "3"', "integer")),
    "a fraction for a count": ("stages: {warm_up: {epochs: 1.5}}", ("stages.warm_up.epochs = 1.5", "integer")),
    "a yes for a count": ("stages: {warm_up: {epochs: yes}}", ("stages.warm_up.epochs = true", "integer")),
    "a number for a yes": ("reward: {divide_by_std: 1}", ("reward.divide_by_std = 1", "boolean")),
    "a word that is no choice": ("reward: {zero_variance: maybe}", ('= "maybe"', "'keep' or 'drop'")),
    "an unknown kind of problems": ("problems: {kind: magic}", ('problems.kind = "magic"', "arithmetic")),
    # ranges
    "a negative count": ("stages: {warm_up: {epochs: -1}}", ("= -1", "greater than or equal to 1")),
    "a count of zero": ("stages: {warm_up: {epochs: 0}}", ("= 0", "greater than or equal to 1")),
    "another kind of number": ("student: {path: x, dtype: fp32}", ("student.dtype", "'float32' or 'bfloat16'")),
    "a temperature of zero": ("temperature: 0", ("temperature = 0", "greater than 0")),
    "a temperature that is no number": ("temperature: .nan", ("temperature = NaN", "finite")),
    "an infinite temperature": ("temperature: .inf", ("temperature = Infinity", "finite")),
    "a rate below any": ("stages: {warm_up: {optimiser: {learning_rate: -.inf}}}", ("-Infinity", "finite")),
    "a share above one": ("evaluation: {top_p: 1.5}", ("evaluation.top_p = 1.5", "less than or equal to 1")),
    "a negative clip": ("reward: {clip_low: -0.1}", ("reward.clip_low = -0.1", "greater than or equal to 0")),
    "more epochs than time": ("stages: {warm_up: {epochs: 1" + "0" * 30 + "}}", ("less than or equal to 1000000",)),
    "more labels than memory": ("problems: {labelled: 1" + "0" * 15 + "}", ("less than or equal to 1000000",)),
    "a network beyond any": ("student: {shape: {hidden_size: 1" + "0" * 20 + "}}", ("student.shape.hidden_size",)),
    "a number of 5,000 digits": ("seeds: [" + "9" * 5000 + "]", ("not YAML",)),
    # arithmetic
    "a pool that cannot be halved": ("problems: {labelled: 17}", ("problems.labelled: 17", "even number")),
    "a batch that does not divide": (
        "problems: {labelled: 96}\nstages: {student_rl: {problems: 36}}",
        ("line 2", "stages.student_rl.problems: 36", "do not divide the 96", "divisor of 96"),
    ),
    "a pool too small": ("problems: {labelled: 4}", ("stages.student_rl.problems: 8", "use at most 4")),
    "shares that are no shares": ("student: {pretraining: {careful: 0.9}}", ("sum to 1.6", "let them sum to 1")),
    "heads that cannot share keys": ("student: {shape: {heads: 3, kv_heads: 2}}", ("3 heads", "divisor of 3")),
    "an odd width of a head": ("student: {shape: {head_dim: 5}}", ("student.shape.head_dim = 5", "multiple of 2")),
    "a constant that is not given": ("reward: {normalisation: constant}", ("constant_length",)),
    "a seed twice": ("seeds: [1, 1]", ("line 1", "seeds: [1, 1] names a seed twice")),
    "no seed": ("seeds: []", ("seeds = []", "at least 1")),
    # routes, arms, contrasts
    "an unknown route": ("seeds: [0]\nroutes: [R9]", ("line 2", "no route 'R9'", "R5-half")),
    "an unknown set of routes": ("routes: some", ('routes = "some"',)),
    "a route twice": ("routes: [R1, R1]", ("routes: two arms are called 'R1'",)),
    "an arm named like a route": ("arms: [{name: R1, steps: [{stage: student-rl}]}]", ("two arms are called 'R1'",)),
    "two arms of one name": (
        "arms: [" + ", ".join(["{name: a, steps: [{stage: warm-up}]}"] * 2) + "]",
        ("called 'a'",),
    ),
    "an arm without stages": ("arms: [{name: a}]", ("arms.0.steps", "required")),
    "an arm of no stages": ("arms: [{name: a, steps: []}]", ("arms.0.steps = []", "at least 1")),
    "a stage that is none": ("arms: [{name: a, steps: [{stage: magic}]}]", ('= "magic"', "'teacher-rl'")),
    "a pool that is none": ("arms: [{name: a, steps: [{stage: warm-up, pool: 3H}]}]", ('= "3H"', "'1H'")),
    "an arm that leaves its folder": ("arms: [{name: ../a, steps: [{stage: warm-up}]}]", ('arms.0.name = "../a"',)),
    "a contrast with an arm that is not run": (contrast("R2", "[pool]"), ("contrast 'c': no arm R2",)),
    "a contrast that declares nothing": (contrast("R1", "[]"), ("contrasts.0.declares = []", "at least 1")),
    "a contrast that declares too little": (
        contrast("R3-full", "[-teacher-rl]"),
        ("but the arms differ in", "warm-up"),
    ),
    "a contrast that declares too much": (contrast("R1", "[teacher]"), ("the arms differ in nothing",)),
    # objectives
    "an objective without a gradient": (
        "distillation: {direction: forward, estimator: sampled}",
        ("reverse KL only", "'exact'"),
    ),
    # names of runs
    **{
        f"the name {name!r:.12}": (f"name: {json.dumps(name)}", ("line 1", "name = ", "pattern"))
        for name in ("../x", "a/b", "", ".", "con:", ".hidden", "a.", "-x", "a b", "a\nb", "a\0b", "x" * 65, "ä", "~")
    },
    # YAML
    "a Python call": ("name: !!python/object/apply:os.system [ls]", ("line 1", "not allowed", "plain text")),
    "a Python name": ("name: !!python/name:os.system", ("line 1", "not allowed")),
    "a Python tuple": ("seeds: !!python/tuple [0]", ("line 1", "not allowed")),
    "bytes": ("name: !!binary aGVsbG8=", ("line 1", "not allowed")),
    "a set": ("seeds: !!set {0}", ("line 1", "not allowed")),
    "a tag of one's own": ("seeds: !mine [0]", ("line 1", "not allowed")),
    "a tab": ("stages:\n\twarm_up: {}", ("line 2", "not YAML")),
    "an open bracket": ("seeds: [0", ("not YAML", "headwater init lab")),
    "an unknown alias": ("seeds: *a", ("line 1", "not YAML", "undefined alias")),
    "an alias of itself": ("seeds: &a [*a]", ("not YAML", "aliases unfolded")),
    "aliases of aliases of aliases": (BOMB, ("not YAML", "more than 10,000 values")),
    "a mapping of 20,000 keys": ("\n".join(f"k{i}: 0" for i in range(20_000)), ("more than 10,000 values",)),
    "3,000 brackets": ("seeds: " + "[" * 3000 + "]" * 3000, ("not YAML",)),
    "two documents": ("name: a\n---\nname: b", ("line 2", "not YAML")),
    "nothing": ("", ("found NoneType", "mapping")),
    "a remark": ("# nothing", ("found NoneType", "mapping")),
    "a list": ("- name: a", ("found list", "mapping")),
    "a sentence": ("run the lab", ("found str", "mapping")),
}


def refused(source: str | Path, *overrides: str) -> str:
    """The one line that refuses this recipe."""
    with pytest.raises(InputError) as refusal:
        read_recipe(str(source), overrides)
    message = str(refusal.value)
    assert refusal.value.exit_code == 2
    assert len(message.splitlines()) == 1
    assert len(message) < 1000
    return message


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_recipe_is_refused_in_one_line_with_file_place_found_and_allowed(tmp_path: Path, case: str) -> None:
    text, expected = MALFORMED[case]
    path = tmp_path / "bad.yaml"
    path.write_text(text, encoding="utf-8", newline="")
    message = refused(path)
    assert message.startswith(f"recipe {path}")
    assert [part for part in expected if part not in message] == [], message


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xfe\x00\x01" * 20,
        "name: ä".encode("latin-1"),
        "name: a".encode("utf-16"),
        bytes(range(256)),
        b"name: a\0",
    ],
    ids=["garbage", "Latin-1", "UTF-16", "every byte", "a NUL"],
)
def test_what_is_no_text_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "bad.yaml").write_bytes(data)
    assert "bad.yaml" in refused(tmp_path / "bad.yaml")


@pytest.mark.parametrize("source", ["nowhere.yaml", "labb", ".", "a\0b", "x" * 5000, "", "lab/"])
def test_what_is_no_file_and_no_shipped_recipe_is_refused_with_what_there_is(source: str) -> None:
    message = refused(source)
    assert ", ".join(shipped()) in message


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("name", "expected key=value"),
        ("=1", "expected key=value"),
        ("stages..epochs=1", "expected key=value"),
        (".name=a", "expected key=value"),
        ("name.x=1", "name is not a group of keys"),
        ("seeds.0=1", "seeds is not a group of keys"),
        ("stages.warm_up.epochs=0", "stages.warm_up.epochs = 0"),
        ("stages.warm_up.epoch=2", "unknown key stages.warm_up.epoch"),
        ("seeds=[0", "the value is not YAML"),
        ("name=!!python/object/apply:os.system [ls]", "the value is not YAML"),
        ("name={a: 1, a: 2}", "the key 'a' is given twice"),
        ("problems.labelled=17", "problems.labelled: 17"),
    ],
)
def test_a_wrong_override_is_refused_by_itself(override: str, expected: str) -> None:
    message = refused("lab", "seeds=[0, 1]", override)
    assert expected in message
    assert override.partition("=")[0] in message


def test_an_error_in_an_override_is_not_blamed_on_a_line_of_the_file() -> None:
    message = refused("lab", "stages.warm_up.epochs=none")
    assert message.startswith('recipe lab, override "stages.warm_up.epochs=none": ')


# What is valid


@pytest.mark.parametrize("name", shipped())
@pytest.mark.parametrize("routes", ["default", "all", "paper"])
def test_a_shipped_recipe_is_valid_with_any_routes(name: str, routes: str) -> None:
    recipe = read_recipe(name, [f"routes={routes}"])
    assert recipe.name == name
    assert recipe.sized(100_000).all_contrasts()
    if recipe.problems.kind == "arithmetic":  # those of the hub are planned in tests/run/test_plan.py
        check_labels(build_graph(recipe))


def test_all_labels_are_as_many_as_fill_the_batches_of_every_stage_on_both_halves() -> None:
    recipe = read_recipe("qwen3-math")
    assert recipe.sized(16_391).problems.labelled == 16_384
    assert recipe.sized(16_383).problems.labelled == 16_256
    stage = recipe.sized(16_391).stage(table.BY_NAME["R5-half"], warm_up("1H"))
    assert stage.schedule.updates * stage.schedule.problems == 8_192
    with pytest.raises(InputError, match=r"100 problems are there, and batches of 8, 64 .* multiple of 128"):
        recipe.sized(100)
    assert read_recipe("lab").sized(16_391) == read_recipe("lab")


def test_these_are_the_shipped_recipes() -> None:
    lab = ("beyond", "lab", "raw-better", "same-size", "support-gap")
    assert shipped() == tuple(sorted((*lab, "llama-math", "qwen3-math", "smollm2", "smollm2-short")))


@pytest.mark.parametrize("name", shipped())
def test_a_shipped_recipe_written_to_a_file_is_the_same_recipe(tmp_path: Path, name: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(recipe_text(name), encoding="utf-8")
    assert read_recipe(str(path)) == read_recipe(name)


def test_a_folder_called_like_a_shipped_recipe_hides_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lab").mkdir()
    monkeypatch.chdir(tmp_path)
    assert read_recipe("lab").name == "lab"


def test_a_resolved_recipe_reads_back_as_itself(tmp_path: Path) -> None:
    path = tmp_path / "recipe.json"
    for name in shipped():
        path.write_text(read_recipe(name).model_dump_json(indent=1), encoding="utf-8")
        assert read_recipe(str(path)) == read_recipe(name)


def test_a_recipe_in_python_is_the_same_value_as_in_yaml(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "name: mine\nseeds: [0, 7]\nroutes: [R1]\ntemperature: 0.9\n"
        "student: {shape: {layers: 1}, pretraining: {batch: 32}}\n"
        "problems: {labelled: 64, held_out: 50}\n"
        "stages: {student_rl: {epochs: 3, optimiser: {learning_rate: 2e-4}}}\n"
        "evaluation: {samples: 4}\n"
        "arms: [{name: cold, steps: [{stage: warm-up, pool: 1H}, {stage: student-rl, pool: 2H, budget: 2}]}]\n"
        "contrasts:\n"
        "  - {name: c, treatment: cold, control: R1, declares: [+warm-up, student-rl.pool, student-rl.budget]}\n"
    )
    written = Recipe(
        name="mine",
        seeds=(0, 7),
        routes=("R1",),
        temperature=0.9,
        student=ModelChoice(shape=QwenShape(layers=1), pretraining=Pretraining(batch=32)),
        problems=ProblemSource(labelled=64, held_out=50),
        stages=Stages(student_rl=StageSettings(epochs=3, optimiser=Optimiser(learning_rate=2e-4))),
        evaluation=Evaluation(samples=4),
        arms=(Route(name="cold", steps=(warm_up("1H"), student_rl("2H", budget=2))),),
        contrasts=(
            Contrast(
                name="c",
                treatment="cold",
                control="R1",
                declares=("+warm-up", "student-rl.pool", "student-rl.budget"),
            ),
        ),
    )
    assert read_recipe(str(path)) == written
    assert fingerprint(read_recipe(str(path))) == fingerprint(written)


def test_the_order_of_keys_and_the_way_of_writing_change_nothing(tmp_path: Path) -> None:
    one, other = tmp_path / "one.yaml", tmp_path / "other.yaml"
    one.write_text("name: a\nstages: {warm_up: {epochs: 2, optimiser: {learning_rate: 0.001}}}")
    other.write_text("stages:\n  warm_up:\n    optimiser: {learning_rate: 1e-3}\n    epochs: 2\nname: 'a'\n")
    assert fingerprint(read_recipe(str(one))) == fingerprint(read_recipe(str(other)))


@pytest.mark.parametrize("written", ["1e-3", "1.0e-3", "1E-3", "0.001", "+1e-3", "10e-4"])
def test_a_number_may_be_written_in_any_way(written: str) -> None:
    recipe = read_recipe("lab", [f"stages.warm_up.optimiser.learning_rate={written}"])
    assert recipe.stages.warm_up.optimiser.learning_rate == 1e-3


def test_an_override_changes_its_key_and_no_other() -> None:
    plain, changed = (read_recipe("lab", overrides).model_dump() for overrides in ([], ["stages.warm_up.epochs=9"]))
    assert changed["stages"]["warm_up"].pop("epochs") == 9
    plain["stages"]["warm_up"].pop("epochs")
    assert changed == plain


def test_an_override_of_a_group_that_is_written_once_and_used_twice_changes_one_use(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("student: &model {shape: {layers: 1}}\nteacher: *model\n")
    recipe = read_recipe(str(path), ["student.shape.layers=3"])
    assert (recipe.student.shape.layers, recipe.teacher.shape.layers) == (3, 1)


def test_merged_groups_are_understood(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("stages:\n  warm_up: &dense {epochs: 3}\n  on_policy_distillation: {<<: *dense, samples: 2}\n")
    settings = read_recipe(str(path)).stages.on_policy_distillation
    assert (settings.epochs, settings.samples) == (3, 2)


def test_a_later_override_wins() -> None:
    assert read_recipe("lab", ["seeds=[1]", "seeds=[2]"]).seeds == (2,)


def test_a_date_is_a_text() -> None:
    assert read_recipe("lab", ["name=2026-11-23"]).name == "2026-11-23"


# Equal updates


def test_a_stage_that_replaces_another_makes_its_updates_too_whatever_their_lengths():
    stages = Stages(
        warm_up=StageSettings(epochs=2, problems=8), on_policy_distillation=StageSettings(epochs=7, problems=32)
    )
    recipe = Recipe(routes=("R3-full", "rl-opd-equal"), stages=stages)
    assert recipe.all_contrasts()  # equal updates are checked there
    opd = BY_NAME["rl-opd-equal"]
    assert recipe.stage(opd, opd.steps[-1]).schedule.updates == 2 * 256 // 8 + 7 * 256 // 32


# The fields


def models(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in typing.get_args(annotation):
        yield from models(part)


def kinds(kind: type[BaseModel]) -> set[type[BaseModel]]:
    """The kinds of value that a recipe is made of."""
    parts = {part for field in kind.model_fields.values() for part in models(field.annotation)}
    return {kind}.union(*(kinds(part) for part in parts))


def test_every_field_says_in_a_line_what_it_does() -> None:
    for kind in kinds(Recipe):
        for name, field in kind.model_fields.items():
            assert field.description, f"{kind.__name__}.{name}"
            assert len(field.description) < 100
            assert "\n" not in field.description


def test_the_number_of_fields_is_what_it_was() -> None:
    """A field exists only when something uses it: adding one is a decision, taken here."""
    assert sum(len(kind.model_fields) for kind in kinds(Recipe)) == 180


def test_every_field_of_a_recipe_has_a_default() -> None:
    assert Recipe() == Recipe.model_validate({})
    assert not any(field.is_required() for field in Recipe.model_fields.values())


def test_a_recipe_cannot_be_changed_in_place() -> None:
    with pytest.raises(ValueError, match="frozen"):
        read_recipe("lab").name = "other"  # type: ignore[misc]


def test_reading_a_hostile_recipe_runs_nothing(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(f"name: !!python/object/apply:os.mkdir [{tmp_path / 'canary'}]\n")
    refused(tmp_path / "bad.yaml")
    assert not (tmp_path / "canary").exists()
