"""Claims about answers that want to hang, break or fool the grader; the full counts run with `-m torture`."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from headwater.records import Verdict
from headwater.verifiers.answers import AnswerVerifier
from headwater.verifiers.expression import ExpressionJudge
from headwater.verifiers.typed import TypedJudge
from hostile import hostile, mutated

COUNTS = [pytest.param(1, id="reduced"), pytest.param(20, id="full", marks=pytest.mark.torture)]
TYPES = ("integer", "fraction", "decimal", "tuple", "set", "choice")
ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("scale", COUNTS)
def test_hostile_answers_harm_nothing_and_right_answers_around_them_stay_right(scale: int, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.2)
        responses: dict[str, tuple[str, str]] = {}
        for i, pair in enumerate(hostile(scale, 500 * scale, str(canary), listener.getsockname()[1])):
            responses[f"hostile {i}"] = pair
            if i % 10 == 0:  # each in another form, so that none comes from a cache of texts
                responses[f"right {i}"] = (
                    r"\frac{\sqrt{3}}{2}",
                    rf"\boxed{{\sqrt{{\frac{{{3 * i + 3}}}{{{4 * i + 4}}}}}}}",
                )
        verdicts = AnswerVerifier(judge=ExpressionJudge()).grade(responses)
        with pytest.raises(TimeoutError):
            listener.accept()
    found = Counter((name.split()[0], verdict) for name, verdict in verdicts.items())
    print(f"torture: {found}")
    assert list(verdicts) == list(responses)
    assert found["right", Verdict.CORRECT] == 50 * scale
    assert found["hostile", Verdict.UNGRADED] == 0
    accepted = [responses[name] for name, verdict in verdicts.items() if name[0] == "h" and verdict is Verdict.CORRECT]
    assert len(accepted) <= scale  # \text{1} is 1, whoever wrote it
    assert not canary.exists()


WATCHED = """
import json, sys
sys.path[:0] = [SRC, TESTS]
from hostile import code, hostile
from headwater.verifiers.expression import ExpressionJudge
ExpressionJudge().judge({"warm": (r"\\sqrt{8}+\\sin x+n!", r"2\\sqrt{2}+\\sin x+n!")})
seen = []
def watch(event, arguments):
    if event.split(".")[0] in ("exec", "compile", "open", "socket", "subprocess", "os", "import", "ctypes", "pickle"):
        seen.append(event)
sys.addaudithook(watch)
golds = ("1", "x^2-1", r"\\text{Tuesday}")
pairs = [(gold, text) for text in code("/nonexistent", 9) for gold in golds]
pairs += [(text, "x+1") for text in code("/nonexistent", 9)] + [p for p in hostile(7, 300, "/nonexistent", 9)]
ExpressionJudge().judge({str(i): pair for i, pair in enumerate(pairs)})
heard = list(seen)
sys.stdout.write(json.dumps(heard))
"""


def test_grading_opens_nothing_imports_nothing_and_runs_no_code(tmp_path: Path) -> None:
    """Python's own audit hook hears every file, socket, process, import and compiled text; grading makes none."""
    script = tmp_path / "watched.py"
    names = {"SRC": str(ROOT / "src"), "TESTS": str(ROOT / "tests" / "verifiers")}
    script.write_text("".join(f"{name} = {value!r}\n" for name, value in names.items()) + WATCHED)
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


@pytest.mark.parametrize("answer_type", TYPES)
def test_hostile_answers_are_graded_at_once_by_the_typed_graders(answer_type: str) -> None:
    golds = {"tuple": "(1,2)", "set": r"\{1,2\}", "choice": "B"}
    verifier = AnswerVerifier(judge=TypedJudge(answer_type=answer_type))
    pairs = {str(i): (golds.get(answer_type, "42"), text) for i, (_, text) in enumerate(hostile(3, 500, "x", 9))}
    assert Verdict.UNGRADED not in verifier.grade(pairs).values()


@pytest.mark.parametrize("scale", COUNTS)
def test_no_mutated_answer_is_accepted(scale: int) -> None:
    pairs = {str(i): pair for i, pair in enumerate(mutated(scale, 500 * scale))}
    verdicts = ExpressionJudge().judge(pairs)
    assert {pairs[name] for name, verdict in verdicts.items() if verdict is not Verdict.WRONG} == set()


VERDICTS = """
import os, sys
sys.path[:0] = [SRC, TESTS]
if PINNED:
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
from hostile import VALUES, hostile, mutated
from headwater.verifiers.expression import ExpressionJudge
pairs = [*mutated(11, 60 * SCALE), *((gold, gold.replace(" ", "~")) for gold in VALUES), *hostile(5, 100 * SCALE, "/none", 9)]
sys.stdout.write("".join(v.value[0] for v in ExpressionJudge().judge({str(i): p for i, p in enumerate(pairs)}).values()))
"""


@pytest.mark.parametrize("scale", COUNTS)
def test_verdicts_are_the_same_on_one_and_several_cores_idle_and_loaded(scale: int, tmp_path: Path) -> None:
    found = []
    for pinned, load, hash_seed in ((False, 0, "0"), (True, 4, "1")):
        names = {"SRC": str(ROOT / "src"), "TESTS": str(ROOT / "tests" / "verifiers"), "PINNED": pinned, "SCALE": scale}
        script = tmp_path / f"verdicts-{pinned}.py"
        script.write_text("".join(f"{name} = {value!r}\n" for name, value in names.items()) + VERDICTS)
        spinners = [subprocess.Popen([sys.executable, "-c", "while True: sum(range(1000))"]) for _ in range(load)]
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        try:
            done = subprocess.run([sys.executable, str(script)], capture_output=True, check=True, env=environment)
        finally:
            for spinner in spinners:
                spinner.kill()
                spinner.wait()
        found.append(done.stdout)
    assert found[0] == found[1]
    assert set(found[0]) == set(b"cw")
