"""What each arm took: tokens, arithmetic and time of all that its model comes from, but for the raw models."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from headwater.report.results import mean, printable, read_json, read_lines
from headwater.report.rows import ArmCost, LabelUse

if TYPE_CHECKING:
    from headwater.folder import RunFolder

_UNITS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def cost(folder: RunFolder, graph: Mapping[str, Any], entries: Sequence[Mapping[str, Any]]) -> ArmCost:
    """Means over the seeds whose stages are done; None where nothing is known."""
    seeds = [_work(graph, entry["stages"]) for entry in entries if all(map(folder.done, entry["stages"]))]
    seeds = [nodes for nodes in seeds if nodes]
    return ArmCost(
        tokens=mean(_sum(_tokens(folder, node) for node in nodes) for nodes in seeds),
        flops=mean(_sum(_flops(graph, node) for node in nodes) for nodes in seeds),
        seconds=mean(_sum(_seconds(folder, node) for node in nodes) for nodes in seeds),
    )


def _work(graph: Mapping[str, Any], stages: Sequence[str]) -> list[str]:
    """The stages and the recordings that they come from."""
    found: dict[str, None] = {}
    left = list(stages)
    while left:
        node = left.pop()
        if node not in found and graph["nodes"][node]["kind"] not in ("pretrain", "model"):
            found[node] = None
            left += graph["nodes"][node]["parents"].values()
    return list(found)


def _tokens(folder: RunFolder, node: str) -> float | None:
    """Response tokens that were trained on; a recording trains on none."""
    lines = read_lines(folder, node, "metrics.jsonl")
    return sum(line["metrics"].get("tokens") or 0.0 for line in lines) or None if lines else 0.0


def _flops(graph: Mapping[str, Any], node: str) -> float | None:
    value = graph["nodes"][node].get("flops")
    return None if value is None else float(value)


def _seconds(folder: RunFolder, node: str) -> float | None:
    seconds = (printable(read_json(folder, node, "timing.json")) or {}).get("seconds")
    return None if seconds is None else float(seconds)


def _sum(values: Iterable[float | None]) -> float | None:
    """The sum, or None where a part is not known."""
    found = list(values)
    return None if None in found else sum(value for value in found if value is not None)


def label_words(use: LabelUse) -> str:
    """An arm's labels in words: how many, who read them, and which were read by both."""
    both = use.direct + use.inherited - use.distinct
    if not use.distinct:
        return "no labels"
    if not use.inherited or not use.direct:
        return f"{use.distinct} labels, read by the {'student' if use.direct else 'teacher'}"
    if both == use.direct == use.inherited:
        return f"{use.distinct} labels, the same for teacher and student"
    shared = f", {both} of them the same" if both else ""
    return f"{use.distinct} labels: {use.inherited} read by the teacher, {use.direct} by the student{shared}"


def amount(value: float | None) -> str:
    """A large number with a unit: 1.2M; a dash where it is not known."""
    if value is None:
        return "–"
    return next((f"{value / unit:.3g}{name}" for unit, name in _UNITS if value >= unit), f"{value:.0f}")


def duration(seconds: float | None) -> str:
    """Seconds as a person says them."""
    if seconds is None:
        return "–"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def cost_words(took: ArmCost) -> str:
    """Tokens, arithmetic and time of an arm, as far as they are known."""
    flops = "" if took.flops is None else f"{took.flops:.1e} FLOPs at most".replace("e+", "e")
    tokens = "" if took.tokens is None else f"{amount(took.tokens)} tokens trained on"
    time = "" if took.seconds is None else f"{duration(took.seconds)} of one worker"
    return ", ".join(part for part in (tokens, flops, time) if part) or "cost not known yet"
