r"""Where the prompt and the answer stand in a row, and how one row becomes text that can be trusted.

    prompt          prompt, problem, question                                    text, or messages {role, content}
    answer          reward_model.ground_truth, answer, solution, label, gold     text or a number
    source          data_source, source                                          text; the file's name without one
    demonstration   only by the column map                                       text

These are TRL's layout (`prompt` as messages, `solution`) and verl's (`prompt` as messages, `data_source`,
`reward_model.ground_truth`; `extra_info` is not looked at). A column map replaces a name: dots reach into
nested values ("extra_info.answer", "final_answer.0"). The first of the known names that is there counts, for
the whole data set: a later row without it is a bad row, never read from another column.

Left out: prompts of parts (images), tool calls, prompts that end in the assistant's turn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from numbers import Real
from typing import Any, Final, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from headwater.records import Message

PROMPTS: Final = ("prompt", "problem", "question")
# verl's name first: a row that has it may carry a worked solution under one of the other names.
ANSWERS: Final = ("reward_model.ground_truth", "answer", "solution", "label", "gold")
SOURCES: Final = ("data_source", "source")
ROLES: Final = ("system", "user", "assistant")

AnswerOf = Callable[[str], str | None]
"""From what stands in the answer's column to the answer in it; None where there is none."""
LISTED = 12
"""Columns named in a message before "..."."""


class RowFault(ValueError):
    """What is wrong with one row, as the end of a sentence: "answer is null; allowed: text or a number"."""


class Written(str):
    """A number as the file writes it: 0.10 stays 0.10, and no digit of a long one is lost."""

    __slots__ = ()


class Columns(BaseModel):
    """The columns of a data set; null looks for the known names."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    prompt: str | None = Field(None, min_length=1, description="question; null: prompt, problem or question")
    answer: str | None = Field(None, min_length=1, description="gold answer; null: the known names")
    demonstration: str | None = Field(None, min_length=1, description="worked solution; null: there is none")
    source: str | None = Field(None, min_length=1, description="where a problem comes from; null: data_source, source")

    answer_from: str | None = Field(
        None,
        pattern=r"^(?:boxed|tag|number|marker(?: \S.*)?)$",
        description="where the gold stands in its column: boxed, tag, number, marker '####'; null: all of it",
    )

    @property
    def top_level(self) -> frozenset[str]:
        """Names, with every leading part of a dotted one: all that a reader has to read."""
        chosen = [self.prompt, self.answer, self.demonstration, self.source]
        names = [name for name in (*chosen, *PROMPTS, *ANSWERS, *SOURCES) if name]
        return frozenset(name for path in names for name in (path, path.split(".")[0]))


class Layout(NamedTuple):
    """The columns that a data set is read from, found once and kept for all of its rows."""

    prompt: str
    answer: str | None
    """None: prompts without labels are read, and whatever answers stand beside them are not"""
    demonstration: str | None
    source: str | None


class Parts(NamedTuple):
    """What one row says."""

    prompt: str | tuple[Message, ...]
    answer: str
    demonstration: str | None
    source: str | None
    asked: str | None = None
    """the problem's own text, where `prompt` holds worked examples before it"""


_ABSENT: Final = object()


def reach(values: Any, path: str) -> Any:
    """The value at a dotted path, or `_ABSENT`; a key that itself has the dots in it comes first."""
    if isinstance(values, Mapping) and path in values:
        return values[path]
    head, dot, rest = path.partition(".")
    if isinstance(values, Mapping) and head in values:
        inner = values[head]
    elif isinstance(values, Sequence) and not isinstance(values, str | bytes) and head.isdecimal() and len(head) < 9:
        inner = values[int(head)] if int(head) < len(values) else _ABSENT
    else:
        return _ABSENT
    return reach(inner, rest) if dot and inner is not _ABSENT else inner


def find_layout(columns: Columns, values: Mapping[str, Any], *, answers: bool = True) -> Layout | None:
    """The columns of the data set as this row shows them; None when prompt or a wanted answer is not there."""
    prompt = _first(columns.prompt, PROMPTS, values)
    answer = _first(columns.answer, ANSWERS, values) if answers else None
    if prompt is None or (answers and answer is None):
        return None
    return Layout(prompt, answer, columns.demonstration, columns.source or _first(None, SOURCES, values))


def _first(mapped: str | None, known: Sequence[str], values: Mapping[str, Any]) -> str | None:
    names = known if mapped is None else (mapped,)
    return next((name for name in names if reach(values, name) is not _ABSENT), None)


def missing(columns: Columns, values: Mapping[str, Any], names: Sequence[str]) -> str:
    """What a row without a layout lacks, what it has instead, and what to do."""
    part, mapped, known = ("prompt", columns.prompt, ", ".join(PROMPTS))
    if _first(mapped, PROMPTS, values) is not None:
        part, mapped, known = ("answer", columns.answer, ", ".join(ANSWERS))
    wanted = brief(mapped) if mapped else f"of {known}"
    found = ", ".join(brief(name) for name in list(names)[:LISTED]) + (", ..." if len(names) > LISTED else "")
    return f"no {part} column {wanted}; found: {found or 'no column'}; name it with columns.{part}"


