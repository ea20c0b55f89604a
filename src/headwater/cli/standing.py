"""Where a run stands, as data and as lines: who works on it, what is done, and each stage in progress."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headwater.cli.options import command
from headwater.folder import RECIPE, STATE

if TYPE_CHECKING:
    from headwater.folder import RunFolder


def standing(folder: RunFolder) -> dict[str, Any]:
    """Who holds the run, pieces of work done, and stages begun, with what the working process says of them."""
    nodes: dict[str, Any] = folder.graph["nodes"]
    finished = {name for name in nodes if folder.done(name)}
    holder, said = folder.holder(), {}
    if holder is not None:
        said = _said(folder.root / STATE)
    begun = [
        {"title": node["title"], "seed": node["seed"], "step": step, "steps": node["steps"]}
        for name, node in nodes.items()
        if name not in finished and (step := folder.step(name))
    ]
    return {
        "run": folder.name,
        "folder": str(folder.root),
        "holder": holder,
        "done": len(finished),
        "work": len(nodes),
        "committed": begun,
        "running": said.get("running", []),
        "seconds_left": said.get("seconds_left"),
    }


def _said(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def lines(found: dict[str, Any], runs: Path) -> Iterator[str]:
    """The same for a person, within 80 columns where titles allow."""
    holder = found["holder"]
    if holder is not None:
        yield f"{found['run']}: running, pid {holder['pid']} on {holder['host']} since {holder['started']}"
    for row in found["running"]:
        yield f"  seed {row['seed']}: {row['title']}: {_progress(row)}"
    for row in [] if found["running"] else found["committed"]:
        yield f"seed {row['seed']}: {row['title']}: step {row['step']} of {row['steps']} committed"
    left = f" About {_clock(found['seconds_left'])} left." if found["seconds_left"] is not None else ""
    text = f"{found['run']}: {found['done']} of {found['work']} pieces of work done.{left}"
    where = Path(found["folder"])
    base = runs if where == (runs / where.name).resolve() else where.parent
    if found["done"] == found["work"]:
        yield f"{text} Report: {command('report', found['run'], base)}"
    elif holder is None:
        yield f"{text} Go on: {command('run', str(base / where.name / RECIPE), base)}"
    else:
        yield text


def _progress(row: dict[str, Any]) -> str:
    if "step" not in row:
        return "begun"
    parts = [f"step {row['step']} of {row['steps']}"]
    parts += [f"{name} {value:.3f}" for name, value in row.get("watched", {}).items()]
    if "seconds_left" in row:
        parts.append(f"about {_clock(row['seconds_left'])} left")
    return ", ".join(parts)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(max(seconds, 0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
