"""Whether a path or hub id leads anywhere, told at once: a missing folder is no hub id, a hub out of reach no wait.

The hub's own client tries for most of a minute before it says that it cannot connect, and takes a mistyped folder
for an id. Left out: whether the id exists there, which its client says soon enough.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

from headwater.errors import InputError, nearest

HUB_ID = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9._-]{0,95}/)?[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
PROBE_SECONDS = 5.0


def require_place(what: str, source: str, wanted: str, cached: Callable[[], bool]) -> None:
    """Raise InputError when `source` is not here, and is no hub id, or one that nobody can fetch now.

    What lies in a folder that is here, and lacks it, was no hub id. Args: what: begins the message, such as "model".
    wanted: what to give, as the end of a sentence. cached: whether the hub's cache has it.
    """
    path = Path(source).expanduser()
    try:
        if path.exists():
            return
        beside = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    except (OSError, ValueError) as error:  # no folder may be read there, a name that is too long, a NUL in it
        raise InputError(f"{what}: {source!r:.200} cannot be looked at ({error}); {wanted}") from error
    local = path.parent != Path() and path.parent.is_dir()
    if local or not HUB_ID.fullmatch(source):
        near = nearest(path.name, beside, lambda name: str(path.parent / name))
        raise InputError(f"{what}: there is no {source:.200}{near}; {wanted}")
    if not cached() and (reason := _unreachable()) is not None:
        raise InputError(
            f"{what}: {source:.200} is no path here and not in the hub's cache, and the hub cannot be reached "
            f"({reason}); {wanted}"
        )


@cache
def _unreachable() -> str | None:
    """Why the hub cannot be reached, asked once a process; None when it answers."""
    from huggingface_hub import constants, get_session  # noqa: PLC0415  a second that only a hub id costs

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    try:
        get_session().head(constants.ENDPOINT, timeout=PROBE_SECONDS)
    except Exception as error:  # noqa: BLE001  the errors of its HTTP client have no base that could be named here
        return type(error).__name__
    return None
