"""A recipe's YAML text as plain data, with the line of every key. Nothing in the text is ever run.

Beyond what `yaml.SafeLoader` refuses: a key given twice, a tag that is not plain data, and aliases that unfold
to more values than any recipe has. `1e-3` is a number, as a person means it, and a date is a text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from yaml.error import MarkedYAMLError

from headwater.errors import InputError

MOST_VALUES = 10_000
"""Values of one text, aliases unfolded."""

_PLAIN = {f"tag:yaml.org,2002:{kind}" for kind in ("str", "int", "float", "bool", "null", "seq", "map", "merge")}
_SCIENTIFIC = re.compile(r"[-+]?[0-9][0-9_]*(?:\.[0-9]*)?[eE][-+]?[0-9]+$")


class _Loader(yaml.SafeLoader):
    """SafeLoader that reads 1e-3 as a number and leaves dates as text."""

    yaml_implicit_resolvers = {  # noqa: RUF012  as in the base class
        first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _SCIENTIFIC, list("-+0123456789"))


def plain_data(text: str) -> Any:
    """The text as dicts, lists, texts and numbers; no part is shared, so an edit of one key changes no other.

    Raises yaml.YAMLError, with the place where there is one, ValueError or RecursionError.
    """
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _check(node)
        return json.loads(json.dumps(loader.construct_document(node)))
    finally:
        loader.dispose()


def file_name(path: Path) -> str:
    """The run's name in a recipe's file; the default recipe's where it gives none. Raises InputError."""
    try:
        data = plain_data(path.read_text(encoding="utf-8"))
        return str((data or {}).get("name", "lab"))
    except (OSError, ValueError, AttributeError, RecursionError, yaml.YAMLError) as error:
        raise InputError(f"recipe {path}: cannot be read as YAML ({type(error).__name__}))") from error


def _check(root: yaml.Node) -> None:
    """Refuse what is not plain data before any of it is built."""
    waiting, seen = [root], 0
    while waiting:
        node = waiting.pop()
        seen += 1
        if seen > MOST_VALUES:
            raise _error(node, f"more than {MOST_VALUES:,} values, aliases unfolded")
        if node.tag not in _PLAIN:
            raise _error(node, f"the tag {node.tag!r:.80} is not allowed; write plain text, numbers, lists and keys")
        if isinstance(node, yaml.MappingNode):
            keys: set[str] = set()
            for key, value in node.value:
                if isinstance(key, yaml.ScalarNode) and key.value in keys:
                    raise _error(key, f"the key {key.value!r:.80} is given twice")
                keys.add(str(key.value))
                waiting += [value, key]
        elif isinstance(node, yaml.SequenceNode):
            waiting += node.value


def _error(node: yaml.Node, problem: str) -> MarkedYAMLError:
    return MarkedYAMLError(problem=problem, problem_mark=node.start_mark)


def line_of(text: str, place: Sequence[str]) -> int | None:
    """The 1-based line of a key, or of the nearest key above it; None when nothing of it stands in the text."""
    node = yaml.compose(text, Loader=yaml.SafeLoader) if text else None
    line = None
    for part in place:
        if isinstance(node, yaml.MappingNode):
            found = next(((k, v) for k, v in node.value if k.value == part), None)
            if found is None:
                return line
            line, node = found[0].start_mark.line + 1, found[1]
        elif isinstance(node, yaml.SequenceNode) and part.isdigit() and int(part) < len(node.value):
            node = node.value[int(part)]
            line = node.start_mark.line + 1
    return line
