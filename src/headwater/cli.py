"""The command line: demo, init, convert, validate, plan, run, status, verify, eval, report, bench.

Every error is one line and an exit code (see `headwater.errors`); a traceback appears only with --debug.
"""

from __future__ import annotations

import errno
import json
import os
import shlex
import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NoReturn

from cyclopts import App, Parameter
from rich.console import Console

from headwater.bench.options import bench
from headwater.errors import HeadwaterError, InputError
from headwater.verifiers.answers import AnswerType, Extractor

# Heavy imports (torch) happen inside commands, so that --help and input errors come at once.

app = App(
    name="headwater",
    help="Post-train language models when checkable labels are scarce: reward on the teacher, a dense bridge "
    "to the student, every label accounted for.",
    help_format="plaintext",
    version_flags=["--version"],
)

app.command(bench)

RecipeName = Annotated[str, Parameter(help="a shipped recipe (lab, smollm2, qwen3-math, ...) or a YAML file")]
Overrides = Annotated[
    list[str] | None, Parameter(name="--set", help="dotted override, such as stages.student_rl.epochs=10")
]
DropOverlap = Annotated[
    bool, Parameter(negative="", help="take benchmark problems out of the pool; the report says how many")
]
Runs = Annotated[Path, Parameter(help="folder that holds the runs")]

MOST_SEEDS = 1000


class Stopped(BaseException):
    """A signal ends the command; no handler of ordinary errors sees it, cyclopts' of KeyboardInterrupt neither."""


def main() -> None:
    """Run the command line and exit with the code that belongs to what happened."""
    debug = "--debug" in sys.argv
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stopped)  # `run` has handlers of its own while it works
    try:
        app(arguments, exit_on_error=False, print_error=False)
    except HeadwaterError as error:
        _fail(error, error.exit_code, debug)
    except Stopped as error:
        _fail(error, 75, debug)
    except BrokenPipeError:  # whoever read our output went away: what was asked may not be done
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(75)
    except SystemExit:
        raise
    except Exception as error:  # noqa: BLE001  a person gets a line, a developer asks for the traceback
        usage = type(error).__module__.startswith("cyclopts")
        _fail(error, 2 if usage else 1, debug)


def _stopped(number: int, _frame: object) -> NoReturn:
    raise Stopped(f"stopped by {signal.Signals(number).name}; the same command goes on where it stopped")


def _fail(error: BaseException, code: int, debug: bool) -> None:
    if debug:
        traceback.print_exception(error)
    message = " ".join(str(error).split()) or type(error).__name__
    if not isinstance(error, HeadwaterError) and code == 1:
        message = f"unexpected {type(error).__name__}: {message} (run again with --debug for the traceback)"
    print(f"headwater: {message}", file=sys.stderr)
    sys.exit(code)


@app.command
def demo(*, runs: Runs = Path("runs"), workers: int | None = None) -> None:
    """Run the laptop lab: pretrain a tiny pair, run five routes, write a report. About 3 minutes on 2 cores.

    Example: headwater demo
    """
    run("lab", runs=runs, workers=workers)


@app.command
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


@app.command
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


@app.command
def validate(
    recipe: RecipeName = "lab",
    *,
    overrides: Overrides = None,
    drop_overlap: DropOverlap = False,
    weights: Annotated[bool, Parameter(help="--no-weights: folders with config and tokenizer will do")] = True,
    runs: Runs = Path("runs"),
) -> None:
    """Check a recipe before anything is spent, and list every fault: keys, arms, models, prompts, labels, disk, memory.

    Example: headwater validate my.yaml --set seeds=[0,1,2]
    """
    from headwater.models.language_model import silence_progress  # noqa: PLC0415
    from headwater.run import preflight  # noqa: PLC0415

    silence_progress()
    found = preflight(_recipe(recipe, {}, overrides, drop_overlap), weights=weights, runs=runs)
    for line in found.lines:
        print(line)
    if found.faults:
        for fault in found.faults[:-1]:
            print(f"headwater: {fault}", file=sys.stderr)
        raise InputError(found.faults[-1])
    assert found.graph is not None  # noqa: S101  without one there is a fault
    arms, contrasts = len(found.graph.arms), len(found.graph.recipe.all_contrasts())
    print(f"{recipe}: valid. {arms} arms and models, {contrasts} contrasts matched. Next: headwater plan {recipe}")


