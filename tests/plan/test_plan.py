"""The plan: what a run costs at most, known before anything is spent, and counted as the run will count it."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from headwater.data.problems import RunData
from headwater.errors import LabelError
from headwater.models.adapters import attach
from headwater.models.choice import Lora, ModelChoice
from headwater.models.family import build
from headwater.models.shape import QwenShape
from headwater.models.size import model_size
from headwater.plan import build_graph, plan, print_plan
from headwater.plan.cost import Costs
from headwater.plan.preflight import check_labels, preflight
from headwater.problems.arithmetic import VOCABULARY
from headwater.routes.recipe import read_recipe
from micro import micro

QWEN3 = {  # width, layers, heads, feed-forward, tied, parameters as its card says, in billions
    "Qwen3-1.7B": (2048, 28, 16, 6144, True, 1.7),
    "Qwen3-4B": (2560, 36, 32, 9728, True, 4.0),
    "Qwen3-8B": (4096, 36, 32, 12288, False, 8.2),
    "Qwen3-14B": (5120, 40, 40, 17408, False, 14.8),
}
LLAMA = {
    "Llama-3.1-8B-Instruct": (4096, 32, 32, 14336, 8.0),
    "Llama-3.3-70B-Instruct": (8192, 80, 64, 28672, 70.6),
}


def configuration(name: str) -> dict[str, Any]:
    """The sizes of a public model, as its config.json has them."""
    if name in QWEN3:
        hidden, layers, heads, inner, tied, _ = QWEN3[name]
        family = {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "vocab_size": 151936, "head_dim": 128}
        limit = 40960
    else:
        (hidden, layers, heads, inner, _), tied = LLAMA[name], False
        family = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 128256}
        limit = 131072
    sizes = {"hidden_size": hidden, "num_hidden_layers": layers, "num_attention_heads": heads}
    sizes |= {"num_key_value_heads": 8, "intermediate_size": inner, "max_position_embeddings": limit}
    return {**family, **sizes, "tie_word_embeddings": tied}


@pytest.fixture
def models(tmp_path: Path) -> dict[str, Path]:
    """Directories that hold the configuration of a public model, and no weights."""
    for name in (*QWEN3, *LLAMA):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps(configuration(name)))
    return {name: tmp_path / name for name in (*QWEN3, *LLAMA)}


def test_a_public_models_size_is_known_from_its_configuration_alone(models: dict[str, Path]) -> None:
    for name, (*_, billions) in (QWEN3 | LLAMA).items():
        size = model_size(ModelChoice(path=str(models[name])), 0)
        assert size is not None
        assert size.parameters / 1e9 == pytest.approx(billions, abs=0.06), name


def test_a_lab_models_size_is_that_of_the_model() -> None:
    model, size = build(QwenShape(), VOCABULARY, 0), model_size(ModelChoice(), len(VOCABULARY))
    assert size is not None
    assert size.bytes == model.size
    assert size.forward(0) == 2 * (model.size // 4)


def test_tokens_and_arithmetic_are_those_of_the_stages() -> None:
    graph = build_graph(micro())
    costs, size = Costs(graph), model_size(micro().student, len(VOCABULARY))
    assert size is not None
    found = {node.title: costs.of(name) for name, node in graph.nodes.items()}
    rl, opd, warm_up = found["teacher-rl on 1H"], found["on-policy-distillation on 1H"], found["warm-up on 1H"]
    assert (rl.generated, rl.scored, rl.trained) == (4 * 16 * 14,) * 3  # updates, rollouts of one, tokens of each
    assert (opd.generated, opd.scored, opd.trained) == (2 * 8 * 14,) * 3
    assert (warm_up.generated, warm_up.scored, warm_up.trained) == (0, 0, 2 * 8 * 14)
    assert rl.flops == 5 * rl.trained * size.forward(7)  # one pass to sample, one for the reference, three to learn
    assert warm_up.flops == 3 * warm_up.trained * size.forward(7)
    recorded = found["teacher's rollouts on 1H"]
    assert (recorded.generated, recorded.scored) == (8 * 2 * 14, 8 * 2 * 14)
    assert found["evaluate R7"].generated == 12 * 2 * 14


@pytest.mark.parametrize(
    ("signal", "passes"),
    [
        ("{kind: token-choice, by: both}", 1.0),
        ("{kind: token-choice, by: random}", 0.0),
        ("{kind: staleness, every: 1}", 1.0),
        ("{kind: staleness, every: 16}", 1 / 2),  # the first of the stage's two steps
        ("{kind: staleness, every: 2, of: {kind: token-choice, by: kl}}", 1 + 1 / 2),
    ],
)
def test_a_signal_that_asks_the_present_weights_costs_a_forward_pass_of_them_more(signal: str, passes: float) -> None:
    size = model_size(micro().student, len(VOCABULARY))
    assert size is not None
    found = []
    for more in ([], [f"stages.on_policy_distillation.signal={signal}"]):
        graph = build_graph(micro(*more))
        (node,) = (name for name, node in graph.nodes.items() if node.title == "on-policy-distillation on 1H")
        found.append(Costs(graph).of(node))
    plain, asked = found
    assert asked.scored - plain.scored == passes * plain.trained
    assert asked.flops is not None
    assert plain.flops is not None
    assert asked.flops - plain.flops == pytest.approx(passes * plain.trained * size.forward(7))
    assert asked.memory == plain.memory


def test_a_stages_memory_is_its_learner_with_moments_and_the_frozen_models_beside_it() -> None:
    graph = build_graph(micro("engine.memory=1048576"))
    costs, weights = Costs(graph), build(micro().student.shape, VOCABULARY, 0).size
    found = {node.title: costs.of(name) for name, node in graph.nodes.items()}
    assert found["on-policy-distillation on 1H"].memory == 5 * weights + 2**20
    assert found["warm-up on 1H"].memory == 4 * weights + 2**20


def test_an_adapter_costs_its_own_moments_and_no_gradient_of_the_weights_beside_it(tmp_path: Path) -> None:
    model = build(QwenShape(), VOCABULARY, 0)
    model.save(tmp_path)
    lora = Lora(rank=4)
    size = model_size(ModelChoice(path=str(tmp_path), adapter=lora), 0)
    attach(model.network, lora, 0)
    assert size is not None
    assert size.adapter == sum(parameter.numel() for parameter in model.network.parameters() if parameter.requires_grad)
    graph = build_graph(micro("student.adapter={rank: 4}"))
    costs, own, whole = Costs(graph), model_size(graph.recipe.student, len(VOCABULARY)), micro().student
    assert own is not None
    found = {node.title: costs.of(name) for name, node in graph.nodes.items()}
    opd, warm_up = found["on-policy-distillation on 1H"], found["warm-up on 1H"]
    assert warm_up.flops == 2 * warm_up.trained * own.forward(7)
    assert opd.disk == warm_up.disk == own.bytes + 4 * own.adapter
    assert warm_up.memory == own.bytes + 4 * 4 * own.adapter + graph.recipe.engine.memory
    assert found["pretrain the student"].disk == build(whole.shape, VOCABULARY, 0).size


def test_hours_follow_from_what_was_measured_or_from_a_stated_speed() -> None:
    graph = build_graph(micro())
    first = next(iter(graph.nodes))
    flops = Costs(graph).of(first).flops
    assert flops
    assert plan(graph, {}, {})["totals"]["hours_left"] is None
    given = plan(graph, {}, {}, flops_per_second=1e9)["totals"]
    assert given["hours_left"] == pytest.approx(given["flops"] / 1e9 / 3600)
    measured = plan(graph, {first: True}, {first: 2.0})["totals"]
    assert measured["flops_per_second"] == pytest.approx(flops / 2)
    assert measured["flops_left"] == pytest.approx(measured["flops"] - flops)


def test_labels_of_an_arm_are_its_students_own_or_inherited() -> None:
    arms = {arm["arm"]: arm for arm in plan(build_graph(micro("routes=[R1, R5-half, R7]")), {}, {})["arms"]}
    spent = {name: (arm["direct"], arm["inherited"], arm["distinct"]) for name, arm in arms.items()}
    assert spent["R1"] == (16, 0, 16)
    assert spent["R5-half"] == (8, 8, 16)
    assert spent["R7"] == (8, 8, 8)
    assert spent["teacher-rl-1H"] == (8, 0, 8)


@pytest.mark.parametrize("width", [80, 100])
def test_where_a_line_is_narrow_stages_stand_once_below_and_no_word_of_them_is_broken(width: int) -> None:
    graph = build_graph(read_recipe("beyond"))
    out = io.StringIO()
    print_plan(plan(graph, {}, {}), Console(file=out, width=width, color_system=None))
    table, _, below = out.getvalue().rpartition("stages \n")[2].partition("stages 1:")
    arms = {arm.name: ", ".join(graph.nodes[name].title for name in arm.stages) for arm in graph.arms if arm.stages}
    rows = [line.split() for line in table.splitlines()[1:] if line.strip()]
    assert [row[0] for row in rows] == list(arms)  # a line each
    said = " ".join(f"1: {below}".partition("\n\n")[0].split()).split(" stages ")
    chains = dict(one.split(": ", 1) for one in said)
    assert {row[0]: chains[row[-1]] for row in rows} == arms
    assert len(chains) == len(set(arms.values()))


@pytest.mark.parametrize("width", [80, 100, 140])
def test_the_printed_plan_fits_and_names_every_kind_of_work(width: int) -> None:
    out = io.StringIO()
    print_plan(plan(build_graph(micro()), {}, {}), Console(file=out, width=width, color_system=None))
    assert max(map(len, out.getvalue().splitlines())) <= width
    for word in ("teacher-rl on 1H", "evaluate", "closeness", "inherited", "FLOPs", "memory", "time:"):
        assert word in out.getvalue()


# The paper's recipes, on folders of one's own


def rows(path: Path, count: int, start: int, key: str = "problem") -> None:
    lines = [json.dumps({key: f"What is {n} + {n}?", "answer": str(2 * n)}) for n in range(start, start + count)]
    path.write_text("\n".join(lines) + "\n")


def on_folders(models: dict[str, Path], root: Path, student: str, teacher: str) -> list[str]:
    """The overrides that lead a recipe of the paper to labels, benchmarks and configurations of one's own."""
    for folder, file, count, start in (
        ("labels", "train.jsonl", 300, 0),
        ("math", "test.jsonl", 20, 295),
        ("aime", "train.jsonl", 10, 1000),
    ):
        (root / folder).mkdir()
        rows(root / folder / file, count, start)
    larger = {"models.qwen3-14b": "Qwen3-14B", "models.qwen3-4b": "Qwen3-4B"} if student == "Qwen3-1.7B" else {}
    return [
        *(
            f"{place}.path={models[model]}"
            for place, model in ({"student": student, "teacher": teacher} | larger).items()
        ),
        f"problems.labels.path={root / 'labels'}",
        "problems.labels.config=null",
        f"problems.benchmarks.math-500.source.path={root / 'math'}",
        f"problems.benchmarks.aime-2024.source.path={root / 'aime'}",
        f"problems.benchmarks.aime-2025.source.path={root / 'aime'}",
    ]


