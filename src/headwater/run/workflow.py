"""A run from recipe to finished folder: lock, sweep, refuse what changed, make what is missing, hand out models."""

from __future__ import annotations

import json
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from headwater.engines.cpu import processor, products, takeovers
from headwater.engines.opening import open_engine
from headwater.engines.settings import NUMERICS, EngineSettings
from headwater.errors import HeadwaterError, InputError
from headwater.fingerprint import fingerprint
from headwater.folder import (
    GRAPH,
    LEDGER,
    RECIPE,
    TIMINGS,
    RunFolder,
    model_folder,
    read_sealed,
    same_files,
    seal,
    write_json,
)
from headwater.ledger import Ledger
from headwater.plan.cost import Costs, work
from headwater.plan.graph import Graph, build_graph
from headwater.plan.preflight import check_labels, check_models
from headwater.plan.room import fitting
from headwater.routes.recipe import Recipe
from headwater.routes.table import BY_NAME
from headwater.run.consistency import mixed, redo, refuse_mixed, refuse_unfinished, settle_ledger
from headwater.run.execute import MODEL
from headwater.run.identity import PROCESSOR, PRODUCTS, PRODUCTS_BEFORE, TAKEN_OVER, identity
from headwater.run.processes import Build, Orders, Pool
from headwater.run.progress import ProgressDisplay
from headwater.run.state import State
from headwater.run.tracking import Observers, Tracking
from headwater.store import Store, full_disk_named, run_folder
from headwater.trackers import opener

EXTENSIONS = ("routes", "teachers", "labels", "seeds", "arms", "contrasts", "name", "guard")
"""Recipe fields that add to a run without touching what was made."""

ROUNDING = tuple(f"engine.{name}" for name in EngineSettings.model_fields if name not in NUMERICS)
"""Recipe fields that cut the same sums into other pieces: a run may go on with others."""


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How a run is carried out; none of it changes a result."""

    runs: Path = Path("runs")
    workers: int | None = None
    change: bool = False
    redo: str | None = None
    commit_seconds: float = 60.0
    track: tuple[str, ...] = ()
    """trackers by name"""


def run_recipe(recipe: Recipe, options: RunOptions | None = None, console: Console | None = None) -> RunFolder:
    """Make everything the recipe asks for that is not yet made, and return the finished folder.

    Raises InputError for a changed recipe, LockedError when another process runs here, Interrupted after a
    commit when stopped; any other error leaves the last commits good.
    """
    options, console = options or RunOptions(), console or Console()
    openers = {name: opener(name, run_folder(options.runs, recipe.name)) for name in options.track}
    with _begun(recipe, options, console) as (graph, store):
        trackers = [Tracking(name, opened, graph, store, console) for name, opened in openers.items()]
        try:
            _make_missing(graph, store, options, console, trackers)
            while options.redo is not None and (stale := mixed(graph, store)):
                for name in stale:  # the new result differs from the old one, so these come from what is gone
                    redo(graph, store, name)
                _make_missing(graph, store, options, console, trackers)
        finally:
            for tracker in trackers:
                tracker.close()
        refuse_unfinished(graph, store)
        refuse_mixed(graph, store)
        hand_out_models(graph, store)
    return RunFolder(store.root)


def make_beside(recipe: Recipe, build: Build, options: RunOptions, console: Console) -> RunFolder:
    """Make another graph of a recipe in the folder of its run, which finds there what the two share.

    `build` is a function at the top of a module, as worker processes call it too. Raises as `run_recipe` does.
    """
    with _begun(recipe, options, console) as (graph, store):
        other = build(graph.recipe)
        _make_missing(other, store, options, console, (), build)
        refuse_unfinished(other, store)
        refuse_mixed(other, store)
    return RunFolder(store.root)


@contextmanager
def _begun(recipe: Recipe, options: RunOptions, console: Console) -> Iterator[tuple[Graph, Store]]:
    """A run's folder, checked, locked, swept and described, as long as somebody makes nodes in it."""
    if options.workers is not None and options.workers < 1:
        raise InputError(f"run: --workers {options.workers}; at least 1")
    if not options.commit_seconds >= 0:
        raise InputError(f"run: --commit-seconds {options.commit_seconds}; at least 0")
    root = run_folder(options.runs, recipe.name)
    graph = build_graph(recipe)
    recipe = graph.recipe
    if not options.change:
        _refuse_change(root, graph)  # before models are looked for, and again under the lock
    check_labels(graph)
    for line in check_models(graph):
        console.print(line, highlight=False)
    store = Store(root)
    if options.redo is not None and options.redo not in {*graph.nodes, *store.nodes()}:
        raise InputError(f"run: --redo {options.redo:.80}; {recipe.name} has no such node")
    with full_disk_named(f"run {recipe.name}", root), store.lock():
        if not options.change:
            _refuse_change(root, graph)
        if options.redo is not None:
            redo(graph, store, options.redo)
        store.sweep()
        with Ledger(root / LEDGER) as ledger:  # made here once, before the workers race for it
            settle_ledger(ledger, store)
        refuse_mixed(graph, store)
        shown = graph if options.change else _with_earlier(root, graph)
        taken_over = {TAKEN_OVER: takeovers.named(recipe.engine.kind)}
        identified = {**identity(), **taken_over, **_products(root, recipe, console)}
        write_json(root / GRAPH, seal(_priced(shown, shown.plain(identified))))
        write_json(root / RECIPE, shown.recipe.model_dump(mode="json"))
        yield graph, store


