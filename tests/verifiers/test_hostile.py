"""Claims about answers that want to hang, break or fool the grader; the full counts run with `-m torture`."""

from __future__ import annotations

import multiprocessing
import resource
import socket
import time
from collections import Counter
from pathlib import Path

import pytest

from headwater.records import Verdict
from headwater.verifiers.answers import AnswerVerifier
from headwater.verifiers.expression import CPU_SECONDS, ExpressionJudge
from headwater.verifiers.typed import TypedVerifier
from hostile import VALUES, hostile, mutated

COUNTS = [pytest.param(1, id="reduced"), pytest.param(20, id="full", marks=pytest.mark.torture)]
TYPES = ("integer", "fraction", "decimal", "tuple", "set", "choice")


@pytest.mark.parametrize("scale", COUNTS)
def test_hostile_answers_harm_nothing_and_right_answers_around_them_stay_right(scale: int, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.2)
        responses: dict[str, tuple[str, str]] = {}
        for i, pair in enumerate(hostile(scale, 500 * scale, str(canary), listener.getsockname()[1])):
            responses[f"hostile {i}"] = pair
            if i % 10 == 0:  # each in another form, so that none comes from the cache of texts
                responses[f"right {i}"] = (
                    r"\frac{\sqrt{3}}{2}",
                    rf"\boxed{{\sqrt{{\frac{{{3 * i + 3}}}{{{4 * i + 4}}}}}}}",
                )
        judge = ExpressionJudge()
        try:
            verdicts = AnswerVerifier(judge=judge).grade(responses)
            pids = judge.pool.pids
        finally:
            judge.close()
        with pytest.raises(TimeoutError):
            listener.accept()
    found = Counter((name.split()[0], verdict) for name, verdict in verdicts.items())
    print(f"torture: {found}, slowest {judge.pool.slowest:.2f} CPU s, {judge.pool.lost} processes lost")
    assert list(verdicts) == list(responses)
    assert found["right", Verdict.CORRECT] == 50 * scale
    assert found["hostile", Verdict.UNGRADED] <= 0.005 * 500 * scale
    assert judge.pool.slowest < CPU_SECONDS < 5
    assert not canary.exists()
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    assert peak < 2 << 30


@pytest.mark.parametrize("answer_type", TYPES)
def test_hostile_answers_are_graded_at_once_by_the_typed_graders(answer_type: str) -> None:
    golds = {"tuple": "(1,2)", "set": r"\{1,2\}", "choice": "B"}
    verifier = TypedVerifier(answer_type=answer_type, extractor="boxed")
    begin = time.process_time()
    pairs = {str(i): (golds.get(answer_type, "42"), text) for i, (_, text) in enumerate(hostile(3, 500, "x", 9))}
    assert Verdict.UNGRADED not in verifier.grade(pairs).values()
    assert time.process_time() - begin < 5


@pytest.mark.parametrize("scale", COUNTS)
def test_no_mutated_answer_is_accepted(scale: int) -> None:
    judge = ExpressionJudge()
    pairs = {str(i): pair for i, pair in enumerate(mutated(scale, 500 * scale))}
    verdicts = judge.judge(pairs)
    judge.close()
    assert {pairs[name] for name, verdict in verdicts.items() if verdict is not Verdict.WRONG} == set()


def _spin(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        sum(range(1000))


@pytest.mark.parametrize("scale", COUNTS)
def test_verdicts_are_the_same_on_a_loaded_machine(scale: int) -> None:
    pairs = dict(enumerate([*mutated(11, 60 * scale), *((gold, gold.replace(" ", "~")) for gold in VALUES)]))
    hostile_pairs = dict(enumerate(hostile(5, 100 * scale, "/nonexistent/canary", 9), start=len(pairs)))
    answers = {str(i): pair for i, pair in (pairs | hostile_pairs).items()}
    found = []
    for load in (0, 4):
        spinners = [multiprocessing.get_context("fork").Process(target=_spin, args=(3.0 * scale,)) for _ in range(load)]
        for spinner in spinners:
            spinner.start()
        judge = ExpressionJudge()
        found.append(judge.judge(answers))
        judge.close()
        for spinner in spinners:
            spinner.kill()
            spinner.join()
    assert found[0] == found[1]
