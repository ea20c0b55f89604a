"""What a run will do and cost, in words: labels, updates, tokens, arithmetic, memory, disk; and what is done."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from headwater.engines.cpu import processor
from headwater.engines.settings import emulated
from headwater.plan.cluster import sentences
from headwater.plan.cost import UNKNOWN, Cost, Costs, in_bytes, total
from headwater.plan.graph import Graph
from headwater.plan.node import Arm, Node

WIDE = 116  # columns from which labels, updates and memory stand in the table of work as well
CLAIM = 5
"""Training seeds that a claim about a recipe rests on, at least: docs/statistics.md says what fewer can see."""
_COUNTS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def plan_rows(graph: Graph, done: Mapping[str, bool]) -> list[dict[str, Any]]:
    """One row a node: arm names, stage, labels it may read, updates, and its costs at most."""
    users: dict[str, list[str]] = {}
    for arm in graph.arms:
        for name in arm.stages:
            users.setdefault(name, []).append(arm.name)
    costs, rows = Costs(graph), []
    for name, node in graph.nodes.items():
        cost, stage = costs.of(name), node.stage
        rows.append(
            {
                "node": name,
                "kind": node.kind,
                "seed": node.seed,
                "stage": node.title,
                "learner": stage.learner if stage else None,
                "labels": len(_labels(graph, node)),
                "updates": node.updates,
                "tokens_at_most": cost.trained,
                **vars(cost),
                "arms": sorted(set(users.get(name, []))),
                "done": done.get(name, False),
            }
        )
    return rows


def plan(
    graph: Graph, done: Mapping[str, bool], seconds: Mapping[str, float], flops_per_second: float | None = None
) -> dict[str, Any]:
    """The whole plan as plain data: work by node, labels by arm, totals, and hours where a speed is known.

    Args: seconds: measured time by node, of a run that has begun. flops_per_second: of the machine, if it is known.
    """
    rows, slow = plan_rows(graph, done), emulated(graph.recipe.engine, processor.here())
    problems = graph.recipe.problems
    left = [row for row in rows if not row["done"]]
    speed, source = flops_per_second, "as given"
    if speed is None:
        speed, source = _measured_speed(rows, seconds), "as measured in this run so far"
    flops_left = _sum(row["flops"] for row in left)
    return {
        "name": graph.recipe.name,
        "gpus": None if graph.recipe.engine.cluster is None else graph.recipe.engine.cluster.gpus,
        "labelled": problems.labelled,
        "overlap": graph.data.overlap_counts(),
        "notes": [*graph.data.check(), *graph.own_code(), *([slow] if slow else [])],
        "work": rows,
        "arms": [_price(graph, arm) for arm in graph.arms if arm.stages],
        "contrasts": [
            {"treatment": c.treatment, "control": c.control, "seeds": graph.pairing(c)}
            for c in graph.recipe.all_contrasts()
        ],
        "seeds": len(graph.recipe.seeds),
        "totals": {
            **vars(total([_cost(row) for row in rows])),
            "handed_out": Costs(graph).handed_out,
            "flops_left": flops_left,
            "flops_per_second": speed,
            "speed": source if speed else None,
            "hours_left": flops_left / speed / 3600 if speed and flops_left is not None else None,
        },
    }


def _labels(graph: Graph, node: Node) -> frozenset[str]:
    """The problems whose labels a node may read: to train, and to watch itself."""
    if node.stage is None:
        return frozenset()
    pools = graph.data.pools(node.seed)
    trained = pools.part(str(node.pool)) if node.stage.reads_labels else ()
    return frozenset(trained) | frozenset(pools.part("validation") if node.stage.validation else ())


def _price(graph: Graph, arm: Arm) -> dict[str, Any]:
    """Labels that an arm's stages read: its student's own are direct, its teacher's inherited."""
    read: dict[bool, set[str]] = {True: set(), False: set()}
    for name in arm.stages:
        node = graph.nodes[name]
        read[name in arm.inherited] |= _labels(graph, node)
    return {
        "arm": arm.name,
        "seed": arm.seed,
        "direct": len(read[False]),
        "inherited": len(read[True]),
        "distinct": len(read[True] | read[False]),
        "updates": sum(graph.nodes[name].updates for name in arm.stages),
        "stages": [graph.nodes[name].title for name in arm.stages],
    }


def _measured_speed(rows: Iterable[Mapping[str, Any]], seconds: Mapping[str, float]) -> float | None:
    """FLOPs a second of what is done, in the count of this plan: so the hours that follow need no other unit."""
    timed = [row for row in rows if row["done"] and row["node"] in seconds and row["flops"]]
    spent = sum(seconds[row["node"]] for row in timed)
    return sum(row["flops"] for row in timed) / spent if spent else None


def _cost(row: Mapping[str, Any]) -> Cost:
    return Cost(**{name: row[name] for name in Cost.__dataclass_fields__})


def _sum(values: Iterable[Any]) -> Any:
    found = list(values)
    return None if None in found else sum(found)


def print_plan(plan: Mapping[str, Any], console: Console) -> None:
    """The plan as two tables and a sum; work alike stands in one line, whatever its seed and its arm."""
    wide = console.width >= WIDE
    console.print(_work(plan["work"], wide=wide))
    for part in _arms(plan, wide=wide):
        console.print(part)
    for line in (*_sentences(plan), *(sentences(plan["cluster"]) if "cluster" in plan else ())):
        console.print(Text(line))


