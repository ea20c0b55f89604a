"""Commands that look before anything is spent: validate, plan."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console

from headwater.cli.options import DropOverlap, Overrides, RecipeName, Runs, read
from headwater.errors import InputError


def validate(
    recipe: RecipeName = "lab",
    *,
    overrides: Overrides = None,
    drop_overlap: DropOverlap = False,
    weights: Annotated[bool, Parameter(help="--no-weights: folders with config and tokenizer will do")] = True,
    runs: Runs = Path("runs"),
) -> None:
    """Check a recipe before anything is spent, and list every fault: keys, arms, models, prompts, labels, disk, memory.

    Example: headwater validate my.yaml --set seeds=[0,1,2]
    """
    from headwater.models.language_model import silence_progress  # noqa: PLC0415
    from headwater.plan.preflight import preflight  # noqa: PLC0415

    silence_progress()
    found = preflight(read(recipe, {}, overrides, drop_overlap, runs), weights=weights, runs=runs)
    for line in found.lines:
        print(line)
    if found.faults:
        for fault in found.faults[:-1]:
            print(f"headwater: {fault}", file=sys.stderr)
        raise InputError(found.faults[-1])
    assert found.graph is not None  # noqa: S101  without one there is a fault
    arms, contrasts = len(found.graph.arms), len(found.graph.recipe.all_contrasts())
    print(f"{'advice':8} headwater advise {recipe} says which route these labels deserve")
    print(f"{recipe}: valid. {arms} arms and models, {contrasts} contrasts matched. Next: headwater plan {recipe}")


def plan(
    recipe: RecipeName = "lab",
    *,
    routes: str | None = None,
    seeds: int | None = None,
    name: str | None = None,
    overrides: Overrides = None,
    drop_overlap: DropOverlap = False,
    runs: Runs = Path("runs"),
    flops_per_second: Annotated[float | None, Parameter(help="what your machine reaches, for hours")] = None,
    gpu: Annotated[str | None, Parameter(help="of engine.cluster, to reckon with: 80gb or 141gb")] = None,
    as_json: Annotated[bool, Parameter(name="--json")] = False,
) -> None:
    """Print what a run would do and cost at most: labels, updates, tokens, FLOPs, memory, disk. Loads no weights.

    Example: headwater plan lab --routes all --seeds 8
    """
    from headwater.folder import RunFolder, begun  # noqa: PLC0415
    from headwater.plan import build_graph, print_plan  # noqa: PLC0415
    from headwater.plan import plan as plan_of  # noqa: PLC0415
    from headwater.store import run_folder  # noqa: PLC0415

    chosen = read(recipe, {"routes": routes, "seeds": seeds, "name": name}, overrides, drop_overlap, runs)
    graph = build_graph(chosen)
    if flops_per_second is not None and not flops_per_second > 0:
        raise InputError(f"plan: --flops-per-second {flops_per_second}; above 0")
    root = run_folder(runs, graph.recipe.name)
    folder = RunFolder(root) if begun(root) else None
    done = {node: folder.done(node) for node in graph.nodes} if folder else {}
    if gpu is not None and graph.recipe.engine.cluster is None:
        raise InputError("plan: --gpu is of a recipe with engine.cluster; add --set 'engine.cluster={gpus: 8}'")
    made = plan_of(graph, done, folder.seconds if folder else {}, flops_per_second)
    if gpu is not None:
        from headwater.plan.cluster import gpu_of, on_cluster  # noqa: PLC0415

        made["cluster"] = on_cluster(graph, gpu_of(gpu, flops_per_second))
    if as_json:
        print(json.dumps(made, indent=1))
    else:
        print_plan(made, Console())
