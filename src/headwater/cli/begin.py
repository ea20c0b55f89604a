"""Commands that begin: demo, init, convert."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from headwater.cli.options import Runs
from headwater.cli.running import run
from headwater.errors import InputError


def demo(*, runs: Runs = Path("runs"), workers: int | None = None) -> None:
    """Run the laptop lab with one seed: pretrain a tiny pair, run five routes, report. About 3 minutes on 2 cores.

    Example: headwater demo
    """
    run("lab", seeds=1, runs=runs, workers=workers)


def init(
    recipe: Annotated[str, Parameter(help="a shipped recipe, or with --student a name for your own")] = "lab",
    *,
    to: Annotated[Path | None, Parameter(help="file to write; NAME.yaml if not given")] = None,
    student: Annotated[str | None, Parameter(help="your small model: directory or hub id")] = None,
    teacher: Annotated[str | None, Parameter(help="your strong model, with the same tokenizer")] = None,
    labels: Annotated[
        str | None, Parameter(help="problems with answers: .jsonl, .parquet, directory or hub id")
    ] = None,
    benchmark: Annotated[str | None, Parameter(help="held-out problems; not given: some labels are held out")] = None,
    prompt_column: Annotated[str | None, Parameter(help="where the question stands, under no usual name")] = None,
    answer_column: Annotated[str | None, Parameter(help="where the bare answer stands, under no usual name")] = None,
) -> None:
    """Write a recipe to edit: a shipped one, or one fitted to models and labels of your own, reasons beside values.

    Example: headwater init lab --to my.yaml
    Example: headwater init mine --student models/small --teacher models/strong --labels labels.jsonl
    """
    target = to or Path(f"{recipe}.yaml")
    if target.exists():
        raise InputError(f"init: {target} exists; choose another name with --to")
    given = {"student": student, "teacher": teacher, "labels": labels}
    if not any(given.values()):
        _shipped(recipe, target)
    elif missing := [f"--{name}" for name, value in given.items() if value is None]:
        raise InputError(
            f"init: {', '.join(missing)} is missing; a recipe of your own needs student, teacher and labels"
        )
    else:
        from headwater.fit import Mine, fit  # noqa: PLC0415
        from headwater.problems.columns import Columns  # noqa: PLC0415

        columns = Columns(prompt=prompt_column, answer=answer_column)
        mine = Mine(
            student=str(student), teacher=str(teacher), labels=str(labels), benchmark=benchmark, columns=columns
        )
        for line in fit(mine, target):
            print(line)
        print(f"Next: headwater validate {target}")


def _shipped(recipe: str, target: Path) -> None:
    """A shipped recipe as it is, but for its name, which is the file's."""
    from headwater.routes.shipped import recipe_text  # noqa: PLC0415
    from headwater.store.names import RUN_NAME  # noqa: PLC0415

    text = recipe_text(recipe)
    named = (
        text.replace(f"\nname: {recipe}\n", f"\nname: {target.stem}\n", 1) if RUN_NAME.fullmatch(target.stem) else text
    )
    try:
        target.write_text(named, encoding="utf-8")
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