def _with_earlier(root: Path, graph: Graph) -> Graph:
    """What the folder is to show: this command's arms and seeds, and those that an earlier one asked for."""
    if not (root / GRAPH).exists():
        return graph
    recipe, before = graph.recipe, Recipe.model_validate_json(json.dumps(RunFolder(root).graph["recipe"]))
    wanted = (set(before.routes_by_name()), set(recipe.routes_by_name()))
    if wanted[0] <= wanted[1] and set(before.seeds) <= set(recipe.seeds):
        return graph
    known = {route.name for route in recipe.arms}
    arms = (*recipe.arms, *(route for route in before.arms if route.name not in known))
    named = {route.name for route in arms}
    asked = {contrast.name for contrast in recipe.contrasts}
    either = [name for name in (*BY_NAME, *sorted(wanted[0] | wanted[1])) if name in wanted[0] | wanted[1]]
    earlier = {
        "routes": tuple(dict.fromkeys(name for name in either if name not in named)),
        "teachers": ("teacher",),  # the names above say whose, and how many labels
        "labels": (),
        "arms": arms,
        "contrasts": (*recipe.contrasts, *(c for c in before.contrasts if c.name not in asked)),
        "seeds": (*recipe.seeds, *(seed for seed in before.seeds if seed not in recipe.seeds)),
    }
    return build_graph(recipe.model_copy(update=earlier))


def _priced(graph: Graph, plain: dict[str, Any]) -> dict[str, Any]:
    """The graph as plain data, with what each node costs at most: the report says what an arm was bought with."""
    costs = Costs(graph)
    nodes = {name: {**node, "flops": costs.of(name).flops} for name, node in plain["nodes"].items()}
    return {**plain, "nodes": nodes}


def _products(root: Path, recipe: Recipe, console: Console) -> dict[str, str]:
    """The library of float32 products, and the processor: a run that goes on rounds as it began, or says it cannot.

    Where the library that it began with is not exact, PyTorch's own takes its place, and the first is kept beside it.
    """
    now = str(processor.here())
    try:
        before: dict[str, str] = RunFolder(root).graph["identity"]
        begun = before[PRODUCTS]
    except (HeadwaterError, KeyError):  # a new run, or a damaged file that --change is about to write anew
        models = recipe.all_models.values()
        tiny = all(m.path is None and products.is_tiny(m.shape.hidden_size, m.shape.ff_size) for m in models)
        return {PRODUCTS: products.fitting(tiny=tiny), PROCESSOR: now}
    used = products.exact_or_default(begun)  # type: ignore[arg-type]
    first = before.get(PRODUCTS_BEFORE) or (begun if used != begun else None)
    if used != begun or before.get(PROCESSOR, now) != now:
        console.print(
            f"run {recipe.name}: begun on {before.get(PROCESSOR, 'another processor')} with float32 products by "
            f"{begun}, goes on on {now} with {used}: its bytes differ from an unbroken run's, by rounding alone",
            markup=False,
            highlight=False,
        )
    return {PRODUCTS: used, PROCESSOR: now, **({PRODUCTS_BEFORE: first} if first else {})}


