"""What the commands share: options by name, a recipe with its flags, a run's folder, a command to go on with."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from headwater.errors import InputError

RecipeName = Annotated[str, Parameter(help="a shipped recipe (lab, smollm2, qwen3-math, ...) or a YAML file")]
Overrides = Annotated[
    list[str] | None, Parameter(name="--set", help="dotted override, such as stages.student_rl.epochs=10")
]
DropOverlap = Annotated[
    bool, Parameter(negative="", help="take benchmark problems out of the pool; the report says how many")
]
Runs = Annotated[Path, Parameter(help="folder that holds the runs")]

MOST_SEEDS = 1000


def read(
    source: str, flags: dict[str, str | int | None], overrides: list[str] | None, drop_overlap: bool = False
) -> Any:
    """A recipe with the flags that are short for overrides."""
    from headwater.routes.recipe import read_recipe  # noqa: PLC0415

    chosen = list(overrides or [])
    routes, seeds, name = flags.get("routes"), flags.get("seeds"), flags.get("name")
    if routes is not None:
        chosen.append(f"routes={routes}" if routes in ("default", "all") else f"routes=[{routes}]")
    if seeds is not None:
        if not 1 <= int(seeds) <= MOST_SEEDS:
            raise InputError(f"--seeds {seeds}: from 1 to {MOST_SEEDS}")
        chosen.append(f"seeds={list(range(int(seeds)))}")
    if name is not None:
        chosen.append(f"name={json.dumps(name)}")
    if drop_overlap:
        chosen.append("problems.drop_overlap=true")
    return read_recipe(source, chosen)


def open_run(run: str, runs: Path) -> Any:
    """A run by name. Raises InputError when there is none."""
    from headwater.folder import RunFolder  # noqa: PLC0415
    from headwater.store import run_folder  # noqa: PLC0415

    return RunFolder(run_folder(runs, run))


def command(verb: str, what: str, runs: Path, more: Sequence[str] = ()) -> str:
    """A command to go on with, as it is typed in a shell."""
    where = [] if runs == Path("runs") else ["--runs", str(runs)]
    return shlex.join(["headwater", verb, what, *more, *where])
