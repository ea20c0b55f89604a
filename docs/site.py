"""What the site makes of the code itself: a recipe's settings as tables, and links out of docs/ turned to the repository."""

import re
import sys
from pathlib import Path
from typing import get_args

from mkdocs.structure.files import File
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "src"))

import headwater  # noqa: E402
from headwater.routes.recipe import Recipe  # noqa: E402


def on_files(files, config):
    """Two pages that are made, never written: recipes.md from the settings, python.md from the public names."""
    for name, text in (("recipes.md", recipes()), ("python.md", python())):
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown, page, config, files):
    """A link that leaves docs/ or leads to a script says its path and links nowhere."""
    return re.sub(r"(?<!!)\[([^\]]+)\]\(((?:\.\./)+[^)]*|[\w/-]+\.py)\)", r"`\2`", markdown)


def recipes():
    """Every group of a recipe as a table, in the order in which a reader meets them."""
    lines = [
        "# Recipes: every setting",
        "",
        "Made from the settings themselves. A group's own keys stand in its table.",
        "",
    ]
    for path, model in groups(Recipe):
        lines += [f"## {path or 'The recipe'}", "", "| key | default | what it does |", "|---|---|---|"]
        for name, field in model.model_fields.items():
            said = (field.description or "").replace("|", "\\|")
            lines.append(f"| `{name}` | {default(field)} | {said} |")
        lines.append("")
    return "\n".join(lines)


def groups(model, path=""):
    """(dotted place, model) of the recipe and of every group in it, each kind of group once."""
    seen, waiting = set(), [(path, model)]
    while waiting:
        path, model = waiting.pop(0)
        if model in seen:
            continue
        seen.add(model)
        yield path, model
        for name, field in model.model_fields.items():
            for kind in models(field.annotation):
                waiting.append((f"{path}.{name}".strip("."), kind))


def models(annotation):
    """The models that an annotation speaks of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from models(part)


def default(field):
    """A default as YAML would have it, or `required`."""
    value = field.get_default(call_default_factory=True)
    if value is PydanticUndefined:
        return "required"
    if isinstance(value, BaseModel) or (isinstance(value, tuple) and value and isinstance(value[0], BaseModel)):
        return "a group"
    return f"`{'null' if value is None else value}`".replace("|", "\\|")


def python():
    """The public names, each from its docstring."""
    names = [f"::: {headwater._HOMES[name]}.{name}" for name in headwater.__all__]
    return "# Python\n\nThe public names: `import headwater as hw`.\n\n" + "\n\n".join(names) + "\n"
