"""A run folder holds one recipe: what is refused, what is added, what is made again."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from headwater.engines.cpu import processor, products
from headwater.errors import InputError, IntegrityError
from headwater.folder import GRAPH, RunFolder, seal, write_json
from headwater.plan import build_graph
from headwater.routes.recipe import Recipe
from headwater.run import RunOptions, run_recipe
from headwater.run.identity import PROCESSOR, PRODUCTS, PRODUCTS_BEFORE, TAKEN_OVER
from micro import Finished, finished, heads, headwater, identity, make, micro


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    return finished(tmp_path_factory)


@pytest.fixture
def root(run: Finished, tmp_path: Path) -> Path:
    """A copy of the finished run, to be changed."""
    return Path(shutil.copytree(run.root, tmp_path / "micro"))


def again(recipe: Recipe, runs: Path, **options: object) -> RunFolder:
    """`headwater run` with this recipe on the folder of that name."""
    return run_recipe(recipe, RunOptions(runs=runs, workers=1, **options), Console(file=io.StringIO()))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("stages.student_rl.epochs=3", "stages.student_rl.epochs was 2, is now 3"),
        ("problems.seed=5", "problems.seed was 0, is now 5"),
        ("reward.zero_variance=keep", "reward.zero_variance was 'drop', is now 'keep'"),
        ("teacher.shape.layers=2", "teacher.shape.layers was 1, is now 2"),
        ("student.path=elsewhere", "student.path was None, is now 'elsewhere'"),
    ],
)
def test_a_changed_recipe_is_refused_with_the_field_and_both_values(root: Path, change: str, said: str) -> None:
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.name != "lock"}
    with pytest.raises(InputError) as refused:
        again(micro(change), root.parent)
    assert said in str(refused.value)
    assert "--name" in str(refused.value)
    assert "--change" in str(refused.value)
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.name != "lock"} == before


def test_a_refusal_counts_the_fields_it_does_not_name(root: Path) -> None:
    with pytest.raises(InputError, match=r"\(and 2 more\)"):
        again(micro("temperature=0.9", "cached_samples=1", "max_response_tokens=13"), root.parent)


def test_the_shell_sees_a_refusal_as_exit_code_2_and_one_line(run: Finished, root: Path) -> None:
    recipe = run.home / "micro.yaml"
    refused = headwater("run", recipe, "--set", "temperature=0.9", "--runs", root.parent, cwd=root.parent)
    assert refused.returncode == 2
    assert len(refused.stderr.splitlines()) == 1
    assert "run micro: temperature was 1.0, is now 0.9." in refused.stderr


def test_change_makes_again_what_depends_on_the_field_and_nothing_else(run: Finished, root: Path) -> None:
    changed = micro("stages.student_rl.optimiser.learning_rate=5.0e-3")
    again(changed, root.parent, change=True)
    before, after = heads(run.root), heads(root)
    old, new = build_graph(micro()).nodes, build_graph(changed).nodes
    assert {name: head for name, head in after.items() if name in old} == before
    assert after.keys() - before.keys() == new.keys() - old.keys()
    assert {new[name].title for name in new.keys() - old.keys()} == {
        "student-rl on 1H",
        "student-rl on 2H",
        "evaluate R5-half",
        "evaluate R7",
    }
    folder = RunFolder(root)
    assert folder.graph["recipe"]["stages"]["student_rl"]["optimiser"]["learning_rate"] == 5e-3
    made = identity(root)
    for arm in folder.graph["arms"]:  # the models handed out are the new ones
        card = (root / "models" / f"{arm['name'].replace(' ', '-')}-seed0" / "README.md").read_text()
        assert f"- node: `{arm['endpoint']}`" in card
        weights = (root / "models" / f"{arm['name'].replace(' ', '-')}-seed0" / "model.safetensors").read_bytes()
        sha256 = made[arm["endpoint"]]["model/model.safetensors"]
        assert weights == (root / "objects" / sha256[:2] / sha256).read_bytes()
    again(micro(), root.parent, change=True)  # and back: nothing is left to make
    assert heads(root) == after


def test_more_routes_are_added_without_touching_what_is_there(run: Finished, root: Path) -> None:
    more = micro("routes=[R5-half, R7, R5-bridge]")
    make(more, root)
    again(more, root.parent)
    before, after = heads(run.root), heads(root)
    assert {name: after[name] for name in before} == before
    assert [build_graph(more).nodes[name].title for name in after.keys() - before.keys()] == ["evaluate R5-bridge"]
    assert [arm["name"] for arm in RunFolder(root).graph["arms"]].count("R5-bridge") == 1


def test_fewer_routes_and_other_guards_are_no_change(run: Finished, root: Path) -> None:
    again(micro("routes=[R7]", "guard.patience=50"), root.parent)
    assert heads(root) == heads(run.root)


def test_another_name_is_another_run(run: Finished, root: Path) -> None:
    other = micro("name=other", "stages.student_rl.epochs=1", "routes=[R7]")
    make(other, root.parent / "other")
    folder = again(other, root.parent)
    assert folder.root == root.parent / "other"
    assert heads(root) == heads(run.root)
    assert again(micro(), root.parent).root == root


def test_a_node_made_again_by_redo_is_the_same(run: Finished, root: Path) -> None:
    node = run.arm("R7")["endpoint"]
    again(micro(), root.parent, redo=node)
    assert identity(root) == identity(run.root)


def test_redo_of_a_node_that_is_not_there_is_refused(root: Path) -> None:
    for node in ("a" * 64, "R7", "../lock", ""):
        with pytest.raises(InputError, match="no such node"):
            again(micro(), root.parent, redo=node)


@pytest.mark.parametrize("workers", [0, -1])
def test_a_run_without_workers_is_refused(root: Path, workers: int) -> None:
    with pytest.raises(InputError, match="at least 1"):
        run_recipe(micro(), RunOptions(runs=root.parent, workers=workers), Console(file=io.StringIO()))


@pytest.mark.parametrize("damage", ["", "{", "[]", "{}", '{"nodes": {}}', "\x00", "[" * 100_000])
def test_a_damaged_graph_is_told_and_change_rewrites_it(run: Finished, root: Path, damage: str) -> None:
    (root / GRAPH).write_text(damage)
    with pytest.raises(IntegrityError, match=r"graph\.json"):
        again(micro(), root.parent)
    again(micro(), root.parent, change=True)
    assert json.loads((root / GRAPH).read_text()) == json.loads((run.root / GRAPH).read_text())


def test_a_model_handed_out_and_then_edited_is_handed_out_again(run: Finished, root: Path) -> None:
    weights = root / "models" / "R7-seed0" / "model.safetensors"
    original = weights.read_bytes()
    weights.write_bytes(original[:-1] + b"x")
    again(micro(), root.parent)
    assert weights.read_bytes() == original
    assert identity(root) == identity(run.root)


def goes_on(root: Path) -> tuple[dict[str, str], str]:
    """What graph.json says of what computes after the run has gone on, and what was said."""
    console = Console(file=io.StringIO(), width=400)
    run_recipe(micro(), RunOptions(runs=root.parent, workers=1), console)
    return RunFolder(root).graph["identity"], console.file.getvalue()  # type: ignore[attr-defined]


def begun_with(root: Path, **said: str) -> None:
    graph = RunFolder(root).graph
    write_json(root / GRAPH, seal({**graph, "identity": {**graph["identity"], **said}}))


def test_a_run_goes_on_with_the_library_of_products_that_it_began_with(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun_with(root, **{PRODUCTS: "onednn"})
    monkeypatch.setattr(products, "exact_or_default", lambda library: library)
    found, said = goes_on(root)
    assert found[PRODUCTS] == "onednn" and PRODUCTS_BEFORE not in found
    assert "goes on" not in said


def test_a_library_that_is_not_exact_on_this_processor_is_not_gone_on_with_and_that_is_said_and_kept(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun_with(root, **{PRODUCTS: "onednn", PROCESSOR: "AMD EPYC (family 26)"})
    monkeypatch.setattr(products, "error_here", lambda: 2.3e-3)
    for begun in ("onednn", "default"):  # and once more from there
        found, said = goes_on(root)
        assert (found[PRODUCTS], found[PRODUCTS_BEFORE]) == ("default", "onednn")
        assert found[PROCESSOR] == str(processor.here())
        assert (f"begun on AMD EPYC (family 26) with float32 products by {begun}, goes on on" in said) == (
            begun == "onednn"
        )


def test_a_new_run_of_tiny_models_keeps_pytorchs_own_products_and_names_what_it_takes_over(run: Finished) -> None:
    found = RunFolder(run.root).graph["identity"]
    assert (found[PRODUCTS], found[PROCESSOR]) == ("default", str(processor.here()))
    assert "RMS norms" in found[TAKEN_OVER]
