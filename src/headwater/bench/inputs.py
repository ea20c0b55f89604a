"""What every side of a work is given: the same weights, prompts and recorded responses, as files."""

from __future__ import annotations

import dataclasses
import json
import random
from pathlib import Path
from typing import Any

from headwater.bench.recording import record
from headwater.bench.shapes import KERNELS, LARGE, SHAPES
from headwater.bench.work import RAGGED, Work
from headwater.fingerprint import derive_seed
from headwater.models.language_model import silence_progress
from headwater.models.unpretrained import random_weights

STEPS = 64
"""Steps' worth of different prompts; then they come again."""


def write_inputs(work: Work, directory: Path) -> dict[str, Any]:
    """Write the work's files and return the part of a job that all its sides share."""
    directory.mkdir(parents=True, exist_ok=True)
    if work.batch is None:
        return {"work": work.kind, "kernel": dataclasses.asdict(KERNELS[work.shape])}
    shared: dict[str, Any] = {
        "work": work.kind,
        "batch": dataclasses.asdict(work.batch),
        "student": _model(work, work.shape, "student", directory),
        "never_ends": work.kind not in RAGGED,
        "prompts": str(directory / "prompts.json"),
    }
    vocab = SHAPES[work.shape].vocab
    prompts = _words(vocab, work.batch.prompts * STEPS, work.batch.prompt_tokens, "prompts")
    (directory / "prompts.json").write_text(json.dumps(prompts), encoding="utf-8")
    if work.kind in ("opd", "forward-kl"):
        shared["teacher"] = _model(work, work.teacher, "teacher", directory)
    if work.kind == "forward-kl":
        recorded = _words(vocab, work.batch.rows * STEPS, work.batch.response_tokens, "recorded")
        shared["recorded"] = str(directory / "recorded.json")
        Path(shared["recorded"]).write_text(json.dumps(recorded), encoding="utf-8")
        shared["cache"] = str(directory / "cache")
        record(shared, Path(shared["cache"]))
    return shared


def _model(work: Work, shape: str, role: str, directory: Path) -> str:
    """A model directory with random weights, another one for each role; for a large model its shape's name alone."""
    if SHAPES[shape].parameters >= LARGE:
        return shape
    silence_progress()
    path = directory / f"{role}-{shape}"
    seed = derive_seed(0, role) % 2**63
    random_weights(SHAPES[shape].config, seed, never_ends=work.kind not in RAGGED).save(path)
    return str(path)


def _words(vocab: int, rows: int, tokens: int, what: str) -> list[list[int]]:
    """Random ids, none of which pads or ends."""
    draw = random.Random(what)  # noqa: S311  noise, not a secret
    return [[draw.randrange(2, vocab) for _ in range(tokens)] for _ in range(rows)]
