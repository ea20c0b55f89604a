"""Reads a run folder and says what it holds: scores, comparisons, labels, closeness, curves, settings.

Every number of a report is made here, by `evaluation.estimate`; pages and terminals only lay it out. An
unfinished run is an ordinary case: what is missing is said to be missing, and never becomes a zero.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from headwater.evaluation.estimate import average_at_k, mixed_share, pass_at_k
from headwater.evaluation.verdict import WORDS
from headwater.ledger import LABELS
from headwater.report.answers import answers
from headwater.report.audits import audits
from headwater.report.contrasts import contrasts as judged_contrasts
from headwater.report.costs import cost
from headwater.report.difficulty import arm_shares, most_apart, quarters
from headwater.report.examples import examples, first_look
from headwater.report.raised import raised
from headwater.report.results import arms_by_name, mean, printable, read_json, read_scores
from headwater.report.rows import (
    MEASURED,
    NOT_RUN,
    REFUSED,
    ArmRow,
    BenchmarkScore,
    Closeness,
    ConditionRow,
    ContrastRow,
    Flow,
    HarnessScore,
    LabelUse,
    SeedScore,
    Summary,
)
from headwater.report.training import curves, stages

if TYPE_CHECKING:
    from headwater.folder import RunFolder

TRAINED = ("answer", "demonstration")
"""Uses of labels that go through a stage into an arm; a validation's are read beside it."""


def summarise(folder: RunFolder) -> Summary:
    """Everything a report says about the run; raises IntegrityError for results of a wrong form."""
    graph = printable(folder.graph)
    primary, *others = [benchmark["name"] for benchmark in graph["benchmarks"]]
    arms = [_arm(folder, graph, entries, (primary, *others)) for entries in arms_by_name(graph["arms"]).values()]
    contrasts = judged_contrasts(folder, graph, (primary,), gate=True)
    tally = {word: sum(row.word == word for row in contrasts) for word in WORDS}
    tally["not measured"] = sum(row.state != MEASURED for row in contrasts)
    scores = [score for arm in arms for found in (arm.scores, *(on.scores for on in arm.others)) for score in found]
    measured = sum(score.state == MEASURED for score in scores)
    headline = _headline(contrasts, measured, len(scores), f"On {primary}: " if others else "")
    shares = arm_shares(folder, graph, primary)
    return Summary(
        name=graph["name"],
        headline=headline,
        answers=answers(arms, contrasts, headline),
        alarms=raised(folder, graph, primary),
        tally=tally,
        notes=(*graph.get("notes", ()), *_pilot(folder)),
        seeds=tuple(graph["seeds"]),
        evaluations_done=measured,
        evaluations_planned=len(scores),
        benchmarks=tuple(graph["benchmarks"]),
        overlap=graph.get("overlap", {}),
        arms=tuple(arms),
        contrasts=contrasts,
        other_contrasts=judged_contrasts(folder, graph, others, gate=False),
        conditions=_conditions(folder, graph, primary),
        flows=_flows(folder, graph),
        curves=curves(folder, graph),
        stages=stages(folder, graph),
        audits=audits(folder, graph),
        first_look=first_look(folder, graph),
        examples=examples(folder, graph, primary),
        quarters=quarters(shares),
        problems=most_apart(folder, graph, shares, primary),
        pools=graph.get("pools", {}),
        recipe=graph["recipe"],
        identity={**graph["identity"], **_origins(folder, graph)},
        ledger_digest=folder.ledger_digest(),
    )


def _pilot(folder: RunFolder) -> Iterable[str]:
    """A note where labels were read to choose a route."""
    if read := len(folder.piloted()):
        yield f"a pilot read {read} labels of the pool before any arm was made (headwater advise); no arm counts them"


def _origins(folder: RunFolder, graph: Mapping[str, Any]) -> dict[str, str]:
    """Each model that was imported, with the commit or digest it had then."""
    paths = {node: data["settings"].get("path") for node, data in graph["nodes"].items() if data["kind"] == "model"}
    found = {f"model {path}": folder.origin(node) for node, path in paths.items() if path}
    return {name: origin for name, origin in found.items() if origin}


# --- Scores


