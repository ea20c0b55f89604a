"""The report's tables as Markdown, for a README or a pull request: every seed shown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from headwater.evaluation.estimate import percent
from headwater.report.audits import audit_line
from headwater.report.rows import ArmRow, BenchmarkScore, ContrastRow, Summary, harness_seeds, label_range


def to_markdown(summary: Summary) -> str:
    """Arms with each seed's score, then contrasts with each seed's paired difference and the verdict."""
    lines = [*_arms(summary), "", *_contrasts(summary.contrasts)]
    for benchmark in summary.benchmarks[1:]:
        named = f"On {benchmark['name']} ({benchmark['problems']} problems):"
        lines += ["", named, "", *_contrasts(summary.contrasts_on(benchmark["name"]))]
    if line := audit_line(summary.audits):
        lines += ["", f"{line}."]
    return "\n".join(lines)


def _arms(summary: Summary) -> Iterator[str]:
    samples = summary.benchmark["samples"]
    others = [f"{benchmark['name']} avg@{benchmark['samples']} %" for benchmark in summary.benchmarks[1:]]
    first = ["arm", "", f"avg@{samples} %", "each seed", "spread", *(["lm-eval %"] if summary.harnessed else [])]
    columns = [*first, *others, "labels direct", "inherited", "updates"]
    yield _row(*columns)
    yield "|" + "---|" * len(columns)
    for arm in summary.arms:
        yield _row(
            arm.name,
            arm.title,
            "-" if arm.mean is None else f"**{percent(arm.mean)}**",
            ", ".join(_seeds(arm)),
            "-" if arm.spread is None else percent(arm.spread),
            *([harness_seeds(arm)] if summary.harnessed else []),
            *(f"{'-' if on.mean is None else percent(on.mean)} ({', '.join(_seeds(on))})" for on in arm.others),
            label_range(arm, "direct"),
            label_range(arm, "inherited"),
            str(arm.updates),
        )


def _seeds(on: ArmRow | BenchmarkScore) -> Iterator[str]:
    for score in on.scores:
        harness = f" [lm-eval {score.harness}]" if score.harness and isinstance(on, BenchmarkScore) else ""
        yield f"{score.average}{harness}" if score.average else score.state


def _contrasts(rows: Iterable[ContrastRow]) -> Iterator[str]:
    yield "| contrast | question | points | each seed | signs | p | verdict |"
    yield "|---|---|---|---|---|---|---|"
    for row in rows:
        yield _row(f"{row.treatment} − {row.control}", row.question, *_difference(row))


def _difference(row: ContrastRow) -> tuple[str, ...]:
    if row.difference is None or row.adjusted_p is None:
        return "-", "-", "-", "-", row.state
    each = ", ".join(str(seed) for seed in row.difference.per_seed)
    p = "< 0.001" if row.adjusted_p < 0.001 else f"{row.adjusted_p:.3f}"
    return str(row.difference.overall), each, row.signs, p, row.word


def _row(*cells: str) -> str:
    """A table row; a bar inside a text must not open a cell."""
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
