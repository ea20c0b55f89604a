"""The command that advises before labels are spent: advise."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console

from headwater.cli.options import DropOverlap, Overrides, RecipeName, Runs, command, read


def advise(
    recipe: RecipeName = "lab",
    *,
    name: Annotated[str | None, Parameter(help="name of the run's folder; the recipe's name if not given")] = None,
    overrides: Overrides = None,
    drop_overlap: DropOverlap = False,
    runs: Runs = Path("runs"),
    workers: Annotated[int | None, Parameter(help="worker processes, as in run")] = None,
    commit_seconds: Annotated[float, Parameter(help="seconds between commits of work in progress")] = 60.0,
    as_json: Annotated[bool, Parameter(name="--json")] = False,
) -> None:
    """Say which route the labels deserve: a pilot on 128 problems of the pool, a rule, and what each route costs.

    The pilot is made in the folder of the run, with the recipe's first seed; what both need is made once. The labels it
    reads are noted in the ledger as `pilot`. The same command goes on where it stopped.

    Example: headwater advise lab
    """
    from headwater.advice import advise as advised  # noqa: PLC0415
    from headwater.advice import lines  # noqa: PLC0415
    from headwater.run import RunOptions  # noqa: PLC0415

    chosen = read(recipe, {"name": name}, overrides, drop_overlap, runs)
    options = RunOptions(runs=runs, workers=workers, commit_seconds=commit_seconds)
    found = advised(chosen, options, Console(stderr=as_json))
    if as_json:
        print(json.dumps(found.to_json(), indent=1))
        return
    print("\n".join(lines(found)))
    settings = [word for override in overrides or [] for word in ("--set", override)]
    settings += ["--drop-overlap"] if drop_overlap else []
    print(f"next: {command('run', recipe, runs, [*(['--name', name] if name else []), *settings])}")