def _seed_score(folder: RunFolder, entry: Mapping[str, Any], benchmark: str) -> SeedScore:
    scores = read_scores(folder, entry["evaluation"].get(benchmark))
    if scores is None:
        return SeedScore(seed=entry["seed"], state=REFUSED if entry.get("refused") else NOT_RUN)
    samples, correct = scores["samples"], np.array(scores["correct"])
    harness = folder.harness.get(entry["evaluation"][benchmark])
    return SeedScore(
        seed=entry["seed"],
        state=MEASURED,
        average=average_at_k(correct, samples),
        passed=pass_at_k(correct, samples, samples),
        mixed=mixed_share(correct, samples, min(8, samples)),
        response_tokens=scores.get("response_tokens"),
        truncated=scores.get("truncated"),
        entropy=scores.get("entropy"),
        ungraded=sum(scores["ungraded"]),
        unanswered=scores.get("unanswered"),
        styles=scores.get("styles"),
        harness=HarnessScore(**harness) if harness else None,
    )


def _on(folder: RunFolder, entries: Sequence[Mapping[str, Any]], benchmark: str) -> BenchmarkScore:
    """An arm's scores on one benchmark."""
    scores = tuple(_seed_score(folder, entry, benchmark) for entry in entries)
    averages = [score.average.mean for score in scores if score.average]
    states = {score.state for score in scores}
    return BenchmarkScore(
        benchmark=benchmark,
        state=states.pop() if len(states) == 1 else f"{len(averages)} of {len(scores)} seeds",
        scores=scores,
        mean=mean(averages),
        spread=float(np.std(averages, ddof=1)) if len(averages) > 1 else None,
    )


def _arm(
    folder: RunFolder, graph: Mapping[str, Any], entries: Sequence[Mapping[str, Any]], benchmarks: Sequence[str]
) -> ArmRow:
    first, *others = [_on(folder, entries, benchmark) for benchmark in benchmarks]
    done = [score for score in first.scores if score.state == MEASURED]
    stages = [graph["nodes"][node] for node in entries[0]["stages"]]
    labels = (_label_use(folder, graph, entry) for entry in entries)
    return ArmRow(
        name=entries[0]["name"],
        title=entries[0]["title"],
        group=entries[0]["group"],
        state=first.state,
        reason=next((entry["refused"] for entry in entries if entry.get("refused")), ""),
        scores=first.scores,
        mean=first.mean,
        spread=first.spread,
        passed=mean(score.passed.mean for score in done if score.passed),
        mixed=mean(score.mixed for score in done),
        response_tokens=mean(score.response_tokens for score in done),
        truncated=mean(score.truncated for score in done),
        entropy=mean(score.entropy for score in done),
        ungraded=sum(score.ungraded or 0 for score in done) if done else None,
        updates=sum(stage["updates"] or 0 for stage in stages),
        labels=tuple(use for use in labels if use),
        cost=cost(folder, graph, entries),
        unanswered=_total(score.unanswered for score in done),
        stages=tuple(stage["title"] for stage in stages),
        others=tuple(others),
        family=entries[0].get("family", ""),
    )


def _total(counts: Iterable[int | None]) -> int | None:
    """The sum of what is known; None if nothing is."""
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


# --- Headline


def _headline(contrasts: Sequence[ContrastRow], measured: int, planned: int, where: str) -> str:
    """What the first planned contrast says, whatever it is: choosing the nicest would be a claim."""
    if not contrasts:
        return f"No comparison is planned among these arms; {measured} of {planned} evaluations are done."
    if contrasts[0].state != MEASURED:
        return f"No verdict yet: {measured} of {planned} evaluations are done."
    first = contrasts[0]
    part = f"So far, on {len(first.seeds)} of {first.planned} seeds: " if len(first.seeds) < first.planned else ""
    return where + part + first.sentence


# --- Labels


