"""A side of a benchmark as a living process that does a round at each word; `protocol` is the other end."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headwater.engines.process import environment
from headwater.errors import InputError

OURS = "headwater.bench.side"
SOURCE = Path(__file__).parents[2]


class Side:
    """A process that stays alive between rounds, so that its start is never counted."""

    def __init__(
        self,
        name: str,
        job: Mapping[str, Any],
        python: str,
        directory: Path,
        *,
        module: str = OURS,
        home: Path = SOURCE,
    ):
        """Start `module` (found from `home`, or in this package) with the job, which it finds in a file."""
        self.name = name
        path = directory / f"{name.replace(' ', '-')}-{job['micro']}.json"
        path.write_text(json.dumps({**job, "side": name}), encoding="utf-8")
        self._log = path.with_suffix(".log")
        with self._log.open("w") as log:
            self._process = subprocess.Popen(  # noqa: S603  the user's own Python
                [python, "-m", module, str(path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=_environment(home, ours=module == OURS),
            )
        try:
            self.versions: dict[str, str] = self._read()["versions"]
        except BaseException:
            self.stop()
            raise

    def round(self) -> dict[str, Any]:
        """One round, and what was measured of it. Raises InputError, with its last words, when the side has ended."""
        assert self._process.stdin is not None  # noqa: S101
        with contextlib.suppress(BrokenPipeError):  # its end is told by the answer that does not come
            self._process.stdin.write("round\n")
            self._process.stdin.flush()
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None  # noqa: S101
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            last = " | ".join(self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-3:])
            raise InputError(f"bench: {self.name} ended with {self._process.returncode}: {last}")
        measured: dict[str, Any] = json.loads(line)
        return measured

    def stop(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()


def _environment(home: Path, *, ours: bool) -> dict[str, str]:
    """One thread, no network, no compile workers beside the one that is measured; ours as `headwater run` starts it."""
    return {
        **os.environ,
        **(environment(os.environ) if ours else {}),
        "PYTHONPATH": os.pathsep.join(dict.fromkeys((str(home), str(SOURCE)))),
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "TORCHINDUCTOR_COMPILE_THREADS": "1",
        "TRL_EXPERIMENTAL_SILENCE": "1",
    }
