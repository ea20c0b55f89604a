"""The store: what was committed comes back byte for byte, or an error names the file."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.errors import InputError, IntegrityError
from headwater.store import Disk, Manifest, Store, contained_name, run_folder

A, B = "a" * 64, "b" * 64
FILES: dict[str, Path | bytes] = {
    "model/weights": bytes(range(256)) * 2,
    "model/config.json": b"{}\n",
    "rng": b"state of the random numbers",
}


class Hasty(Disk):
    """For tests in which the power stays on."""

    def sync(self, path: Path) -> None:
        pass


def store_at(root: Path) -> Store:
    return Store(root, Hasty(), prune_bytes=0)


def commit(store: Store, node: str = A, step: int = 0, **more: bytes) -> Manifest:
    return store.commit(node, {**FILES, **more}, step=step, done=False, about={"recipe": "r", "pair": (1, 2.5)})


def objects(root: Path) -> list[Path]:
    return sorted(root.glob("objects/??/*"))


def test_what_was_committed_comes_back(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"from a file" * 1000)
    made = store_at(tmp_path / "run").commit(A, FILES | {"big": source}, step=7, done=True, about={"n": None})
    store = store_at(tmp_path / "run")
    assert store.head(A) == made
    assert (made.step, made.done, made.about, made.parent) == (7, True, {"n": None}, None)
    assert store.read(A, "big") == source.read_bytes()
    assert {name: store.read(A, name) for name in FILES} == FILES
    assert store.nodes() == [A]
    assert (tmp_path / "run/heads" / A).read_text() == f"{made.sha256}\n"


def test_a_commit_is_equal_before_and_after_it_is_stored(tmp_path: Path) -> None:
    made = commit(store_at(tmp_path))
    assert made.about == {"recipe": "r", "pair": [1, 2.5]}
    assert store_at(tmp_path).head(A) == made


def test_an_entry_of_the_last_commit_stands_for_its_file_and_no_other_does(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    first = commit(store)
    (tmp_path / "objects" / first.files["rng"].sha256[:2] / first.files["rng"].sha256).chmod(0)  # it is not read again
    kept = store.commit(A, {"rng": first.files["rng"], "more": b"more"}, step=1, done=True, about={})
    assert kept.files["rng"] == first.files["rng"]
    with pytest.raises(InputError, match="does not have"):
        store.commit(A, {"config": first.files["model/config.json"]}, step=2, done=True, about={})
    with pytest.raises(InputError, match="does not have"):
        store.commit(B, {"rng": first.files["rng"]}, step=0, done=True, about={})


def test_looking_into_a_folder_writes_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path / "run")
    assert store.head(A) is None
    assert store.nodes() == []
    assert store.verify() == []
    with pytest.raises(InputError, match="no commit"):
        store.read(A, "rng")
    assert not (tmp_path / "run").exists()


def test_equal_files_are_stored_once(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    commit(store, A, copy=b"{}\n")
    commit(store, B)
    assert len(objects(tmp_path)) == len(FILES) + 2  # and two manifests
    assert list((tmp_path / "tmp").iterdir()) == []


def test_two_commits_of_each_node_are_kept_and_the_rest_is_pruned(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    made = [commit(store, A, step, log=b"%d" % step) for step in range(5)]
    commit(store, B, 0, log=b"1")
    assert made[4].parent == made[3].sha256
    kept = set(made[3].objects()) | set(made[4].objects())
    head = store.head(B)
    assert head is not None
    assert {path.name for path in objects(tmp_path)} == kept | set(head.objects())


def test_pruning_spares_what_another_node_still_needs(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    commit(store, A, 0, log=b"shared")
    commit(store, B, 0, log=b"shared")
    for step in range(1, 4):
        commit(store, A, step, log=b"%d" % step)
    assert store.read(B, "log") == b"shared"


def test_a_sweep_removes_what_no_head_reaches_and_nothing_else(tmp_path: Path) -> None:
    store = Store(tmp_path, Hasty())
    for step in range(4):
        commit(store, A, step, log=b"%d" % step)
    commit(store, B, 0, own=b"of b")
    store.forget(B)
    (tmp_path / "tmp/left").write_bytes(b"by a crash")
    (tmp_path / "tmp/folder").mkdir()
    # Two old commits with a log each, B's manifest and file, and two temporary things.
    assert store.sweep() == 4 + 2 + 2
    assert store.sweep() == 0
    assert store.verify() == []
    assert store.head(B) is None


@pytest.mark.parametrize("name", ["heads", "objects", "objects/ab", "tmp", "lock", "gate"])
def test_a_folder_from_elsewhere_has_nothing_written_or_deleted_outside_of_it(tmp_path: Path, name: str) -> None:
    root, outside = tmp_path / "run", tmp_path / "mine"
    precious = outside if name in ("lock", "gate") else outside / ("ab" * 32)
    precious.parent.mkdir(exist_ok=True)
    precious.write_text("precious")
    (root / name).parent.mkdir(parents=True)
    (root / name).symlink_to(outside)
    for use in (Store.lock, Store.sweep, commit):
        with pytest.raises(InputError, match=f"{name} is a symbolic link"):
            use(Store(root, Hasty()))
    assert precious.read_text() == "precious"
    assert outside.is_file() or list(outside.iterdir()) == [precious]


# -- damage


def small_store(root: Path) -> list[Path]:
    """Two nodes, one with a parent commit; returns every file that a kept commit needs."""
    store = store_at(root)
    commit(store, A, 0)
    commit(store, A, 1, log=b"a line\n")
    commit(store, B, 0)
    return [*objects(root), *sorted((root / "heads").iterdir())]


def use_everything(root: Path, out: Path) -> None:
    """Raise the error that a program which loads all nodes would meet first."""
    store = store_at(root)
    for node in (A, B):
        head = store.head(node)
        assert head is not None
        for name in head.files:
            store.read(node, name)
        store.checkout(node, out)


def assert_named(root: Path, file: Path, out: Path, *, in_head: bool) -> None:
    found = [str(error) for error in store_at(root).verify()]
    assert any(str(file) in message for message in found), (file, found)
    assert all("headwater run" in message for message in found)
    if in_head:
        with pytest.raises(IntegrityError, match=file.name):
            use_everything(root, out)


def needed_now(root: Path) -> set[str]:
    heads = [store_at(root).head(node) for node in (A, B)]
    return {A, B} | {name for head in heads if head is not None for name in head.objects()}


def put(file: Path, data: bytes) -> None:
    """Replace the file's content, read-only or not."""
    file.unlink()
    file.write_bytes(data)


