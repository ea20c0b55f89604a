"""A whole run from the shell: what it prints, what it leaves, who read which label, and that it repeats exactly."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from headwater.folder import LEDGER
from headwater.ledger import Ledger
from headwater.plan import build_graph
from headwater.run.execute import Executor
from headwater.store import Store
from micro import FILE, Finished, finished, headwater, identity, make, micro, pool_ids

DENSE = ("warm-up", "on-policy-distillation")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    return finished(tmp_path_factory)


def test_a_run_ends_well_and_prints_its_report_and_what_to_do_next_last(run: Finished) -> None:
    first = run.said[0]
    assert first["code"] == 0, first["err"]
    *_, report, models, again, seeds, own = first["out"].splitlines()
    page = Path(report.removeprefix("report: "))
    assert page == run.root / "report.html"
    assert page.stat().st_size > 0
    assert models.startswith(f"models: {run.root / 'models'} ")
    assert "headwater run micro.yaml --routes all" in again
    assert "headwater run micro.yaml --seeds 5" in seeds
    assert "headwater init" in own


def test_without_a_terminal_every_piece_of_work_is_one_plain_line(run: Finished) -> None:
    lines = [line for line in run.said[0]["out"].splitlines() if re.match(r"\[\d+/16\] seed 0: .+: \d+\.\d s\b", line)]
    assert len(lines) == len(run.folder.graph["nodes"]) == 16


def test_a_second_run_makes_nothing_anew(run: Finished) -> None:
    first, second = run.said
    assert second["code"] == 0, second["err"]
    assert second["heads"] == first["heads"]
    assert "[1/" not in second["out"]
    assert second["out"].endswith("\n".join(first["out"].splitlines()[-5:]) + "\n")


def test_everything_the_plan_names_is_done(run: Finished) -> None:
    assert all(run.folder.done(name) for name in run.folder.graph["nodes"])
    done = headwater("status", "micro", cwd=run.home)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("micro: 16 of 16 pieces of work done.")


def test_the_recipe_stored_with_the_run_is_the_recipe_that_ran(run: Finished) -> None:
    stored = micro().model_validate_json((run.root / "recipe.json").read_text())
    assert stored == micro()
    assert run.folder.graph["recipe"] == micro().model_dump(mode="json")


def test_every_model_handed_out_opens_with_transformers(run: Finished) -> None:
    arms = {"raw-student", "raw-teacher", "R5-half", "R7", "teacher-rl-1H"}
    directories = sorted((run.root / "models").iterdir())
    assert {path.name for path in directories} == {f"{arm}-seed0" for arm in arms}
    for directory in directories:
        model = AutoModelForCausalLM.from_pretrained(directory, local_files_only=True)
        tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True)
        answer = model.generate(**tokenizer("3 +4 :", return_tensors="pt"), max_new_tokens=2, do_sample=False)
        assert answer.shape[1] > 3
        assert not list(directory.rglob("*.bin")) + list(directory.rglob("*.pt"))


def test_the_models_handed_out_are_those_of_the_arms_endpoints(run: Finished) -> None:
    made = identity(run.root)
    for arm in run.folder.graph["arms"]:
        directory = run.root / "models" / f"{arm['name'].replace(' ', '-')}-seed0"
        for name, sha256 in made[arm["endpoint"]].items():
            if name.startswith("model/"):
                stored = run.root / "objects" / sha256[:2] / sha256
                assert (directory / name.removeprefix("model/")).read_bytes() == stored.read_bytes()


@pytest.mark.parametrize(
    ("arm", "stage", "labels"),
    [
        ("R5-half", "student-rl", "answers of 2H"),
        ("R7", "student-rl", "answers of 1H"),
        ("teacher-rl-1H", "teacher-rl", "answers of 1H"),
        ("raw-student", "pretrain", "none"),
    ],
)
def test_a_model_card_names_stage_labels_seed_and_parent(run: Finished, arm: str, stage: str, labels: str) -> None:
    card = (run.root / "models" / f"{arm}-seed0" / "README.md").read_text()
    entry = run.arm(name := arm.replace("raw-", "raw "))
    node = run.folder.graph["nodes"][entry["endpoint"]]
    assert f"- node: `{entry['endpoint']}`" in card
    assert f"- stage: {stage} " in card
    assert f"- labels read in this stage: {labels}\n" in card
    assert "run `micro`, seed 0" in card
    assert all(f"- {role}: `{parent}`" in card for role, parent in node["parents"].items())
    assert name in next(line for line in card.splitlines() if line.startswith("- routes: "))


def test_a_model_of_ones_own_goes_through_with_its_weights_and_gets_a_card(run: Finished, tmp_path: Path) -> None:
    own = run.root / "models" / "raw-student-seed0"
    graph = build_graph(micro(f"student.path={own}"))
    (node,) = [name for name, node in graph.nodes.items() if node.kind == "model" and node.stage is None]
    store = Store(tmp_path)
    with store.lock(), Ledger(tmp_path / LEDGER) as ledger:
        Executor(graph=graph, store=store, ledger=ledger).execute(node)
    assert store.read(node, "model/model.safetensors") == (own / "model.safetensors").read_bytes()
    assert f"- node: `{node}`" in store.read(node, "model/README.md").decode()


# The ledger


def test_dense_stages_never_read_a_label(run: Finished) -> None:
    with Ledger(run.root / LEDGER) as ledger:
        dense = [name for name, node in run.stages("R5-half") if node["stage"] in DENSE]
        counts = [ledger.counts(name) for name in dense]
    assert [(c["answer"], c["demonstration"]) for c in counts] == [(0, 0), (0, 0)]
    assert all(c["prompt"] > 0 for c in counts)


def test_only_the_two_rl_stages_of_a_route_read_answers(run: Finished) -> None:
    readers = [node["stage"] for name, node in run.stages("R5-half") if run.folder.labels(name)["answer"]]
    assert readers == ["teacher-rl", "student-rl"]


def test_the_two_rl_stages_of_r5_used_disjoint_labels(run: Finished) -> None:
    teacher, student = (
        run.folder.labels(name)["answer"] for name, node in run.stages("R5-half") if node["reads_labels"]
    )
    assert teacher == pool_ids(micro(), "1H")
    assert student == pool_ids(micro(), "2H")
    assert not teacher & student


def test_r7_used_its_half_twice(run: Finished) -> None:
    teacher, student = (run.folder.labels(name)["answer"] for name, node in run.stages("R7") if node["reads_labels"])
    assert teacher == student == pool_ids(micro(), "1H")


def test_every_use_of_a_label_lies_in_its_stages_pool(run: Finished) -> None:
    for name, node in run.folder.graph["nodes"].items():
        used = set().union(*run.folder.labels(name).values())
        assert used <= (pool_ids(micro(), node["pool"]) if node["pool"] else set()), node["title"]


def test_each_step_of_a_stage_is_in_the_ledger_once(run: Finished) -> None:
    with Ledger(run.root / LEDGER) as ledger:
        for name, node in run.stages("R7"):
            counts, batch = ledger.counts(name), node["settings"]["schedule"]["problems"]
            assert counts["prompt"] == node["updates"] * batch
            assert counts["answer"] == (node["updates"] * batch if node["reads_labels"] else 0)


def test_the_ledger_and_the_commits_agree(run: Finished) -> None:
    made = identity(run.root)  # verifies every chain against the head that its node's manifest names
    assert run.folder.ledger_digest() == made["ledger"]


# Repetition


def test_one_worker_two_workers_and_no_worker_make_the_same_bytes(run: Finished, tmp_path: Path) -> None:
    shutil.copy(FILE, tmp_path)
    two = headwater("run", "micro.yaml", "--workers", "2", "--runs", "elsewhere", cwd=tmp_path)
    assert two.returncode == 0, two.stderr
    make(micro(), tmp_path / "here")
    one = identity(run.root)
    assert identity(tmp_path / "elsewhere" / "micro") == one
    assert identity(tmp_path / "here") == one
    kinds = {name.rpartition("/")[2] for files in one.values() if isinstance(files, dict) for name in files}
    assert {"model.safetensors", "rollouts-00000000.arrow", "metrics.jsonl", "scores.json", "closeness.json"} <= kinds


def test_metrics_hold_one_line_a_step_and_only_finite_numbers(run: Finished) -> None:
    for name, node in run.stages("R5-half"):
        lines = [json.loads(line) for line in (run.folder.result(name, "metrics.jsonl") or b"").splitlines()]
        assert [line["step"] for line in lines] == list(range(node["updates"]))
        assert "NaN" not in json.dumps(lines)
        assert "Infinity" not in json.dumps(lines)
