"""What a Unix has, and what it lends: locks that end with their process (flock), limits on one (resource), its cores.

Whoever needs them takes them from here, so that Windows is refused in one line and not for want of a module.
"""

from __future__ import annotations

import os
import sys

from headwater.errors import InputError

if sys.platform == "win32":
    raise InputError(
        "system: this is Windows, which has no file locks that end with their process (flock) and no fork; "
        "run headwater in WSL2, a Linux inside Windows (`wsl --install`, then install and call it there)"
    )
else:
    import fcntl
    import resource

__all__ = ["cores", "fcntl", "resource"]


def cores() -> int:
    """Cores that this process may use: a queue or a container lends some of a machine's."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
