"""The report's figures as SVG text: the same summary gives the same bytes.

Arms and comparisons are rows of dots (`dense`), drawn for a page and for a phone; the others are sized for a phone, 317
points wide, so that a page may scale them to any width. Better and worse differ in shape as well as colour, and what is
not resolved is hollow.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.path import Path
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from headwater.report import dense, spent
from headwater.report.rows import ConditionRow, Curve, Flow, Summary
from headwater.report.style import BLUE, FONTS, GREY, GRID, INK, LINES, MUTED, ORANGE, PARTS, STYLE, short

STRETCH = 1.4  # height of a column of bars over that of the bars alone
WIDTH = 4.4  # inches, 317 points


def contrasts_figure(summary: Summary) -> tuple[str, ...]:
    """Each planned comparison with its seeds, mean and 95 % interval; for a page and for a phone."""
    rows = summary.contrasts
    if not any(row.difference for row in rows):
        return ()
    return tuple(_drawn(lambda s=shape: dense.contrasts(rows, s)) for shape in dense.SHAPES)  # type: ignore[misc]


def arms_figure(summary: Summary) -> tuple[str, ...]:
    """Every arm's avg@k: each seed, the mean and its interval; for a page and for a phone."""
    if not any(arm.mean is not None for arm in summary.arms):
        return ()
    return tuple(_drawn(lambda s=shape: dense.arms(summary.arms, s)) for shape in dense.SHAPES)  # type: ignore[misc]


def quarters_figure(summary: Summary) -> tuple[str, ...]:
    """Where each arm gains, from the hardest quarter of the problems to the easiest; for a page and for a phone."""
    groups = {arm.name: arm.group for arm in summary.arms}
    if not summary.quarters:
        return ()
    return tuple(
        _drawn(lambda s=shape: dense.quarters(summary.quarters, groups, s))  # type: ignore[misc]
        for shape in dense.SHAPES
    )


def spent_figures(summary: Summary) -> list[tuple[str, str]]:
    """(title, SVG): right answers against labels, route by route where these are an axis, and against arithmetic."""
    drawn = (
        ("Right answers against labels", spent.against_labels),
        ("Each route along its labels, with standard errors", spent.along_labels),
        ("... against compute", spent.against_compute),
    )
    found = []
    for title, draw in drawn:
        if draw(summary.arms) is not None:
            found.append((title, _drawn(lambda d=draw: d(summary.arms))))  # type: ignore[misc]
    return found


def conditions_figure(summary: Summary) -> str | None:
    """C1 and C2 side by side: what each arm's teacher can do, and the student's distance to it over time."""
    if not any(row.closeness for row in summary.conditions):
        return None
    return _drawn(lambda: _conditions(summary.conditions))


def flow_figure(summary: Summary) -> str | None:
    """Bands from the halves of the labelled pool, through the stages that read them, to the arms."""
    return _drawn(lambda: _flow(summary.flows)) if summary.flows else None


def curve_figures(summary: Summary) -> list[tuple[str, str]]:
    """(title, SVG) of one small panel per stage, pool and learner; a line per node."""
    panels: dict[tuple[str, str, str, str], list[Curve]] = {}
    for curve in summary.curves:
        if curve.values:
            panels.setdefault((curve.stage, curve.learner, curve.pool, curve.metric), []).append(curve)
    figures = []
    for (stage, learner, pool, _), curves in panels.items():
        title = " ".join([stage, f"on {pool}" if pool else "", f"({learner})" if learner else ""]).strip()
        figures.append((title, _drawn(lambda c=curves: _panel(c))))  # type: ignore[misc]
    return figures


def _drawn(draw: Callable[[], Figure]) -> str:
    """The figure as SVG without XML prolog, doctype, metadata or dates."""
    buffer = io.StringIO()
    with mpl.rc_context(), warnings.catch_warnings():
        mpl.rcdefaults()  # a person's own matplotlibrc must not change the bytes
        mpl.rcParams.update(STYLE)
        warnings.filterwarnings("ignore", "Glyph")  # a glyph that DejaVu lacks is the reader's font's matter
        draw().savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    # Two decimals of a point in drawn paths are plenty, and halve the page.
    svg = re.sub(r' d="[^"]*"', lambda path: re.sub(r"(\.\d\d)\d+", r"\1", path[0]), svg)
    return svg.replace("'DejaVu Sans', sans-serif", FONTS).replace("'DejaVu Sans'", FONTS)


def _rows(count: int, pitch: float, bottom: float = 0.42, columns: int = 1) -> tuple[Figure, list[Axes]]:
    """A figure of `count` rows, row i at y = -i, its label above it; margins in inches."""
    height = count * pitch + bottom + 0.18
    figure = Figure(figsize=(WIDTH, height))
    axes = []
    for column in range(columns):
        left, width = 0.03 + column * 0.5, 0.94 / columns - (0.02 if columns > 1 else 0)
        ax = figure.add_axes((left, bottom / height, width, 1 - (bottom + 0.05) / height))
        ax.set_ylim(-count + 0.5, 0.72)
        ax.set_yticks([])
        ax.spines["left"].set_visible(False)
        ax.grid(axis="x", color=GRID, linewidth=0.7)
        ax.set_axisbelow(True)
        ax.tick_params(length=0, labelsize=8)
        axes.append(ax)
    return figure, axes


