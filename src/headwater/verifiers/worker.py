"""A grading process: one line of JSON in, one out, under limits; it ends after any failure and with its parent.

    {"task": 7, "gold": "x^2-1", "answer": "(x-1)(x+1)"}   ->   {"task": 7, "right": true, "cpu": 0.02}

Kind "decide" is this package's grader; "second" is Math-Verify as it ships, for the audit. A task that takes
too much CPU time ends the process without a line. Started by `pool.py`; imports sympy, so nothing else does.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable
from typing import Any, TextIO

from headwater.verifiers import guard
from headwater.verifiers.decide import decide

Grader = Callable[[str, str], bool]


def main(kind: str, cpu_seconds: float, memory_bytes: int, parent: int) -> None:
    """Serve until the input ends. The first line out says {"ready": true} or why not."""
    lines, replies = os.fdopen(os.dup(0), "r", encoding="utf-8"), os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints must not stand between the replies
    guard.die_with_parent(lines.fileno(), parent)
    try:
        grade = _load(kind)
        guard.limit_process(memory_bytes)
        guard.lock()
    except Exception as error:  # noqa: BLE001  the parent says it in its own words
        _reply(replies, {"ready": False, "reason": f"{type(error).__name__}: {error}"})
        return
    _reply(replies, {"ready": True})
    for line in lines:
        task = json.loads(line)
        guard.limit_cpu(cpu_seconds)
        begin = time.process_time()
        try:
            right = grade(task["gold"], task["answer"])
        except BaseException as error:  # noqa: BLE001  memory, recursion, a refused action: all end this process
            _reply(replies, {"task": task["task"], "failure": f"{type(error).__name__}: {error}"[:200]})
            return
        cpu = time.process_time() - begin
        _reply(replies, {"task": task["task"], "right": bool(right), "cpu": cpu})


def _reply(replies: TextIO, reply: dict[str, Any]) -> None:
    replies.write(json.dumps(reply) + "\n")
    replies.flush()


def _load(kind: str) -> Grader:
    """The grader, warm: whatever it loads late must be loaded before the process is locked."""
    logging.disable(logging.CRITICAL)
    grade = _second() if kind == "second" else _first()
    for gold, answer in _WARM:
        grade(gold, answer)
    return grade


def _first() -> Grader:
    from headwater.verifiers.algebra import SympyAlgebra  # noqa: PLC0415  when it fails, the parent is told

    algebra = SympyAlgebra()
    return lambda gold, answer: decide(gold, answer, algebra)


def _second() -> Grader:
    from headwater.verifiers.second import stock_math_verify  # noqa: PLC0415  when it fails, the parent is told

    return stock_math_verify


_WARM = (
    (r"\frac{\sqrt{3}}{2}", r"\sqrt{\frac{3}{4}}"),
    (r"x^2-1", r"(x-1)(x+1)"),
    (r"\sin 2x", r"2\sin x\cos x"),
    (r"\log_2 3 + \binom{n}{2} + n!", r"\log_2 3 + \frac{n(n-1)}{2} + n!"),
    (r"(-\infty, 1) \cup (1, \infty)", r"\mathbb{R} \setminus \{1\}"),
    (r"2x + 3y = 6", r"4x + 6y = 12"),
    (r"\begin{pmatrix} \sqrt{2} \\ \pi \end{pmatrix}", r"\begin{pmatrix} \sqrt{2} \\ 3 \end{pmatrix}"),
    (r"|x| + \lfloor y \rfloor", r"|y| + \lceil x \rceil"),
    (r"x < 3", r"3 > x"),
)
