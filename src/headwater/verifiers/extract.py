r"""Where the final answer stands in a response: one pass over the text, in linear time on any input.

`final_marker` takes what follows the last marker ("# 9", "#### 72"), `last_box` what stands in the last
\boxed{...} or \fbox{...}, `last_tagged` what stands in the last <answer>. A response has one final answer: when
the last box is broken, an earlier one does not stand in for it, and two answers offered side by side
("\boxed{1} or \boxed{2}") are none. `find_answer` leaves out what a model thinks before it answers.

`last_number` takes the last number of a text that follows no format.

Left out: other answers in prose without a declared marker. Text is never evaluated.
"""

from __future__ import annotations

import re
from typing import NamedTuple

LONGEST_ANSWER = 10_000
"""Characters; a longer answer is malformed."""

_JOINERS = frozenset({"", "or", "and"})
"""Words that may stand between two answers that are offered side by side."""
_LONGEST_JOINT = 40
"""Characters between two answers; a longer stretch is prose, and the later answer a correction."""

# Tokens of LaTeX that matter here. `\\.` swallows an escaped brace or backslash, so that neither counts.
_TOKEN = re.compile(
    r"(?P<box>\\(?:boxed|fbox)(?![A-Za-z]))(?:(?P<open>\s*\{)|(?P<bare>\s*[A-Za-z0-9](?![A-Za-z0-9.,/^_])))?|\\.|[{}]",
    re.DOTALL,
)


_NUMBER = re.compile(r"(?<![\w.])[-\u2212]?\d+(?:,\d{3}(?!\d))*(?:\.\d+)?")
_JOINED = re.compile(r"[\s,;/*_$]{0,20}(?:or|and)[\s,;/*_$]{0,20}")

_EMPHASIS = re.compile(r"(\*{1,3}|_{1,2}|`)(?P<inside>[^*_`]+)\1")


def find_answer(text: str, extractor: str, marker: str, end: str) -> str | None:
    """The final answer of a response, in the declared format ("boxed", "marker", "tag" or "number"), or None.

    What stands in <think>...</think> is no answer, and a response that never stops thinking has none. Bold or
    code marks around an answer behind a marker are dropped.
    """
    thought = text.rfind("</think>")
    if thought >= 0:
        text = text[thought + len("</think>") :]
    elif "<think>" in text:
        return None
    if extractor == "boxed":
        return last_box(text)
    if extractor == "tag":
        return last_tagged(text)
    if extractor == "number":
        return last_number(text)
    answer = final_marker(text, marker, end)
    emphasis = _EMPHASIS.fullmatch(answer or "")
    return emphasis["inside"].strip() or None if emphasis else answer


def last_tagged(text: str, tag: str = "answer") -> str | None:
    """What stands in the last <answer>...</answer>, stripped.

    None when there is none, when the one that opens last is never closed, when it is empty or longer than
    10,000 characters, or when it and the one before are two different answers offered side by side.
    """
    opening, closing = f"<{tag}>", f"</{tag}>"
    start = text.rfind(opening)
    stop = text.find(closing, start)
    if start < 0 or stop < 0:
        return None
    content = _bounded(text, start + len(opening), stop)
    closed = text.rfind(closing, 0, start)
    opened = text.rfind(opening, 0, max(closed, 0))
    if opened < 0 or not _side_by_side(text, closed + len(closing), start):
        return content
    return content if _bounded(text, opened + len(opening), closed) == content else None


def last_number(text: str) -> str | None:
    """The last number written, sign, thousands and decimals with it: for small models that follow no other format.

    None when there is none, when it is longer than 10,000 characters, or when it and the one before are two
    different answers joined by "or" or "and".
    """
    last: re.Match[str] | None = None
    before: re.Match[str] | None = None
    for found in _NUMBER.finditer(text):
        last, before = found, last
    if last is None:
        return None
    if before is not None and before[0] != last[0] and _JOINED.fullmatch(text, before.end(), last.start()):
        return None
    return _bounded(text, last.start(), last.end())


def final_marker(text: str, marker: str = "#", end: str = "<eos>") -> str | None:
    """What stands between the last `marker` and `end` (the first one, or the end of the text), stripped.

    None when there is no marker, nothing after it, more than 10,000 characters, or a second answer joined to
    the one before by "or" or "and".
    """
    stop = text.find(end) if end else -1
    text = text if stop < 0 else text[:stop]
    start = text.rfind(marker)
    if start < 0:
        return None
    earlier = text.rfind(marker, 0, start)
    joint = text[max(0, start - _LONGEST_JOINT) : start].split()
    if earlier >= 0 and joint and joint[-1].lower() in _JOINERS:
        return None
    return _bounded(text, start + len(marker), len(text))


class _Box(NamedTuple):
    opened: int
    """index of the backslash"""
    start: int
    """index of the first character of the answer"""
    end: int
    """index of the brace that closes the answer"""
    closed: int
    """index of the box's own closing brace; `end` lies further in when the box holds nothing but a box"""


def last_box(text: str) -> str | None:
    r"""The content of the last \boxed{...} or \fbox{...}, braces matched, stripped.

    A box around nothing but a box counts as one: \boxed{\boxed{2}} gives 2. None when there is no box, when
    the box that opens last is never closed, when it is empty or longer than 10,000 characters, or when it and
    the box before it are two different answers offered side by side.
    """
    last, before = _scan(text)
    if last is None:
        return None
    content = _bounded(text, last.start, last.end)
    if before is None or not _side_by_side(text, before.closed + 1, last.opened):
        return content
    return content if _bounded(text, before.start, before.end) == content else None


def _scan(text: str) -> tuple[_Box | None, _Box | None]:
    """The outermost complete box around the box that opens last (None: that is broken) and the one before."""
    last: _Box | None = None
    before: _Box | None = None
    newest = -1
    stack: list[tuple[int, int] | None] = []  # None is a plain brace
    for token in _TOKEN.finditer(text):
        if token["bare"]:  # \boxed 5, which boxes one character
            newest = token.end() - 1
            last, before = _Box(token.start(), newest, token.end(), newest), last
        elif token["box"]:
            newest = token.end()
            if token["open"]:
                stack.append((token.start(), token.end()))
        elif token[0] == "{":
            stack.append(None)
        elif token[0] == "}" and stack and (opening := stack.pop()) is not None:
            box = _Box(*opening, end=token.start(), closed=token.start())
            if last is not None and last.opened < box.opened:
                before = last
            elif last is not None and _fills(text, last, box):
                box = box._replace(start=last.start, end=last.end)
            last = box
    return (None, None) if last is None or last.closed < newest else (last, before)


def _fills(text: str, inner: _Box, outer: _Box) -> bool:
    # Long gaps are not looked at: cutting them out of each of many nested boxes would take quadratic time.
    gaps = (outer.start, inner.opened), (inner.closed + 1, outer.closed)
    return all(b - a <= _LONGEST_JOINT and not text[a:b].strip() for a, b in gaps)


def _side_by_side(text: str, start: int, stop: int) -> bool:
    # start > stop: the earlier box stands inside the last one
    if not 0 <= stop - start <= _LONGEST_JOINT:
        return False
    return all(word.lower() in _JOINERS for word in re.split(r"[^A-Za-z0-9]+", text[start:stop]))


def _bounded(text: str, start: int, stop: int) -> str | None:
    if stop - start > LONGEST_ANSWER:
        return None
    return text[start:stop].strip() or None
