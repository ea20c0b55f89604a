"""Data sets of files: a directory, or a Hugging Face data set fetched into one, and the files of one split.

The hub's library fetches the files and `datasets` says which of them belong to a config and split, from the
data set's card or its file names. The files are then read by `rows`, so that a hub data set and a local file
give the same problems, with file and line. No script of a data set is fetched or run.

Left out: formats other than JSON Lines and Parquet; fetching one config alone (all JSONL and Parquet files of
the data set are fetched, once, into the hub's cache, from which later runs read without a network).
"""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

from headwater.errors import InputError
from headwater.problems.rows import SUFFIXES, named

HUB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
_FETCHED = ["*.md", *(f"*{suffix}" for suffix in SUFFIXES)]


def snapshot(hub_id: str, revision: str | None) -> tuple[Path, str]:
    """A data set's JSONL and Parquet files as a directory, and the commit they are of.

    Raises InputError when the data set cannot be fetched and is not in the cache.
    """
    from huggingface_hub import snapshot_download  # noqa: PLC0415  a second that only a hub id costs
    from huggingface_hub.errors import LocalEntryNotFoundError  # noqa: PLC0415

    try:
        folder = snapshot_download(hub_id, repo_type="dataset", revision=revision, allow_patterns=_FETCHED)
    except Exception as error:  # the errors of its HTTP client have no base that could be named here
        # "Not in the cache" is what comes of the fault; the fault itself is its cause.
        cause = type(error.__cause__ or error if isinstance(error, LocalEntryNotFoundError) else error).__name__
        at = f" at revision {revision!r:.60}" if revision else ""
        raise InputError(
            f"problems {hub_id}: no such local file or directory, and the data set{at} cannot be fetched from the hub "
            f"({cause}); check the id, revision and network, log in with `hf auth login` for a gated one, or download "
            f"its {' or '.join(SUFFIXES)} files and give their path"
        ) from error
    return Path(folder), Path(folder).name


def cached(hub_id: str, revision: str | None) -> bool:
    """Whether the hub's cache has the data set."""
    from huggingface_hub import snapshot_download  # noqa: PLC0415
    from huggingface_hub.errors import LocalEntryNotFoundError  # noqa: PLC0415

    try:
        snapshot_download(
            hub_id, repo_type="dataset", revision=revision, allow_patterns=_FETCHED, local_files_only=True
        )
    except LocalEntryNotFoundError:
        return False
    return True


def split_files(folder: Path, name: str, config: str | None, split: str) -> list[tuple[str, Path]]:
    """The files of one config and split, in order, with their names inside the data set.

    Raises InputError for a config or split that is not there and for files of another format.
    """
    import datasets  # noqa: PLC0415  a second that only a data set of files costs

    # Absolute, and not resolved: the hub's cache is made of links, and `datasets` takes a relative path for an id.
    root = Path(os.path.abspath(folder))
    try:
        with tempfile.TemporaryDirectory() as scratch:  # it leaves a lock in its cache, which nothing else needs
            found = datasets.load_dataset_builder(str(root), name=config, cache_dir=scratch).config.data_files or {}
        splits = {str(key): [str(file) for file in files] for key, files in found.items()}
    except Exception as error:  # whatever its reading of a card that others wrote runs into
        reason = " ".join(str(error).split())[:160]
        at = f" config {config!r:.60}" if config else ""
        raise InputError(
            f"problems {name}{at}: no data set of {' or '.join(SUFFIXES)} files ({type(error).__name__}: {reason}); "
            "check config and the data set's card, or give the path of one file"
        ) from error
    if not splits.get(split):
        raise InputError(
            f"problems {name}: no files of split {split!r:.60}; found: {', '.join(splits) or 'none'}. Name one of them "
            "with split"
        )
    return [_inside(file, root, name) for file in splits[split]]


def _inside(file: str, root: Path, name: str) -> tuple[str, Path]:
    path = Path(os.path.normpath(file))
    # A card may name any path or address: nothing outside the data set is read on its word.
    if not path.is_relative_to(root):
        raise InputError(
            f"problems {name}: its card names {named(file)[:160]}, which is outside the data set; give that file's path"
        )
    if path.suffix not in SUFFIXES:
        raise InputError(
            f"problems {name}: found {named(path.relative_to(root))}; allowed: {' and '.join(SUFFIXES)} files. Convert "
            "it, or read it in Python and pass its rows to headwater.problems.generated.from_rows"
        )
    return path.relative_to(root).as_posix(), path