def _above(ax: Axes, row: int, text: str, right: tuple[str, str] | None = None, bold: int = 0) -> None:
    """A row's label over its marks, and (text, colour) at the right end."""
    place: dict[str, Any] = {"transform": ax.get_yaxis_transform(), "va": "center", "clip_on": False}
    ax.text(0.0, -row + 0.4, text[:bold] or text, weight="bold" if bold else "normal", **place)
    if right:
        ax.text(1.0, -row + 0.4, right[0], color=right[1], ha="right", weight="bold", **place)


def _conditions(rows: Sequence[ConditionRow]) -> Figure:
    figure, (left, right) = _rows(len(rows), 0.5, bottom=0.78, columns=2)
    left.set_xlim(0, 100)
    left.set_xlabel("C1: teacher's right answers, %", fontsize=8)
    right.set_xlabel("C2: KL student to teacher, nats", fontsize=8)
    for i, row in enumerate(rows):
        _above(left, i, short(row.arm, 22))
        shaped = "raw teacher" if row.shaped_by == "nothing" else f"teacher shaped by {row.shaped_by}"
        right.text(1.0, -i + 0.4, shaped, color=MUTED, ha="right", va="center", fontsize=7.6,
                   transform=right.get_yaxis_transform())  # fmt: skip
        before, after = row.teacher_before, row.teacher_after
        if before is not None and after is not None:
            left.plot([100 * before, 100 * after], [-i, -i], color=BLUE, linewidth=1.8)
        for value, style in ((before, _WHITE), (after, _FULL)):
            if value is not None and (style is _WHITE or row.shaped_by != "nothing"):
                left.plot([100 * value], [-i], **style)
        if row.student_end is not None:
            left.plot([100 * row.student_end], [-i], "D", color=ORANGE, markersize=4.6, mew=0)
        _distances(right, i, row)
    _logarithmic(right, "x")
    handles = [
        (_WHITE, "raw teacher / before"),
        (_HALF, "between stages"),
        (_FULL, "shaped teacher / end"),
        ({"marker": "D", "color": ORANGE, "linestyle": "", "markersize": 4.6, "mew": 0}, "student's end"),
    ]
    marks = [mpl.lines.Line2D([], [], **style) for style, _ in handles]
    figure.legend(marks, [name for _, name in handles], loc="lower center", ncol=2, fontsize=7.6,
                  handletextpad=0.2, columnspacing=1.4, borderaxespad=0.1)  # fmt: skip
    return figure


_DOT: dict[str, Any] = {"linestyle": "", "color": BLUE, "markersize": 6, "mew": 1.4}
_WHITE = _DOT | {"marker": "o", "markerfacecolor": "white"}
_HALF = _DOT | {"marker": "o", "markerfacecolor": "#9fcbe6"}
_FULL = _DOT | {"marker": "o", "markerfacecolor": BLUE}


def _distances(ax: Axes, i: int, row: ConditionRow) -> None:
    """The mean distance at each moment, joined in the order of time."""
    means: list[tuple[float, dict[str, Any]]] = []
    between = dict.fromkeys(c.when for c in row.closeness if c.when not in ("before", "end"))
    for when, style in (("before", _WHITE), *((when, _HALF) for when in between), ("end", _FULL)):
        found = [c.kl_student_teacher for c in row.closeness if c.when == when]
        positive = [value for value in found if value is not None and value > 0]
        if positive:
            means.append((sum(positive) / len(positive), style))
    ax.plot([value for value, _ in means], [-i] * len(means), color=BLUE, linewidth=1.4, alpha=0.5)
    for value, style in means:
        ax.plot([value], [-i], **style)


def _logarithmic(ax: Axes, name: str) -> None:
    """Makes the axis "x" or "y" logarithmic with plain numbers: the usual ones are formulas, which are off."""
    (ax.set_xscale if name == "x" else ax.set_yscale)("log")
    axis = ax.xaxis if name == "x" else ax.yaxis
    axis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())


def _panel(curves: Sequence[Curve]) -> Figure:
    labels = list(dict.fromkeys(curve.label for curve in curves))
    shown = labels[: len(LINES)]
    legend = 0.17 * min(len(shown), 5) + 0.06 if any(shown) else 0.0
    height = 1.85 + legend
    figure = Figure(figsize=(3.4, height))
    ax = figure.add_axes((0.13, (legend + 0.38) / height, 0.84, 1.24 / height))
    ax.grid(axis="y", color=GRID, linewidth=0.7)
    ax.tick_params(length=0, labelsize=7.5)
    for curve in curves:
        colour = LINES[labels.index(curve.label) % len(LINES)]
        ax.plot(curve.steps, curve.values, color=colour, linewidth=1.0, alpha=0.75)
    if curves[0].logarithmic and all(value > 0 for curve in curves for value in curve.values):
        _logarithmic(ax, "y")
    ax.set_title(curves[0].measure, fontsize=8, loc="left", color=MUTED, pad=4)
    ax.set_xlabel("update", fontsize=7.5, labelpad=1)
    for j, label in enumerate(shown[:5]):
        more = f"  (+ {len(labels) - 5} more)" if j == 4 and len(labels) > 5 else ""
        y = (legend - 0.1 - 0.17 * j) / height
        figure.text(0.05, y, "●", color=LINES[j], fontsize=8, va="center")
        figure.text(0.1, y, short(label, 46) + more, fontsize=7.5, va="center", color=INK)
    return figure


