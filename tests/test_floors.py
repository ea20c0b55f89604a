"""The lower floors stay light: values, accounts, grading, statistics and the report run without torch."""

import subprocess
import sys

import pytest

LIGHT = [
    "headwater.errors",
    "headwater.records",
    "headwater.fingerprint",
    "headwater.store",
    "headwater.ledger",
    "headwater.problems.arithmetic",
    "headwater.problems.pools",
    "headwater.verifiers.extract",
    "headwater.verifiers.typed",
    "headwater.evaluation.estimate",
    "headwater.report",
    "headwater.report.page",
    "headwater.report.terminal",
]
HEAVY = ("torch", "transformers", "ray", "vllm")


def imported(names):
    """The modules that a fresh process holds after importing these."""
    code = f"import sys\nfor name in {list(names)!r}: __import__(name)\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_values_grading_statistics_and_report_import_no_torch():
    assert not set(HEAVY) & imported(LIGHT)


@pytest.mark.parametrize("name", ["headwater", "headwater.cli"])
def test_the_command_answers_without_loading_torch(name):
    assert not set(HEAVY) & imported([name])
