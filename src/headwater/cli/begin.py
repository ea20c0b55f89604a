"""Commands that begin: demo, init, convert."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from headwater.cli.options import Runs
from headwater.cli.running import run
from headwater.errors import InputError


def demo(*, runs: Runs = Path("runs"), workers: int | None = None) -> None:
    """Run the laptop lab: pretrain a tiny pair, run five routes, write a report. About 3 minutes on 2 cores.

    Example: headwater demo
    """
    run("lab", runs=runs, workers=workers)


def init(recipe: str = "lab", *, to: Path | None = None) -> None:
    """Write a shipped recipe as a file to edit.

    Example: headwater init lab --to my.yaml
    """
    from headwater.routes.recipe import recipe_text  # noqa: PLC0415

    target = to or Path(f"{recipe}.yaml")
    text = recipe_text(recipe)
    if target.exists():
        raise InputError(f"init: {target} exists; choose another name with --to")
    try:
        target.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"init: cannot write {target} ({error.strerror}); choose another place with --to") from error
    print(f"wrote {target}. Next: headwater plan {target}")


def convert(
    source: Annotated[str, Parameter(help="a .gguf file, a model directory or a hub id")],
    *,
    to: Annotated[Path, Parameter(help="directory to write")],
    layers: Annotated[int | None, Parameter(help="keep so many, without the block that is missed least")] = None,
    revision: Annotated[str | None, Parameter(help="hub revision")] = None,
) -> None:
    """Write a model as a directory that recipes can name, whole or with fewer layers.

    Example: headwater convert SmolLM2-135M-Instruct.Q4_1.gguf --to models/smollm2-25 --layers 25
    """
    from headwater.models.convert import convert as write  # noqa: PLC0415
    from headwater.models.language_model import silence_progress  # noqa: PLC0415

    silence_progress()
    print(f"wrote {to}: {write(source, to, revision=revision, layers=layers)}")
