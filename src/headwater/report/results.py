"""Reads the results of a run folder's nodes, and makes their texts safe to show."""

from __future__ import annotations

import json
import math
import unicodedata
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from headwater.errors import IntegrityError

if TYPE_CHECKING:
    from headwater.folder import RunFolder

LONGEST_TEXT = 400  # characters of one name, title or note


def printable(value: Any) -> Any:
    """The same plain data with every text on one line that can neither steer a terminal nor reorder a line.

    Control, bidirectional, surrogate and unassigned characters become U+FFFD; NaN becomes None.
    """
    if isinstance(value, str):
        text = " ".join(value.split()) if value.isprintable() or value.isspace() else _visible(value)
        return text if len(text) <= LONGEST_TEXT else text[: LONGEST_TEXT - 1] + "…"
    if isinstance(value, Mapping):
        return {printable(str(key)): printable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [printable(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _visible(text: str) -> str:
    steering = ("Cc", "Cf", "Cs", "Cn", "Co", "Zl", "Zp")
    spaced = " ".join(text.split())
    return "".join("\ufffd" if unicodedata.category(c) in steering else c for c in spaced)


def arms_by_name(entries: Iterable[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """The graph's arms, one list of seeds per name, in the order in which names first appear."""
    named: dict[str, list[Mapping[str, Any]]] = {}
    for entry in entries:
        named.setdefault(entry["name"], []).append(entry)
    return named


def read_json(folder: RunFolder, node: str | None, name: str) -> Any:
    """A result as plain data, its texts as they are; None if there is none yet."""
    raw = folder.result(node, name) if node else None
    return None if raw is None else _parsed(raw, node, name)


def read_lines(folder: RunFolder, node: str, name: str) -> list[Any]:
    """A result of one JSON value a line; empty if there is none yet."""
    raw = folder.result(node, name) or b""
    return [_parsed(line, node, name) for line in raw.splitlines() if line.strip()]


def _parsed(raw: bytes, node: str | None, name: str) -> Any:
    try:
        return json.loads(raw)
    except ValueError as error:
        raise IntegrityError(f"report: {name} of node {str(node)[:12]} is not JSON ({error})") from None


def read_scores(folder: RunFolder, node: str | None) -> dict[str, Any] | None:
    """An evaluation's scores.json with printable texts, but problem ids as they are: they are compared."""
    scores = read_json(folder, node, "scores.json")
    if scores is None:
        return None
    lists = {field: scores.pop(field) for field in ("problems", "correct", "ungraded")}
    lengths = {len(values) for values in lists.values()}
    if len(lengths) != 1 or len(set(lists["problems"])) not in lengths:
        raise IntegrityError(f"report: scores.json of node {str(node)[:12]} does not have one entry per problem")
    return {**printable(scores), **lists}


def problem_shares(folder: RunFolder, node: str | None) -> dict[str, float] | None:
    """Problem -> share of right answers of an evaluation; None if there is none yet."""
    scores = read_scores(folder, node)
    if scores is None:
        return None
    return {p: count / scores["samples"] for p, count in zip(scores["problems"], scores["correct"], strict=True)}


def mean(values: Iterable[float | None]) -> float | None:
    """Mean of what is known; None if nothing is."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
