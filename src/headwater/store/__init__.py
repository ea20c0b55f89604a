"""The run folder as a small database: hashed objects, manifests, one atomic commit per node, one lock.

    root/objects/ab/<sha256>   every file and every manifest, named by its content
    root/heads/<node>          one line: the sha256 of the node's last manifest; replaced last
    root/tmp/                  names that nothing refers to
    root/lock, root/gate       who may run; who may prune

A reader sees a node's previous commit or its new one and nothing between, also after a power cut. A stored
byte is hashed before it is used. Left out: compression, encryption, more than two commits of history.
"""

from __future__ import annotations

from headwater.store.commits import Source, Store
from headwater.store.disk import REAL_DISK, Disk
from headwater.store.lock import Holder, RunLock
from headwater.store.manifest import FileEntry, Manifest
from headwater.store.names import contained_name, run_folder
from headwater.store.objects import measure
from headwater.store.space import full_disk_named

__all__ = [
    "REAL_DISK",
    "Disk",
    "FileEntry",
    "Holder",
    "Manifest",
    "RunLock",
    "Source",
    "Store",
    "contained_name",
    "full_disk_named",
    "measure",
    "run_folder",
]
