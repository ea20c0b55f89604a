"""The report's two tables as Markdown, for a README or a pull request: every seed shown."""

from __future__ import annotations

from collections.abc import Iterator

from headwater.evaluation.estimate import percent
from headwater.report.rows import ArmRow, ContrastRow, Summary, label_range


def to_markdown(summary: Summary) -> str:
    """Arms with each seed's score, then contrasts with each seed's paired difference and the verdict."""
    return "\n".join([*_arms(summary), "", *_contrasts(summary)])


def _arms(summary: Summary) -> Iterator[str]:
    samples = summary.benchmark["samples"]
    yield f"| arm | | avg@{samples} % | each seed | spread | labels direct | inherited | updates |"
    yield "|---|---|---|---|---|---|---|---|"
    for arm in summary.arms:
        yield _row(
            arm.name,
            arm.title,
            "-" if arm.mean is None else f"**{percent(arm.mean)}**",
            ", ".join(_seeds(arm)),
            "-" if arm.spread is None else percent(arm.spread),
            label_range(arm, "direct"),
            label_range(arm, "inherited"),
            str(arm.updates),
        )


def _seeds(arm: ArmRow) -> Iterator[str]:
    for score in arm.scores:
        yield str(score.average) if score.average else score.state


def _contrasts(summary: Summary) -> Iterator[str]:
    yield "| contrast | question | points | each seed | each seed beyond 2 errors | p (Holm) | verdict |"
    yield "|---|---|---|---|---|---|---|"
    for row in summary.contrasts:
        yield _row(f"{row.treatment} − {row.control}", row.question, *_difference(row))


def _difference(row: ContrastRow) -> tuple[str, ...]:
    if row.difference is None or row.adjusted_p is None:
        return "-", "-", "-", "-", row.state
    each = ", ".join(str(seed) for seed in row.difference.per_seed)
    p = "< 0.001" if row.adjusted_p < 0.001 else f"{row.adjusted_p:.3f}"
    return str(row.difference.overall), each, "yes" if row.every_seed else "no", p, row.word


def _row(*cells: str) -> str:
    """A table row; a bar inside a text must not open a cell."""
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
