"""What both sides of a case are given: the same weights, prompts and recorded responses, as files."""

from __future__ import annotations

import dataclasses
import json
import random
from pathlib import Path
from typing import Any

from headwater.bench.cases import RAGGED, Case
from headwater.bench.recording import record
from headwater.bench.shapes import KERNELS, LARGE, SHAPES, Batch
from headwater.engines.settings import MICRO_BATCH
from headwater.fingerprint import derive_seed
from headwater.models.language_model import silence_progress
from headwater.models.unpretrained import random_weights

CACHED = 4096
STEPS = 64
"""Steps' worth of different prompts; then they come again."""


def write_inputs(case: Case, directory: Path) -> dict[str, Any]:
    """Write the case's files and return the part of a job that all its sides share."""
    directory.mkdir(parents=True, exist_ok=True)
    if case.batch is None:
        return {"work": case.work, "kernel": dataclasses.asdict(KERNELS[case.shape])}
    shared: dict[str, Any] = {
        "work": case.work,
        "batch": dataclasses.asdict(case.batch),
        "student": _model(case, case.shape, "student", directory),
        "never_ends": case.work not in RAGGED,
        "prompts": str(directory / "prompts.json"),
    }
    vocab = SHAPES[case.shape].vocab
    prompts = _words(vocab, case.batch.prompts * STEPS, case.batch.prompt_tokens, "prompts")
    (directory / "prompts.json").write_text(json.dumps(prompts), encoding="utf-8")
    if case.work in ("opd", "forward-kl"):
        shared["teacher"] = _model(case, case.teacher, "teacher", directory)
    if case.work == "forward-kl":
        recorded = _words(vocab, case.batch.rows * STEPS, case.batch.response_tokens, "recorded")
        shared["recorded"] = str(directory / "recorded.json")
        Path(shared["recorded"]).write_text(json.dumps(recorded), encoding="utf-8")
        shared["cache"] = str(directory / "cache")
        record(shared, Path(shared["cache"]))
    return shared


def _model(case: Case, shape: str, role: str, directory: Path) -> str:
    """A model directory with random weights, another one for each role; for a large model its shape's name alone."""
    if SHAPES[shape].parameters >= LARGE:
        return shape
    silence_progress()
    path = directory / f"{role}-{shape}"
    seed = derive_seed(0, role) % 2**63
    random_weights(SHAPES[shape].config, seed, never_ends=case.work not in RAGGED).save(path)
    return str(path)


def _words(vocab: int, rows: int, tokens: int, what: str) -> list[list[int]]:
    """Random ids, none of which pads or ends."""
    draw = random.Random(what)  # noqa: S311  noise, not a secret
    return [[draw.randrange(2, vocab) for _ in range(tokens)] for _ in range(rows)]


def micro_batches(side: str, batch: Batch) -> tuple[int, ...]:
    """What a side's sweep may choose from, largest first: rows of one pass for a peer, padded tokens for headwater.

    headwater's begin at CACHED tokens, above which it was slower at every shape, and its default is among them.
    """
    rows = [batch.rows // 2**k for k in range(9) if batch.rows % 2**k == 0]
    if not side.startswith("headwater"):
        return tuple(row for row in rows if row)
    tokens = {row * batch.length for row in rows if row}
    tokens |= {MICRO_BATCH["cpu"]} if max(tokens) > MICRO_BATCH["cpu"] else set()
    return tuple(size for size in sorted(tokens, reverse=True) if size <= CACHED) or (min(tokens),)
