"""The report's tables in a terminal. Texts from a run are never read as markup."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from headwater.evaluation.estimate import percent
from headwater.evaluation.verdict import BETTER, WORSE, detects
from headwater.report.audits import audit_line
from headwater.report.rows import MEASURED, ArmRow, ContrastRow, Summary, label_range

COLOURS = {BETTER: "bold cyan", WORSE: "bold yellow"}  # one seed's words have none
NARROW = 96  # columns below which the less needed columns go


def print_summary(summary: Summary, console: Console) -> None:
    """Prints headline, notes, arms and contrasts; fits 100 columns and drops detail below that."""
    wide = console.width >= NARROW
    done = f"{summary.evaluations_done} of {summary.evaluations_planned} evaluations done"
    seeds = f"seeds {', '.join(map(str, summary.seeds))}"
    console.print(Text(f"{summary.name}: {done}, {seeds}", style="bold"))
    console.print(Text(summary.headline))
    for note in summary.notes:
        console.print(Text(f"note: {note}", style="bold yellow"))
    if len(summary.benchmarks) > 1:
        console.print(Text(f"avg % and comparisons first on {summary.benchmark['name']}, the primary benchmark"))
    console.print(_arms(summary, wide))
    if summary.contrasts:
        console.print(_contrasts(summary.contrasts, wide))
    for benchmark in summary.benchmarks[1:]:
        rows = summary.contrasts_on(benchmark["name"])
        console.print(Text(f"on {benchmark['name']}, {benchmark['problems']} problems:", style="bold"))
        console.print(_contrasts(rows, wide) if rows else Text("no comparison is planned"))
    if line := audit_line(summary.audits):
        console.print(Text(f"{line}."))
    hidden = ": a true difference below 'sees' can hide here." if wide else "."
    console.print(Text(f"Not resolved is not equal{hidden}", style="dim"))


def _arms(summary: Summary, wide: bool) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    table.add_column("arm", overflow="fold")
    table.add_column("avg %", justify="right", no_wrap=True)
    table.add_column("± seeds", justify="right", no_wrap=True)
    if wide:
        table.add_column("by seed", justify="left", overflow="fold", max_width=30)
    if summary.harnessed:
        table.add_column("lm-eval %", justify="right", no_wrap=True)
    for benchmark in summary.benchmarks[1:]:
        table.add_column(benchmark["name"], justify="right", overflow="fold", max_width=12)
    table.add_column("direct", justify="right", no_wrap=True)
    table.add_column("inherited", justify="right", no_wrap=True)
    table.add_column("tokens", justify="right", no_wrap=True)
    if wide:
        table.add_column("cut %", justify="right", no_wrap=True)
    table.add_column("ungraded", justify="right", no_wrap=True)
    for arm in summary.arms:
        table.add_row(*(Text(cell) for cell in _arm_cells(arm, wide, summary.harnessed)))
    return table


def _arm_cells(arm: ArmRow, wide: bool, harnessed: bool) -> list[str]:
    seeds = " ".join(percent(s.average.mean) if s.average else "·" for s in arm.scores)
    return [
        arm.name if arm.state == MEASURED else f"{arm.name} ({arm.state})",
        _percent(arm.mean),
        _percent(arm.spread),
        *([seeds] if wide else []),
        *([_percent(arm.harness)] if harnessed else []),
        *(_percent(other.mean) for other in arm.others),
        label_range(arm, "direct"),
        label_range(arm, "inherited"),
        "–" if arm.response_tokens is None else f"{arm.response_tokens:.1f}",
        *([_percent(arm.truncated)] if wide else []),
        "–" if arm.ungraded is None else str(arm.ungraded),
    ]


def _contrasts(rows: Sequence[ContrastRow], wide: bool) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    table.add_column("treatment − control", overflow="fold")
    table.add_column("points", justify="right", no_wrap=True)
    table.add_column("95 %", justify="right", no_wrap=True)
    if wide:
        table.add_column("p", justify="right", no_wrap=True)
        table.add_column("sees", justify="right", no_wrap=True)
        table.add_column("signs", justify="right", no_wrap=True)
    table.add_column("verdict")
    for row in rows:
        cells = [Text(cell) for cell in _contrast_cells(row, wide)]
        said = row.word if row.state == MEASURED else f"{row.state}: {row.reason}"
        table.add_row(*cells, Text(said, style=COLOURS.get(row.word, "")))
    return table


def _contrast_cells(row: ContrastRow, wide: bool) -> list[str]:
    name = f"{row.treatment} − {row.control}"
    if row.difference is None or row.adjusted_p is None:
        return [name, "–", "–", *(["–"] * 3 if wide else [])]
    overall = row.difference.overall
    cells = [name, percent(overall.mean), f"{percent(overall.low)} to {percent(overall.high)}"]
    if wide:
        p = "< 0.001" if row.adjusted_p < 0.001 else f"{row.adjusted_p:.3f}"
        cells += [p, detects(row.difference), row.signs]
    return cells


def _percent(share: float | None) -> str:
    return "–" if share is None else percent(share)
