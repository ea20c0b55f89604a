"""The command line; one file a group of commands.

Every error is one line and an exit code (see `headwater.errors`); a traceback appears only with --debug. Heavy imports
(torch) happen inside commands, so that --help and input errors come at once.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from typing import NoReturn

from cyclopts import App

from headwater.bench.options import bench
from headwater.cli.advising import advise
from headwater.cli.begin import convert, demo, init
from headwater.cli.measuring import eval as evaluate
from headwater.cli.measuring import verify
from headwater.cli.planning import plan, validate
from headwater.cli.running import report, run, status
from headwater.cli.sharing import env, export, push
from headwater.cli.showing import show
from headwater.errors import HeadwaterError

app = App(
    name="headwater",
    help="Post-train language models when checkable labels are scarce: reward on the teacher, a dense bridge "
    "to the student, every label accounted for.",
    help_format="plaintext",
    version_flags=["--version"],
)

for _command in (
    *(demo, init, validate, plan, advise, run, status, report, show, verify, evaluate, convert),
    *(push, export, env, bench),
):
    app.command(_command)
app.register_install_completion_command()


class Stopped(BaseException):
    """A signal ends the command; no handler of ordinary errors sees it, cyclopts' of KeyboardInterrupt neither."""


def main() -> None:
    """Run the command line and exit with the code that belongs to what happened."""
    debug = "--debug" in sys.argv
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stopped)  # `run` has handlers of its own while it works
    try:
        import headwater.posix  # noqa: F401, PLC0415  refuses Windows before anything else is asked

        app(arguments, exit_on_error=False, print_error=False)
    except HeadwaterError as error:
        _fail(error, error.exit_code, debug)
    except Stopped as error:
        _fail(error, 75, debug)
    except BrokenPipeError:  # whoever read our output went away: what was asked may not be done
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(75)
    except SystemExit:
        raise
    except Exception as error:  # noqa: BLE001  a person gets a line, a developer asks for the traceback
        usage = type(error).__module__.startswith("cyclopts")
        _fail(error, 2 if usage else 1, debug)


def _stopped(number: int, _frame: object) -> NoReturn:
    raise Stopped(f"stopped by {signal.Signals(number).name}; the same command goes on where it stopped")


def _fail(error: BaseException, code: int, debug: bool) -> None:
    if debug:
        traceback.print_exception(error)
    message = " ".join(str(error).split()) or type(error).__name__
    if not isinstance(error, HeadwaterError) and code == 1:
        message = f"unexpected {type(error).__name__}: {message} (run again with --debug for the traceback)"
    print(f"headwater: {message}", file=sys.stderr)
    sys.exit(code)
