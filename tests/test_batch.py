"""Targets within targets go along the token axis as one."""

from dataclasses import dataclass

import torch

from headwater.batch import HiddenDistribution, LogitDistribution, NoTarget, Target


@dataclass(frozen=True, kw_only=True, eq=False)
class Nested(Target):
    one: Target
    several: tuple[Target, ...]
    number: torch.Tensor
    none: Target | None = None
    name: str = "kept"


def nested(first, tokens):
    """Numbers from `first` on, one a token, at every depth."""
    values = torch.arange(first, first + tokens, dtype=torch.float32)
    row = values[:, None].expand(-1, 2).clone()
    return Nested(
        one=HiddenDistribution(hidden=row, head=torch.eye(2)),
        several=(LogitDistribution(made=row), LogitDistribution(made=-row)),
        number=values,
    )


def numbers(target):
    """What stands at each depth, of which all must agree."""
    found = [target.number, target.one.hidden[:, 0], target.several[0].made[:, 0], -target.several[1].made[:, 0]]
    assert all(torch.equal(found[0], other) for other in found)
    return found[0].tolist()


def test_rows_places_and_joins_reach_every_depth():
    whole = Nested.join([nested(0, 2), nested(10, 3)])
    assert numbers(whole) == [0, 1, 10, 11, 12]
    assert numbers(whole.rows(slice(1, 4))) == [1, 10, 11]
    assert numbers(whole.at(torch.tensor([4, 0, 0]))) == [12, 0, 0]
    assert (whole.none, whole.name) == (None, "kept")


def test_what_is_shared_stays_whole():
    whole = Nested.join([nested(0, 2), nested(10, 3)])
    assert whole.one.head.shape == (2, 2)
    assert whole.rows(slice(0, 1)).one.head.shape == (2, 2)


def test_every_target_within_is_found_and_can_be_exchanged():
    target = nested(0, 2)
    assert [type(part) for part in target.within] == [Nested, HiddenDistribution, LogitDistribution, LogitDistribution]
    other = NoTarget()
    changed = target.exchanged(LogitDistribution, other)
    assert changed.several == (other, other)
    assert changed.one.hidden is target.one.hidden
    assert other.exchanged(NoTarget, target) is target
