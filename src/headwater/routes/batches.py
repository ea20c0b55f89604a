"""How many updates a stage makes, and of which batches: arithmetic on its settings and the size of its pool.

    updates = epochs x pool / problems an update x passes over each rollout batch

Batches fill their pool without a rest, so that no batch holds a problem twice and every problem comes as often.
"""

from __future__ import annotations

from headwater.routes.settings import StageSettings


def updates(settings: StageSettings, size: int) -> int:
    """Updates on a pool of this size."""
    return settings.epochs * size // settings.problems * settings.passes


def of_rollouts(settings: StageSettings) -> int:
    """Problems of a rollout batch."""
    return settings.rollout_problems or settings.problems


def fitted(settings: StageSettings, size: int) -> StageSettings:
    """With batches no larger than a pool of this size: for nested pools, which are smaller than the recipe's own."""
    drawn = min(of_rollouts(settings), size)
    return settings.model_copy(
        update={
            "problems": min(settings.problems, drawn),
            "rollout_problems": None if settings.rollout_problems is None else drawn,
        }
    )


def refuse_unfit(settings: StageSettings, size: int, key: str, pool: str) -> None:
    """Raise ValueError unless batches fill a pool. `key` is the settings' place, `pool` says which one and of whom."""
    drawn, field, what = of_rollouts(settings), "rollout_problems", "a rollout batch"
    if settings.rollout_problems is None:
        field, what = "problems", "an update"
    if drawn > size:
        raise ValueError(f"{key}.{field}: {drawn} problems {what}, but {pool} has {size}; use at most {size}")
    if size % drawn:
        raise ValueError(
            f"{key}.{field}: {drawn} problems {what} do not divide the {size} of {pool}; use a divisor of {size}"
        )
    if drawn % settings.problems:
        raise ValueError(
            f"{key}.problems: {settings.problems} problems an update do not divide the {drawn} of a rollout batch; use "
            f"a divisor of {drawn}"
        )


def refuse_broken(settings: StageSettings, total: int, key: str, route: str) -> None:
    """Raise ValueError unless so many updates are whole rollout batches."""
    of_a_batch = settings.passes * of_rollouts(settings) // settings.problems
    if total % of_a_batch:
        raise ValueError(
            f"{key}.passes: the {total} updates of {route} are no whole number of rollout batches, of {of_a_batch} "
            "updates each"
        )
