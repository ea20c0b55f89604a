"""Checks configurations against verl's own, in a Python that has verl (its files are enough) and hydra.

python verl_keys.py FOLDER: every key of FOLDER/*.yaml must be one of verl's, and a value of a kind that it can have.
Prints each configuration's name and the whole that verl would read, as JSON, a line each.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf


def open_where_empty(node: DictConfig) -> None:
    """Arguments that verl hands on are an empty group there; all other groups take their own keys alone."""
    for key in node:
        value: Any = node._get_node(key)
        if isinstance(value, DictConfig) and not value._is_none():
            if len(value):
                open_where_empty(value)
            else:
                OmegaConf.set_struct(value, False)


def main(folder: Path) -> None:
    """Lay each file over verl's own configuration; an unknown key raises."""
    package = importlib.util.find_spec("verl")
    assert package is not None
    assert package.origin is not None
    with initialize_config_dir(str(Path(package.origin).parent / "trainer" / "config"), version_base=None):
        for file in sorted(folder.glob("*.yaml")):
            ours = OmegaConf.to_container(OmegaConf.load(file))
            assert isinstance(ours, dict)
            (base,) = (name for name in ours.pop("defaults") if name != "_self_")
            assert ours.pop("hydra") == {"searchpath": ["pkg://verl.trainer.config"]}
            whole = compose(base)
            OmegaConf.set_struct(whole, True)
            open_where_empty(whole)
            merged = OmegaConf.merge(whole, OmegaConf.create(ours))
            print(json.dumps([file.stem, OmegaConf.to_container(merged)]))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