def _label_use(folder: RunFolder, graph: Mapping[str, Any], entry: Mapping[str, Any]) -> LabelUse | None:
    """None while a stage is unfinished: half a stage's reads are not the arm's price."""
    if not all(folder.done(node) for node in entry["stages"]):
        return None
    direct: set[str] = set()
    inherited: set[str] = set()
    prompts: set[str] = set()
    reads = 0
    for node in entry["stages"]:
        used = folder.labels(node)
        read = set().union(*(used.get(use, set()) for use in LABELS))
        (inherited if _inherited(entry, node) else direct).update(read)
        prompts |= used.get("prompt", set())
        reads += len(read)
    distinct = direct | inherited
    return LabelUse(
        direct=len(direct),
        inherited=len(inherited),
        distinct=len(distinct),
        reads=reads,
        prompts=len(prompts - distinct),
    )


def _inherited(entry: Mapping[str, Any], node: str) -> bool:
    """Whether the arm owes a stage's labels to a model that taught it; an arm that is a teacher read them itself."""
    return node in entry["inherited"]


def _flows(folder: RunFolder, graph: Mapping[str, Any]) -> tuple[Flow, ...]:
    """(pool part, stage, arm) -> labelled problems, over finished stages.

    A stage that read the whole pool is shown as reading both halves, which are the pool by construction.
    Teachers as arms of their own are left out: their labels already flow to the students that inherit them; so are arms
    on nested pools, which show the same with fewer.
    """
    sums: dict[tuple[str, str, str, bool], list[int]] = {}
    for entry in (arm for arm in graph["arms"] if arm["group"] != "model" and arm.get("family") in (None, arm["name"])):
        parts = graph.get("pools", {}).get(str(entry["seed"]), {})
        for node in filter(folder.done, entry["stages"]):
            stage = graph["nodes"][node]
            used = folder.labels(node)
            read = len(set().union(*(used.get(use, set()) for use in TRAINED)))
            halves = {part: parts[part]["problems"] for part in ("1H", "2H") if part in parts}
            split = stage["pool"] == "pool" and read == sum(halves.values())
            for part, count in (halves if split else {stage["pool"] or "pool": read}).items():
                key = (part, stage["stage"] or "", entry["name"], _inherited(entry, node))
                sums.setdefault(key, []).append(count)
    return tuple(
        Flow(part=part, stage=stage, arm=arm, inherited=inherited, problems=float(np.mean(counts)))
        for (part, stage, arm, inherited), counts in sums.items()
        if any(counts)
    )


# --- C1 and C2


def _conditions(folder: RunFolder, graph: Mapping[str, Any], benchmark: str) -> tuple[ConditionRow, ...]:
    rows = []
    for name, entries in arms_by_name(graph["arms"]).items():
        taught = [entry for entry in entries if entry.get("teacher")]
        if not taught:
            continue
        made = [graph["nodes"][node] for node in taught[0]["inherited"]]
        signals = {node["signal"] for node in made}
        shaped = next((signal for signal in ("reward", "imitation") if signal in signals), "nothing")
        before = _level(folder, benchmark, [entry["teacher"].get("before") for entry in taught])
        after = _level(folder, benchmark, [entry["teacher"].get("after") for entry in taught])
        rows.append(
            ConditionRow(
                arm=name,
                teacher=", ".join([taught[0]["teacher"]["name"], *(node["title"] for node in made)]),
                shaped_by=shaped,
                teacher_before=before,
                teacher_after=before if shaped == "nothing" else after,
                student_before=_level(folder, benchmark, [entry.get("student_before") for entry in taught]),
                student_end=_level(folder, benchmark, [entry.get("evaluation") for entry in taught]),
                closeness=tuple(_closeness(folder, taught)),
            )
        )
    return tuple(rows)


def _level(folder: RunFolder, benchmark: str, nodes: Iterable[Mapping[str, str] | None]) -> float | None:
    found = (read_scores(folder, (node or {}).get(benchmark)) for node in nodes)
    return mean(average_at_k(np.array(s["correct"]), s["samples"]).mean for s in found if s)


def _closeness(folder: RunFolder, entries: Iterable[Mapping[str, Any]]) -> Iterable[Closeness]:
    for entry in entries:
        for when, node in (entry.get("closeness") or {}).items():
            states = (printable(read_json(folder, node, "closeness.json")) or {}).get("student_states")
            if states:
                measures = ("kl_student_teacher", "kl_teacher_student", "overlap", "top1")
                yield Closeness(when=when, seed=entry["seed"], **{name: states.get(name) for name in measures})
