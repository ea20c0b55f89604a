"""What a recipe with `engine.cluster` asks of its GPUs: memory by part, bytes a step, seconds at stated rates, waiting.

Memory and tokens are those of `Costs`; seconds are arithmetic (`timeline`) at the rates of `machines`, with response
lengths that are assumed. Nothing here was measured on such machines.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from headwater.engines.settings import VLLM_SHARE
from headwater.errors import InputError, nearest
from headwater.interfaces import Need
from headwater.plan import room
from headwater.plan.cost import COMMITS, Costs, in_bytes
from headwater.plan.graph import Graph
from headwater.plan.machines import GPUS, Gpu
from headwater.plan.memory import ENGINE, WRITER
from headwater.plan.node import Node
from headwater.plan.timeline import Lengths, Step, Timeline, simulate

BATCHES = (8, 16, 32, 64, 128, 256, 512, 1024)
"""Problems a step that are tried."""
ENOUGH = 0.1
"""Share of GPU time spent waiting below which it is said no longer to matter."""


def gpu_of(name: str, flops_per_second: float | None = None) -> Gpu:
    """A GPU by name, with the products a second that are given, or those of `machines`. Raises InputError."""
    if name not in GPUS:
        raise InputError(f"plan: no GPU {name!r:.40}{nearest(name, GPUS)}; there are {', '.join(GPUS)}")
    return GPUS[name] if flops_per_second is None else replace(GPUS[name], flops=flops_per_second)


def on_cluster(graph: Graph, gpu: Gpu, lengths: Lengths | None = None) -> dict[str, Any]:
    """The whole as plain data: `stages` (the dearest of each name), `recordings`, what does not fit (`fault`).

    A stage that fits and writes responses has a `step` with its seconds."""
    costs, cluster = Costs(graph), graph.recipe.engine.cluster
    paged = cluster is not None and cluster.generator == "vllm"
    stages, recordings = dict[str, dict[str, Any]](), dict[str, int | None]()
    for name, node in graph.nodes.items():
        cost = costs.of(name)
        if node.kind == "rollouts":
            recordings[node.title] = cost.disk
        if node.kind != "train" or node.stage is None or cost.memory is None:
            continue
        parts = dict(cost.parts)
        if paged and WRITER in parts:  # it takes a share of the GPU, whatever it holds
            parts[WRITER] = max(parts[WRITER], round(VLLM_SHARE * gpu.memory))
        memory = sum(parts.values())
        if memory <= stages.get(node.stage.name, {}).get("memory", 0):
            continue
        stages[node.stage.name] = {
            "work": node.title,
            "memory": memory,
            "parts": parts,
            "engine_memory_at_most": gpu.memory - (memory - parts[ENGINE]),
            "checkpoint": (cost.working_disk or 0) // COMMITS,
            **(_step(costs, name, node, gpu, lengths) if memory <= gpu.memory else {}),
        }
    beyond = [stage["work"] for stage in stages.values() if stage["memory"] > gpu.memory]
    fault = room.memory_fault(graph, gpu.memory, "each GPU")
    if fault is None and beyond:
        fault = f"memory: {', '.join(beyond)}: vLLM's share of {VLLM_SHARE:.0%} leaves too little; set generator to own"
    return {
        "gpus": 1 if cluster is None else cluster.gpus,
        "gpu_memory": gpu.memory,
        "flops_per_second": gpu.flops,
        "stages": stages,
        "recordings": recordings,
        "fault": fault,
    }


def step_of(costs: Costs, name: str, gpu: Gpu) -> Step | None:
    """A step of an on-policy stage; None for one that writes no response, or whose models are not known."""
    node, recipe = costs.graph.nodes[name], costs.graph.recipe
    learner, stage = costs.sizes[name], node.stage
    if stage is None or learner is None or "recorded" in node.parents:
        return None
    teachers = [costs.sizes[node.parents[role]] for role in stage.teachers if role in node.parents]
    return Step(
        learner=learner,
        engine=recipe.engine,
        gpu=gpu,
        problems=stage.schedule.rollout_problems or stage.schedule.problems,
        samples=stage.sampler.samples,
        teacher=next((size for size in teachers if size is not None), None),
        reference=Need.REFERENCE in stage.needs,
        limit=stage.sampler.longest or recipe.max_response_tokens,
    )


def _step(costs: Costs, name: str, node: Node, gpu: Gpu, lengths: Lengths | None) -> dict[str, Any]:
    """Tokens, bytes and seconds of one step, and how batch size changes the waiting."""
    step = step_of(costs, name, gpu)
    if step is None or not step.rows:
        return {}
    lengths = lengths or Lengths(limit=step.limit)
    made = simulate(step, lengths)
    waiting = {size: _waiting(replace(step, problems=size), lengths) for size in BATCHES}
    return {
        "problems": step.problems,
        "samples": step.samples,
        "rows": step.rows,
        "tokens_a_pass": step.tokens_a_pass,
        "tokens_at_most": step.problems * step.samples * step.limit,
        "bytes": dict(step.sent),
        "step": _plain(made),
        "updates": node.updates,
        "hours": node.updates / _a_batch(node) * made.total / 3600,
        "waiting": waiting,
        "enough": next((size for size in BATCHES if max(v for k, v in waiting.items() if k >= size) < ENOUGH), None),
    }


def _a_batch(node: Node) -> int:
    """Updates that are made of one batch of rollouts."""
    return 1 if node.stage is None else node.stage.schedule.updates_a_batch


def _waiting(step: Step, lengths: Lengths) -> float:
    """The mean over draws, more of them for small steps, whose waiting is a matter of luck."""
    draws = max(1, min(8, BATCHES[-1] // 4 // step.problems))
    return sum(simulate(step, lengths, seed).waiting for seed in range(draws)) / draws


def _plain(made: Timeline) -> dict[str, Any]:
    return {
        "seconds": dict(made.seconds),
        "idle": dict(made.idle),
        "tokens": made.tokens,
        "thin": made.thin,
        "total": made.total,
        "waiting": made.waiting,
    }


def sentences(found: Mapping[str, Any]) -> Iterator[str]:
    """The same for a person, a line a stage and what follows from it."""
    yield (
        f"on {found['gpus']} GPUs of {found['gpu_memory'] / 1e9:,.0f} GB at {found['flops_per_second']:.2g} FLOPs a "
        "second each, by arithmetic alone and with assumed response lengths (docs/scale.md):"
    )
    for name, stage in found["stages"].items():
        parts = ", ".join(f"{in_bytes(size)} {part}" for part, size in stage["parts"].items())
        yield f"{name}: {in_bytes(stage['memory'])} a GPU ({parts}); a checkpoint takes {in_bytes(stage['checkpoint'])}"
        if "step" in stage:
            yield _of_step(name, stage)
    for title, size in found["recordings"].items():
        yield f"{title}: {in_bytes(size)} on disk"
    yield found["fault"] or "every piece of work fits each GPU"


def _of_step(name: str, stage: Mapping[str, Any]) -> str:
    step = stage["step"]
    phases = ", ".join(f"{phase} {seconds:,.0f} s" for phase, seconds in step["seconds"].items() if seconds >= 0.5)
    enough = f"under 10 % from {stage['enough']} on" if stage["enough"] else "never under 10 % up to 1,024"
    return (
        f"{name}: a step of {stage['problems']} problems x {stage['samples']} takes {step['total']:,.0f} s ({phases}), "
        f"{stage['rows']} responses side by side on a GPU; GPUs wait {100 * step['waiting']:.0f} % of it "
        f"({enough} problems a step); {stage['updates']:,} updates {stage['hours']:,.0f} hours"
    )
