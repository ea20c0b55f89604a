"""Commands that share: push, export, env."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from headwater.cli.options import Overrides, RunName, Runs, open_run, read
from headwater.errors import InputError

ArmName = Annotated[str, Parameter(help="an arm of the run, such as R3-full")]
Seed = Annotated[int | None, Parameter(help="the first one if not given")]


def push(
    run: RunName,
    arm: ArmName,
    *,
    to: Annotated[str, Parameter(help="hub id, owner/name; made if it is not there")],
    seed: Seed = None,
    runs: Runs = Path("runs"),
    adapter: Annotated[bool, Parameter(negative="", help="the adapter alone, without the weights")] = False,
    public: Annotated[bool, Parameter(negative="", help="a new repository is private without this")] = False,
    base_model: Annotated[str | None, Parameter(help="hub id of the model it was made from")] = None,
    licence: Annotated[str | None, Parameter(name=["--licence", "--license"], help="such as apache-2.0")] = None,
) -> None:
    """Send an arm's model to a model hub, with a card: base model, data, licence, scores, route and labels.

    Example: headwater push lab R3-full --to me/small-and-taught
    """
    from headwater.export.card import Said  # noqa: PLC0415
    from headwater.export.push import push as send  # noqa: PLC0415

    folder = open_run(run, runs)
    said = Said(base_model=base_model, licence=licence)
    print(send(folder, folder.arm(arm, seed), to, said, adapter=adapter, private=not public))


def export(
    run: Annotated[str, Parameter(help="a run; for trl and verl also a recipe")],
    arm: Annotated[str | None, Parameter(help="an arm; for trl and verl the headline's if not given")] = None,
    *,
    to: Annotated[
        Literal["lm-eval", "trl", "verl"],
        Parameter(help="lm-eval: a task of lm-evaluation-harness; trl: a script; verl: configurations and a script"),
    ],
    folder: Annotated[Path | None, Parameter(help="where the files go; a folder of that name if not given")] = None,
    benchmark: Annotated[str | None, Parameter(help="lm-eval: the primary one if not given")] = None,
    seed: Seed = None,
    overrides: Overrides = None,
    runs: Runs = Path("runs"),
) -> None:
    """Write a run's benchmark, or an arm's stages, for another house, and print the command to run there.

    What the other has no counterpart for is named.

    Example: headwater export lab R3-full --to trl
    """
    place = folder or Path(to)
    if to != "lm-eval":
        from headwater.export import trl, verl  # noqa: PLC0415
        from headwater.export.stages import exported  # noqa: PLC0415

        if benchmark is not None:
            raise InputError(f"export: --benchmark is of lm-eval; leave it out for {to}")
        writer = {"trl": trl.export, "verl": verl.export}[to]
        print(writer(exported(read(run, {}, overrides, runs=runs), arm, seed, runs), place))
        return
    from headwater.export.lm_eval import export as write  # noqa: PLC0415

    if arm is None or overrides:
        raise InputError("export: lm-eval measures an arm of a run as it is; name the arm, and leave out --set")
    found = open_run(run, runs)
    print(write(found, found.arm(arm, seed), place, benchmark))


def env(*, as_json: Annotated[bool, Parameter(name="--json")] = False) -> None:
    """Print what a bug report needs: versions, machine, threads; no name of a user, host or folder.

    Example: headwater env
    """
    from headwater.export.environment import environment  # noqa: PLC0415

    found = environment()
    print(json.dumps(found, indent=1) if as_json else "\n".join(f"{name:22} {value}" for name, value in found.items()))