@pytest.mark.parametrize(
    ("name", "student", "teacher"),
    [
        ("qwen3-math", "Qwen3-1.7B", "Qwen3-8B"),
        ("llama-math", "Llama-3.1-8B-Instruct", "Llama-3.3-70B-Instruct"),
    ],
)
def test_a_recipe_of_the_paper_is_planned_without_a_network(
    models: dict[str, Path], tmp_path: Path, name: str, student: str, teacher: str
) -> None:
    recipe = read_recipe(name, [*on_folders(models, tmp_path, student, teacher)])
    graph = build_graph(recipe)
    check_labels(graph)
    made = plan(graph, {}, {})
    assert graph.recipe.problems.labelled == made["labelled"] == 256  # of 295: whole batches of 64 on each half
    assert made["overlap"]["removed"] == 5
    assert any("256 of 295" in note for note in made["notes"])
    assert [arm["direct"] for arm in made["arms"] if arm["arm"] == "R1"] == [256]
    assert made["totals"]["flops"] > 1e18
    size = model_size(recipe.teacher, 0)
    assert size is not None
    assert made["totals"]["memory"] > 4 * size.bytes
    evaluated = {row["stage"].rpartition(" on ")[2] for row in made["work"] if row["kind"] == "evaluate"}
    assert evaluated == {"math-500", "aime-2024", "aime-2025"}


