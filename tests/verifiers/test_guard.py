"""Claims about what no answer can make a grading process do, each with a control that shows the trap works."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from headwater.records import Verdict
from headwater.verifiers.expression import ExpressionJudge
from hostile import code

ROOT = Path(__file__).resolve().parents[2]

ATTEMPTS = {
    "eval": "eval('1+1')",
    "exec": "exec('x = 1')",
    "compiled": "eval(compile('1+1', 'a', 'eval'))",
    "sympify": "sympy.sympify(TEXT)",
    "parse_expr": "sympy.parse_expr(TEXT)",
    "number": "sympy.Number('12')",
    "stock parser": "Stock().parse('12')",
    "lambdify": "sympy.lambdify(sympy.Symbol('x'), sympy.Symbol('x') + 1)",
    "write": "open(CANARY, 'w')",
    "read": "open('/etc/hostname').read()",
    "os.open": "os.open(CANARY, os.O_CREAT | os.O_WRONLY)",
    "system": "os.system('touch ' + CANARY)",
    "fork": "os.fork()",
    "spawn": "os.posix_spawn('/bin/true', ['true'], {})",
    "subprocess": "subprocess.run(['touch', CANARY])",
    "socket": "socket.socket()",
    "remove": "os.remove('/nonexistent')",
    "setenv": "os.putenv('A', 'b')",
    "ctypes": "__import__('ctypes').CDLL(None)",
    "pickle": "__import__('pickle').loads(b'cos\\nsystem\\n(S\"true\"\\ntR.')",
}
HARNESS = """
import json, os, socket, subprocess, sys
sys.path.insert(0, SRC)
import sympy, ctypes, pickle
from latex2sympy2_extended.latex2sympy2 import _Latex2Sympy as Stock
from headwater.verifiers import guard
from headwater.verifiers.algebra import _Parser
TEXT = "__import__('pathlib').Path(%r).touch() or 1" % CANARY
compiled = {name: compile(attempt, __file__, "eval") for name, attempt in ATTEMPTS.items()}
if LOCKED:
    guard.lock()
found = {"our parser": str(_Parser().parse("12"))}
for name, attempt in compiled.items():
    try:
        eval(attempt)
    except BaseException as error:
        found[name] = type(error).__name__
    else:
        found[name] = "done"
sys.stdout.write(json.dumps(found))
"""


def attempt(tmp_path: Path, attempts: dict[str, str], *, locked: bool) -> dict[str, str]:
    script = tmp_path / "attempts.py"
    names = {"SRC": str(ROOT / "src"), "CANARY": str(tmp_path / "canary"), "ATTEMPTS": attempts, "LOCKED": locked}
    script.write_text("".join(f"{name} = {value!r}\n" for name, value in names.items()) + HARNESS)
    said = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True, timeout=120)
    return dict(json.loads(said.stdout))


def test_a_locked_process_refuses_code_files_sockets_and_processes(tmp_path: Path) -> None:
    found = attempt(tmp_path, ATTEMPTS, locked=True)
    assert found.pop("our parser") == "12"  # and does its work
    assert {name for name, what in found.items() if what != "Forbidden"} == set()
    assert not (tmp_path / "canary").exists()


def test_without_the_lock_the_canary_sings(tmp_path: Path) -> None:
    found = attempt(tmp_path, {name: ATTEMPTS[name] for name in ("sympify", "number", "stock parser")}, locked=False)
    assert found == {"our parser": "12", "sympify": "done", "number": "done", "stock parser": "done"}
    assert (tmp_path / "canary").exists()


@pytest.mark.parametrize("kind", ["decide", "second"])
def test_no_code_in_an_answer_runs(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADWATER_CANARY", "a secret")
    canary = tmp_path / "canary"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.2)
        texts = code(str(canary), listener.getsockname()[1])
        golds = ("1", "x^2-1", r"\text{Tuesday}")
        answers = {f"{i}/{gold}": (gold, text) for i, text in enumerate(texts) for gold in golds}
        answers |= {f"gold {i}": (text, "x+1") for i, text in enumerate(texts)}  # a gold answer is no more trusted
        judge = ExpressionJudge(kind=kind)
        try:
            verdicts = judge.judge({"fits": (r"\sqrt{8}", r"2\sqrt{2}"), **answers})
            environments = [Path(f"/proc/{pid}/environ").read_bytes() for pid in judge.pool.pids]
        finally:
            judge.close()
        with pytest.raises(TimeoutError):
            listener.accept()
    assert verdicts.pop("fits") is Verdict.CORRECT
    assert set(verdicts.values()) <= {Verdict.WRONG, Verdict.UNGRADED}
    assert kind == "second" or Verdict.UNGRADED not in verdicts.values()
    assert not canary.exists()
    assert all(b"secret" not in environment for environment in environments) and environments
    assert os.environ["HEADWATER_CANARY"] == "a secret"


def test_the_libraries_are_called_where_this_package_overrides_them() -> None:
    """A new release that makes numbers elsewhere must not go unseen: the names that are overridden still exist."""
    from latex2sympy2_extended import latex2sympy2

    assert callable(latex2sympy2._Latex2Sympy.parse_number)
    assert callable(latex2sympy2._Latex2Sympy.create_symbol)
    assert callable(latex2sympy2.convert_number)
