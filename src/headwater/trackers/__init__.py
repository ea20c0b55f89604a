"""Experiment trackers by name: trackio, wandb, tensorboard, mlflow, whichever is installed.

A stage, and an arm's results, are a run of the tracker each: the headwater run is its project, arms are its tags,
the seed its group. A tracker is told plain numbers and the stage's settings: no text, no label, no path of a key file.
Credentials are the tracker's own business (its environment variables, its login); headwater reads and writes none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from headwater.errors import InputError, nearest
from headwater.trackers import mlflow, tensorboard, trackio, wandb
from headwater.trackers.run import Track, TrackedRun

__all__ = ["OPENERS", "Opener", "Track", "TrackedRun", "opener"]

Opener = Callable[[TrackedRun], Track]

OPENERS: Mapping[str, Callable[[Path], Opener]] = {
    "trackio": trackio.opener,
    "wandb": wandb.opener,
    "tensorboard": tensorboard.opener,
    "mlflow": mlflow.opener,
}
"""Name -> what imports the library and gives a function that opens one of its runs."""


def opener(name: str, root: Path) -> Opener:
    """A tracker by name, for the run in folder `root`. Raises InputError when it is unknown or not installed."""
    if name not in OPENERS:
        raise InputError(f"run: --track {name:.60}{nearest(name, OPENERS)}; allowed: {', '.join(OPENERS)}")
    try:
        return OPENERS[name](root)
    except ImportError as error:
        raise InputError(f"run: --track {name}: it is not installed ({error}); pip install {name}") from error