def _make_missing(
    graph: Graph,
    store: Store,
    options: RunOptions,
    console: Console,
    trackers: Sequence[Tracking],
    build: Build = build_graph,
) -> None:
    done = {name for name in graph.nodes if store.result(name) is not None}
    for tracker in trackers:
        tracker.catch_up(done)
    if len(done) == len(graph.nodes):
        return
    amounts = work(graph)
    state = State(amounts, done, store.root)
    try:
        with ProgressDisplay(amounts, done, console) as display:
            _make(graph, store.root, done, options, Observers([display, state, *trackers]), build)
    finally:
        state.close()


def _make(graph: Graph, root: Path, done: set[str], options: RunOptions, observer: Observers, build: Build) -> None:
    with open_engine(graph.recipe.engine) as engine:
        slots = options.workers or min(engine.slots, fitting(graph))
        environments = tuple(engine.environment(slot) for slot in range(slots))
    orders = Orders(
        recipe_json=graph.recipe.model_dump_json(),
        build=build,
        work=fingerprint(list(graph.nodes)),
        root=root,
        commit_seconds=options.commit_seconds,
        environments=environments,
    )
    before = read_sealed(root / TIMINGS) if (root / TIMINGS).exists() else {}
    pool = Pool(graph, orders, work(graph), observer)
    try:
        with _stop_on_signal(pool):
            pool.run(done)
    finally:
        write_json(root / TIMINGS, seal({**before, **pool.seconds}))


@contextmanager
def _stop_on_signal(pool: Pool) -> Iterator[None]:
    """Ctrl-C and SIGTERM commit and end the run, instead of tearing it; in a thread they are somebody else's."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, lambda *_: pool.interrupt()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _refuse_change(root: Path, graph: Graph) -> None:
    """A run folder holds one recipe and one set of problems; adding routes or seeds is no change."""
    if not (root / GRAPH).exists():
        return
    recipe, before = graph.recipe, RunFolder(root).graph
    changed = [
        (key, repr(old), repr(new))
        for key, old, new in _differences(before["recipe"], recipe.model_dump(mode="json"))
        if key.split(".")[0] not in EXTENSIONS and key not in ROUNDING
    ] or [
        (f"the content of {key}", old[:12], new[:12])
        for key, old, new in _differences(before.get("content", {}), graph.data.contents())
        if None not in (old, new)
    ]
    if changed:
        key, old, new = changed[0]
        more = f" (and {len(changed) - 1} more)" if changed[1:] else ""
        raise InputError(
            f"run {recipe.name}: {key} was {old}, is now {new}{more}. "
            "Give the new run a name (--name NAME), or --change to remake here what depends on it."
        )


def _differences(old: Any, new: Any, key: str = "") -> Iterator[tuple[str, Any, Any]]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for part in sorted({*old, *new}):
            yield from _differences(old.get(part), new.get(part), f"{key}.{part}" if key else part)
    elif old != new:
        yield key, old, new


def hand_out_models(graph: Graph, store: Store) -> None:
    """Copy each arm's final model to models/, for from_pretrained; a copy that differs from its commit is made again.

    Copies, so that nobody edits the store by hand.
    """
    for arm in graph.arms:
        target = model_folder(store.root, arm.name, arm.seed)
        head = store.result(arm.endpoint)
        if head is None or same_files(target, head, MODEL):
            continue
        with tempfile.TemporaryDirectory(dir=store.root / "tmp") as scratch:
            checked = store.checkout(arm.endpoint, Path(scratch) / "linked", MODEL)
            fresh = Path(scratch) / "copied"
            shutil.copytree(checked, fresh, copy_function=shutil.copyfile)
            shutil.rmtree(target, ignore_errors=True)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(fresh, target)
