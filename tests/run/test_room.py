"""Room on the disk: asked for before a stage begins; where it ends all the same, the last commits stay good."""

from __future__ import annotations

import multiprocessing
import resource
import subprocess
from pathlib import Path

import pytest
import torch

from headwater.engines.local import LocalLearner
from headwater.errors import ResourceError
from headwater.store import Disk, Store, full_disk_named
from micro import FILE, HEADWATER, Finished, finished, heads, headwater, identity, make, micro


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    return finished(tmp_path_factory)


class Nearly(Disk):
    """A disk with so many bytes left."""

    def __init__(self, free: int) -> None:
        self.free = free

    def free_bytes(self, path: Path) -> int:
        return self.free


def test_a_stage_that_cannot_be_stored_is_refused_before_its_first_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    updates: list[object] = []
    monkeypatch.setattr(LocalLearner, "update", lambda *given: updates.append(given))
    with pytest.raises(ResourceError, match=r"needs \d+ bytes, 100000 are free") as caught:
        make(micro(), tmp_path, Nearly(100_000))
    assert caught.value.exit_code == 6
    assert updates == []
    assert Store(tmp_path).nodes() == []


def test_what_a_stage_asks_for_is_what_it_takes_and_a_little_more(tmp_path: Path) -> None:
    """Found by raising the free bytes until the run goes through: the estimate never blocks a run that fits."""
    taken = 0

    class Counting(Disk):
        def free_bytes(self, path: Path) -> int:
            nonlocal taken
            stored = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
            taken = max(taken, stored)
            return 700_000 - stored

    make(micro(), tmp_path, Counting())
    assert 100_000 < taken < 700_000


@pytest.mark.parametrize("limit", [3_000, 24_000])
def test_a_file_size_limit_ends_the_run_with_6_and_the_same_command_goes_on_without_it(
    run: Finished, tmp_path: Path, limit: int
) -> None:
    done = subprocess.run(
        [*HEADWATER, "run", FILE, "--workers", "1"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert done.returncode == 6, done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert str(limit) in done.stderr or "cannot be written" in done.stderr
    root = tmp_path / "runs" / "micro"
    assert Store(root).verify() == []
    if limit == 24_000:
        again = headwater("run", FILE, "--workers", "1", cwd=tmp_path)
        assert again.returncode == 0, again.stderr
        assert identity(root) == identity(run.root)


@pytest.mark.parametrize(
    "error",
    [OSError(28, "No space left on device"), OSError(27, "File too large"), ValueError("I/O error (os error 28)")],
)
def test_a_full_disk_met_anywhere_is_named_with_the_bytes_that_are_free(tmp_path: Path, error: Exception) -> None:
    with (
        pytest.raises(ResourceError, match=r"warm-up: .* 77 bytes are free"),
        full_disk_named("warm-up", tmp_path, Nearly(77)),
    ):
        raise error


@pytest.mark.parametrize("error", [OSError(13, "Permission denied"), ValueError("no error of the system")])
def test_any_other_error_goes_on_as_it_is(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(type(error)) as caught, full_disk_named("warm-up", tmp_path):
        raise error
    assert caught.value is error


def make_on(root: Path) -> None:
    torch.set_num_threads(1)  # as a run's workers do: products of two threads round otherwise
    try:
        make(micro(), root, commit_seconds=0)
    except ResourceError:
        raise SystemExit(6) from None


@pytest.mark.torture
def test_on_a_disk_that_is_full_again_and_again_a_run_ends_as_on_a_large_one(run: Finished, tmp_path: Path) -> None:
    """A real small file system, enlarged by 8 kB whenever it is full."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k,mode=755", "headwater-test", str(tmp_path)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a tmpfs")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["headwater.run"])
    root, size, full, code = tmp_path / "run", 64, 0, None
    root.mkdir()
    try:
        while code != 0:
            process = context.Process(target=make_on, args=(root,))
            process.start()
            process.join()
            code = process.exitcode
            assert code in (0, 6)
            assert Store(root).verify() == []
            full += code == 6
            size += 8
            subprocess.run(["mount", "-o", f"remount,size={size}k", str(tmp_path)], check=True)
        assert heads(root).keys() == heads(run.root).keys()
        assert identity(root) == identity(run.root)
    finally:
        subprocess.run(["umount", str(tmp_path)], check=False)
    assert full > 10
    print(f"torture: {full} times a full disk (tmpfs): exit 6 and a good last commit each time, then the same end")
