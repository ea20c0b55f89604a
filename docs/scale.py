"""Makes docs/scale.md: the paper's runs on many GPUs, by `headwater plan`'s own arithmetic. Nothing is run or fetched.

    python docs/scale.py            write the tables anew between the marks of the page
    python docs/scale.py --check    exit 1 where the page is not what this makes

Models are their public configurations, written to a folder; labels are 17,000 stand-in problems, about DAPO's number.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from headwater.plan import Graph, build_graph
from headwater.plan.cluster import BATCHES, gpu_of, on_cluster
from headwater.routes.recipe import read_recipe

PAGE = Path(__file__).with_name("scale.md")
MARK = "<!-- made by scale.py -->"
LABELS = 17_000
GB = 1e9

QWEN3 = {"model_type": "qwen3", "vocab_size": 151936, "head_dim": 128, "num_key_value_heads": 8}
LLAMA = {"model_type": "llama", "vocab_size": 128256, "num_key_value_heads": 8, "tie_word_embeddings": False}
MODELS = {  # hidden, layers, heads, feed-forward: as their config.json files say
    "Qwen3-1.7B": (QWEN3 | {"tie_word_embeddings": True}, 2048, 28, 16, 6144),
    "Qwen3-4B": (QWEN3 | {"tie_word_embeddings": True}, 2560, 36, 32, 9728),
    "Qwen3-8B": (QWEN3 | {"tie_word_embeddings": False}, 4096, 36, 32, 12288),
    "Qwen3-14B": (QWEN3 | {"tie_word_embeddings": False}, 5120, 40, 40, 17408),
    "Llama-3.1-8B-Instruct": (LLAMA, 4096, 32, 32, 14336),
    "Llama-3.3-70B-Instruct": (LLAMA, 8192, 80, 64, 28672),
}
NUMBERS = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
PAIRS = {
    "qwen3-math": {"student": "Qwen3-1.7B", "teacher": "Qwen3-8B", "models.qwen3-14b": "Qwen3-14B",
                   "models.qwen3-4b": "Qwen3-4B"},
    "llama-math": {"student": "Llama-3.1-8B-Instruct", "teacher": "Llama-3.3-70B-Instruct"},
}  # fmt: skip
RUNS = (("qwen3-math", 8, "80gb"), ("qwen3-math", 16, "141gb"), ("llama-math", 16, "141gb"))


def folders(root: Path) -> None:
    """Configurations and stand-in problems."""
    for name, (family, *sizes) in MODELS.items():
        (root / name).mkdir()
        config = {**family, **dict(zip(NUMBERS, sizes, strict=True)), "max_position_embeddings": 40960}
        (root / name / "config.json").write_text(json.dumps(config))
    for name, count, first in (("labels", LABELS, 0), ("math", 500, 10**6), ("aime", 30, 2 * 10**6)):
        (root / name).mkdir()
        numbers = range(first, first + count)
        rows = (json.dumps({"problem": f"What is {n} + {n}?", "answer": str(2 * n)}) for n in numbers)
        (root / name / ("test.jsonl" if name == "math" else "train.jsonl")).write_text("\n".join(rows) + "\n")


def planned(root: Path, recipe: str, gpus: int) -> Graph:
    """The graph of `headwater plan RECIPE --set engine.cluster={gpus: N}`, on these folders."""
    benchmarks = {"math-500": "math", "aime-2024": "aime", "aime-2025": "aime"}
    chosen = [
        *(f"{place}.path={root / model}" for place, model in PAIRS[recipe].items()),
        f"problems.labels.path={root / 'labels'}",
        "problems.labels.config=null",
        *(f"problems.benchmarks.{name}.source.path={root / folder}" for name, folder in benchmarks.items()),
        "routes=[R3-full]",
        "teachers=[teacher]",
        "problems.drop_overlap=true",
        f"engine.cluster={{gpus: {gpus}}}",
    ]
    return build_graph(read_recipe(recipe, chosen))


def _with(graph: Graph, **engine: Any) -> Graph:
    """The same work with another engine."""
    settings = graph.recipe.engine.model_copy(update=engine)
    return replace(graph, recipe=graph.recipe.model_copy(update={"engine": settings}))


def page(root: Path) -> str:
    """The tables of all runs."""
    return "\n".join(line for recipe, gpus, gpu in RUNS for line in _run(root, recipe, gpus, gpu))


def _run(root: Path, recipe: str, gpus: int, gpu: str) -> Iterator[str]:
    graph = planned(root, recipe, gpus)
    found = on_cluster(graph, gpu_of(gpu))
    yield f"## {recipe} on {gpus} GPUs of {found['gpu_memory'] / GB:,.0f} GB\n"
    yield f"`headwater plan {recipe} --gpu {gpu} --set 'engine.cluster={{gpus: {gpus}}}'`, R3-full, GB of each GPU:\n"
    stages = found["stages"]
    parts = list(dict.fromkeys(part for stage in stages.values() for part in stage["parts"]))
    yield _row("", stages)
    yield _row("---", ["---"] * len(stages))
    for part in parts:
        yield _row(part, [_gb(stage["parts"].get(part)) for stage in stages.values()])
    yield _row("**in all**", [f"**{_gb(stage['memory'])}**" for stage in stages.values()])
    yield _row("a checkpoint, on disk", [_gb(stage["checkpoint"]) for stage in stages.values()])
    for title, size in found["recordings"].items():
        yield f"\n{title}: {_gb(size)} GB on disk."
    yield f"\n{found['fault'] or 'Every piece of work fits each GPU.'}\n"
    yield from _steps(graph, gpu, found)


def _steps(graph: Graph, gpu: str, found: Mapping[str, Any]) -> Iterator[str]:
    """As the recipe stands, with all the memory that is left, and with vLLM; of stages that fit."""
    most = min((stage["engine_memory_at_most"] for stage in found["stages"].values() if "step" in stage), default=0)
    filled = int(0.95 * most) // 2**28 * 2**28
    cluster = graph.recipe.engine.cluster
    ways = {"as it stands": found}
    if cluster is not None and filled:
        ways[f"engine.memory: {filled} ({filled / GB:,.0f} GB)"] = on_cluster(_with(graph, memory=filled), gpu_of(gpu))
        paged = cluster.model_copy(update={"generator": "vllm"})
        ways["generator: vllm"] = on_cluster(_with(graph, cluster=paged), gpu_of(gpu))
    steps = [
        (f"{name} x {stage['problems']}, {way}", stage)
        for way, plan in ways.items()
        for name, stage in plan["stages"].items()
        if "step" in stage
    ]
    heads = ("a step", "rows", "write", "score", "update", "GPUs wait", "thin", "hours", "wait under 10 % from")
    yield _row("stage x problems a step, way", heads)
    yield _row("---", ["---"] * len(heads))
    for what, stage in steps:
        seconds = stage["step"]["seconds"]
        phases = [f"{seconds[phase]:,.1f} s" if phase in seconds else "-" for phase in ("write", "score", "update")]
        wait = [f"{100 * stage['step'][share]:.0f} %" for share in ("waiting", "thin")]
        hours = f"{stage['hours']:,.0f}"
        yield _row(
            what, [f"{stage['step']['total']:,.0f} s", stage["rows"], *phases, *wait, hours, stage["enough"] or "-"]
        )
    yield "\nShare of GPU time spent waiting, by problems a step (8 responses each):\n"
    yield _row("stage, way", BATCHES)
    yield _row("---", ["---"] * len(BATCHES))
    for what, stage in steps:
        yield _row(
            what.replace(f" x {stage['problems']}", ""), [f"{100 * stage['waiting'][size]:.0f} %" for size in BATCHES]
        )
    yield ""


def _row(first: str, cells: Iterable[Any]) -> str:
    return f"| {' | '.join(map(str, (first, *cells)))} |"


def _gb(size: int | None) -> str:
    return "-" if size is None else f"{size / GB:,.1f}"


def main() -> None:
    """Write or check the page."""
    with tempfile.TemporaryDirectory() as folder:
        folders(Path(folder))
        made = page(Path(folder))
    before, _, _ = PAGE.read_text(encoding="utf-8").partition(MARK)
    text = f"{before}{MARK}\n\n{made}"
    if "--check" not in sys.argv:
        PAGE.write_text(text, encoding="utf-8")
    elif PAGE.read_text(encoding="utf-8") != text:
        sys.exit("docs/scale.md is not what docs/scale.py makes; run it")


if __name__ == "__main__":
    main()