def test_every_flipped_byte_is_found_before_use(tmp_path: Path) -> None:
    root = tmp_path / "run"
    files, now = small_store(root), needed_now(root)
    chance = random.Random(1)
    for file in files:
        whole = file.read_bytes()
        for place in [*range(0, len(whole), 11), len(whole) - 1]:
            flipped = bytearray(whole)
            flipped[place] ^= chance.choice([1, 32, 128, chance.randrange(1, 256)])
            put(file, bytes(flipped))
            assert_named(root, file, tmp_path / "out", in_head=file.name in now)
        put(file, whole)
    use_everything(root, tmp_path / "out")


def test_every_cut_or_lengthened_file_is_found_before_use(tmp_path: Path) -> None:
    root = tmp_path / "run"
    files, now = small_store(root), needed_now(root)
    for file in files:
        whole = file.read_bytes()
        cuts = {len(whole) * percent // 100 for percent in range(100)}
        for data in [whole[:cut] for cut in cuts] + [whole + b"\0", whole + whole]:
            put(file, data)
            assert_named(root, file, tmp_path / "out", in_head=file.name in now)
        put(file, whole)


def test_a_missing_object_is_named(tmp_path: Path) -> None:
    root = tmp_path / "run"
    small_store(root)
    now = needed_now(root)
    for file in objects(root):
        file.rename(tmp_path / "away")
        assert_named(root, file, tmp_path / "out", in_head=file.name in now)
        (tmp_path / "away").rename(file)


def test_a_damaged_head_is_never_replaced_by_the_older_commit(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    commit(store, A, 0)
    made = commit(store, A, 1)
    put(tmp_path / "objects" / made.sha256[:2] / made.sha256, b"{}")
    uses: list[Callable[[], object]] = [
        lambda: store.head(A),
        lambda: store.read(A, "rng"),
        lambda: store.checkout(A, tmp_path / "out"),
        lambda: commit(store, A, 2),
        store.sweep,
    ]
    for use in uses:
        with pytest.raises(IntegrityError, match=made.sha256):
            use()
    store.forget(A)
    assert store.head(A) is None
    assert commit(store, A, 0).parent is None


def test_a_head_that_names_another_nodes_commit_is_refused(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    commit(store, A)
    other = commit(store, B)
    put(tmp_path / "heads" / A, f"{other.sha256}\n".encode())
    with pytest.raises(IntegrityError, match=A):
        store.head(A)


def test_a_redo_mends_a_damaged_object_that_has_the_right_size(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    made = commit(store)
    file = tmp_path / "objects" / made.files["rng"].sha256[:2] / made.files["rng"].sha256
    put(file, b"?" * made.files["rng"].size)
    store.forget(A)
    assert commit(store) == made
    assert store.read(A, "rng") == FILES["rng"]


# -- checkout


def test_a_checkout_holds_the_files_under_its_prefix_as_links(tmp_path: Path) -> None:
    store = store_at(tmp_path / "run")
    made = commit(store)
    folder = store.checkout(A, tmp_path / "out/model", "model")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        "weights": FILES["model/weights"],
        "config.json": FILES["model/config.json"],
    }
    name = made.files["model/weights"].sha256
    assert (folder / "weights").samefile(tmp_path / "run/objects" / name[:2] / name)
    assert store.checkout(A, tmp_path / "all").joinpath("model/weights").read_bytes() == FILES["model/weights"]
    with pytest.raises(InputError, match="no file under"):
        store.checkout(A, tmp_path / "none", "mod")


def test_a_checkout_replaces_the_older_one_and_leaves_nothing_else(tmp_path: Path) -> None:
    store = store_at(tmp_path / "run")
    commit(store, A, 0, old=b"old")
    store.checkout(A, tmp_path / "out")
    commit(store, A, 1, new=b"new")
    store.checkout(A, tmp_path / "out")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["model", "new", "rng"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "run"]


def test_a_checkout_never_replaces_the_store_or_a_link(tmp_path: Path) -> None:
    store = store_at(tmp_path / "runs/run")
    commit(store)
    (tmp_path / "link").symlink_to(tmp_path / "runs")
    for place in (tmp_path / "runs", tmp_path / "runs/run", tmp_path / "link"):
        with pytest.raises(InputError, match="a folder of its own"):
            store.checkout(A, place)
    assert store.verify() == []


def test_a_failed_checkout_leaves_the_older_one(tmp_path: Path) -> None:
    store = store_at(tmp_path / "run")
    made = commit(store)
    store.checkout(A, tmp_path / "out")
    name = made.files["rng"].sha256
    put(tmp_path / "run/objects" / name[:2] / name, b"damaged")
    with pytest.raises(IntegrityError, match=name):
        store.checkout(A, tmp_path / "out")
    assert (tmp_path / "out/rng").read_bytes() == FILES["rng"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "run"]


def test_a_checkout_to_another_file_system_copies(tmp_path: Path) -> None:
    class Elsewhere(Hasty):
        def link(self, source: Path, target: Path) -> None:
            raise OSError(18, "Invalid cross-device link")

    store = Store(tmp_path / "run", Elsewhere())
    commit(store)
    assert (store.checkout(A, tmp_path / "out") / "rng").read_bytes() == FILES["rng"]
    assert (tmp_path / "out/rng").stat().st_nlink == 1


# -- names


HOSTILE = [
    *[
        "",
        ".",
        "..",
        "...",
        "/",
        "/etc",
        "../x",
        "a/../b",
        "a/b",
        "a\\b",
        "a\0b",
        "-rf",
        ".git",
        "~",
        "~root",
    ],
    *["a.", "a ", " a", "a\n", "\n", "$HOME", "`id`", "$(id)", "a;b", "a|b", "*", "?", "a:b", "é", "ａ", "١"],
    *[
        "a" * 65,
        "%2e%2e",
        "..%2f",
        "C:\\x",
        "\\\\host\\x",
        "a\u202eb",
        "\ud800",
        "a/",
        "./a",
        "nul\0",
        "a\tb",
    ],
]


@given(st.one_of(st.sampled_from(HOSTILE), st.text(max_size=70), st.from_regex(r"[A-Za-z0-9._/-]{1,70}")))
@settings(max_examples=500, deadline=None)
def test_a_hostile_run_name_is_refused_or_stays_inside(name: str) -> None:
    base = Path("/nonexistent/runs")
    try:
        folder = run_folder(base, name)
    except InputError:
        return
    assert folder.parent == base
    assert folder.name == name == contained_name(name)
    assert name.isascii() and len(name) <= 64


def test_each_name_of_the_hostile_list_is_refused() -> None:
    for name in HOSTILE:
        with pytest.raises(InputError):
            contained_name(name)


def test_a_run_that_is_a_link_out_of_the_base_is_refused(tmp_path: Path) -> None:
    base = tmp_path / "runs"
    base.mkdir()
    (base / "out").symlink_to(tmp_path)
    (base / "loop").symlink_to(base / "loop")
    (base / "self").symlink_to(base)
    for name in ("out", "loop", "self"):
        with pytest.raises(InputError):
            run_folder(base, name)
    (tmp_path / "link").symlink_to(base)
    assert run_folder(tmp_path / "link", "r5.seed-1") == base.resolve() / "r5.seed-1"


@pytest.mark.parametrize("name", ["", "/a", "a//b", "../a", "a/..", "./a", "a/", "a\0", "a\\b", "\ud800", "a" * 256])
def test_a_file_name_that_could_leave_its_folder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="file name"):
        store_at(tmp_path).commit(A, {name: b""}, step=0, done=False, about={})


def test_a_name_that_is_file_and_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="both a file and the folder"):
        store_at(tmp_path).commit(A, {"a": b"", "a/b/c": b""}, step=0, done=False, about={})


@pytest.mark.parametrize("node", ["", "a" * 63, "A" * 64, "../" + "a" * 61, "a" * 64 + "\n"])
def test_a_node_that_is_no_fingerprint_is_refused(tmp_path: Path, node: str) -> None:
    store = store_at(tmp_path)
    for use in (store.head, store.forget, lambda node: commit(store, node)):
        with pytest.raises(InputError, match="fingerprint"):
            use(node)
