"""Windows is refused in one line, by the command and by what needs a Unix; played here, in a fresh process."""

from __future__ import annotations

import subprocess
import sys

import pytest

WINDOWS = """
import sys
import {module}  # the libraries, as this machine has them; then ours anew, on another
for name in [name for name in sys.modules if name.startswith("headwater")]:
    del sys.modules[name]
sys.modules["fcntl"] = sys.modules["resource"] = None  # not to be imported
sys.platform = "win32"
"""
SAID = "this is Windows, which has no file locks"


def on_windows(code: str, module: str = "headwater.cli") -> subprocess.CompletedProcess[str]:
    script = WINDOWS.format(module=module) + code
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("command", ["demo", "plan lab", "run lab", "--help"])
def test_every_command_ends_at_its_start_with_what_was_found_and_what_to_do(command: str) -> None:
    done = on_windows(f"sys.argv = ['headwater', *{command.split()}]\nfrom headwater.cli import main\nmain()")
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"headwater: system: {SAID}")
    assert "WSL2" in line


@pytest.mark.parametrize("name", ["RunFolder", "run_recipe"])
def test_what_writes_or_reads_a_run_says_so_when_it_is_imported(name: str) -> None:
    code = f"""
import headwater
try:
    headwater.{name}
except headwater.HeadwaterError as error:
    print(error.exit_code, error)
"""
    done = on_windows(code, "headwater.run.workflow")
    assert done.stdout.startswith(f"2 system: {SAID}"), done.stderr


def test_a_unix_is_not_refused() -> None:
    done = subprocess.run([sys.executable, "-c", "import headwater.posix"], capture_output=True, check=False)
    assert done.returncode == 0
