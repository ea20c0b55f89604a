"""A result of lm-evaluation-harness taken into a run's folder, where the report shows it beside avg@k.

It must be of a task that `lm_eval.export` wrote: the same problems, all of them, asked of a model of this run. It is
kept by the measurement that it stands beside, so one of a model that was made anew in another way is not shown.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, ValidationError

from headwater.errors import InputError
from headwater.evaluation.estimate import percent
from headwater.export.lm_eval import METRIC, task_of
from headwater.folder import HARNESS, RunFolder, model_folder, seal, write_json

Share = Annotated[float, Field(ge=0, le=1)]


class _Counts(BaseModel):
    effective: int


class _Scores(BaseModel):
    mean: Share = Field(alias=METRIC)
    standard_error: Share = Field(alias=METRIC.replace(",", "_stderr,"))


class _Results(BaseModel):
    """The parts of results_*.json that are read."""

    results: dict[str, dict[str, Any]]
    configs: dict[str, dict[str, Any]]
    counts: dict[str, _Counts] = Field(alias="n-samples")
    model_name: str
    lm_eval_version: str = Field("", max_length=40)


def take_in(folder: RunFolder, path: Path) -> str:
    """Keep what a results_*.json says of this run's tasks, for its reports; what it was, in a line.

    Raises InputError for a file that is no such result, or of other tasks, problems or models than the run's.
    """
    found = _read(path)
    tasks = {task_of(folder.name, benchmark["name"]): benchmark for benchmark in folder.graph["benchmarks"]}
    ours = [task for task in found.results if task in tasks]
    if not ours:
        raise InputError(
            f"report: {path} is of {', '.join(found.results) or 'no task'!r:.80}, and this run's tasks are "
            f"{', '.join(tasks)}; `headwater export {folder.name} ARM --to lm-eval` writes them"
        )
    arm = _arm(folder, found.model_name, path)
    kept, said = dict(folder.harness), []
    for task in ours:
        scores = _scores(folder, found, path, task, tasks[task])
        kept[arm["evaluation"][tasks[task]["name"]]] = {**scores.model_dump(), "version": found.lm_eval_version}
        said.append(f"{percent(scores.mean)} ± {percent(scores.standard_error)} % on {tasks[task]['name']}")
    try:
        write_json(folder.root / HARNESS, seal(kept))
    except PermissionError as error:
        raise InputError(f"report: {folder.root / HARNESS} cannot be written ({error.strerror})") from error
    return f"lm-eval: {arm['name']}, seed {arm['seed']}: {', '.join(said)}"


def _read(path: Path) -> _Results:
    try:
        return _Results.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, RecursionError) as error:  # pydantic's is a ValueError
        raise InputError(
            f"report: {path} is no result of lm-evaluation-harness ({_reason(error)}); give the results_*.json that "
            "it wrote under --output_path"
        ) from error


def _reason(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}".lower().removeprefix(": ")
    return getattr(error, "strerror", None) or str(error)


def _arm(folder: RunFolder, model: str, path: Path) -> Mapping[str, Any]:
    """The arm and seed whose model it is, by where the run hands models out."""
    arms = {model_folder(folder.root, arm["name"], arm["seed"]).parts[-3:]: arm for arm in folder.graph["arms"]}
    found: Mapping[str, Any] | None = arms.get(Path(model).parts[-3:])
    if found is None:
        raise InputError(
            f"report: {path} is of the model {model!r:.200}, which is none of this run; it has "
            f"{', '.join('/'.join(parts) for parts in arms)}"
        )
    return found


def _scores(folder: RunFolder, found: _Results, path: Path, task: str, benchmark: Mapping[str, Any]) -> _Scores:
    count = found.counts[task].effective if task in found.counts else 0
    if count != benchmark["problems"]:
        raise InputError(
            f"report: {path} is of {count} problems of {task}, and the benchmark has {benchmark['problems']}; measure "
            "all of them (no --limit)"
        )
    digest = (found.configs.get(task, {}).get("metadata") or {}).get("digest")
    if digest != benchmark["digest"]:
        raise InputError(
            f"report: {path} asks other problems than this run's {benchmark['name']} (digest {str(digest)[:12]}, the "
            f"run's {benchmark['digest'][:12]}); export the task again and measure it"
        )
    try:
        return _Scores.model_validate(found.results[task])
    except ValidationError as error:
        raise InputError(
            f"report: {path}: {task}.{_reason(error)}; measure the task that `headwater export {folder.name} ARM --to "
            "lm-eval` writes"
        ) from error
