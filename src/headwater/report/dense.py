"""Rows of dots that use the page: a name left of the axis, every seed, the interval and the number, sorted in groups.

Each picture is drawn twice, for a page and for a phone; text keeps a size that can be read on either.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import sqrt

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from scipy.special import stdtrit

from headwater.evaluation.estimate import TAIL, percent
from headwater.evaluation.verdict import BETTER, HIGHER, LOWER, OPEN, WORSE
from headwater.report.rows import ArmRow, ContrastRow, QuarterRow
from headwater.report.style import BLUE, GREEN, GREY, GRID, INK, LINES, MUTED, ORANGE, short

VERDICTS = {
    BETTER: (BLUE, "o", BLUE),
    WORSE: (ORANGE, "s", ORANGE),
    HIGHER: (INK, "o", "white"),  # one seed: no colour of victory
    LOWER: (INK, "s", "white"),
    OPEN: (GREY, "o", "white"),
}
GROUPS = (("route", "Routes", BLUE), ("endpoint", "Transfer endpoints", GREEN), ("model", "Models", GREY))
LINEAR = 10.0  # points around 0 within which the axis of differences is linear
TICKS = (-100, -50, -20, -10, -5, 0, 5, 10, 20, 50, 100)


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Of a page or of a phone; inches, and characters of a name."""

    width: float
    left: float
    right: float
    row: float
    name: int
    title: bool


WIDE = Shape(width=10.0, left=3.7, right=2.2, row=0.24, name=58, title=True)
NARROW = Shape(width=4.4, left=1.5, right=0.62, row=0.25, name=22, title=False)
SHAPES = (WIDE, NARROW)


@dataclass(frozen=True, kw_only=True)
class Row:
    """A line of the picture: a heading where `draw` is None."""

    name: str
    title: str = ""
    right: str = ""
    colour: str = INK
    draw: Callable[[Axes, float], None] | None = field(default=None)


def arms(found: Sequence[ArmRow], shape: Shape) -> Figure:
    """Every arm's avg@k, the best first in each group."""
    rows: list[Row] = []
    known = {group for group, _, _ in GROUPS}
    for group, heading, colour in (*GROUPS, ("", "Other arms", GREY)):
        members = [arm for arm in found if (arm.group == group if group else arm.group not in known)]
        if members:
            rows.append(Row(name=heading, colour=MUTED))
        for arm in sorted(members, key=lambda arm: (-(arm.mean if arm.mean is not None else -1.0), arm.name)):
            rows.append(
                Row(
                    name=arm.name,
                    title=arm.title,
                    right=percent(arm.mean) if arm.mean is not None else short(arm.state, 11),
                    colour=colour if arm.mean is not None else MUTED,
                    draw=lambda ax, y, arm=arm, colour=colour: _arm(ax, y, arm, colour),  # type: ignore[misc]
                )
            )
    figure, ax = _figure(rows, replace(shape, right=NARROW.right), "right answers, %")
    ax.set_xlim(0, 100)
    return figure


def contrasts(found: Sequence[ContrastRow], shape: Shape) -> Figure:
    """Every planned comparison in its order: seeds, mean and 95 % interval."""
    limit = min(100.0, 1.15 * max(_extent(row) for row in found if row.difference))
    rows = [
        Row(
            name=f"{row.treatment} − {row.control}",
            title=row.question,
            right=_said(row, shape),
            colour=VERDICTS[row.word][0] if row.difference else MUTED,
            draw=lambda ax, y, row=row: _contrast(ax, y, row, limit),  # type: ignore[misc]
        )
        for row in found
    ]
    figure, ax = _figure(rows, shape, "← control higher   points   treatment higher →")
    ax.set_xscale("symlog", linthresh=LINEAR, linscale=1.0)
    ax.set_xlim(-max(limit, LINEAR), max(limit, LINEAR))
    wanted = TICKS if shape.title else (-50, -10, 0, 10, 50)
    ax.xaxis.set_major_locator(FixedLocator([tick for tick in wanted if abs(tick) <= max(limit, LINEAR)]))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:+g}".replace("-", "−") if value else "0"))
    ax.axvline(0, color=INK, linewidth=0.9)
    return figure


