"""The command line: help that helps, errors in one line with their exit code, output that a program can read."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import pytest

from headwater.cli import app, main
from headwater.errors import Interrupted
from headwater.evaluation.estimate import average_at_k
from headwater.folder import GRAPH, RECIPE, STATE, seal, write_json
from headwater.plan import build_graph
from headwater.routes.recipe import read_recipe, recipe_text
from headwater.run.identity import identity
from headwater.store import Disk, Store
from micro import FILE, HEADWATER, Finished, finished, headwater, make, micro

COMMANDS = [
    "demo", "init", "validate", "plan", "advise", "run", "status", "report", "show", "verify", "eval", "convert",
    "push", "export", "env", "bench",
]  # fmt: skip


class Said(NamedTuple):
    """What a command did: its exit code and what it wrote."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    return finished(tmp_path_factory)


@pytest.fixture
def call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., Said]]:
    """Call headwater in this process, in a folder of its own."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    monkeypatch.chdir(tmp_path)

    def called(*arguments: str | Path) -> Said:
        monkeypatch.setattr(sys, "argv", ["headwater", *map(str, arguments)])
        code: Any = 0
        try:
            main()
        except SystemExit as exit_:
            code = exit_.code or 0
        return Said(code, *capsys.readouterr())

    yield called
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def root(finished_run: Finished, tmp_path: Path) -> Path:
    """A copy of the finished micro run, in runs/micro of the folder where commands are called."""
    return Path(shutil.copytree(finished_run.root, tmp_path / "runs" / "micro"))


# Help


def test_the_commands_are_these() -> None:
    assert [name for name in app if not name.startswith("-")] == COMMANDS


@pytest.mark.parametrize("command", COMMANDS)
def test_every_commands_help_has_an_example(command: str, call: Callable[..., Said]) -> None:
    said = call(command, "--help")
    assert said.code == 0
    assert f"Example: headwater {command}" in said.out


def test_an_example_of_the_help_is_a_command_that_parses() -> None:
    for command in COMMANDS:
        example = next(line for line in app[command].help.splitlines() if line.strip().startswith("Example: "))
        words = shlex.split(example.strip().removeprefix("Example: headwater "))
        function, _, _ = app.parse_args(words, exit_on_error=False, print_error=False)
        assert function.__name__ == command


MISTYPED = [[], ["run", "--help"], ["--version"], ["run", "--what"], ["status", "x"], ["init", "x"]]


@pytest.mark.parametrize("arguments", MISTYPED)
def test_help_and_a_mistyped_command_do_not_wait_for_torch(arguments: list[str]) -> None:
    code = (
        "import sys\nfrom headwater.cli import main\ntry:\n    main()\nexcept SystemExit:\n    pass\n"
        "print(sorted({'torch', 'transformers', 'matplotlib'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


# Errors

ERRORS = [
    (["nonsense"], 2, 'Unknown command "nonsense"'),
    (["run", "--nonsense"], 2, "Unknown option"),
    (["run", "lab", "more", "words"], 2, "more"),
    (["plan", "--seeds", "three"], 2, "three"),
    (["plan", "--seeds", "0"], 2, "--seeds 0: from 1 to 1000"),
    (["plan", "--seeds", "1000000000"], 2, "from 1 to 1000"),
    (["plan", "--routes", "R9"], 2, "no route 'R9'"),
    (["plan", "--name", "../x"], 2, "pattern"),
    (["plan", "nowhere.yaml"], 2, "nowhere.yaml"),
    (["plan", "--set", "nonsense"], 2, "expected key=value"),
    (["validate", "--set", "nonsense=1"], 2, "unknown key nonsense"),
    (["run", "--workers", "0"], 2, "--workers 0; at least 1"),
    (["run", "--workers", "-2"], 2, "--workers -2; at least 1"),
    (["run", "--commit-seconds", "-1"], 2, "--commit-seconds -1.0; at least 0"),
    (["run", "--commit-seconds", "nan"], 2, "--commit-seconds nan; at least 0"),
    (["run", "--redo", "R7"], 2, "no such node"),
    (["run", "--runs", "/dev/null/x"], 2, "cannot be made or written (Not a directory); give another folder"),
    (["run", "--runs", "/proc/nowhere"], 2, "cannot be made or written"),
    (["run", "--runs", "a" * 300], 2, "cannot be resolved (File name too long)"),
    (["status", "--runs", "a\0b"], 2, "cannot be resolved (embedded null byte)"),
    (["verify", "--runs", "a" * 5000], 2, "cannot be resolved (File name too long)"),
    (["status", "nowhere"], 2, "no run at"),
    (["status", "../nowhere"], 2, "not allowed"),
    (["verify", "nowhere"], 2, "no run at"),
    (["report", "nowhere"], 2, "no run at"),
    (["report", "a\nb"], 2, "not allowed"),
    (["init", "nonsense"], 2, "shipped: beyond, lab, llama-math"),
    (["init", "lab", "--to", "no/such/folder.yaml"], 2, "cannot write"),
    (["eval", "."], 2, "cannot open ."),
    (["eval"], 2, "model"),
]


@pytest.mark.parametrize(("arguments", "code", "expected"), ERRORS, ids=lambda value: str(value)[:40])
def test_an_error_is_one_line_with_its_exit_code(
    call: Callable[..., Said], tmp_path: Path, arguments: list[str], code: int, expected: str
) -> None:
    said = call(*arguments)
    assert (said.code, said.out) == (code, "")
    assert len(said.err.splitlines()) == 1
    assert said.err.startswith("headwater: ")
    assert expected in said.err
    assert list(tmp_path.iterdir()) == []


def test_with_debug_the_traceback_comes_before_the_line(call: Callable[..., Said]) -> None:
    said = call("status", "nowhere", "--debug")
    assert said.code == 2
    assert said.err.startswith("Traceback (most recent call last):")
    assert said.err.splitlines()[-1].startswith("headwater: run: no run at")


def test_a_damaged_run_is_exit_code_4_with_the_file_and_the_way_out(call: Callable[..., Said], root: Path) -> None:
    node = next(iter((root / "heads").iterdir()))
    node.chmod(0o644)
    node.write_text("nonsense")
    for command in ("status", "report"):
        said = call(command, "micro")
        assert said.code == 4
        assert len(said.err.splitlines()) == 1
        assert str(node) in said.err
        assert f"--redo {node.name}" in said.err


class ReadOnly(Disk):
    """A disk that may be read."""

    def open_lock(self, path: Path) -> int:
        raise OSError(errno.EROFS, "Read-only file system", str(path))


def test_a_folder_that_may_only_be_read_can_be_read(
    call: Callable[..., Said], root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Store.__init__, "__defaults__", (ReadOnly(),))

    def refused(*_: object) -> NoReturn:
        raise OSError(errno.EROFS, "Read-only file system", "report.html.part")

    monkeypatch.setattr("headwater.report.write_page", refused)
    for command in (["status"], ["verify"], ["report", "--json"], ["report", "--markdown"]):
        assert call(*command, "micro").code == 0
    for command, said in ((["report", "micro"], "`--markdown` prints it"), (["run", FILE], "give another folder")):
        refusal = call(*command)
        assert refusal.code == 2
        assert len(refusal.err.splitlines()) == 1
        assert "cannot be" in refusal.err and "(Read-only file system)" in refusal.err and said in refusal.err


# init, validate, plan


def test_init_writes_the_shipped_file_under_its_own_name_and_never_over_another(
    call: Callable[..., Said], tmp_path: Path
) -> None:
    said = call("init", "lab", "--to", "mine.yaml")
    assert (said.code, said.err) == (0, "")
    assert (tmp_path / "mine.yaml").read_text() == recipe_text("lab").replace("\nname: lab\n", "\nname: mine\n")
    assert read_recipe(str(tmp_path / "mine.yaml")) == read_recipe("lab", ["name=mine"])
    (tmp_path / "mine.yaml").write_text("mine")
    again = call("init", "lab", "--to", "mine.yaml")
    assert again.code == 2
    assert "mine.yaml exists" in again.err
    assert (tmp_path / "mine.yaml").read_text() == "mine"


def test_the_commands_that_init_and_validate_print_work(call: Callable[..., Said]) -> None:
    printed = call("init", "support-gap").out.partition("Next: headwater ")[2]
    assert call(*shlex.split(printed)).code == 0
    validated = call("validate", "support-gap.yaml")
    assert "valid" in validated.out
    assert call(*shlex.split(validated.out.partition("Next: headwater ")[2])).code == 0


def test_a_plan_as_json_names_every_stage_and_writes_nothing(call: Callable[..., Said], tmp_path: Path) -> None:
    rows = json.loads(call("plan", FILE, "--json").out)["work"]
    graph = build_graph(micro())
    assert [row["node"] for row in rows] == list(graph.nodes)
    assert not any(row["done"] for row in rows)
    assert list(tmp_path.iterdir()) == []


def test_a_plan_says_what_is_done(call: Callable[..., Said], root: Path) -> None:
    said = json.loads(call("plan", FILE, "--json").out)
    rows = said["work"]
    assert said["totals"]["hours_left"] == 0
    assert "0.0e+00 left" not in call("plan", FILE).out
    assert all(row["done"] for row in rows)
    more = json.loads(call("plan", FILE, "--json", "--routes", "R5-half,R8").out)["work"]
    assert {row["stage"]: row["done"] for row in more if row["arms"] == ["R8"]} == {
        "on-policy-distillation on 1H": False,
        "student-rl on 2H": False,
    }


def test_seeds_and_routes_are_short_for_overrides(call: Callable[..., Said]) -> None:
    short = call("plan", FILE, "--json", "--seeds", "2", "--routes", "R1,R8", "--name", "other").out
    long = call("plan", FILE, "--json", "--set", "seeds=[0,1]", "--set", "routes=[R1,R8]", "--set", "name=other").out
    assert short == long


# status, report, eval, on a run


@pytest.fixture
def half(tmp_path: Path) -> Path:
    """The micro run, stopped twelve steps after its start: the first stages done, one in progress."""
    steps = iter(range(100))
    root = tmp_path / "runs" / "micro"
    root.parent.mkdir()
    with pytest.raises(Interrupted):
        make(micro(), root, stopping=lambda: next(steps) >= 16, commit_seconds=0)
    write_json(root / GRAPH, seal(build_graph(micro()).plain(identity())))
    write_json(root / RECIPE, micro().model_dump(mode="json"))
    return root


def test_status_says_where_a_stopped_run_stands_and_how_to_go_on(call: Callable[..., Said], half: Path) -> None:
    said = call("status", "micro")
    assert said.code == 0
    node = next(name for name, node in build_graph(micro()).nodes.items() if node.title == "pretrain the teacher")
    head = Store(half).head(node)
    assert head is not None and 0 < head.step < 12
    assert f"seed 0: pretrain the teacher: step {head.step} of 12 committed\n" in said.out
    assert "micro: 1 of 16 pieces of work done." in said.out
    command = shlex.split(said.out.partition("Go on: ")[2])
    assert command[:2] == ["headwater", "run"]
    assert read_recipe(command[2]) == micro()


def test_status_of_a_working_run_says_who_works_and_where_each_stage_stands(
    call: Callable[..., Said], half: Path
) -> None:
    running = [{"title": "student-rl on pool", "seed": 0, "steps": 40, "step": 12, "watched": {"reward": 0.25}}]
    (half / STATE).write_text(json.dumps({"running": [{**running[0], "seconds_left": 95}], "seconds_left": 4000}))
    with Store(half).lock():
        said = call("status", "micro").out
        found = json.loads(call("status", "micro", "--json").out)
    assert f"micro: running, pid {os.getpid()} on {socket.gethostname()} since 20" in said
    assert "student-rl on pool: step 12 of 40, reward 0.250, about 1 min 35 s left" in said
    assert "About 1 h 06 min left." in said
    assert all(len(line) <= 80 for line in said.splitlines()[1:])
    assert found["holder"]["pid"] == os.getpid()
    assert "running" not in call("status", "micro").out  # what a process that is gone has left says nothing


def test_a_watched_run_is_said_again_until_nobody_works_on_it(
    call: Callable[..., Said], half: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (half / STATE).write_text("{}")
    waits: list[float] = []
    with ExitStack() as working:
        working.enter_context(Store(half).lock())

        def wait(seconds: float) -> None:
            waits.append(seconds)
            if len(waits) == 2:
                working.close()

        monkeypatch.setattr("headwater.cli.running.time.sleep", wait)
        said = call("status", "micro", "--watch")
    assert said.code == 0
    assert waits == [2.0, 2.0]
    assert said.out.count("micro: running, pid") == 2
    assert said.out.count("pieces of work done.") == 3
    assert "Go on: headwater run" in said.out.splitlines()[-1]


def test_a_report_as_csv_has_a_line_an_arm_and_seed(call: Callable[..., Said], root: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(call("report", "micro", "--csv").out)))
    summary = json.loads(call("report", "micro", "--json").out)
    assert {row["arm"] for row in rows} == {arm["name"] for arm in summary["arms"]}
    scores = {arm["name"]: arm["scores"][0]["average"]["mean"] for arm in summary["arms"]}
    assert {row["arm"]: float(row["average"]) for row in rows} == scores
    assert {row["arm"]: row["labels_read"] for row in rows}["R7"] == "8"


def test_a_run_is_found_by_its_name_its_folder_and_its_recipe(call: Callable[..., Said], root: Path) -> None:
    names = ("micro", root, FILE, root / RECIPE)
    for command in (["status"], ["report", "--markdown"], ["verify"]):
        for what in names:
            said = call(*command, what)
            assert (said.code, said.err) == (0, ""), what
    shown = {call("show", what, "R7", "--wrong", "1", "--right", "1").out for what in names}
    assert len(shown) == 1 and "kept responses (1 right, 1 wrong asked)" in shown.pop()
    plans = {call("plan", what, "--json").out for what in names}
    measured = {call("eval", root / "models" / "R7-seed0", "--recipe", what, "--json").out for what in names}
    assert len(plans) == len(measured) == 1
    assert json.loads(measured.pop())["benchmark"] == "held-out"


def test_fewer_routes_do_not_take_a_larger_run_out_of_the_report(call: Callable[..., Said], root: Path) -> None:
    before = json.loads(call("report", "micro", "--json").out)
    said = call("run", FILE, "--routes", "R7", "--json")
    assert said.code == 0, said.err
    after = json.loads(said.out)
    assert {arm["name"] for arm in after["arms"]} == {arm["name"] for arm in before["arms"]}
    assert len(after["contrasts"]) == len(before["contrasts"])


def test_an_unfinished_run_has_a_report(call: Callable[..., Said], half: Path) -> None:
    said = call("report", "micro")
    assert (said.code, said.err) == (0, "")
    assert (half / "report.html").stat().st_size > 0
    assert f"report: {half / 'report.html'}" in said.out


def refuse(word: str) -> NoReturn:
    raise AssertionError(f"{word} is no JSON")


def test_a_report_as_json_is_json(call: Callable[..., Said], root: Path) -> None:
    said = call("report", "micro", "--json")
    assert (said.code, said.err) == (0, "")
    summary = json.loads(said.out, parse_constant=refuse)
    assert summary["name"] == "micro"


def test_a_finished_run_asked_again_as_json_prints_only_json(call: Callable[..., Said], root: Path) -> None:
    said = call("run", FILE, "--json")
    assert said.code == 0
    assert json.loads(said.out, parse_constant=refuse)["name"] == "micro"


def test_a_finished_run_reports_the_same_however_often_it_is_asked(call: Callable[..., Said], root: Path) -> None:
    first = call("report", "micro", "--json").out
    page = (root / "report.html").read_bytes()
    assert call("report", "micro", "--json").out == first
    assert (root / "report.html").read_bytes() == page


def test_a_run_whose_bytes_are_all_there_is_verified(call: Callable[..., Said], root: Path) -> None:
    said = call("verify", "micro")
    assert (said.code, said.err) == (0, "")


@pytest.mark.parametrize("arm", ["R7", "raw student", "teacher-rl-1H"])
def test_eval_of_a_model_directory_gives_the_runs_own_average(
    call: Callable[..., Said], finished_run: Finished, arm: str
) -> None:
    directory = finished_run.root / "models" / f"{arm.replace(' ', '-')}-seed0"
    said = call("eval", directory, "--recipe", FILE, "--json")
    assert said.code == 0, said.err
    found = json.loads(said.out, parse_constant=refuse)
    scores = json.loads(
        finished_run.folder.result(finished_run.arm(arm)["evaluation"]["held-out"], "scores.json") or b""
    )
    assert found["correct"] == scores["correct"]
    assert found["avg"] == average_at_k(scores["correct"], scores["samples"]).mean


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_signal_before_any_work_is_exit_code_75_and_one_line(tmp_path: Path, number: signal.Signals) -> None:
    os.mkfifo(tmp_path / "recipe.yaml")  # read by the command until somebody closes it
    started = subprocess.Popen([*HEADWATER, "plan", "recipe.yaml"], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    with (tmp_path / "recipe.yaml").open("w"):  # opens when the command reads
        started.send_signal(number)
        _, said = started.communicate()
    assert started.returncode == 75
    assert said == f"headwater: stopped by {number.name}; the same command goes on where it stopped\n"


def test_the_module_is_the_command(tmp_path: Path) -> None:
    assert headwater("--version", cwd=tmp_path).returncode == 0
