"""What is wrong with a recipe before anything is spent: models, prompts, labels, disk and memory, all faults at once.

No weights are loaded: config, tokenizer and generation config say which ids a model emits and where it stops, and a
network without storage says how large it is. `validate` prints the whole; `run` refuses on the first fault.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from safetensors import SafetensorError, safe_open

from headwater.data.problems import RunData
from headwater.engines.acceptance import accept
from headwater.engines.cpu import processor
from headwater.engines.settings import device_memory, emulated
from headwater.errors import InputError
from headwater.models.choice import ModelChoice
from headwater.models.files import id_faults
from headwater.models.language_model import LanguageModel
from headwater.models.outline import dimensions
from headwater.models.preflight import probes, prompt_faults, stop_faults, template_faults
from headwater.plan import room
from headwater.plan.cost import in_bytes
from headwater.plan.graph import Graph, build_graph
from headwater.plan.models import models_used
from headwater.plan.prompts import long_prompts
from headwater.problems.labels import LabelSet
from headwater.records import Problem
from headwater.routes.recipe import Recipe
from headwater.store import REAL_DISK, run_folder
from headwater.store.space import free_bytes
from headwater.verifiers.grading import Grading, make_verifier

SAME_PROMPTS = 32
"""Prompts of the recipe's own on which the two models' ids are compared, beside the probes."""


@dataclass(kw_only=True)
class Preflight:
    """What was looked at, a line each, and what is wrong, each with its remedy."""

    lines: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    graph: Graph | None = None

    @contextmanager
    def noting(self) -> Iterator[None]:
        """An InputError in here is one more fault, and no end."""
        try:
            yield
        except InputError as error:
            self.faults.append(str(error))

    def say(self, what: str, text: str) -> None:
        """One more line of the report."""
        self.lines.append(f"{what:8} {text}")


def preflight(recipe: Recipe, *, weights: bool = True, runs: Path = Path("runs")) -> Preflight:
    """Look at everything that a run of this recipe will need. `weights` False: they may be absent, and need no room."""
    found = Preflight()
    found.graph = graph = _graph(recipe, found)
    models = _models(recipe.all_models if graph is None else models_used(graph.recipe), found, weights)
    _pair(models, found)
    if graph is None:
        return found
    _labels(graph, found)
    _prompts(graph, models, found)
    with found.noting():
        _room(graph, found, runs if weights else None)
    return found


def _graph(recipe: Recipe, found: Preflight) -> Graph | None:
    try:
        return build_graph(recipe)
    except InputError as error:
        found.faults.append(str(error))
    _sources(recipe, found)
    return None


def _sources(recipe: Recipe, found: Preflight) -> None:
    """What is wrong with each source of problems by itself, where they do not make a run together."""
    data, problems = RunData(recipe.problems), recipe.problems
    sets: list[tuple[str, Grading, Callable[[], LabelSet]]] = [
        ("labels", problems.grading, lambda: data.everything),
        *((f"benchmark {name}", problems.grading_of(name), partial(data.benchmark, name)) for name in problems.names),
    ]
    for where, grading, read in sets if problems.kind != "arithmetic" else ():
        try:
            held = read()
            check_golds(where, held.answers, held.places, grading)
        except InputError as error:
            if str(error) not in found.faults:
                found.faults.append(str(error))


def check_labels(graph: Graph) -> None:
    """Every gold has a reading, every pool is held against every benchmark. Raises InputError, LabelError."""
    data = graph.data
    data.check()
    for where, golds, places, grading in _golds(graph):
        check_golds(where, golds, places, grading)


def _golds(graph: Graph) -> Iterator[tuple[str, Mapping[str, str], Mapping[str, str], Grading]]:
    """Labels and benchmarks: a name for messages, the golds by problem, where they stand, and how they are graded."""
    data, problems = graph.data, graph.recipe.problems
    yield "labels", data.answers, data.places, problems.grading
    for name, held_out in data.benchmarks.items():
        yield f"benchmark {name}", held_out.answers, held_out.places, problems.grading_of(name)


def check_golds(where: str, golds: Mapping[str, str], places: Mapping[str, str], grading: Grading) -> int:
    """How many golds without a reading are kept, as grading.unreadable allows; else they raise InputError."""
    verifier = make_verifier(grading)
    try:
        if grading.unreadable == "keep":
            return len(verifier.unreadable(golds))
        verifier.check_golds(golds, places)
    except InputError as error:
        raise type(error)(f"{where}: {error}") from error
    finally:
        verifier.close()
    return 0


def check_models(graph: Graph) -> list[str]:
    """The part of the preflight that a run repeats: models, pair and prompts; how each was measured, a line each.

    Raises InputError for the first fault.
    """
    found = Preflight(graph=graph)
    models = _models(models_used(graph.recipe), found, weights=True)
    _pair(models, found)
    _prompts(graph, models, found)
    if found.faults:
        more = f" ({len(found.faults) - 1} more: headwater validate lists all)" if found.faults[1:] else ""
        raise InputError(found.faults[0] + more)
    return [line for line in found.lines if line.startswith("measured")]


def _models(choices: Mapping[str, ModelChoice], found: Preflight, weights: bool) -> dict[str, LanguageModel]:
    """The models that lie somewhere, by role, without their weights."""
    models = {}
    for role, choice in choices.items():
        if choice.path is None:
            continue
        opening = choice.opening
        with found.noting():
            model = LanguageModel.outline(opening.pop("path"), **opening)
            models[role] = model
            if weights:
                _weights(choice.path, model)
            rows = model.head[0].shape[0]
            padded = f", {rows - model.emitted} rows of padding" if rows > model.emitted else ""
            commit = f" at {model.commit[:12]}" if model.commit else ""
            quantised = f" (its layers quantised to {choice.quantise})" if choice.quantise else ""
            found.say(
                role,
                f"{choice.path}{commit}: {model.network.config.model_type}, {model.parameters / 1e6:,.1f} M "
                f"parameters, {in_bytes(model.size)} in {choice.dtype}{quantised}, {model.emitted:,} ids{padded}, "
                f"stops at {', '.join(map(str, sorted(model.stop_ids))) or 'nothing but the length limit'}",
            )
            if not model.stop_ids:
                found.faults.append(f"{role}: no id ends a response. Give {role}.stop_ids.")
    return models


def _weights(path: str, model: LanguageModel) -> None:
    """The safetensors of a directory hold every tensor of the network; only their headers are read."""
    folder = Path(path)
    if not folder.is_dir():
        return  # a hub id: its files come with the run
    names: set[str] = set()
    try:
        for file in sorted(folder.glob("*.safetensors")):
            with safe_open(file, framework="pt") as tensors:
                names |= set(tensors.keys())
    except (OSError, SafetensorError) as error:
        raise InputError(f"model: {path}: {file.name} cannot be read ({error}); fetch it again") from error
    if not names:
        raise InputError(
            f"model: {path} has no safetensors. Put its weights there, or look at the rest with --no-weights."
        )
    wanted = {name for name, _ in model.network.named_parameters()}  # a tied head is named once
    prefix = f"{model.network.base_model_prefix}."
    missing = sorted(name for name in wanted if name not in names and name.removeprefix(prefix) not in names)
    if missing:  # or transformers packs and renames them as it reads, and then its own account counts
        model.refuse_missing(path)


def _pair(models: Mapping[str, LanguageModel], found: Preflight) -> None:
    student = models.get("student")
    if student is None:
        return
    for name, teacher in ((name, model) for name, model in models.items() if name != "student"):
        faults = id_faults(student.tokenizer.get_vocab(), teacher.tokenizer.get_vocab()) or [
            *template_faults(student, teacher, _asked(probes(), student)),
            *stop_faults(student, teacher),
        ]
        found.faults += faults
        what = "pair" if name == "teacher" else f"pair with {name}"
        found.say(what, "differs, see below" if faults else "the same ids, templates and stops")


def _asked(problems: tuple[Problem, ...], model: LanguageModel) -> list[Problem]:
    """The probes that a model with or without a template can be asked."""
    chat = model.tokenizer.chat_template is not None
    return [problem for problem in problems if chat or isinstance(problem.prompt, str)]


def _labels(graph: Graph, found: Preflight) -> None:
    data, before, kept = graph.data, len(found.faults), 0
    with found.noting():
        data.check()
    for where, golds, places, grading in _golds(graph):
        with found.noting():
            kept += check_golds(where, golds, places, grading)
    held = ", ".join(f"{len(found_.problems):,} of {name}" for name, found_ in data.benchmarks.items())
    state = "each gold has a reading, none in a benchmark" if len(found.faults) == before else "see below"
    if kept:
        state += f"; {kept:,} without a reading are kept, right only letter by letter"
    found.say("labels", f"{len(data.answers):,} labels, held out {held}: {state}")


def _prompts(graph: Graph, models: Mapping[str, LanguageModel], found: Preflight) -> None:
    data = graph.data
    own = (node.stage.sampler.longest or 0 for node in graph.nodes.values() if node.stage is not None)
    limit = max(graph.recipe.max_response_tokens, *own)
    problems = [*data.labelled, *(p for held_out in data.benchmarks.values() for p in held_out.problems)]
    seen: dict[str, int] = {}
    for role, model in models.items():
        if model.vocabulary in seen:
            _row(graph, role, model, seen[model.vocabulary] + limit, found)
            continue
        faults, longest = prompt_faults(role, model, problems, limit)
        seen[model.vocabulary] = longest
        _row(graph, role, model, longest + limit, found)
        found.faults += faults
        fault = open_thought(role, model, problems[:1], graph.recipe.problems.gradings)
        found.faults += [] if fault is None else [fault]
        if len(seen) == 1:
            _limits(graph, model, longest, found)
        context = "no limit" if model.positions is None else f"{model.positions:,}"
        found.say(
            "prompts", f"{role}: longest {longest:,} tokens, with {limit:,} of response in a context of {context}"
        )
    for role, model in models.items():
        with found.noting():
            found.say("measured", f"{role}: {accept(model.network.config, seen[model.vocabulary] + limit)}")
    if {"student", "teacher"} <= models.keys() and len(seen) > 1:
        found.faults += template_faults(models["student"], models["teacher"], problems[:SAME_PROMPTS])
    for role, choice in models_used(graph.recipe).items():
        longest = max((len(str(problem.prompt).split()) for problem in problems), default=0)
        if choice.path is None and longest + limit > choice.shape.max_positions:
            found.faults.append(
                f"{role}: prompts of up to {longest} tokens and responses of {limit} do not fit in "
                f"{choice.shape.max_positions} positions. Raise {role}.shape.max_positions."
            )


def open_thought(
    role: str, model: LanguageModel, problems: Sequence[Problem], gradings: Sequence[Grading]
) -> str | None:
    """What is wrong where a prompt opens a thought and the grader, not told, would grade one that never ends."""
    try:
        end = str(model.tokenizer.decode(list(model.encode(problems[0])[-8:]))) if problems else ""
    except InputError:
        return None  # a fault of the prompt, which is listed
    opened = re.search(r"<think(?:ing)?>\s*$", end)
    if opened is None or all(grading.prompt_end or grading.packed for grading in gradings):
        return None
    return (
        f"{role}: its prompts end in {opened[0].strip()}, so that a response which is cut off while it thinks would be "
        f'graded. Set problems.grading.prompt_end to "{opened[0].strip()}".'
    )


def _row(graph: Graph, role: str, model: LanguageModel, places: int, found: Preflight) -> None:
    """One response at least must fit the sampler's part of the memory; the engine splits what is more."""
    engine = graph.recipe.engine
    need = engine.least_memory(dimensions(model.network), places)
    if engine.rows is None and need > engine.memory:
        found.faults.append(
            f"engine.memory: {in_bytes(engine.memory)} are too few for the {role}'s sampler, in whose half of it one "
            f"response with {places:,} tokens takes {in_bytes(need // 2)}. Set engine.memory to at least {need}."
        )


