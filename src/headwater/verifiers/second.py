r"""A second opinion on up to 200 random verdicts of a stage: what two graders see differently, a person should.

The sample is the verdicts whose hash of (seed, rollout id) is smallest. It does not depend on the order in
which rollouts are graded, and a stage that is resumed with its sample ends with the same one. The first grader's
verdict stands, whatever the second one says.

The second grader of expressions is Math-Verify as it ships, on the answer alone. It is more lenient than this package:
it drops every unit, rounds to six places and takes a tuple for a set. It runs in a process that can be killed. Its
LaTeX path is used and never its expression path, which ends in `parse_expr` and so in `eval`; its numbers, which the
LaTeX path too hands to `sympify`, are made here from digits; and the process refuses code made of text, other
processes, sockets and writing to files, whoever asks. No verdict of a run hangs on it, so that its time limit, which
is of the clock, changes none.
"""

from __future__ import annotations

import logging
import multiprocessing
import multiprocessing.context
import os
import re
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from heapq import nsmallest
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Protocol

from headwater.errors import InputError
from headwater.fingerprint import derive_seed
from headwater.posix import resource
from headwater.records import Grade, Verdict
from headwater.verifiers.answers import Judge
from headwater.verifiers.function import FunctionAgain

AUDITED = 200
"""Verdicts of a stage that are graded twice."""

Row = dict[str, str | float | None]
"""{"rollout": id, "gold": text, "answer": text or None, "verdict": "correct", "reward": 1.0}: plain data."""


class Auditable(Protocol):
    """A verifier that can say what it took for the answer."""

    def grade(self, responses: Mapping[str, tuple[str, str]]) -> Mapping[str, Verdict | Grade]: ...

    def find(self, text: str) -> str | None: ...


class AuditedVerifier:
    """A `Verifier` that keeps a random sample of its verdicts. Mutable: the sample.

    `sample` of an earlier part of the stage goes in again as `earlier`.
    """

    def __init__(
        self, verifier: Auditable, *, seed: str, limit: int = AUDITED, earlier: Sequence[Mapping[str, Any]] = ()
    ):
        self._verifier = verifier
        self._seed = seed
        self._limit = limit
        self._rows: dict[str, Row] = {str(row["rollout"]): dict(row) for row in earlier}

    def grade(self, responses: Mapping[str, tuple[str, str]]) -> Mapping[str, Verdict | Grade]:
        """The verifier's verdicts."""
        verdicts = self._verifier.grade(responses)
        kept = nsmallest(self._limit, {*self._rows, *responses}, key=self._rank)
        self._rows = {
            name: self._rows.get(name) or row_of(self, name, responses[name], verdicts[name]) for name in kept
        }
        return verdicts

    def find(self, text: str) -> str | None:
        """What the verifier takes for the answer of a response."""
        return self._verifier.find(text)

    @property
    def sample(self) -> list[Row]:
        """The rows kept so far, sorted by rollout id."""
        return [self._rows[name] for name in sorted(self._rows)]

    def _rank(self, rollout_id: str) -> tuple[int, str]:
        return derive_seed("audit", self._seed, rollout_id), rollout_id


def row_of(verifier: Auditable, name: str, response: tuple[str, str], given: Verdict | Grade) -> Row:
    """A graded response as a row of a sample; `response` is (gold answer, text)."""
    gold, text = response
    return {
        "rollout": name,
        "gold": gold,
        "answer": verifier.find(text),
        "verdict": given.verdict.value,
        "reward": given.reward,
    }


def audit(sample: Sequence[Mapping[str, Any]], first: str, second: Judge | FunctionAgain) -> dict[str, Any]:
    """Grade the sample again and list the disagreements: plain data, to be stored as audit.json.

    `first` names the first judge. A verdict that either side could not give is counted as undecided. Each row of
    `sample` gets the second verdict; `disagreements` are the ids of those that differ in verdict or reward.
    """
    again = second.judge({str(row["rollout"]): (str(row["gold"]), row["answer"]) for row in sample})
    rows = [
        {**row, "second": again[row["rollout"]].verdict.value, "second_reward": again[row["rollout"]].reward}
        for row in sample
    ]
    decided = [row for row in rows if Verdict.UNGRADED.value not in (row["verdict"], row["second"])]
    differ = [row for row in decided if (row["verdict"], row["reward"]) != (row["second"], row["second_reward"])]
    return {
        "first": first,
        "second": second.name,
        "checked": len(rows),
        "agreed": len(decided) - len(differ),
        "undecided": len(rows) - len(decided),
        "disagreements": [row["rollout"] for row in differ],
        "sample": rows,
    }


# Math-Verify

SECONDS = 20.0
"""Of one opinion; then its process is killed and there is none."""
MEMORY_BYTES = 2 << 30
"""Address space of the process."""
_LIBRARIES = ("math-verify", "latex2sympy2_extended", "sympy")
_REFUSED = (
    "socket.", "subprocess.", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.remove", "os.rename", "os.mkdir",
    "os.putenv", "shutil.", "ctypes.", "pty.", "urllib.", "http.", "ftplib.", "smtplib.", "code.__new__",
)  # fmt: skip