def _flow(flows: Sequence[Flow]) -> Figure:
    arms = list(dict.fromkeys(flow.arm for flow in flows))
    figure = Figure(figsize=(WIDTH, max(1.8, 0.42 * len(arms) + 0.5)))
    ax = figure.add_axes((0.0, 0.0, 1.0, 0.93))
    ax.set_axis_off()
    parts = sorted({flow.part for flow in flows})
    # Two rows of one stage where it is read through the teacher or by the student itself.
    stages = sorted({(not flow.inherited, flow.stage) for flow in flows})
    total = sum(flow.problems for flow in flows)
    left = _stack(flows, parts, lambda f: f.part, total)
    middle = _stack(flows, stages, lambda f: (not f.inherited, f.stage), total)
    right = _stack(flows, arms, lambda f: f.arm, total)
    for flow in flows:
        colour, n = PARTS.get(flow.part, GREY), flow.problems
        _band(ax, (0.075, left[flow]), (0.36, middle[flow]), n, colour)
        _band(ax, (0.385, middle[flow]), (0.66, right[flow]), n, colour)
    _bars(ax, 0.05, left, lambda f: f.part)
    _bars(ax, 0.36, middle, lambda f: (f.inherited, f.stage))
    _bars(ax, 0.66, right, lambda f: f.arm)
    for part in parts:
        low, high = _span(left, [f for f in flows if f.part == part])
        ax.text(0.04, (low + high) / 2, part, ha="right", va="center", weight="bold", color=PARTS.get(part, INK))
    for student, stage in stages:
        low, high = _span(middle, [f for f in flows if (not f.inherited, f.stage) == (student, stage)])
        text = f"{stage}\n({'direct' if student else 'inherited'})"
        ax.text(0.372, high + total * 0.012, text, ha="center", va="bottom", fontsize=7.6, linespacing=1.1)
    for arm in arms:
        own = [f for f in flows if f.arm == arm]
        low, high = _span(right, own)
        direct, inherited = (sum(f.problems for f in own if f.inherited is side) for side in (False, True))
        counts = " + ".join(f"{n:g} {word}" for n, word in ((inherited, "inherited"), (direct, "direct")) if n)
        middle_y = (low + high) / 2
        ax.text(0.70, middle_y, short(arm, 18), va="bottom", weight="bold", fontsize=8)
        ax.text(0.70, middle_y, counts, va="top", fontsize=7, color=MUTED)
    ax.set_xlim(0, 1)
    ax.set_ylim(-0.02 * total, (STRETCH + 0.1) * total)
    return figure


def _stack(flows: Iterable[Flow], order: Sequence[Any], key: Callable[[Flow], Any], total: float) -> dict[Flow, float]:
    """Each flow's lower edge in its column: bars in `order` from the top, gaps that fill the same height."""
    flows = list(flows)
    height = STRETCH * total
    gap = (height - total) / max(1, len(order) - 1) if len(order) > 1 else 0.0
    top = height if len(order) > 1 else height - (height - total) / 2
    edges: dict[Flow, float] = {}
    for name in order:
        for flow in (flow for flow in flows if key(flow) == name):
            top -= flow.problems
            edges[flow] = top
        top -= gap
    return edges


def _span(edges: dict[Flow, float], flows: Sequence[Flow]) -> tuple[float, float]:
    return min(edges[flow] for flow in flows), max(edges[flow] + flow.problems for flow in flows)


def _band(ax: Axes, start: tuple[float, float], end: tuple[float, float], n: float, colour: str) -> None:
    (x0, y0), (x1, y1) = start, end
    x = (x0 + x1) / 2
    lower = [(x0, y0), (x, y0), (x, y1), (x1, y1)]
    points = [*lower, *((px, py + n) for px, py in reversed(lower)), (x0, y0)]
    codes = [Path.MOVETO, *[Path.CURVE4] * 3, Path.LINETO, *[Path.CURVE4] * 3, Path.CLOSEPOLY]
    ax.add_patch(PathPatch(Path(points, codes), facecolor=colour, alpha=0.4, linewidth=0.3, edgecolor="white"))


def _bars(ax: Axes, x: float, edges: dict[Flow, float], key: Callable[[Flow], Any]) -> None:
    for name in dict.fromkeys(key(flow) for flow in edges):
        low, high = _span(edges, [flow for flow in edges if key(flow) == name])
        ax.add_patch(Rectangle((x, low), 0.025, high - low, facecolor="#44505c", linewidth=0))
