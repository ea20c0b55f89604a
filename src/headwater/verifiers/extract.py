r"""Where the final answer stands in a response: one pass over the text, in linear time on any input.

A response has one final answer, in the declared format: what follows the last marker ("# 9", "#### 72"), what stands
in the last \boxed{...} or \fbox{...}, or in the last <answer>, or the last number of a text that follows no format.
When the last box is broken, an earlier one does not stand in for it, and two answers offered side by side
("\boxed{1} or \boxed{2}") are none; `side_by_side` has them, for a gold answer that is a set. What a model thinks
before it answers is left out, and bold marks, delimiters and a box are taken off an answer behind a marker.

Left out: other answers in prose without a declared marker. Text is never evaluated.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from functools import cache, partial
from typing import NamedTuple

LONGEST_ANSWER = 10_000
"""Characters; a longer answer is malformed."""

_JOINERS = frozenset({"", "or", "and"})
"""Words that may stand between two answers that are offered side by side."""
_LONGEST_JOINT = 40
"""Characters between two answers; a longer stretch is prose, and the later answer a correction."""

# Tokens of LaTeX that matter here. `\\.` swallows an escaped brace or backslash, so that neither counts.
_PIECE = (
    r"(?s)(?P<box>\\(?:boxed|fbox)(?![A-Za-z]))"
    r"(?:(?P<open>\s*\{)|(?P<bare>\s*[A-Za-z0-9](?![A-Za-z0-9.,/^_])))?|\\.|[{}]"
)
_NUMBER = r"(?<![\w.])[-\u2212]?\d+(?:,\d{3}(?!\d))*(?:\.\d+)?"
_NAMED = r"(?<![A-Za-z\\])[A-Za-z](?:_\{?\w{1,9}\}?)?\s*="
"""Each of two answers may have its name: x = 3 or x = 5."""
_EMPHASIS = r"(\*{1,3}|_{1,2}|`)(?P<inside>[^*_`]+)\1[.,;:!]?"
_MARKS = ("***", "**", "__", "*", "`")
_DELIMITERS = (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"))


class _Span(NamedTuple):
    opened: int
    """index of the backslash, or of the tag's bracket"""
    start: int
    """index of the first character of the answer"""
    end: int
    """index behind the last one"""
    closed: int
    """index of the last character of all; `end` lies further in when the box holds nothing but a box"""


def find_answer(text: str, extractor: str, marker: str = "####", end: str = "") -> str | None:
    """The final answer of a response, in the declared format ("boxed", "marker", "tag" or "number"), stripped, or None.

    None when there is none, when it is empty or longer than 10,000 characters, when the box or tag that opens last
    is never closed, and when it and the one before are two different answers offered side by side. What stands in
    <think>...</think> is no answer, and a response that never stops thinking has none.
    """
    answered = after_thought(text)
    if answered is None:
        return None
    if extractor == "marker":
        return _marked(answered, marker, end)
    last_two = _offered(answered, extractor)[-2:]
    content = last_two[-1] if len(set(last_two)) == 1 else None
    return undressed(content) if extractor == "tag" else content


def answer_finder(where: str | None) -> Callable[[str], str | None] | None:
    """What finds a gold answer in its column: `where` is "boxed", "tag", "number" or "marker ####"; None: all of it is.

    A marker alone is GSM8K's, since YAML takes what follows for a remark.
    """
    if where is None:
        return None
    extractor, _, marker = where.partition(" ")
    return partial(find_answer, extractor=extractor, marker=marker or "####", end="")


def after_thought(text: str) -> str | None:
    """What follows the last thought; None where a thought never ends."""
    *_, mark, rest = ("</think>", *re.split(r"(</?think(?:ing)?>)", text))
    return rest if mark[1] == "/" else None


def side_by_side(text: str, extractor: str) -> list[str]:
    """The answers in boxes or tags at the end that stand side by side; a set may be given so. Else an empty list."""
    answered = after_thought(text)
    offered = _offered(answered, extractor) if answered is not None and extractor in ("boxed", "tag") else []
    found = [content for content in offered if content is not None]
    return found if len(found) == len(offered) > 1 else []


def _offered(text: str, extractor: str) -> list[str | None]:
    """What the last one holds, and those before it with nothing but "or", "and" and marks between them."""
    spans = _SPANS[extractor](text)
    first = max(0, len(spans) - 1)
    while first and _near(text, *spans[first - 1 : first + 1], in_words=extractor == "number"):
        first -= 1
    return [_bounded(text, span.start, span.end) for span in spans[first:]]


def undressed(answer: str | None) -> str | None:
    r"""An answer without the bold marks, delimiters ($, \[ \]) and the one box around all of it."""
    while answer:
        inner = _without_marks(answer)
        for opening, closing in _DELIMITERS:
            body = inner.rstrip(".,;")
            middle = body[len(opening) : -len(closing)]
            if body.startswith(opening) and body.endswith(closing) and middle.strip() and opening not in middle:
                inner = middle.strip()
                break
        boxes = _boxes(inner)
        if len(boxes) == 1:
            outside = inner[: boxes[0].opened] + inner[boxes[0].closed + 1 :]
            if not outside.strip(" \n\t.,;:$*"):
                inner = inner[boxes[0].start : boxes[0].end].strip()
        if inner == answer:
            return answer
        answer = inner or None
    return None