class MathVerify(Judge):
    """A `Judge`; UNGRADED where it has no opinion. Raises InputError when math-verify is not installed."""

    def __init__(self, seconds: float = SECONDS) -> None:
        self._seconds = seconds
        self._pool: Any = None
        try:
            self._versions = ", ".join(f"{library} {version(library)}" for library in _LIBRARIES)
        except PackageNotFoundError as error:
            raise InputError(f"verifier: a second opinion needs {error.name}; pip install it") from error

    @property
    def name(self) -> str:
        """The libraries' versions."""
        return f"second/{self._versions}"

    def verdict(self, gold: str, answer: str | None) -> Verdict:
        """UNGRADED where it hung, died or failed: no opinion."""
        if answer is None:
            return Verdict.WRONG
        asked = self._started().schedule(stock_math_verify, args=(gold, answer), timeout=self._seconds)
        try:
            return Verdict.CORRECT if asked.result() else Verdict.WRONG
        except Exception:  # noqa: BLE001
            return Verdict.UNGRADED

    def close(self) -> None:
        """End the process."""
        if self._pool is not None:
            self._pool.stop()
            self._pool.join()
            self._pool = None

    def _started(self) -> Any:
        if self._pool is None:
            from pebble import ProcessPool  # noqa: PLC0415  who asks no second opinion does not wait for it

            self._pool = ProcessPool(max_workers=1, max_tasks=2_000, initializer=_enter, context=_Spawn())
        return self._pool


class _Child(multiprocessing.context.SpawnProcess):
    def start(self) -> None:
        """Also from a run's worker, which is a daemon: this child ends with its parent by itself."""
        config = multiprocessing.current_process()._config  # type: ignore[attr-defined]
        daemon = config.pop("daemon", None)
        try:
            super().start()
        finally:
            if daemon is not None:
                config["daemon"] = daemon


class _Spawn(multiprocessing.context.SpawnContext):
    Process = _Child


def _enter() -> None:
    """Once in the process: load what is loaded late, then lock. It ends within a second of its parent."""
    threading.Thread(target=_watch, args=(os.getppid(),), daemon=True).start()
    logging.disable(logging.CRITICAL)
    _own_numbers()
    for gold, answer in _WARM:
        stock_math_verify(gold, answer)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    sys.addaudithook(_refuse)


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    writes = event == "open" and (str(arguments[1] or "r")[:1] not in ("r", "N") or "+" in str(arguments[1] or ""))
    origin = arguments[0].co_filename if event == "exec" else arguments[1] if event == "compile" else ".py"
    text = not str(origin).endswith(".py") and not str(origin).startswith("<frozen ")
    if writes or text or event.startswith(_REFUSED):
        raise PermissionError(f"{event} is refused in a process that grades")


def number_of(text: str) -> Any:
    """Digits with at most one point as sympy's integer or float; raises ValueError for everything else."""
    import sympy  # noqa: PLC0415  in the process only

    text = text.replace(",", "").replace(" ", "")
    if not re.fullmatch(r"[0-9]+|[0-9]*\.[0-9]+|[0-9]+\.", text):
        raise ValueError(f"{text[:20]!r} is no number")
    return sympy.Integer(int(text)) if text.isdigit() else sympy.Float(text)


def _own_numbers() -> None:
    """Both places call Number(text) in the original, which calls sympify(text), which calls eval."""
    from latex2sympy2_extended import latex2sympy2  # noqa: PLC0415

    latex2sympy2._Latex2Sympy.parse_number = lambda self, text: number_of(text)
    latex2sympy2.convert_number = number_of


def stock_math_verify(gold: str, answer: str) -> bool:
    """Math-Verify's own verdict on an answer in a box; for the process only."""
    from math_verify import LatexExtractionConfig, parse, verify  # noqa: PLC0415

    targets = [LatexExtractionConfig(boxed_match_priority=0)]
    texts = (f"$\\boxed{{{text}}}$" for text in (gold, answer))
    right, given = (parse(text, extraction_config=targets, parsing_timeout=None) for text in texts)
    return bool(verify(right, given, timeout_seconds=None))


_WARM = (
    (r"\frac{\sqrt{3}}{2}", r"\sqrt{\frac{3}{4}}"), ("x^2-1", "(x-1)(x+1)"), (r"\sin 2x", r"2\sin x\cos x"),
    (r"\log_2 3 + \binom{n}{2} + n!", r"\log_2 3 + \frac{n(n-1)}{2} + n!"), ("2x + 3y = 6", "4x + 6y = 12"),
    (r"(-\infty, 1) \cup (1, \infty)", r"\mathbb{R} \setminus \{1\}"), ("x < 3", "3 > x"),
    (r"\begin{pmatrix} \sqrt{2} \\ \pi \end{pmatrix}", r"\begin{pmatrix} \sqrt{2} \\ 3 \end{pmatrix}"),
)  # fmt: skip
