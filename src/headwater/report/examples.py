"""Responses that a person can read: of each arm some right and some wrong ones, and the first of the run."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from headwater.folder import RESPONSES, response_rows
from headwater.report.results import arms_by_name, printable
from headwater.report.rows import ArmExamples, Response

if TYPE_CHECKING:
    from headwater.folder import RunFolder

LONGEST = 1200  # characters of one prompt or response
RIGHT, WRONG = 1, 2  # of each arm


def responses(folder: RunFolder, node: str | None) -> list[dict[str, Any]]:
    """The responses that a finished node kept; none of an older run."""
    raw = folder.result(node, RESPONSES) if node else None
    return [] if raw is None else response_rows(raw)


def three_problems(folder: RunFolder, node: str) -> tuple[Response, ...]:
    """One response to each of three problems, of the last step if there are several."""
    rows = responses(folder, node)
    last = max((row["step"] for row in rows), default=0)
    return _distinct((row for row in rows if row["step"] == last), 3)


def first_look(folder: RunFolder, graph: Mapping[str, Any]) -> Response | None:
    """The first response of the first stage that is graded: what the model saw, said, and got."""
    for node, entry in graph["nodes"].items():
        if entry["kind"] == "train" and entry["reads_labels"] and (rows := responses(folder, node)):
            return _response(rows[0])
    return None


def examples(folder: RunFolder, graph: Mapping[str, Any], benchmark: str) -> tuple[ArmExamples, ...]:
    """Of each arm's first measured seed a right response and two wrong ones, on the benchmark."""
    found = []
    for name, entries in arms_by_name(graph["arms"]).items():
        for entry in entries:
            rows = responses(folder, entry["evaluation"].get(benchmark))
            if rows:
                right = _distinct((row for row in rows if row["verdict"] == "correct"), RIGHT)
                wrong = _distinct((row for row in rows if row["verdict"] != "correct"), WRONG)
                found.append(ArmExamples(arm=name, seed=entry["seed"], responses=(*right, *wrong)))
                break
    return tuple(found)


def prompts(folder: RunFolder, nodes: Iterable[str | None]) -> dict[str, str]:
    """Problem -> prompt, of the first of these nodes that kept responses."""
    for node in nodes:
        rows = responses(folder, node)
        if rows:
            return {row["problem_id"]: readable(row["prompt"], 160) for row in reversed(rows)}
    return {}


def readable(text: str | None, longest: int = LONGEST) -> str:
    """Text with its line breaks, cut where it is long, and nothing in it that steers a page or a terminal."""
    cut = text or ""
    if len(cut) > longest:
        cut = f"{cut[: longest // 2]}\n[ ... {len(cut) - longest:,} characters ... ]\n{cut[-longest // 2 :]}"
    lines = cut.replace("\r\n", "\n").replace("\t", "  ")
    return "".join("\ufffd" if _steers(character) and character != "\n" else character for character in lines)


def _steers(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cf", "Cs", "Cn", "Co", "Zl", "Zp")


def _distinct(rows: Iterable[Mapping[str, Any]], count: int) -> tuple[Response, ...]:
    """The first row of each of so many problems."""
    first: dict[str, Mapping[str, Any]] = {}
    for row in rows:
        if len(first) == count:
            break
        first.setdefault(row["problem_id"], row)
    return tuple(_response(row) for row in first.values())


def _response(row: Mapping[str, Any]) -> Response:
    return Response(
        problem=printable(row["problem_id"]),
        step=row["step"],
        prompt=readable(row["prompt"]),
        response=readable(row["response"]),
        finish_reason=printable(row["finish_reason"]),
        answer=None if row["answer"] is None else readable(row["answer"], 200),
        gold=None if row["gold"] is None else readable(row["gold"], 200),
        verdict=printable(row["verdict"]),
    )


def rows_of(rows: Sequence[Mapping[str, Any]], *, wrong: int, right: int) -> tuple[Response, ...]:
    """So many wrong and so many right responses, to problems of their own each."""
    return (
        *_distinct((row for row in rows if row["verdict"] != "correct"), wrong),
        *_distinct((row for row in rows if row["verdict"] == "correct"), right),
    )