def _without_marks(answer: str) -> str:
    emphasis = re.fullmatch(_EMPHASIS, answer)
    return (emphasis["inside"].strip() or answer) if emphasis else answer


@cache
def _bold(marker: str) -> str:
    """The marker as a pattern, with the bold marks that may close between its last word and the sign behind that."""
    word = re.fullmatch(r"(.*\w)(\W*)", marker, re.DOTALL)
    return rf"{re.escape(word[1])}(?:\*{{1,3}}|_{{1,2}}|`)?{re.escape(word[2])}" if word else re.escape(marker)


def _marked(text: str, marker: str, end: str) -> str | None:
    """What follows the last marker. A bold mark that opens before the marker may close before or behind the answer."""
    pattern = _bold(marker)
    last = re.match(rf"(?s:.*)({pattern})", text)
    if last is None:
        return None
    start, stop = last.span(1)
    joint = text[max(0, start - _LONGEST_JOINT) : start].split()
    if joint and joint[-1].lower() in _JOINERS and re.search(pattern, text[:start]):
        return None
    # blanks right behind a marker are no end: an answer may begin on the next line
    begin = stop if end.strip() else stop + len(text[stop:]) - len(text[stop:].lstrip())
    until = text.find(end, begin) if end else -1
    answer = _bounded(text, stop, len(text) if until < 0 else until)
    if answer is None:
        return None
    line = text[text.rfind("\n", 0, start) + 1 : stop]
    for mark in _MARKS:
        if line.count(mark) % 2:
            for bare in (answer.removeprefix(mark), re.sub(rf"{re.escape(mark)}([.,;:!]?)$", "", answer)):
                if bare != answer and bare.count(mark) % 2 == 0 and bare.strip():
                    return undressed(bare.strip())
    return undressed(answer.lstrip(": ") or answer)


def _bounded(text: str, start: int, stop: int) -> str | None:
    return text[start:stop].strip() or None if stop - start <= LONGEST_ANSWER else None


def _numbers(text: str) -> list[_Span]:
    """The last two, with their signs, thousands and decimals."""
    last = deque(re.finditer(_NUMBER, text), maxlen=2)
    return [_Span(found.start(), *found.span(), found.end() - 1) for found in last]


def _tags(text: str) -> list[_Span]:
    """All complete ones; none when the one that opens last is never closed."""
    found = re.finditer(r"<answer>((?:(?!<answer>).)*?)</answer>", text, re.DOTALL)  # the innermost
    spans = [_Span(tag.start(), *tag.span(1), tag.end() - 1) for tag in found]
    return spans if text.rfind("<answer>") < text.rfind("</answer>") else []


def _boxes(text: str) -> list[_Span]:
    """The outermost complete ones in their order; none when the one that opens last is never closed.

    A box around nothing but a box counts as one.
    """
    spans: list[_Span] = []
    newest = -1
    stack: list[tuple[int, int] | None] = []  # None is a plain brace
    for token in re.finditer(_PIECE, text):
        if token["bare"]:  # \boxed 5, which boxes one character
            newest = token.end() - 1
            spans.append(_Span(token.start(), newest, token.end(), newest))
        elif token["box"]:
            newest = token.end()
            if token["open"]:
                stack.append((token.start(), token.end()))
        elif token[0] == "{":
            stack.append(None)
        elif token[0] == "}" and stack and (opening := stack.pop()) is not None:
            box = _Span(*opening, end=token.start(), closed=token.start())
            inner = spans[-1] if spans and spans[-1].opened > box.opened else None
            while spans and spans[-1].opened > box.opened:
                spans.pop()
            if inner is not None and _fills(text, inner, box):
                box = box._replace(start=inner.start, end=inner.end)
            spans.append(box)
    return spans if spans and newest <= spans[-1].closed else []


def _fills(text: str, inner: _Span, outer: _Span) -> bool:
    # Long gaps are not looked at: cutting them out of each of many nested boxes would take quadratic time.
    gaps = (outer.start, inner.opened), (inner.closed + 1, outer.closed)
    return all(b - a <= _LONGEST_JOINT and not text[a:b].strip() for a, b in gaps)


def _near(text: str, before: _Span, last: _Span, *, in_words: bool = False) -> bool:
    """Whether two answers stand side by side; `in_words`: only where a word joins them."""
    start, stop = before.closed + 1, last.opened
    if not 0 <= stop - start <= _LONGEST_JOINT:  # or the earlier box stands inside the last one
        return False
    between = re.sub(_NAMED, " ", re.sub(r"\\(?:q?quad|text|mathrm|mbox|hspace)(?![A-Za-z])", " ", text[start:stop]))
    words = [word.lower() for word in re.split(r"[^A-Za-z0-9]+", between)]
    return all(word in _JOINERS for word in words) and (any(words) or not in_words)


_SPANS: dict[str, Callable[[str], list[_Span]]] = {"boxed": _boxes, "tag": _tags, "number": _numbers}
