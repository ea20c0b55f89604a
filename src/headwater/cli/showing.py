"""The command that shows responses: show."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.text import Text

from headwater.cli.options import Runs, open_run
from headwater.errors import InputError


def show(
    run: Annotated[str, Parameter(help="a run")],
    arm: Annotated[str, Parameter(help="an arm of it, such as R3-full or 'raw student'")],
    *,
    wrong: Annotated[int, Parameter(help="responses that are not right")] = 3,
    right: Annotated[int, Parameter(help="responses that are right")] = 0,
    seed: Annotated[int | None, Parameter(help="training seed; the first that is measured if not given")] = None,
    benchmark: Annotated[str | None, Parameter(help="the primary one if not given")] = None,
    runs: Runs = Path("runs"),
) -> None:
    """Show responses of an arm's model: the prompt as the model saw it, the answer found, gold and verdict.

    Example: headwater show lab R3-full --wrong 5
    """
    from headwater.report.examples import rows_of  # noqa: PLC0415

    if min(wrong, right) < 0 or wrong + right == 0:
        raise InputError(f"show: --wrong {wrong} --right {right}; at least one response")
    kept = open_run(run, runs).responses(arm, seed, benchmark)
    rows = rows_of(kept, wrong=wrong, right=right)
    console = Console(highlight=False)
    for row in rows:
        verdict = row.verdict or "not graded"
        console.print(Text(f"problem {row.problem}: {verdict}", style="bold"))
        console.print(Text(row.prompt, style="dim"))
        console.print(Text(row.response))
        found = "no answer found" if row.answer is None else f"answer found: {row.answer}"
        console.print(Text(f"{found}; gold: {row.gold}; ended by {row.finish_reason}\n", style="italic"))
    wanted = ((right, "right"), (wrong, "wrong")) if right else ((wrong, "wrong"),)
    asked = ", ".join(f"{count} {word}" for count, word in wanted)
    print(f"{arm}: {len(rows)} of {len(kept):,} kept responses ({asked} asked)")
