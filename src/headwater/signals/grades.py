"""Labels of a step's problems, read through the ledger, and verdicts on its responses: for every signal that asks."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from headwater.errors import InputError, ObjectiveError
from headwater.interfaces import Workers
from headwater.records import Grade, Group, Verdict
from headwater.verifiers.answers import refuse_ungraded


def graded(
    groups: Sequence[Group], golds: Mapping[str, str], workers: Workers, limit: float, what: str
) -> dict[str, Verdict | Grade]:
    """Rollout id -> verdict or grade, against golds by problem id; all responses are graded in one request.

    Raises GraderError when more than `limit` of them have no verdict.
    """
    responses: dict[str, tuple[str, str]] = {}
    for group in groups:
        gold = golds[group.problem.problem_id]
        for rollout in group.rollouts:
            asked = (gold, rollout.response_text)
            if responses.setdefault(rollout.rollout_id, asked) != asked:
                raise InputError(f"{what}: two different rollouts have the id {rollout.rollout_id}")
    found = workers.verifier.grade(responses)
    verdicts = {name: found.get(name, Verdict.UNGRADED) for name in responses}
    refuse_ungraded(verdicts, limit, what)
    return verdicts


def parts_of(verdicts: Mapping[str, Verdict | Grade]) -> dict[str, float]:
    """`reward/NAME` -> the mean of what that one of several graders gave, over the responses that it gave a verdict."""
    given: dict[str, list[float]] = {}
    for grade in verdicts.values():
        for name, part in getattr(grade, "parts", {}).items():
            given.setdefault(f"reward/{name}", []).extend([] if part is None else [part])
    return {name: statistics.fmean(values) for name, values in given.items() if values}


def answers_of(groups: Sequence[Group], workers: Workers) -> dict[str, str]:
    """Problem id -> its gold answer, read through the ledger."""
    return {name: workers.answers.read(name, "answer") for name in (group.problem.problem_id for group in groups)}


def right(groups: Sequence[Group], workers: Workers, limit: float, what: str) -> dict[str, bool]:
    """Rollout id -> whether the response is right; one without a verdict is left out."""
    verdicts = graded(groups, answers_of(groups, workers), workers, limit, what)
    return {
        name: found.verdict is Verdict.CORRECT
        for name, found in verdicts.items()
        if found.verdict is not Verdict.UNGRADED
    }


def following(groups: Sequence[Group]) -> dict[str, str]:
    """Problem id -> the id of the next other problem of the step. Raises ObjectiveError where there is no other."""
    ids = list(dict.fromkeys(group.problem.problem_id for group in groups))
    if len(ids) < 2:
        raise ObjectiveError("labels: a step of one problem has no other to take from; use more problems an update")
    return dict(zip(ids, (*ids[1:], ids[0]), strict=True))
