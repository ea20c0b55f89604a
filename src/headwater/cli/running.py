"""Commands of a run: run, status, report."""

from __future__ import annotations

import errno
import json
import sys
import time
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from rich.console import Console

from headwater.cli.options import DropOverlap, Overrides, RecipeName, RunName, Runs, command, open_run, read
from headwater.errors import InputError

WATCH_SECONDS = 2.0


def run(
    recipe: RecipeName = "lab",
    *,
    routes: Annotated[str | None, Parameter(help="default, paper, all, or names joined by commas")] = None,
    seeds: Annotated[int | None, Parameter(help="repeat everything with seeds 0, 1, ... and aggregate")] = None,
    name: Annotated[str | None, Parameter(help="name of the run's folder; the recipe's name if not given")] = None,
    overrides: Overrides = None,
    drop_overlap: DropOverlap = False,
    runs: Runs = Path("runs"),
    workers: Annotated[
        int | None, Parameter(help="worker processes; if not given one a GPU, or one a core as far as memory goes")
    ] = None,
    change: Annotated[bool, Parameter(help="remake what a changed recipe touches, in the same folder")] = False,
    redo: Annotated[str | None, Parameter(help="make a node (64 hex digits) again, and what depends on it")] = None,
    commit_seconds: Annotated[float, Parameter(help="seconds between commits of work in progress")] = 60.0,
    track: Annotated[str | None, Parameter(help="trackio, wandb, tensorboard, mlflow; several with commas")] = None,
    as_json: Annotated[bool, Parameter(name="--json", help="print the summary as JSON")] = False,
) -> None:
    """Run a recipe to its report. The same command resumes where it stopped; what is done is not done again.

    Example: headwater run lab --routes all --seeds 8
    """
    from headwater.run import RunOptions, run_recipe  # noqa: PLC0415

    chosen = read(recipe, {"routes": routes, "seeds": seeds, "name": name}, overrides, drop_overlap, runs)
    names = tuple(name.strip() for name in (track or "").split(",") if name.strip())
    options = RunOptions(
        runs=runs, workers=workers, change=change, redo=redo, commit_seconds=commit_seconds, track=names
    )
    folder = run_recipe(chosen, options, Console(stderr=as_json))
    settings = [word for override in overrides or [] for word in ("--set", override)]
    settings += ["--drop-overlap"] if drop_overlap else []
    _show(folder, as_json, command("run", recipe, runs, [*(["--name", name] if name else []), *settings]))


def status(
    run: RunName = "lab",
    *,
    runs: Runs = Path("runs"),
    watch: Annotated[bool, Parameter(negative="", help="say it again every two seconds until the run ends")] = False,
    as_json: Annotated[bool, Parameter(name="--json")] = False,
) -> None:
    """Say whether a run works, what is done, and where each stage stands: step, time left, reward or divergence.

    Example: headwater status lab --watch
    """
    from headwater.cli.standing import lines, standing  # noqa: PLC0415

    while True:
        found = standing(open_run(run, runs))
        print(json.dumps(found, indent=1) if as_json else "\n".join(lines(found, runs)), flush=True)
        if not watch or found["holder"] is None:
            return
        time.sleep(WATCH_SECONDS)


def report(
    run: RunName = "lab",
    *,
    runs: Runs = Path("runs"),
    as_json: Annotated[bool, Parameter(name="--json")] = False,
    markdown: Annotated[bool, Parameter(help="print the tables as Markdown, every seed shown")] = False,
    as_csv: Annotated[
        bool, Parameter(name="--csv", negative="", help="print the scores, a line an arm and seed")
    ] = False,
    harness: Annotated[
        list[Path] | None, Parameter(negative="", help="take in a results_*.json of lm-eval: a column from now on")
    ] = None,
) -> None:
    """Write report.html of a run, finished or not, and print its tables.

    Example: headwater report lab --json
    """
    from headwater.folder import RECIPE  # noqa: PLC0415

    folder = open_run(run, runs)
    if harness:
        from headwater.export.harness import take_in  # noqa: PLC0415

        for path in harness:
            print(take_in(folder, path), file=sys.stderr)
    if as_csv:
        from headwater.export.table import scores_csv  # noqa: PLC0415

        print(scores_csv(folder), end="")
        return
    if not markdown:
        _show(folder, as_json, command("run", str(runs / folder.root.name / RECIPE), runs))
        return
    from headwater.report import summarise, to_markdown  # noqa: PLC0415

    print(to_markdown(summarise(folder)))


def _show(folder: Any, as_json: bool, again: str) -> None:
    """The summary on the terminal or as JSON, the page on disk, and what to do next."""
    from headwater.report import print_summary, summarise, write_page  # noqa: PLC0415
    from headwater.store import full_disk_named  # noqa: PLC0415

    summary = summarise(folder)
    page = folder.root / "report.html"
    try:
        with full_disk_named("report", folder.root):
            write_page(folder, page)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        if not as_json:  # which needs no page
            raise InputError(f"report: {page} cannot be written ({error.strerror}); `--markdown` prints it") from error
    if as_json:
        print(json.dumps(summary.to_json(), indent=1))
        return
    print_summary(summary, Console())
    print(f"\nreport: {page}")
    print(f"models: {folder.root / 'models'} (each opens with transformers' from_pretrained)")
    width = len(again) + 14
    print(f"next:   {again + ' --routes all':{width}}  every route and control")
    if len(summary.seeds) < 5:
        print(f"        {again + ' --seeds 5':{width}}  five seeds: what a claim about a recipe needs")
    print(f"        {'headwater init lab --to my.yaml':{width}}  a recipe of your own")