def _limits(graph: Graph, model: LanguageModel, longest: int, found: Preflight) -> None:
    """Stages that allow only shorter prompts than the pool has; counted once more only where one may be too long."""
    for name in dict.fromkeys(node.stage.name for node in graph.nodes.values() if node.kind == "train" and node.stage):
        limit = graph.recipe.settings(name).max_prompt_tokens
        fault = long_prompts(name, graph.data.labelled, limit, model) if limit and longest > limit else None
        if fault is not None:
            found.faults.append(fault)


def _room(graph: Graph, found: Preflight, runs: Path | None) -> None:
    """What stays on the disk, and what the largest piece of work needs besides, of disk and of memory."""
    need, (title, most), engine = room.disk(graph), room.largest(graph), graph.recipe.engine
    if need is None or most is None:
        return  # a model that is not here is a fault of its own
    root = None if runs is None else run_folder(runs, graph.recipe.name)
    free = None if root is None else free_bytes(root, REAL_DISK)
    found.say("disk", f"{need}{'' if free is None else f'; {in_bytes(free)} free'}")
    faults = [] if root is None or free is None else [room.disk_fault(graph, free, str(root.parent))]
    have = device_memory(engine.kind)
    if engine.cluster is not None and engine.kind == "cpu":
        have //= engine.cluster.gpus  # ranks are processes of this machine
    side = "a GPU" if engine.kind == "cuda" else f"a core and {max(have // most, 1):,} at most"
    found.say(
        "memory",
        f"about {in_bytes(most)} a worker at most ({title}); {in_bytes(have)} on this machine's {engine.kind}, one "
        f"worker {side}",
    )
    if root is not None and (engine.cluster is None or engine.cluster.address is None):  # or it runs elsewhere
        faults.append(room.memory_fault(graph, have, engine.kind))
    found.faults += [fault for fault in faults if fault is not None]
    if (note := emulated(engine, processor.here())) is not None:
        found.say("note", note)
