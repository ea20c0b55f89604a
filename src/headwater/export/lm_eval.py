r"""A run's benchmark as a task of lm-evaluation-harness: problems, prompts and the rule that finds the answer.

The task asks the same prompts and takes the answer by the same rule (`boxed`, `marker`, `tag` or `number`), and
compares it with the gold as text, spaces and thousands' commas aside: the harness's `exact_match` knows no
mathematics, so its figure is at most headwater's. The command applies the chat template where prompts are chats.

Left out: samples beyond one a problem (its `repeats` gives them, and its own filters aggregate them).
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from headwater.data.problems import RunData
from headwater.data.source import ProblemSource
from headwater.errors import InputError
from headwater.folder import RunFolder

METRIC = "exact_match,answer"
"""The task's one score, as the harness names it in its results: the metric, and the filter that found the answers."""

# The answer in group 1, for the harness's regex filter.
PATTERNS: Mapping[str, str] = {
    "boxed": r"\\(?:boxed|fbox)\s*\{((?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*)\}",
    "tag": r"<answer>\s*((?:(?!</answer>)[\s\S])*?)\s*</answer>",
    "number": r"(?<![\w.])([-−]?\d+(?:,\d{3}(?!\d))*(?:\.\d+)?)",
}


def export(folder: RunFolder, arm: Mapping[str, Any], to: Path, benchmark: str | None = None) -> str:
    """Write `to`/NAME.yaml, its data and the command that measures the arm; returns the command.

    Raises InputError for a benchmark that the run has not, or a grading that the harness cannot do.
    """
    recipe = folder.graph["recipe"]
    source = ProblemSource.model_validate_json(json.dumps(recipe["problems"]))
    names = source.names
    name = benchmark or names[0]
    if name not in names:
        raise InputError(f"export: no benchmark {name!r:.60}; the run has {', '.join(names)}")
    grading = source.grading_of(name)
    if grading.function is not None:
        raise InputError("export: answers are graded by a function of your own, which the harness cannot call")
    held_out = RunData(source).benchmarks[name]
    task = task_of(folder.name, name)
    digest = next(str(benchmark["digest"]) for benchmark in folder.graph["benchmarks"] if benchmark["name"] == name)
    chats = any(not isinstance(problem.prompt, str) for problem in held_out.problems)
    rows = [
        {"query": _last_turn(problem.prompt), "answer": held_out.answers[problem.problem_id]}
        for problem in held_out.problems
    ]
    to.mkdir(parents=True, exist_ok=True)
    data = to / f"{task}.jsonl"
    data.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    evaluation = recipe["evaluation"]
    generation: dict[str, Any] = {
        "until": [] if not grading.end else [grading.end],
        "max_gen_toks": recipe["max_response_tokens"],
        "do_sample": evaluation["temperature"] > 0,
    }
    if generation["do_sample"]:
        generation |= {"temperature": evaluation["temperature"], "top_p": evaluation["top_p"]}
    value = {
        "task": task,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(data.resolve())}},
        "test_split": "test",
        "output_type": "generate_until",
        "doc_to_text": "{{query}}",
        "doc_to_target": "{{answer}}",
        "generation_kwargs": generation,
        "filter_list": [{"name": "answer", "filter": [_pattern(grading), {"function": "take_first"}]}],
        "metric_list": [
            {"metric": "exact_match", "aggregation": "mean", "higher_is_better": True, "ignore_case": True,
             "regexes_to_ignore": [",", r"\s", r"\$"]},
        ],
        "metadata": {"version": 1.0, "digest": digest},
    }  # fmt: skip
    (to / f"{task}.yaml").write_text(yaml.safe_dump(value, sort_keys=False, allow_unicode=True), encoding="utf-8")
    system = _system(held_out.problems[0].prompt)
    words = ["lm_eval", "--model", "hf", "--model_args", f"pretrained={folder.model(arm)},dtype=float32"]
    words += ["--tasks", task, "--include_path", str(to), "--output_path", str(to / "results"), "--log_samples"]
    words += ["--apply_chat_template"] if chats else []
    words += ["--system_instruction", system] if system else []
    line = shlex.join(words)
    (to / f"{task}.sh").write_text(f"{line}\n", encoding="utf-8")
    return line


def task_of(run: str, benchmark: str) -> str:
    """The task's name."""
    return f"{run}_{benchmark}".replace("-", "_").replace(".", "_")


def _pattern(grading: Any) -> dict[str, Any]:
    pattern = PATTERNS.get(grading.extractor)
    if pattern is None:
        pattern = rf"{_escaped(grading.marker)}\s*([^\n]*?)\s*(?:{_escaped(grading.end) if grading.end else '$'}|\n|$)"
    return {"function": "regex", "regex_pattern": pattern, "group_select": -1}


def _escaped(text: str) -> str:
    return re.escape(text)


def _last_turn(prompt: Any) -> str:
    """What the harness puts into its template as the user's turn."""
    if isinstance(prompt, str):
        return prompt
    turns = [message for message in prompt if message.role != "system"]
    if len(turns) != 1:
        raise InputError("export: a prompt has several turns, and the harness's template takes one")
    return str(turns[0].content)


def _system(prompt: Any) -> str | None:
    if isinstance(prompt, str):
        return None
    return next((str(message.content) for message in prompt if message.role == "system"), None)