def test_the_papers_tables_are_planned_without_a_network_with_labels_updates_tokens_and_flops(
    models: dict[str, Path], tmp_path: Path
) -> None:
    chosen = on_folders(models, tmp_path, "Qwen3-1.7B", "Qwen3-8B")
    graph = build_graph(read_recipe("qwen3-math", [*chosen, "routes=paper"]))
    made = plan(graph, {}, {})
    arms = {arm["arm"]: arm for arm in made["arms"]}
    assert arms.keys() >= graph.recipe.routes_by_name().keys()
    spent = {name: (arm["direct"], arm["inherited"]) for name, arm in arms.items()}
    assert spent["R1"] == spent["R1-qwen3-4b"] == spent["R1-qwen3-14b"] == (256, 0)
    assert spent["R3-full-qwen3-14b"] == spent["same-size-bridge"] == (0, 256)
    assert spent["R6-replay-qwen3-14b"] == (128, 128)
    assert arms["R1"]["updates"] == arms["R1-qwen3-14b"]["updates"] == 10 * 256 // 8
    work = {row["stage"]: row for row in made["work"] if row["kind"] in ("train", "rollouts")}
    assert all(row["flops"] and (row["trained"] or row["generated"]) for row in work.values())
    sizes = {
        name: model_size(ModelChoice(path=str(models[f"Qwen3-{name}"])), 0) for name in ("1.7B", "4B", "8B", "14B")
    }
    forward = {name: size.forward(16384 / 2) for name, size in sizes.items() if size}
    passes = 3 + 1  # forward, backward, and the forward pass again of gradient checkpointing
    for title, learner in (("teacher-rl on pool", "8B"), ("teacher-rl on pool, qwen3-14b", "14B")):
        tokens = work[title]["trained"]
        assert work[title]["flops"] == pytest.approx(tokens * (1 + 1 + passes) * forward[learner])
    opd = work["on-policy-distillation on pool from qwen3-14b"]
    assert opd["flops"] == pytest.approx(opd["trained"] * ((1 + passes) * forward["1.7B"] + forward["14B"]))


