"""A first recipe for models and labels of one's own: `headwater init NAME --student ... --teacher ... --labels ...`.

`facts` looks, `labels` reads, `choices` are rules with reasons, `recipe_text` writes. Weights are never loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from headwater.errors import InputError
from headwater.fit.choices import asking
from headwater.fit.facts import Facts, Machine, ReadModel, asked_form, check_pair, longest, machine, read_model
from headwater.fit.labels import Labels, read_labels, write_rows
from headwater.fit.recipe_text import Sources, recipe_text
from headwater.problems.columns import Columns
from headwater.problems.overlap import drop_overlap
from headwater.problems.pools import prompt_text
from headwater.store.names import contained_name

SHOWN = 3
"""Problems that are printed, so that a person sees what will be asked and what will count."""


@dataclass(frozen=True)
class Mine:
    """What a person brings."""

    student: str
    teacher: str
    labels: str
    benchmark: str | None = None
    columns: Columns = field(default_factory=Columns)


def fit(mine: Mine, to: Path) -> list[str]:
    """Write a recipe at `to`, and files beside it where labels had to change; returns lines to print.

    Raises InputError when the models do not pair, the labels cannot be graded, or nothing fits this machine.
    """
    name = contained_name(to.stem)
    models = {role: read_model(role, getattr(mine, role)) for role in ("student", "teacher")}
    check_pair(models["student"], models["teacher"])
    labels = read_labels(mine.labels, mine.benchmark, mine.columns)
    shared = drop_overlap(labels.labels.problems, {"held-out": labels.benchmark.problems})[1]
    facts = _facts(mine, models, labels, shared.kept, machine(to.parent))
    written = {kind: to.with_name(f"{name}-{kind}.jsonl") for kind in ("labels", "benchmark")}
    sources = Sources(
        labels=str(written["labels"]) if labels.own_labels else mine.labels,
        benchmark=str(written["benchmark"]) if labels.own_benchmark else str(mine.benchmark),
        columns={part: column for part, column in mine.columns.model_dump().items() if column},
        own_labels=labels.own_labels,
        own_benchmark=labels.own_benchmark,
        notes=labels.notes,
        held_out=len(labels.benchmark.problems),
        overlap=f"{len(shared.dropped)} labels stand in the benchmark and leave the pool" if shared.dropped else None,
    )
    text = recipe_text(name, facts, sources)
    own = [(labels.own_labels, "labels", labels.labels), (labels.own_benchmark, "benchmark", labels.benchmark)]
    files = {written[kind]: found for changed, kind, found in own if changed}
    for path in (to, *files):
        if path.exists():
            raise InputError(f"init: {path} exists; remove it, or give another name")
    try:
        for path, found in files.items():
            write_rows(path, found)
        to.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"init: cannot write {to} ({error.strerror}); choose another place with --to") from error
    return [*_shown(labels, facts), *labels.notes, *(f"wrote {path}" for path in files), f"wrote {to}"]


def _facts(mine: Mine, models: Mapping[str, ReadModel], labels: Labels, kept: int, here: Machine) -> Facts:
    problems = [*labels.labels.problems, *labels.benchmark.problems]
    golds = [*labels.labels.answers.values(), *labels.benchmark.answers.values()]
    student = models["student"]
    return Facts(
        student=student.facts,
        teacher=models["teacher"].facts,
        machine=here,
        labels=kept,
        gold_tokens=max(map(student.tokens, golds)),
        prompt_tokens=longest(student, problems),
        answer_type=labels.answer_type,
        asked=asked_form(problems),
        system=any(not isinstance(p.prompt, str) and p.prompt[0].role == "system" for p in problems),
    )


def _shown(labels: Labels, facts: Facts) -> list[str]:
    """Three problems with their golds, and how a response has to give them."""
    answer = asking(facts)
    forms = {"boxed": "\\boxed{{{}}}", "marker": "#### {}", "tag": "<answer>{}</answer>", "number": "... {}"}
    lines = [f"answers: {labels.answer_type}, {answer.extractor}; asked for with: {answer.system_prompt or 'nothing'}"]
    for problem in labels.labels.problems[:SHOWN]:
        text, gold = " ".join(prompt_text(problem).split()), labels.labels.answers[problem.problem_id]
        lines.append(f"  {text[:60]}{'...' if text[60:] else ''} -> right: {forms[answer.extractor].format(gold)}")
    return lines