def read_parts(
    values: Mapping[str, Any], layout: Layout, system_prompt: str | None, answer_of: AnswerOf | None = None
) -> Parts:
    """One row's prompt, answer, demonstration and source; `answer_of` finds the answer in its column.

    Raises RowFault.
    """
    prompt = _prompt(_value(values, layout.prompt), layout.prompt)
    if system_prompt is not None:
        prompt = _with_system(prompt, system_prompt, layout.prompt)
    demonstration = source = None
    if layout.demonstration is not None:
        demonstration = _text(_value(values, layout.demonstration), layout.demonstration)
    if layout.source is not None:
        found = reach(values, layout.source)
        source = None if found is _ABSENT or found is None else _text(found, layout.source)
    if layout.answer is None:
        return Parts(prompt, "", demonstration, source)
    answer = answer_text(_value(values, layout.answer), layout.answer)
    if answer_of is not None and (answer := answer_of(answer) or "") == "":
        raise RowFault(f"{brief(layout.answer)} holds no answer where columns.answer_from says it stands")
    return Parts(prompt, answer, demonstration, source)


def _value(values: Mapping[str, Any], column: str) -> Any:
    value = reach(values, column)
    if value is _ABSENT:
        raise RowFault(f"no column {brief(column)}; the rows before have one")
    return value


def _text(value: Any, column: str, allowed: str = "text") -> str:
    if not isinstance(value, str) or isinstance(value, Written):
        raise RowFault(f"{brief(column)} is {kind(value)}; allowed: {allowed}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise RowFault(f"{brief(column)} holds half a character (a lone surrogate); write it as UTF-8") from error
    if not value.strip():
        raise RowFault(f"{brief(column)} is empty; allowed: {allowed}")
    return value


def answer_text(value: Any, column: str) -> str:
    """A gold answer as text, every digit of a number with it. Raises RowFault for all that is neither."""
    allowed = "text or a number"
    if isinstance(value, str) and not isinstance(value, Written):
        return _text(value, column, allowed).strip()
    if isinstance(value, bool) or not isinstance(value, Written | Real | Decimal):
        raise RowFault(f"{brief(column)} is {kind(value)}; allowed: {allowed}")
    try:
        text = str(value)
    except ValueError as error:  # an int of more than 4,300 digits
        raise RowFault(f"{brief(column)} has too many digits; write it as text") from error
    if not any(character.isdigit() for character in text):
        raise RowFault(f"{brief(column)} is {text}, not a finite number; allowed: {allowed}")
    return text


def _prompt(value: Any, column: str) -> str | tuple[Message, ...]:
    allowed = "text, or messages that each have role and content"
    if isinstance(value, str | bytes) or not isinstance(value, Sequence):
        return _text(value, column, allowed)
    messages = tuple(_message(item, f"{column}.{index}") for index, item in enumerate(value))
    if not messages:
        raise RowFault(f"{brief(column)} is an empty list; allowed: {allowed}")
    if messages[-1].role != "user":
        raise RowFault(
            f"{brief(column)} ends in a turn of the {messages[-1].role}; allowed: a user's turn last, which is answered"
        )
    return messages


def _message(item: Any, place: str) -> Message:
    if not isinstance(item, Mapping):
        raise RowFault(f"{brief(place)} is {kind(item)}; allowed: a message with role and content")
    # A tool call or a name that is dropped would change what the model is asked.
    more = [key for key, value in item.items() if key not in ("role", "content") and value is not None]
    if more:
        raise RowFault(f"{brief(place)} has the key {brief(more[0])}; allowed: role and content")
    if item.get("role") not in ROLES:
        found = item.get("role")
        shown = brief(found) if isinstance(found, str) else kind(found)
        raise RowFault(f"{brief(place)}.role is {shown}; allowed: {', '.join(ROLES)}")
    return Message(role=str(item["role"]), content=_text(item.get("content"), f"{place}.content"))


def _with_system(prompt: str | tuple[Message, ...], system_prompt: str, column: str) -> tuple[Message, ...]:
    turns = (Message(role="user", content=prompt),) if isinstance(prompt, str) else prompt
    if any(turn.role == "system" for turn in turns):
        raise RowFault(f"{brief(column)} has a system message already; leave system_prompt out")
    return (Message(role="system", content=system_prompt), *turns)


class Example(BaseModel):
    """A problem with its solution, shown before every prompt."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    prompt: str = Field(min_length=1, description="the example's question")
    response: str = Field(min_length=1, description="how it is answered, in the form that is asked for")


def with_examples(parts: Parts, examples: Sequence[Example], own: str) -> Parts:
    """The same row with worked examples before its prompt: turns of a chat behind its system message, or text.

    `own` is the problem's text, which it is known by in pools and benchmarks whatever stands before it.
    """
    if not examples:
        return parts
    if isinstance(parts.prompt, str):
        text = "".join(f"{example.prompt}\n{example.response}\n\n" for example in examples)
        return parts._replace(prompt=text + parts.prompt, asked=own)
    shown = [
        Message(role=role, content=text)
        for example in examples
        for role, text in (("user", example.prompt), ("assistant", example.response))
    ]
    system = [turn for turn in parts.prompt if turn.role == "system"]
    others = [turn for turn in parts.prompt if turn.role != "system"]
    return parts._replace(prompt=(*system, *shown, *others), asked=own)


_KINDS: Final = (
    (type(None), "null"),
    (bool, "true or false"),
    ((Written, Real, Decimal), "a number"),
    (str, "text"),
    (Mapping, "an object"),
    ((bytes, bytearray), "bytes"),
)


def kind(value: Any) -> str:
    """What a value is, in a reader's words."""
    if isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray):
        return f"a list of {len(value)}"
    return next((words for types, words in _KINDS if isinstance(value, types)), f"of type {type(value).__name__}")


def brief(name: object) -> str:
    """A name from a file, safe to print: in quotes, escapes for what does not print, at most 60 characters."""
    text = ascii(str(name))
    return text if len(text) <= 60 else f"{text[:56]}...'"
