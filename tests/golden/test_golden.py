"""Step, loss, gradient, reward and label reads of two whole micro runs are those written down: a refactor changes none.

The runs are short and well-conditioned (each group's rewards differ, so no advantage hangs on a rounded tie), so
that another processor comes near: with other kernels of float32 products (`ATEN_CPU_CAPABILITY=default`, AVX2,
oneDNN) the numbers moved by under 1e-5 of themselves. 2e-4 is allowed, and a rate that is wrong by 1 % moves them more.
"""

from __future__ import annotations

import re

import pytest
from golden_runs import ROUTES, path, record

RELATIVE, ABSOLUTE = 2e-4, 2e-6
NUMBER = re.compile(r"=(\S+)")


def numbers(text: str) -> list[float]:
    return [float(number) for number in NUMBER.findall(text)]


@pytest.mark.parametrize("route", ROUTES)
def test_a_golden_run_is_made_again(route: str) -> None:
    found, written = record(route), path(route).read_text(encoding="utf-8")
    assert NUMBER.sub("=", found) == NUMBER.sub("=", written)  # stages, steps, label reads, the ledger's digest
    assert numbers(found) == pytest.approx(numbers(written), rel=RELATIVE, abs=ABSOLUTE)


@pytest.mark.parametrize("stage, rate", [("teacher_rl", 1.01e-3), ("warm_up", 1.01e-3), ("student_rl", 1.01e-3)])
def test_a_rate_that_is_wrong_by_one_per_cent_would_be_seen(stage: str, rate: float) -> None:
    found = record("R5-half", f"stages.{stage}.optimiser.learning_rate={rate}")
    assert numbers(found) != pytest.approx(numbers(path("R5-half").read_text()), rel=RELATIVE, abs=ABSOLUTE)
