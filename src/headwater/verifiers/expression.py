r"""Verdicts on answers that are expressions: \frac{\sqrt{3}}{2}, (-\infty, 3], x^2 - 1, \text{Tuesday}.

What can be known without algebra (identical texts, numbers, brackets, words) is decided here, by the code that
the grading processes run too; the rest goes to Math-Verify in a process that can be killed (`pool.py`). A
grading that hangs, grows or breaks is UNGRADED and touches no other. `docs/grading.md` states the policy.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from headwater.errors import InputError
from headwater.records import Verdict
from headwater.verifiers.answers import Answers
from headwater.verifiers.decide import EXPRESSION_VERSION, NeedsAlgebra, NoAlgebra, decide
from headwater.verifiers.pool import Task, WorkerPool

CPU_SECONDS = 3.0
"""Of one grading; the hand-written hostile cases take none, a long polynomial 0.2."""
MEMORY_BYTES = 1 << 30
"""Address space of a grading process; it has 150 MB of it when it starts."""
_LIBRARIES = ("math-verify", "latex2sympy2_extended", "sympy")


class ExpressionJudge:
    """A `Judge` by algebra, in `workers` grading processes that start when they are first needed.

    Raises InputError when math-verify or sympy is not installed.
    """

    def __init__(self, *, workers: int = 1, kind: str = "decide"):
        self._kind = kind
        self._pool = WorkerPool(workers, kind=kind, cpu_seconds=CPU_SECONDS, memory_bytes=MEMORY_BYTES)
        try:
            self._versions = ", ".join(f"{library} {version(library)}" for library in _LIBRARIES)
        except PackageNotFoundError as error:
            raise InputError(f"verifier: answers of type expression need {error.name}; pip install it") from error

    @property
    def name(self) -> str:
        """Version of the rules and of the libraries under them."""
        return f"expression/{self._kind}/{EXPRESSION_VERSION}/{self._versions}"

    @property
    def pool(self) -> WorkerPool:
        """The grading processes."""
        return self._pool

    def judge(self, answers: Answers) -> dict[str, Verdict]:
        """A verdict for every id. The same pair of texts is asked once."""
        known: dict[tuple[str, str], Verdict] = {}
        asked: list[Task] = []
        for gold, answer in answers.values():
            if answer is None or (gold, answer) in known:
                continue
            known[gold, answer] = verdict = self._at_once(gold, answer)
            if verdict is Verdict.UNGRADED:
                asked.append(Task(gold, answer))
        for task, right in zip(asked, self._pool.run(asked) if asked else [], strict=True):
            known[task.gold, task.answer] = _verdict(right)
        return {
            rollout_id: Verdict.WRONG if answer is None else known[gold, answer]
            for rollout_id, (gold, answer) in answers.items()
        }

    def close(self) -> None:
        """End the grading processes."""
        self._pool.close()

    def _at_once(self, gold: str, answer: str) -> Verdict:
        """UNGRADED when it takes algebra."""
        if self._kind != "decide":
            return Verdict.UNGRADED
        try:
            return _verdict(decide(gold, answer, NoAlgebra()))
        except NeedsAlgebra:
            return Verdict.UNGRADED
        except Exception:  # noqa: BLE001  a fault of ours in reading: it happens again in a process, and is counted
            return Verdict.UNGRADED


def _verdict(right: bool | None) -> Verdict:
    return Verdict.UNGRADED if right is None else Verdict.CORRECT if right else Verdict.WRONG
