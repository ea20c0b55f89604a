"""Policies that are tables of logits, one row a prefix: every response can be listed, so expectations are sums.

All numbers are float64: a test that uses them takes the fixture `double` (tests/conftest.py).
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from headwater.batch import LogitDistribution, Scored, Target
from headwater.interfaces import At, Signal
from headwater.records import Group, Problem, Rollout, Verdict
from scripted import ONCE, Script, ScriptedAnswers, ScriptedLearner, ScriptedTeacher, ScriptedVerifier

VOCAB, LENGTH = 4, 3
STATES = sum(VOCAB**i for i in range(LENGTH))
RESPONSES = torch.tensor(list(itertools.product(range(VOCAB), repeat=LENGTH)))
"""All ids [response LENGTH]."""


def _rows() -> Tensor:
    prefix, rows = torch.zeros(len(RESPONSES), dtype=torch.long), []
    for position in range(LENGTH):
        rows.append(sum(VOCAB**i for i in range(position)) + prefix)
        prefix = prefix * VOCAB + RESPONSES[:, position]
    return torch.stack(rows, dim=1)


ROWS = _rows()
"""For each token of each response the row of the table that it is drawn from."""


def table(seed: int, scale: float = 1.0) -> Tensor:
    """Logits [STATES VOCAB]."""
    return scale * torch.randn(STATES, VOCAB, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def said(logits: Tensor) -> Tensor:
    """The logprob of each token of each response [response LENGTH]."""
    return torch.log_softmax(logits, dim=-1)[ROWS, RESPONSES]


def probability(logits: Tensor) -> Tensor:
    """Of each response."""
    return said(logits).sum(dim=1).exp()


def visits(logits: Tensor) -> Tensor:
    """How often each row is met on the way through one response, on average [STATES]; without gradient."""
    found = torch.zeros(STATES, dtype=torch.float64)
    return found.index_add_(0, ROWS.reshape(-1), probability(logits).detach().repeat_interleave(LENGTH))


def group(student: Tensor, members: Sequence[int] | None = None, name: str = "p") -> Group:
    """A problem to which the student gave these responses; every one without `members`."""
    chosen = range(len(RESPONSES)) if members is None else members
    rollouts = (
        Rollout(
            rollout_id=f"{name}/{k}",
            problem_id=name,
            prompt_ids=(0,),
            response_ids=tuple(RESPONSES[i].tolist()),
            response_text=" ".join(map(str, RESPONSES[i].tolist())),
            logprobs=tuple(said(student)[i].tolist()),
            policy_version=0,
            finish_reason="stop",
        )
        for k, i in enumerate(chosen)
    )
    return Group(problem=Problem(problem_id=name, prompt="?", source="table"), rollouts=tuple(rollouts))


@dataclass(kw_only=True)
class TableTeacher(ScriptedTeacher):
    """Says what a table says, of any response."""

    logits: Tensor

    def distributions(self, rollouts, temperature):
        self.asked.append([rollout.rollout_id for rollout in rollouts])
        return [LogitDistribution(made=self.logits[ROWS[_index(rollout)]]) for rollout in rollouts]

    def logprobs(self, rollouts, temperature):
        self.asked.append([rollout.rollout_id for rollout in rollouts])
        return [said(self.logits)[_index(rollout)] for rollout in rollouts]


def _index(rollout: Rollout) -> int:
    """Which of RESPONSES it is."""
    return sum(token * VOCAB ** (LENGTH - 1 - i) for i, token in enumerate(rollout.response_ids))


def gradient(signal: Signal, scored: Scored, student: Tensor, times: Tensor | None = None) -> Tensor:
    """The gradient of the batch's loss with respect to the student's table, each rollout taken so many `times`.

    By autograd through `loss`, and by `differentiate` of all tokens at once: they must agree to 1e-12.
    """
    if not scored.rollouts:
        return torch.zeros_like(student)
    times = torch.ones(len(scored.rollouts)) if times is None else times
    rows = torch.cat([ROWS[_index(member.rollout)] for member in scored.rollouts])
    ids = torch.tensor([token for member in scored.rollouts for token in member.rollout.response_ids])
    target: Target = scored.rollouts[0].target.join([member.target for member in scored.rollouts])
    weight = torch.cat([m.weight * n for m, n in zip(scored.rollouts, times, strict=True)]).to(torch.float64)
    leaf = student[rows].clone().requires_grad_()
    signal.loss(leaf, ids, target).backward(weight)
    closed = student[rows].clone()
    signal.differentiate(closed, ids, target, weight)
    torch.testing.assert_close(closed, leaf.grad, rtol=0, atol=1e-12)
    return torch.zeros_like(student).index_add_(0, rows, leaf.grad)


def expected(signal: Signal, scored: Scored, student: Tensor) -> Tensor:
    """The expected gradient of a response's summed token losses, of a scoring of every response."""
    assert len(scored.rollouts) == len(RESPONSES)
    return gradient(signal, scored, student, probability(student) * len(RESPONSES) * LENGTH)


STUDENT, TEACHER, REFERENCE, OTHER = table(0), table(1), table(2), table(3)
GROUPS = {"mixed": ([3, 9, 9, 40], "cwwc"), "same": ([5, 17], "cc"), "other": ([60, 1, 2], "wwc")}
"""Problem -> the responses to it, and their verdicts: c is correct, w wrong, u ungraded."""
VERDICTS = {"c": Verdict.CORRECT, "w": Verdict.WRONG, "u": Verdict.UNGRADED}


class TableLearner(ScriptedLearner):
    """A learner whose present weights are a table."""

    def present(self):
        return TableTeacher(logits=STUDENT)


def asked(groups=GROUPS, teacher=TEACHER, **given) -> Script:
    """Workers over these groups: everyone says what a table says, and the verifier what the letters do."""
    graded = {f"{name}/{i}": VERDICTS[v] for name, (_, letters) in groups.items() for i, v in enumerate(letters)}
    usual = {
        "teacher": TableTeacher(logits=teacher),
        "reference": TableTeacher(logits=REFERENCE),
        "answers": ScriptedAnswers(answers={name: f"answer of {name}" for name in groups}),
        "verifier": ScriptedVerifier(verdicts=graded),
        "learner": TableLearner(),
    }
    return Script(**{**usual, **given})


def scored(signal: Signal, script: Script | None = None, groups=GROUPS, at: At = ONCE, **workers) -> Scored:
    """What a signal makes of the groups; `workers` replaces some of the script's."""
    made = dataclasses.replace((script or asked(groups)).workers(), **workers)
    return signal.score([group(STUDENT, members, name) for name, (members, _) in groups.items()], made, at)


def measured(signal: Signal, script: Script | None = None, groups=GROUPS, at: At = ONCE, **workers) -> Tensor:
    """The gradient of one step over the groups."""
    return gradient(signal, scored(signal, script, groups, at, **workers), STUDENT)


def near(found: Tensor, expected: Tensor) -> None:
    """Equal to 1e-12."""
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def apart(found: Tensor, other: Tensor) -> None:
    """Not nearly equal."""
    assert not torch.allclose(found, other, atol=1e-3)
