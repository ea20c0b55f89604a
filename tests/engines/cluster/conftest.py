"""Three ranks over gloo, started once; a case runs on the first one, two or three of them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

RANKS = 3


class Ranks:
    """Processes that run one case together; what the first rank found comes back."""

    def __init__(self, folder):
        here = Path(__file__).parent
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
        self._processes = [
            subprocess.Popen(
                [sys.executable, here / "rank.py", str(rank), str(RANKS), folder / "store"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=environment,
            )
            for rank in range(RANKS)
        ]

    def run(self, case, ranks=2, **given):
        """What the first rank returns. A rank that raises fails the test with its traceback."""
        asked = json.dumps({"case": case, "ranks": ranks, "given": given})
        for process in self._processes:
            print(asked, file=process.stdin, flush=True)
        answers = [json.loads(process.stdout.readline() or '{"error": "the rank died"}') for process in self._processes]
        errors = [f"rank {rank}:\n{answer['error']}" for rank, answer in enumerate(answers) if "error" in answer]
        assert not errors, "\n".join(errors)
        return answers[0]["found"]

    def close(self):
        for process in self._processes:
            process.stdin.close()
        for process in self._processes:
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()


@pytest.fixture(scope="session")
def ranks(tmp_path_factory):
    started = Ranks(tmp_path_factory.mktemp("ranks"))
    yield started
    started.close()
