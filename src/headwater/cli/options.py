"""What the commands share: options by name, a recipe with its flags, a run's folder, a command to go on with."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from headwater.errors import InputError

RecipeName = Annotated[str, Parameter(help="a shipped recipe (lab, smollm2, qwen3-math, ...), a YAML file, or a run")]
RunName = Annotated[str, Parameter(help="a run's name, its folder, or its recipe file")]
Overrides = Annotated[
    list[str] | None, Parameter(name="--set", help="dotted override, such as stages.student_rl.epochs=10")
]
DropOverlap = Annotated[
    bool, Parameter(negative="", help="take benchmark problems out of the pool; the report says how many")
]
Runs = Annotated[Path, Parameter(help="folder that holds the runs")]

MOST_SEEDS = 1000
RECIPE_SUFFIXES = (".yaml", ".yml", ".json")


def read(
    source: str,
    flags: dict[str, str | int | None],
    overrides: list[str] | None,
    drop_overlap: bool = False,
    runs: Path = Path("runs"),
) -> Any:
    """A recipe by its name, file, run or run's folder, with the flags that are short for overrides."""
    from headwater.routes.recipe import read_recipe, shipped  # noqa: PLC0415

    chosen = list(overrides or [])
    routes, seeds, name = flags.get("routes"), flags.get("seeds"), flags.get("name")
    if routes is not None:
        chosen.append(f"routes={routes}" if routes in ("default", "all", "paper") else f"routes=[{routes}]")
    if seeds is not None:
        if not 1 <= int(seeds) <= MOST_SEEDS:
            raise InputError(f"--seeds {seeds}: from 1 to {MOST_SEEDS}")
        chosen.append(f"seeds={list(range(int(seeds)))}")
    if name is not None:
        chosen.append(f"name={json.dumps(name)}")
    if drop_overlap:
        chosen.append("problems.drop_overlap=true")
    known = source in shipped() or _is(Path(source))
    return read_recipe(source if known else _recipe_file(source, runs), chosen)


def open_run(run: str, runs: Path) -> Any:
    """A run by its name, its folder, or the file of its recipe. Raises InputError when there is none."""
    from headwater.folder import GRAPH, RunFolder  # noqa: PLC0415
    from headwater.store import run_folder  # noqa: PLC0415

    path = Path(run)
    if _is(path / GRAPH):
        return RunFolder(path.resolve())
    if path.suffix in RECIPE_SUFFIXES and _is(path):
        from headwater.routes.document import file_name  # noqa: PLC0415

        run = file_name(path)
    return RunFolder(run_folder(runs, run))


def _recipe_file(source: str, runs: Path) -> str:
    """The file of a recipe that is named by its run or the run's folder; anything else is left as it is."""
    from headwater.folder import RECIPE  # noqa: PLC0415

    places = (Path(source) / RECIPE, runs / source / RECIPE)
    return next((str(place) for place in places if _is(place)), source)


def _is(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that is too long, or a NUL in it
        return False


def command(verb: str, what: str, runs: Path, more: Sequence[str] = ()) -> str:
    """A command to go on with, as it is typed in a shell."""
    where = [] if runs == Path("runs") else ["--runs", str(runs)]
    return shlex.join(["headwater", verb, what, *more, *where])