def quarters(found: Sequence[QuarterRow], groups: Mapping[str, str], shape: Shape) -> Figure:
    """A line an arm over quarters of the problems, routes in colour."""
    height = 2.6 + (0.0 if shape.title else 0.17 * min(len(found), 8))
    figure = Figure(figsize=(shape.width, height))
    right = 0.74 if shape.title else 0.97
    bottom = 0.2 if shape.title else 0.17 + 0.17 * min(len(found), 8) / height
    ax = figure.add_axes((0.06 if shape.title else 0.1, bottom, right - (0.06 if shape.title else 0.1), 0.93 - bottom))
    ax.grid(axis="y", color=GRID, linewidth=0.7)
    ax.tick_params(length=0, labelsize=8)
    ax.set_ylim(-2, 102)
    ax.set_xticks(range(4), ["hardest", "2nd", "3rd", "easiest"])
    ax.set_xlabel("quarter of the problems, by the mean of all arms", fontsize=8)
    routes = [row for row in found if groups.get(row.arm) == "route"] or list(found)
    for row in found:
        if row not in routes:
            ax.plot(range(4), [100 * share for share in row.shares], color=GRID, linewidth=1.0, zorder=1)
    for i, row in enumerate(routes):
        style = "-" if i < len(LINES) else "--"
        ax.plot(range(4), [100 * share for share in row.shares], style, color=LINES[i % len(LINES)], linewidth=1.5,
                marker="o", markersize=3.5, zorder=2)  # fmt: skip
        if i < 12:
            x, y = (0.76, 0.88 - 0.068 * i) if shape.title else (0.06, (0.17 * (len(found) - i) - 0.1) / height)
            if y > 0:
                figure.text(x, y, f"● {short(row.arm, 24)}", color=LINES[i % len(LINES)], fontsize=8, va="center")
    return figure


def _figure(rows: Sequence[Row], shape: Shape, label: str) -> tuple[Figure, Axes]:
    bottom, top = 0.42, 0.08
    height = len(rows) * shape.row + bottom + top
    figure = Figure(figsize=(shape.width, height))
    left, width = shape.left / shape.width, 1 - (shape.left + shape.right) / shape.width
    ax = figure.add_axes((left, bottom / height, width, 1 - (bottom + top) / height))
    ax.set_ylim(-len(rows) + 0.5, 0.5)
    ax.set_yticks([])
    ax.spines["left"].set_visible(False)
    ax.grid(axis="x", color=GRID, linewidth=0.7)
    ax.set_axisbelow(True)
    ax.tick_params(length=0, labelsize=8)
    ax.set_xlabel(label, fontsize=8)
    for i, row in enumerate(rows):
        y = (height - top - (i + 0.5) * shape.row) / height
        if row.draw is None:
            figure.text(0.004, y, row.name, fontsize=8, color=row.colour, va="center", weight="bold")
            continue
        ax.axhline(-i, color=GRID, linewidth=0.5, zorder=0)
        name = short(row.name, shape.name)
        figure.text(0.012, y, name, va="center", weight="bold", fontsize=8.5)
        if shape.title and len(name) < 26:
            figure.text(1.62 / shape.width, y, short(row.title, 38), va="center", fontsize=7.6, color=MUTED)
        figure.text(1 - (shape.right - 0.08) / shape.width, y, row.right, va="center", color=row.colour, weight="bold",
                    fontsize=8.5)  # fmt: skip
        row.draw(ax, -i)
    return figure, ax


def _arm(ax: Axes, y: float, arm: ArmRow, colour: str) -> None:
    done = [score.average for score in arm.scores if score.average]
    if arm.mean is None:
        return
    low, high = done[0].low, done[0].high
    if len(done) > 1 and arm.spread is not None:
        width = float(-stdtrit(len(done) - 1, TAIL)) * arm.spread / sqrt(len(done))
        low, high = max(0.0, arm.mean - width), min(1.0, arm.mean + width)
    ax.plot([100 * low, 100 * high], [y, y], color=colour, linewidth=2.4, alpha=0.35, solid_capstyle="round", zorder=2)
    ax.plot([100 * one.mean for one in done], [y] * len(done), "o", color=colour, markersize=4, mew=0, alpha=0.75)
    ax.plot([100 * arm.mean] * 2, [y - 0.32, y + 0.32], color=INK, linewidth=1.6, zorder=3)


def _contrast(ax: Axes, y: float, row: ContrastRow, limit: float) -> None:
    if row.difference is None:
        return
    overall = row.difference.overall
    colour, marker, face = VERDICTS[row.word]
    low, high, mean = (max(-limit, min(limit, 100 * value)) for value in (overall.low, overall.high, overall.mean))
    ax.plot([low, high], [y, y], color=colour, linewidth=2.0, alpha=0.5, solid_capstyle="round", zorder=2)
    seeds = [100 * seed.mean for seed in row.difference.per_seed]
    ax.plot(seeds, [y] * len(seeds), "|", color=colour, markersize=7, mew=1.1, zorder=3)
    ax.plot([mean], [y], marker, color=colour, markerfacecolor=face, markersize=6, mew=1.5, zorder=4)
    for end, value in ((-limit, overall.low), (limit, overall.high)):
        if abs(100 * value) > limit and value * end > 0:
            ax.plot([end], [y], "<" if end < 0 else ">", color=colour, markersize=5, clip_on=False)


def _extent(row: ContrastRow) -> float:
    assert row.difference is not None  # noqa: S101
    return max(LINEAR, 100 * max(abs(row.difference.overall.low), abs(row.difference.overall.high)))


def _said(row: ContrastRow, shape: Shape) -> str:
    if row.difference is None:
        return short(row.state, 11)
    mean = row.difference.overall.mean
    points = f"{'+' if mean > 0 else ''}{percent(mean)}".replace("-", "−")
    return f"{points}  {row.word}" if shape.title else points