def test_a_recipe_of_the_paper_is_validated_without_weights(tmp_path: Path) -> None:
    asked = str(getattr(read_recipe("qwen3-math").problems.labels, "system_prompt", ""))
    words = (*asked.split(), "What", "is", "+", *(f"{n}?" for n in range(1100)))
    for role in ("student", "teacher", "models.qwen3-14b"):
        model = build(QwenShape(), ("<pad>", "<eos>", *dict.fromkeys((*words, *map(str, range(1100))))), 0)
        model.tokenizer.chat_template = (
            "{% for m in messages %}{{ m.content }} {% endfor %}{{ enable_thinking and '' }}"
        )
        model.network.config.max_position_embeddings = 20_000
        model.save(tmp_path / role)
        (tmp_path / role / "model.safetensors").unlink()
    for folder, file, count, start in (("labels", "train.jsonl", 300, 0), ("held", "test.jsonl", 20, 500)):
        (tmp_path / folder).mkdir()
        rows(tmp_path / folder / file, count, start)
    benchmarks = [f"problems.benchmarks.{name}.source" for name in ("math-500", "aime-2024", "aime-2025")]
    chosen = [
        *(f"{role}.path={tmp_path / role}" for role in ("student", "teacher", "models.qwen3-14b")),
        *(f"{benchmark}.path={tmp_path / 'held' / 'test.jsonl'}" for benchmark in benchmarks),
        f"{benchmarks[0]}.split=null",
        f"problems.labels.path={tmp_path / 'labels'}",
        "problems.labels.config=null",
        "engine.device=cpu",
    ]
    assert preflight(read_recipe("qwen3-math", chosen), weights=False, runs=tmp_path).faults == []
    short = preflight(read_recipe("qwen3-math", [*chosen, "stages.warm_up.max_prompt_tokens=2"]), weights=False)
    assert [fault for fault in short.faults if "warm-up: 256 of 256 prompts have more than" in fault] == short.faults
    assert short.faults


