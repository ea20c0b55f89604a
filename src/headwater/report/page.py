"""The report as one HTML file that needs nothing else: no scripts, no network, figures inside.

Every text from a run is escaped by jinja2, and figures are images in data URIs, where SVG can run nothing.
The same run folder gives the same bytes.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2

from headwater.evaluation.estimate import percent
from headwater.evaluation.verdict import BETTER, detects
from headwater.report import figures
from headwater.report.audits import audit_line
from headwater.report.costs import amount, duration, label_words
from headwater.report.results import mean
from headwater.report.rows import ConditionRow, Summary, harness_seeds, label_range
from headwater.report.summary import summarise

if TYPE_CHECKING:
    from headwater.folder import RunFolder

NOTHING = "–"
GROUPS = (
    ("route", "Routes"),
    ("endpoint", "Transfer endpoints: no labels for the student"),
    ("model", "The models themselves"),
)


def write_page(folder: RunFolder, path: str | Path) -> None:
    """Writes the run's report to `path`; a reader never meets half a page."""
    path = Path(path)
    unfinished = path.with_name(path.name + ".part")
    unfinished.unlink(missing_ok=True)  # what a crash left, or a link that leads elsewhere
    unfinished.write_text(render_page(summarise(folder)), encoding="utf-8", newline="\n")
    os.replace(unfinished, path)


def render_page(summary: Summary) -> str:
    """The page's HTML."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": lambda share: NOTHING if share is None else percent(share),
        "signed": _signed,
        "number": _number,
        "p_value": _p_value,
        "pretty": lambda value: json.dumps(value, indent=2, ensure_ascii=False),
        "whole": lambda count: f"{count:,.0f}",
    }
    return environment.get_template("page.html.jinja").render(
        summary=summary,
        groups=[(title, [arm for arm in summary.arms if arm.group == group]) for group, title in GROUPS]
        + [("Other arms", [arm for arm in summary.arms if arm.group not in dict(GROUPS)])],
        not_held=[row for row in summary.contrasts if row.word != BETTER],
        closeness_at=_closeness_at,
        moments=_moments(summary),
        label_range=label_range,
        harness_seeds=harness_seeds,
        detects=detects,
        label_words=label_words,
        audit_line=audit_line,
        amount=amount,
        duration=duration,
        seconds=_total(node.seconds for stage in summary.stages for node in stage.nodes),
        tokens=_total(node.tokens for stage in summary.stages for node in stage.nodes),
        **_images(summary),
    )


def _images(summary: Summary) -> dict[str, Any]:
    return {
        "contrasts_image": _both(figures.contrasts_figure(summary)),
        "arms_image": _both(figures.arms_figure(summary)),
        "quarters_image": _both(figures.quarters_figure(summary)),
        "spent_images": [(title, _image(svg)) for title, svg in figures.spent_figures(summary)],
        "conditions_image": _image(figures.conditions_figure(summary)),
        "flow_image": _image(figures.flow_figure(summary)),
        "curve_images": [(title, _image(svg)) for title, svg in figures.curve_figures(summary)],
    }


def _both(svgs: tuple[str, ...]) -> tuple[str | None, ...]:
    """The same picture for a page and for a phone."""
    return tuple(_image(svg) for svg in svgs)


def _image(svg: str | None) -> str | None:
    return None if svg is None else "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()


def _signed(share: float | None) -> str:
    """A difference in points with its sign and a true minus."""
    if share is None:
        return NOTHING
    text = percent(share)
    return text.replace("-", "−") if text.startswith("-") or text == "0.0" else f"+{text}"


def _number(value: float | None, digits: int = 2) -> str:
    return NOTHING if value is None else f"{value:.{digits}f}"


def _p_value(p: float | None) -> str:
    if p is None:
        return NOTHING
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def _moments(summary: Summary) -> tuple[str, ...]:
    """When closeness was measured: before the transfer, between its stages, at its end."""
    found = dict.fromkeys(point.when for row in summary.conditions for point in row.closeness)
    return ("before", *(when for when in found if when not in ("before", "end")), "end")


def _closeness_at(row: ConditionRow, when: str, measure: str) -> float | None:
    """The mean over seeds of a closeness measure at one moment."""
    return mean(getattr(found, measure) for found in row.closeness if found.when == when)


def _total(values: Iterable[float | None]) -> float:
    return sum(value for value in values if value is not None)
