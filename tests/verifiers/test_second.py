"""Claims about the second opinion: it is another program, it runs no code, and its process can be killed."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from headwater.records import Verdict
from headwater.verifiers.second import MathVerify
from hostile import code

ROOT = Path(__file__).resolve().parents[2]

ATTEMPTS = {
    "eval": "eval('1+1')",
    "exec": "exec('x = 1')",
    "compiled": "eval(compile('1+1', 'a', 'eval'))",
    "sympify": "sympy.sympify(TEXT)",
    "parse_expr": "sympy.parse_expr(TEXT)",
    "lambdify": "sympy.lambdify(sympy.Symbol('x'), sympy.Symbol('x') + 1)",
    "write": "open(CANARY, 'w')",
    "system": "os.system('touch ' + CANARY)",
    "fork": "os.fork()",
    "spawn": "os.posix_spawn('/bin/true', ['true'], {})",
    "subprocess": "subprocess.run(['touch', CANARY])",
    "socket": "socket.socket()",
    "remove": "os.remove('/nonexistent')",
    "setenv": "os.putenv('A', 'b')",
    "ctypes": "__import__('ctypes').CDLL(None)",
}
HARNESS = """
import json, os, socket, subprocess, sys
sys.path.insert(0, SRC)
import sympy, ctypes
from headwater.verifiers import second
TEXT = "__import__('pathlib').Path(%r).touch() or 1" % CANARY
compiled = {name: compile(attempt, __file__, "eval") for name, attempt in ATTEMPTS.items()}
if LOCKED:
    second._enter()
found = {"its work": str(second.stock_math_verify("12", "12.0"))}
for name, attempt in compiled.items():
    try:
        eval(attempt)
    except BaseException as error:
        found[name] = type(error).__name__
    else:
        found[name] = "done"
sys.stdout.write(json.dumps(found))
sys.stdout.flush()
os._exit(0)
"""


def attempt(tmp_path: Path, attempts: dict[str, str], *, locked: bool) -> dict[str, str]:
    script = tmp_path / "attempts.py"
    names = {"SRC": str(ROOT / "src"), "CANARY": str(tmp_path / "canary"), "ATTEMPTS": attempts, "LOCKED": locked}
    script.write_text("".join(f"{name} = {value!r}\n" for name, value in names.items()) + HARNESS)
    said = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True, timeout=120)
    return dict(json.loads(said.stdout))


def test_its_process_refuses_code_made_of_text_files_sockets_and_processes(tmp_path: Path) -> None:
    found = attempt(tmp_path, ATTEMPTS, locked=True)
    assert found.pop("its work") == "True"
    assert {name for name, what in found.items() if what == "done"} == set()
    assert not (tmp_path / "canary").exists()


def test_without_the_lock_the_canary_sings(tmp_path: Path) -> None:
    found = attempt(tmp_path, {"sympify": ATTEMPTS["sympify"]}, locked=False)
    assert found["sympify"] == "done"
    assert (tmp_path / "canary").exists()


def test_it_hangs_dies_and_is_attacked_without_a_trace_and_goes_on(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.2)
        texts = code(str(canary), listener.getsockname()[1])
        answers = {str(i): ("x^2-1", text) for i, text in enumerate(texts)}
        judge = MathVerify(seconds=2.0)
        try:
            verdicts = judge.judge({"tower": ("1", "9^{9^{9^9}}"), **answers, "fits": (r"\sqrt{8}", r"2\sqrt{2}")})
        finally:
            judge.close()
        with pytest.raises(TimeoutError):
            listener.accept()
    assert verdicts.pop("tower") is Verdict.UNGRADED
    assert verdicts.pop("fits") is Verdict.CORRECT
    assert Verdict.CORRECT not in verdicts.values()
    assert not canary.exists()


def test_it_can_be_asked_from_a_process_that_is_a_daemon(tmp_path: Path) -> None:
    """A run's workers are daemons, which may start no process of their own; this one they may."""
    script = tmp_path / "daemon.py"
    script.write_text(
        "import multiprocessing, sys\n"
        f"sys.path.insert(0, {str(ROOT / 'src')!r})\n"
        "def ask(pipe):\n"
        "    from headwater.verifiers.second import MathVerify\n"
        "    judge = MathVerify()\n"
        "    pipe.send(judge.judge({'a': ('5', '5.0')})['a'].value)\n"
        "    judge.close()\n"
        "if __name__ == '__main__':\n"
        "    here, there = multiprocessing.Pipe()\n"
        "    process = multiprocessing.get_context('spawn').Process(target=ask, args=(there,), daemon=True)\n"
        "    process.start()\n"
        "    print(here.recv())\n"
        "    process.join()\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "correct"


def test_the_libraries_are_called_where_this_package_overrides_them() -> None:
    """A new release that makes numbers elsewhere must not go unseen: the names that are overridden still exist."""
    from latex2sympy2_extended import latex2sympy2

    assert callable(latex2sympy2._Latex2Sympy.parse_number)
    assert callable(latex2sympy2.convert_number)
