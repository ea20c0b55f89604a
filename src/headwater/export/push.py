"""An arm's model, or its adapter alone, to a model hub as one commit: `huggingface_hub` does the work.

The token is the library's own business (`hf auth login`, HF_TOKEN); nothing of it is read or kept here.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headwater.errors import InputError
from headwater.export.card import Said, model_card
from headwater.folder import RunFolder
from headwater.places import HUB_ID

ADAPTER = "adapter"


def push(
    folder: RunFolder, arm: Mapping[str, Any], to: str, said: Said, *, adapter: bool = False, private: bool = True
) -> str:
    """Send an arm's checked model with its card; returns the address of the commit.

    Raises InputError for a wrong id, an arm that has no adapter, or whatever the hub refuses.
    """
    from huggingface_hub import HfApi  # noqa: PLC0415  a second that only a push costs

    if "/" not in to or not HUB_ID.fullmatch(to):
        raise InputError(f"push: --to {to!r:.100} is no hub id; write owner/name")
    source = folder.model(arm)
    if adapter:
        source = source / ADAPTER
        if not source.is_dir():
            raise InputError(
                f"push: {arm['name']} has no adapter; leave --adapter out, or train one (adapter: in a recipe)"
            )
    with tempfile.TemporaryDirectory() as scratch:
        staged = Path(scratch) / "model"
        leave_out = shutil.ignore_patterns("README.md") if adapter else shutil.ignore_patterns("README.md", ADAPTER)
        shutil.copytree(source, staged, copy_function=_link, ignore=leave_out)
        (staged / "README.md").write_text(model_card(folder, arm, said, adapter=adapter), encoding="utf-8")
        api = HfApi()
        try:
            api.create_repo(to, private=private, exist_ok=True)
            message = f"headwater: {folder.name}, {arm['name']}, seed {arm['seed']}"
            return str(api.upload_folder(repo_id=to, folder_path=staged, commit_message=message).commit_url)
        except Exception as error:  # the errors of its HTTP client have no base that could be named here
            reason = " ".join(str(error).split())[:300] or type(error).__name__
            raise InputError(
                f"push: the hub refused {to} ({reason}); log in with `hf auth login`, and check the owner's name"
            ) from error


def _link(source: str, target: str) -> None:
    """A model is large: the staged copy is a link to it."""
    Path(target).symlink_to(Path(source).resolve())
