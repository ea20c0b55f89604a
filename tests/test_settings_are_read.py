"""A setting exists only where something reads it."""

import ast
import typing
from pathlib import Path

from pydantic import BaseModel

import headwater
from headwater.routes.recipe import Recipe

SOURCE = Path(headwater.__file__).parent
BY_NAME = {"Stages", "distillation"}
"""Looked up by name: the six stages, rows of the methods table, and signals' groups."""


def groups(kind, found):
    """Every group of settings that a recipe can hold."""
    if isinstance(kind, type) and issubclass(kind, BaseModel) and kind not in found:
        found.append(kind)
        for field in kind.model_fields.values():
            groups(field.annotation, found)
    for inner in typing.get_args(kind):
        groups(inner, found)
    return found


def read_anywhere():
    """Names of attributes that some line of the package reads of something other than `cls`."""
    trees = (ast.walk(ast.parse(path.read_text(encoding="utf-8"))) for path in SOURCE.rglob("*.py"))
    return {node.attr for tree in trees for node in tree if isinstance(node, ast.Attribute)}


def test_every_setting_is_read():
    read = read_anywhere()
    unread = [
        f"{group.__name__}.{name}"
        for group in groups(Recipe, [])
        for name in group.model_fields
        if name not in read and group.__name__ not in BY_NAME and name not in BY_NAME
    ]
    assert unread == []


def test_the_check_sees_a_setting_that_nothing_reads():
    class Forgotten(BaseModel):
        no_line_of_ours_reads_this: int = 0

    assert not set(Forgotten.model_fields) & read_anywhere()