@app.command
def plan(
    recipe: RecipeName = "lab",
    *,
    routes: str | None = None,
    seeds: int | None = None,
    name: str | None = None,
    overrides: Overrides = None,
    drop_overlap: DropOverlap = False,
    runs: Runs = Path("runs"),
    flops_per_second: Annotated[float | None, Parameter(help="what your machine reaches, for hours")] = None,
    as_json: Annotated[bool, Parameter(name="--json")] = False,
) -> None:
    """Print what a run would do and cost at most: labels, updates, tokens, FLOPs, memory, disk. Loads no weights.

    Example: headwater plan lab --routes all --seeds 3
    """
    from headwater.run import build_graph, done_nodes, measured_seconds, print_plan  # noqa: PLC0415
    from headwater.run import plan as plan_of  # noqa: PLC0415

    read = _recipe(recipe, {"routes": routes, "seeds": seeds, "name": name}, overrides, drop_overlap)
    graph = build_graph(read)
    if flops_per_second is not None and not flops_per_second > 0:
        raise InputError(f"plan: --flops-per-second {flops_per_second}; above 0")
    made = plan_of(graph, done_nodes(graph, runs), measured_seconds(graph, runs), flops_per_second)
    if as_json:
        print(json.dumps(made, indent=1))
    else:
        print_plan(made, Console())


@app.command
def run(
    recipe: RecipeName = "lab",
    *,
    routes: Annotated[str | None, Parameter(help="default, all, or names joined by commas")] = None,
    seeds: Annotated[int | None, Parameter(help="repeat everything with seeds 0, 1, ... and aggregate")] = None,
    name: Annotated[str | None, Parameter(help="name of the run's folder; the recipe's name if not given")] = None,
    overrides: Overrides = None,
    drop_overlap: DropOverlap = False,
    runs: Runs = Path("runs"),
    workers: Annotated[int | None, Parameter(help="worker processes; the cores if not given")] = None,
    change: Annotated[bool, Parameter(help="remake what a changed recipe touches, in the same folder")] = False,
    redo: Annotated[str | None, Parameter(help="make a node (64 hex digits) again, and what depends on it")] = None,
    commit_seconds: Annotated[float, Parameter(help="seconds between commits of a stage in progress")] = 60.0,
    as_json: Annotated[bool, Parameter(name="--json", help="print the summary as JSON")] = False,
) -> None:
    """Run a recipe to its report. The same command resumes where it stopped; what is done is not done again.

    Example: headwater run lab --routes all --seeds 3
    """
    from headwater.run import RunOptions, run_recipe  # noqa: PLC0415

    read = _recipe(recipe, {"routes": routes, "seeds": seeds, "name": name}, overrides, drop_overlap)
    options = RunOptions(runs=runs, workers=workers, change=change, redo=redo, commit_seconds=commit_seconds)
    folder = run_recipe(read, options, Console(stderr=as_json))
    settings = [word for override in overrides or [] for word in ("--set", override)]
    settings += ["--drop-overlap"] if drop_overlap else []
    _show(folder, as_json, _command("run", recipe, runs, [*(["--name", name] if name else []), *settings]))


@app.command
def status(run: str = "lab", *, runs: Runs = Path("runs")) -> None:
    """Say what of a run is done and at which step the rest stands.

    Example: headwater status lab
    """
    from headwater.folder import RECIPE  # noqa: PLC0415

    folder = _folder(run, runs)
    nodes: dict[str, Any] = folder.graph["nodes"]
    finished = {name for name in nodes if folder.done(name)}
    for name, node in nodes.items():
        step = folder.step(name)
        if name not in finished and step:
            print(f"seed {node['seed']}: {node['title']}: step {step} of {node['updates']} committed")
    print(f"{run}: {len(finished)} of {len(nodes)} pieces of work done.", end=" ")
    report = _command("report", run, runs)
    again = _command("run", str(runs / run / RECIPE), runs)
    print(f"Report: {report}" if len(finished) == len(nodes) else f"Go on: {again}")


@app.command
def verify(
    what: Annotated[str, Parameter(help="a run, or a JSONL or Parquet file of responses")] = "lab",
    *,
    runs: Runs = Path("runs"),
    answer_type: Annotated[AnswerType | None, Parameter(help="what every gold answer of the file is")] = None,
    extractor: Annotated[Extractor, Parameter(help="where the answer stands in a response")] = "boxed",
    marker: Annotated[str, Parameter(help="what stands before the answer, for --extractor marker")] = "####",
    end: Annotated[str, Parameter(help="what stands behind it; the end of the response if not given")] = "",
    tolerance: Annotated[float, Parameter(help="largest distance of a right decimal")] = 0.0,
    function: Annotated[str | None, Parameter(help="a reward function of your own instead, path.py:name")] = None,
    as_json: Annotated[bool, Parameter(name="--json")] = False,
) -> None:
    """Read every byte of a run again and name each damaged file, or grade a file of responses.

    A line of the file is {"gold": ..., "response": ...}, with "id" and "label" (true or false) if there are any.
    Exit code 7 when more than 0.5 % of the responses could not be graded.

    Example: headwater verify lab
    Example: headwater verify outputs.jsonl --answer-type expression
    """
    if answer_type is not None or function is not None or Path(what).is_file():
        grading = {"extractor": extractor, "marker": marker, "end": end, "tolerance": tolerance, "function": function}
        _verify_file(Path(what), answer_type, grading, as_json)
        return
    damaged = _folder(what, runs).verify()
    for error in damaged[:-1]:
        print(f"headwater: {error}", file=sys.stderr)
    if damaged:
        raise damaged[-1]
    print(f"{what}: every byte is as it was written, and the ledger agrees with the commits.")


