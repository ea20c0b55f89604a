"""What accuracy was bought with: every arm against its labels, and against its arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

from headwater.report.costs import amount
from headwater.report.dense import GROUPS
from headwater.report.rows import ArmRow
from headwater.report.style import GREY, GRID, INK, LINES, MUTED, short

NAMED = 14  # arms whose name is written; routes first
APART = 5.2  # points between two names


def against_labels(arms: Sequence[ArmRow]) -> Figure | None:
    """Right answers against distinct labels, a teacher's included."""
    return _scatter(
        [(arm, float(arm.labels[0].distinct)) for arm in arms if arm.labels], "labels, a teacher's included"
    )


def along_labels(arms: Sequence[ArmRow]) -> Figure | None:
    """Right answers against labels spent, a line for each route that was made with several numbers of labels.

    A bar is one standard error either way: over seeds where there are several, else over problems. The models that
    taught are dashed.
    """
    lines: dict[str, list[tuple[float, float, float]]] = {}
    models = {arm.family or arm.name for arm in arms if arm.group == "model"}
    for arm in arms:
        if arm.labels and arm.mean is not None and arm.error is not None:
            spent = fmean(use.distinct for use in arm.labels)
            lines.setdefault(arm.family or arm.name, []).append((spent, 100 * arm.mean, 100 * arm.error))
    lines = {name: sorted(points) for name, points in lines.items() if len({x for x, _, _ in points}) > 1}
    if not lines:
        return None
    figure, ax = _empty("labels, a teacher's included")
    ax.set_xscale("log", base=2)
    ax.xaxis.set_major_locator(FixedLocator(sorted({x for points in lines.values() for x, _, _ in points})))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.xaxis.set_minor_locator(NullLocator())
    ends = sorted(((points[-1], name) for name, points in lines.items()), key=lambda end: -end[0][1])
    colours = {name: LINES[i % len(LINES)] for i, name in enumerate(lines)}
    for name, points in lines.items():
        x, y, error = zip(*points, strict=True)
        ax.errorbar(x, y, yerr=error, label=name, color=colours[name], marker="o", markersize=4.5, linewidth=1.2,
                    capsize=2, linestyle="--" if name in models else "-")  # fmt: skip
    edge = ax.get_xlim()[1]
    for ((last, height, _), name), place in zip(ends[:NAMED], _apart([end[0][1] for end in ends[:NAMED]]), strict=True):
        ax.plot([last, edge], [height, place], color=GRID, linewidth=0.7, zorder=0, clip_on=False)
        ax.annotate(f" {short(name, 17)} {height:.0f}", (edge, place), va="center", fontsize=7.8, annotation_clip=False,
                    color=colours[name])  # fmt: skip
    ax.set_xlim(right=edge)
    return figure


def against_compute(arms: Sequence[ArmRow]) -> Figure | None:
    """Right answers against FLOPs at most, else against tokens trained on; raw models spend nothing."""
    flops = [(arm, arm.cost.flops) for arm in arms if arm.cost.flops]
    tokens = [(arm, arm.cost.tokens) for arm in arms if arm.cost.tokens]
    found, label = (flops, "FLOPs at most, raw models not counted") if flops else (tokens, "response tokens trained on")
    return _scatter([(arm, float(x)) for arm, x in found if x], label, logarithmic=True)


def _scatter(found: Sequence[tuple[ArmRow, float]], label: str, *, logarithmic: bool = False) -> Figure | None:
    points = [(arm, x, 100 * arm.mean) for arm, x in found if arm.mean is not None]
    if not points:
        return None
    figure, ax = _empty(label)
    if logarithmic:
        ax.set_xscale("log")
        ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: amount(value)))
        ax.xaxis.set_minor_locator(NullLocator())
    colours = {group: colour for group, _, colour in GROUPS}
    for arm, x, y in points:
        colour = colours.get(arm.group, GREY)
        seeds = [100 * score.average.mean for score in arm.scores if score.average]
        ax.plot([x, x], [min(seeds), max(seeds)], color=colour, linewidth=1.2, alpha=0.45)
        ax.plot([x], [y], "o", color=colour, markersize=5.5, mew=0)
    order = {group: place for place, (group, _, _) in enumerate(GROUPS)}
    chosen = sorted(points, key=lambda point: (order.get(point[0].group, 3), -point[2], point[0].name))[:NAMED]
    edge = ax.get_xlim()[1]
    places = _apart([point[2] for point in chosen])
    for (arm, x, y), place in zip(sorted(chosen, key=lambda point: -point[2]), places, strict=True):
        colour = colours.get(arm.group, GREY)
        ax.plot([x, edge], [y, place], color=GRID, linewidth=0.7, zorder=0, clip_on=False)
        ax.annotate(f" {short(arm.name, 17)} {y:.0f}", (edge, place), va="center", fontsize=7.8, annotation_clip=False,
                    color=colour if arm.group == "route" else MUTED)  # fmt: skip
    ax.set_xlim(right=edge)
    return figure


def _empty(label: str) -> tuple[Figure, Axes]:
    """A picture of per cents, with room for names at its right."""
    figure = Figure(figsize=(4.9, 3.3))
    ax = figure.add_axes((0.09, 0.14, 0.56, 0.82))
    ax.grid(color=GRID, linewidth=0.6)
    ax.set_axisbelow(True)
    ax.tick_params(length=0, labelsize=8)
    ax.set_ylim(-3, 103)
    ax.set_xlabel(label, fontsize=8)
    ax.spines["bottom"].set_color(INK)
    return figure, ax


def _apart(heights: Sequence[float]) -> list[float]:
    """Where names stand, from the top: at their point's height, moved down where they would meet, then up again."""
    places: list[float] = []
    for y in sorted(heights, reverse=True):
        places.append(min(y, places[-1] - APART) if places else min(y, 100.0))
    floor = 0.0
    for i in range(len(places) - 1, -1, -1):
        places[i] = max(places[i], floor)
        floor = places[i] + APART
    return places
