"""A chat as ids, through the tokenizer's own template: nothing that was asked for is dropped, no day is written in.

An argument that the template never reads would be ignored without a word, so it is refused. A template that writes
today's date gives other prompts tomorrow: it is refused too, unless the recipe says what it is to write. A chat that
ends in the assistant's turn is continued there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from jinja2 import Environment, TemplateError, meta, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from transformers import PreTrainedTokenizerBase

from headwater.errors import InputError, nearest
from headwater.records import Message

DATE = "strftime_now"
"""What transformers gives a template to write today's date with; as an argument, the text to write in its stead."""
_TEXT = "headwater_date"
_TODAY = "headwater: today"
_PINNED = f"{{%- macro {DATE}(format) -%}}{{{{ {_TEXT} }}}}{{%- endmacro %}}\n"
_REFUSING = f'{{%- macro {DATE}(format) -%}}{{{{ raise_exception("{_TODAY}") }}}}{{%- endmacro %}}\n'
_SUPPLIED = frozenset(
    {"messages", "tools", "documents", "add_generation_prompt", "raise_exception", "namespace", "range", "dict"}
)
"""What a template reads that is no argument of a recipe's."""


class _Generation(Extension):
    """transformers' own tag, whose content is read as it stands."""

    tags = {"generation"}  # noqa: RUF012  jinja2's own form

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return list(parser.parse_statements(("name:endgeneration",), drop_needle=True))


@lru_cache(maxsize=16)
def declared(template: str) -> frozenset[str]:
    """The names that a chat template reads and does not set: its arguments. Raises InputError for no template."""
    environment = Environment(extensions=["jinja2.ext.loopcontrols", _Generation])  # noqa: S701  parsed, never rendered
    try:
        return frozenset(meta.find_undeclared_variables(environment.parse(template))) - _SUPPLIED
    except TemplateError as error:
        raise InputError(f"template: the tokenizer's chat template is no template ({error}); mend it") from error


def check_arguments(tokenizer: PreTrainedTokenizerBase, arguments: Mapping[str, Any]) -> None:
    """Raise InputError for an argument that the chat template never reads."""
    if not arguments:
        return
    if tokenizer.chat_template is None:
        raise InputError(f"template: {min(arguments)} has no chat template to go to; leave it out")
    known = declared(tokenizer.get_chat_template())
    unknown = sorted(arguments.keys() - known)
    if unknown:
        takes = ", ".join(sorted(known - {*tokenizer.special_tokens_map})) or "no argument"
        raise InputError(
            f"template: the chat template never reads {unknown[0]!r}{nearest(unknown[0], known)}; it takes {takes}"
        )


def chat_ids(
    tokenizer: PreTrainedTokenizerBase, chat: Sequence[Message], arguments: Mapping[str, Any]
) -> tuple[int, ...]:
    """The ids of a chat up to where its response begins.

    Raises InputError for an unread argument and for a date that is not pinned; TemplateError, TypeError and ValueError
    as the template and transformers do.
    """
    check_arguments(tokenizer, arguments)
    template, given = tokenizer.get_chat_template(), dict(arguments)
    if DATE in declared(template):
        template = (_PINNED if DATE in given else _REFUSING) + template
        given = {**given, _TEXT: given.pop(DATE)} if DATE in given else given
    goes_on = chat[-1].role == "assistant"
    try:
        rendered: Any = tokenizer.apply_chat_template(
            [{"role": message.role, "content": message.content} for message in chat],
            chat_template=template,
            add_generation_prompt=not goes_on,
            continue_final_message=goes_on,
            tokenize=True,
            return_dict=True,
            **given,
        )
    except TemplateError as error:
        if str(error) != _TODAY:
            raise
        dates = sorted(name for name in declared(template) if "date" in name and name != _TEXT)
        also = f", or {dates[0]}" if dates else ""
        raise InputError(
            "template: the chat template writes the day's date, so that the prompts are others tomorrow; give the text "
            f'it is to write, template: {{{DATE}: "31 Jan 2025"}}{also}'
        ) from error
    return tuple(rendered["input_ids"])