def test_the_papers_settings_stand_in_its_recipes() -> None:
    for name in ("qwen3-math", "llama-math"):
        recipe = read_recipe(name)
        stages = recipe.stages
        for rl in (stages.teacher_rl, stages.student_rl):
            assert (rl.epochs, rl.problems, rl.max_prompt_tokens) == (10, 8, 3072)
        for transfer in (stages.warm_up, stages.on_policy_distillation):
            assert (transfer.epochs, transfer.problems, transfer.samples) == (1, 64, 8)
            assert transfer.max_prompt_tokens == 2048
        for stage in (stages.teacher_rl, stages.student_rl, stages.warm_up, stages.on_policy_distillation):
            assert (stage.optimiser.learning_rate, stage.optimiser.clip_norm) == (1e-6, 1.0)
        assert (recipe.reward.clip_low, recipe.reward.clip_high, recipe.reward.kl_coefficient) == (0.2, 0.2, 5e-4)
        assert (recipe.max_response_tokens, recipe.temperature, recipe.cached_samples) == (16384, 1.0, 8)
        assert (recipe.evaluation.samples, recipe.engine.precision) == (16, "bfloat16")
        assert recipe.problems.names == ("math-500", "aime-2024", "aime-2025")


# The pools of real labels


SHARED = Path(__file__).parents[3] / "shared" / "data"


@pytest.mark.skipif(not SHARED.is_dir(), reason="no shared data")
def test_dapo_is_refused_beside_math_500_and_its_overlap_is_dropped_and_counted_by_choice() -> None:
    problems = {
        "kind": "files",
        "labelled": None,
        "labels": {"path": str(SHARED / "dapo_math_17k_en.jsonl"), "on_bad": "drop"},
        "benchmarks": {
            "math-500": {"source": {"path": str(SHARED / "math500_even.jsonl")}},
            "aime-2024": {"source": {"path": str(SHARED / "aime24.jsonl")}},
        },
    }
    source = micro().problems.model_validate_json(json.dumps(problems | {"drop_overlap": True}))
    data = RunData(source)
    counts = {found["benchmark"]: found for found in data.of(sized(source, data)).overlap_counts()["benchmarks"]}
    assert data.available == 13_499 - 4
    assert counts["math-500"]["exact"] + counts["math-500"]["normalised"] == 4
    assert counts["aime-2024"]["exact"] + counts["aime-2024"]["normalised"] == 0
    with pytest.raises(LabelError, match="4 problems of pool also occur in benchmark math-500"):
        RunData(source.model_copy(update={"drop_overlap": False, "labelled": 13_499})).check()


def sized(source: Any, data: RunData) -> Any:
    return source.model_copy(update={"labelled": data.available})