def _work(rows: Sequence[Mapping[str, Any]], *, wide: bool) -> Table:
    """Sums over work that is alike, but for labels, updates and memory, which are of one piece."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    table.add_column("work", overflow="fold", min_width=30)
    numbers = ("done", *(["labels", "updates"] if wide else []), "generated", "scored", "trained", "FLOPs")
    for heading in (*numbers, *(["memory"] if wide else []), "disk"):
        table.add_column(heading, justify="right", no_wrap=True)
    alike: dict[tuple[str, int], list[Mapping[str, Any]]] = {}
    for row in rows:
        alike.setdefault((_title(row), row["updates"]), []).append(row)
    for (title, updates), same in alike.items():
        cost, finished = total([_cost(row) for row in same]), sum(row["done"] for row in same)
        cells = [title, f"{finished}/{len(same)}"]
        cells += [str(same[0]["labels"] or "-"), str(updates or "-")] if wide else []
        cells += [_count(cost.generated), _count(cost.scored), _count(cost.trained), _flops(cost.flops)]
        table.add_row(*map(Text, [*cells, *([in_bytes(cost.memory)] if wide else []), in_bytes(cost.disk)]))
    return table


def _title(row: Mapping[str, Any]) -> str:
    """Evaluations on one benchmark stand together, whatever model they are of."""
    title = str(row["stage"])
    if row["kind"] != "evaluate":
        return title
    return f"evaluate on {title.rpartition(' on ')[2]}" if " on " in title else "evaluate"


def _arms(plan: Mapping[str, Any], *, wide: bool) -> Iterable[Table | Text]:
    """An arm a line; where a console is narrow its stages stand below, once for all arms that share them."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    table.add_column("arm", overflow="fold")
    for heading in ("direct", "inherited", "updates"):
        table.add_column(f"labels {heading}" if heading == "direct" else heading, justify="right", no_wrap=True)
    table.add_column("stages", justify="left" if wide else "right", overflow="fold")
    chains: dict[str, str] = {}
    for arm in {str(arm["arm"]): arm for arm in plan["arms"]}.values():
        chain = ", ".join(arm["stages"])
        number = chains.setdefault(chain, str(len(chains) + 1))
        numbers = (str(arm["direct"]), str(arm["inherited"]), f"{arm['updates']:,}")
        table.add_row(*map(Text, (arm["arm"], *numbers, chain if wide else number)))
    yield table
    if not wide:
        below = Table.grid(padding=(0, 1))
        for chain, number in chains.items():
            below.add_row(Text(f" stages {number}:"), Text(chain))
        yield below
        yield Text()


def _sentences(plan: Mapping[str, Any]) -> Iterable[str]:
    rows, totals = plan["work"], plan["totals"]
    a_gpu = " on each GPU" if plan["gpus"] else ""
    finished = sum(row["done"] for row in rows)
    yield (
        f"{plan['name']}: {len(rows)} pieces of work ({finished} done), {plan['labelled']:,} labels in the pool. Every "
        "pair of arms of a contrast differs in what it declares and in nothing else."
    )
    yield (
        f"tokens at most (every response at full length): {_count(totals['generated'])} generated, "
        f"{_count(totals['scored'])} scored, {_count(totals['trained'])} trained on; {_flops(totals['flops'])} FLOPs, "
        f"{_flops(totals['flops_left'])} left"
    )
    yield (
        f"memory of the largest piece of work{a_gpu}: {in_bytes(totals['memory'])}; disk: {in_bytes(totals['disk'])} "
        f"kept, {in_bytes(totals['handed_out'])} of models handed out, up to {in_bytes(totals['working_disk'])} more "
        "for each worker"
    )
    if totals["flops"] is None:
        yield f"{UNKNOWN}: not known, because a model's configuration is not here; give its folder, or fetch it once"
    if totals["hours_left"] is not None:
        yield (
            f"time: about {_duration(totals['hours_left'])} of one worker at {totals['flops_per_second']:.2g} FLOPs "
            f"a second ({totals['speed']})"
        )
    else:
        yield "time: not known before anything has run; --flops-per-second says what your machine makes of it"
    yield from _order(plan["contrasts"], plan["seeds"])
    for note in plan["notes"]:
        yield f"note: {note}"


def _order(contrasts: Sequence[Mapping[str, str]], seeds: int) -> Iterable[str]:
    """The order of testing and which seeds are pairs: declared here, before there are results."""
    if not contrasts:
        return
    first, *others = (f"{contrast['treatment']} − {contrast['control']}" for contrast in contrasts)
    behind = f"; behind it, if it is resolved, {len(others)} more (Holm)" if others else ""
    alone = [f"{c['treatment']} − {c['control']}" for c in contrasts if c["seeds"] == "unpaired"]
    welch = f"; not paired over seeds, as their arms share nothing trained (Welch): {', '.join(alone)}" if alone else ""
    yield f"tested first and alone: {first}{behind}{welch}"
    if seeds < CLAIM:
        said = "one seed compares two checkpoints" if seeds == 1 else f"{seeds} seeds see large differences only"
        yield f"{said}; a claim about the recipe needs {CLAIM} (--seeds {CLAIM})"


def _count(tokens: int) -> str:
    if not tokens:
        return "-"
    return next((f"{tokens / unit:.3g}{name}" for unit, name in _COUNTS if tokens >= unit), str(tokens))


def _duration(hours: float) -> str:
    """Two digits of it, in the unit that a person would take."""
    seconds = 3600 * hours
    if seconds < 1:
        return "less than a second"
    for unit, name in ((3600, "hours"), (60, "minutes"), (1, "seconds")):
        if seconds >= 2 * unit or unit == 1:
            return (
                f"{float(f'{seconds / unit:.2g}'):,.3g} {name}"
                if seconds < 100 * unit
                else f"{seconds / unit:,.0f} {name}"
            )
    return ""


def _flops(flops: float | None) -> str:
    return UNKNOWN if flops is None else f"{flops:.1e}" if flops else "-"
