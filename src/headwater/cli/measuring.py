"""Commands that grade and measure: verify, eval."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from headwater.cli.options import Overrides, RecipeName, Runs, open_run, read
from headwater.errors import InputError
from headwater.problems.rows import SUFFIXES
from headwater.verifiers.answers import AnswerType, Extractor


def verify(
    what: Annotated[
        str, Parameter(help="a run (name, folder or recipe), or a .jsonl or .parquet of responses")
    ] = "lab",
    *,
    runs: Runs = Path("runs"),
    answer_type: Annotated[AnswerType | None, Parameter(help="what every gold answer of the file is")] = None,
    extractor: Annotated[Extractor, Parameter(help="where the answer stands in a response")] = "boxed",
    marker: Annotated[str, Parameter(help="what stands before the answer, for --extractor marker")] = "####",
    end: Annotated[str, Parameter(help="what stands behind it; the end of the response if not given")] = "",
    prompt_end: Annotated[str, Parameter(help="how the prompt ends, where the response goes on: <think>")] = "",
    tolerance: Annotated[float, Parameter(help="largest distance of a right decimal")] = 0.0,
    function: Annotated[str | None, Parameter(help="a reward function of your own instead, path.py:name")] = None,
    second: Annotated[bool, Parameter(help="ask a second grader too: Math-Verify, for expressions")] = False,
    as_json: Annotated[bool, Parameter(name="--json")] = False,
) -> None:
    """Read every byte of a run again and name each damaged file, or grade a file of responses.

    A line of the file is {"gold": ..., "response": ...}, with "id", "label" (true or false) and "prompt" if there are
    any. The file may be compressed by gzip.
    Exit code 7 when more than 0.5 % of the responses could not be graded.

    Example: headwater verify lab
    Example: headwater verify outputs.jsonl --answer-type expression
    """
    if answer_type is not None or function is not None or Path(what).suffix in SUFFIXES:
        grading = {"extractor": extractor, "marker": marker, "end": end, "tolerance": tolerance, "function": function}
        _verify_file(Path(what), answer_type, {**grading, "prompt_end": prompt_end}, second, as_json)
        return
    damaged = open_run(what, runs).verify()
    for error in damaged[:-1]:
        print(f"headwater: {error}", file=sys.stderr)
    if damaged:
        raise damaged[-1]
    print(f"{what}: every byte is as it was written, and the ledger agrees with the commits.")


def _verify_file(
    path: Path, answer_type: AnswerType | None, settings: dict[str, Any], second: bool, as_json: bool
) -> None:
    """Counts of right, wrong and ungraded, and where they differ from the file's labels."""
    from pydantic import ValidationError  # noqa: PLC0415

    from headwater.data.verifying import verify_file  # noqa: PLC0415
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
    tally = verify_file(path, grading, second=second)
    print(json.dumps(tally.to_json(), indent=1) if as_json else tally.to_text())
    tally.refuse_ungraded()


def eval(
    model: Annotated[str, Parameter(help="model directory or hub id")],
    *,
    recipe: RecipeName = "lab",
    overrides: Overrides = None,
    as_json: Annotated[bool, Parameter(name="--json")] = False,
) -> None:
    """Measure a model on a recipe's benchmarks: avg@k with its standard error over problems.

    Says in how many responses no answer was found, and shows two of them.

    Example: headwater eval runs/lab/models/R3-full-seed0 --recipe lab
    """
    from headwater.evaluation.estimate import average_at_k, pass_at_k  # noqa: PLC0415
    from headwater.run import evaluate_model  # noqa: PLC0415
    from headwater.run.responses import first_look  # noqa: PLC0415

    measured = evaluate_model(model, read(recipe, {}, overrides))
    for benchmark, (scores, responses) in measured.items():
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
            total = scores["samples"] * len(scores["problems"])
            print(f"no answer found in {scores['unanswered']} of {total} responses")
            for row in [row for row in responses if row.answer is None][:2]:
                print(f"  {first_look([row])}")
