"""The recipes that come with headwater, as text: no torch, so that `init` answers at once."""

from __future__ import annotations

from importlib import resources

from headwater.errors import InputError, nearest


def shipped() -> tuple[str, ...]:
    """Names of the recipes that come with headwater."""
    folder = resources.files("headwater") / "recipes"
    return tuple(sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml")))


def recipe_text(name: str) -> str:
    """The text of a shipped recipe. Raises InputError when there is none of that name."""
    if name not in shipped():
        raise InputError(
            f"recipe: no file and no shipped recipe {name!r}{nearest(name, shipped())}; shipped: {', '.join(shipped())}"
        )
    return (resources.files("headwater") / "recipes" / f"{name}.yaml").read_text(encoding="utf-8")