def _verify_file(path: Path, answer_type: AnswerType | None, settings: dict[str, Any], as_json: bool) -> None:
    """Counts of right, wrong and ungraded, and where they differ from the file's labels."""
    from pydantic import ValidationError  # noqa: PLC0415

    from headwater.verifiers.files import verify_file  # noqa: PLC0415
    from headwater.verifiers.grading import Grading  # noqa: PLC0415

    if answer_type is None and settings["function"] is None:
        raise InputError(
            f"verify: {path} is a file of responses, and its answers are of no declared type; add --answer-type "
            "integer, fraction, decimal, tuple, set, choice, text or expression, or --function path.py:name"
        )
    try:
        grading = Grading(answer_type=answer_type or "integer", **settings)
    except ValidationError as error:
        raise InputError(f"verify: {error.errors()[0]['msg']}") from error
    tally = verify_file(path, grading)
    print(json.dumps(tally.to_json(), indent=1) if as_json else tally.to_text())
    tally.refuse_ungraded()


@app.command
def eval(
    model: Annotated[str, Parameter(help="model directory or hub id")],
    *,
    recipe: RecipeName = "lab",
    overrides: Overrides = None,
    as_json: Annotated[bool, Parameter(name="--json")] = False,
) -> None:
    """Measure a model on a recipe's benchmarks: avg@k with its standard error over problems.

    Example: headwater eval runs/lab/models/R3-full-seed0 --recipe lab
    """
    from headwater.evaluation.estimate import average_at_k, pass_at_k  # noqa: PLC0415
    from headwater.run import evaluate_model  # noqa: PLC0415

    measured = evaluate_model(model, _recipe(recipe, {}, overrides))
    for benchmark, scores in measured.items():
        average = average_at_k(scores["correct"], scores["samples"])
        best = pass_at_k(scores["correct"], scores["samples"], scores["samples"])
        if as_json:
            numbers = {"avg": average.mean, "standard_error": average.standard_error}
            print(json.dumps({"benchmark": benchmark, **numbers, **scores}))
        else:
            print(
                f"{model} on {benchmark}: avg@{average.k} {average} % over {average.problems} problems, "
                f"pass@{average.k} {best} %, {scores['response_tokens']:.1f} tokens a response, "
                f"{scores['truncated']:.1%} truncated, {sum(scores['ungraded'])} ungraded"
            )


@app.command
def report(
    run: str = "lab",
    *,
    runs: Runs = Path("runs"),
    as_json: Annotated[bool, Parameter(name="--json")] = False,
    markdown: Annotated[bool, Parameter(help="print the tables as Markdown, every seed shown")] = False,
) -> None:
    """Write report.html of a run, finished or not, and print its tables.

    Example: headwater report lab --json
    """
    from headwater.folder import RECIPE  # noqa: PLC0415

    folder = _folder(run, runs)
    if not markdown:
        _show(folder, as_json, _command("run", str(runs / run / RECIPE), runs))
        return
    from headwater.report import summarise, to_markdown  # noqa: PLC0415

    print(to_markdown(summarise(folder)))


def _recipe(
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


def _folder(run: str, runs: Path) -> Any:
    from headwater.folder import RunFolder  # noqa: PLC0415
    from headwater.store import run_folder  # noqa: PLC0415

    return RunFolder(run_folder(runs, run))


def _command(verb: str, what: str, runs: Path, more: Sequence[str] = ()) -> str:
    """A command to go on with, as it is typed in a shell."""
    where = [] if runs == Path("runs") else ["--runs", str(runs)]
    return shlex.join(["headwater", verb, what, *more, *where])


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
    print(f"        {again + ' --seeds 3':{width}}  three seeds, aggregated")
    print(f"        {'headwater init lab --to my.yaml':{width}}  a recipe of your own")


if __name__ == "__main__":
    main()
