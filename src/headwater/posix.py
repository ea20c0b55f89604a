"""What only a Unix has: locks that end with their process (flock) and limits on one (resource).

Whoever needs them takes them from here, so that Windows is refused in one line and not for want of a module.
"""

from __future__ import annotations

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

__all__ = ["fcntl", "resource"]
