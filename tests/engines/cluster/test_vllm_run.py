"""A whole recipe whose responses vLLM writes beside two ranks: the labels of one process; deaths leave it whole; a
real model.

Needs a Python that has vLLM, by HEADWATER_VLLM_PYTHON: `make cluster-test` sets one up and runs these.
"""

import itertools
import json
import os
from pathlib import Path

import pytest
from deaths import Deaths, left

import micro
from headwater.folder import RunFolder

pytestmark = pytest.mark.cluster

GPUS = 2
DEATHS = int(os.environ.get("HEADWATER_VLLM_DEATHS", "2"))
WIDE = "shape={hidden_size: 64, layers: 1, heads: 2, kv_heads: 1, head_dim: 32, ff_size: 64, max_positions: 64}"
"""vLLM's attention on a CPU has no heads narrower than 32."""
LOCAL = ("routes=[R3-full]", "engine.device=cpu", f"student.{WIDE}", f"teacher.{WIDE}")
GAP = 1e-4


def command(*more, runs, patience=120, recipe=micro.FILE, changed=LOCAL):
    python = os.environ["HEADWATER_VLLM_PYTHON"]
    cluster = f"engine.cluster={{gpus: {GPUS}, generator: vllm, vllm_python: {python}, patience: {patience}}}"
    return "run", recipe, *(f"--set={one}" for one in (*changed, cluster)), "--runs", runs, *more


def steps(folder):
    """Title of a trained node -> what each of its steps said."""
    return {
        node["title"]: [json.loads(line)["metrics"] for line in folder.result(name, "metrics.jsonl").splitlines()]
        for name, node in folder.graph["nodes"].items()
        if node["kind"] == "train"
    }


def largest_gap(found):
    """Nats between a token's logprob as sampled and as trained, over all of `steps`."""
    return max(step["sampler_gap_max"] for own in found.values() for step in own if "sampler_gap_max" in step)


def labels(folder):
    """Title of a node -> which labels it used, and for what."""
    return {node["title"]: folder.labels(name) for name, node in folder.graph["nodes"].items()}


def check(folder, local):
    """What must hold of a run whose numbers vLLM drew: the labels and steps of one process, and no gap."""
    assert folder.verify() == []
    assert labels(folder) == labels(local)
    found, expected = steps(folder), steps(local)
    assert {title: len(own) for title, own in found.items()} == {title: len(own) for title, own in expected.items()}
    assert 0 < largest_gap(found) <= GAP
    assert len(folder.responses("R3-full")) == len(local.responses("R3-full"))


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """The same recipe in one process."""
    home = tmp_path_factory.mktemp("local")
    done = micro.headwater("run", micro.FILE, *(f"--set={one}" for one in LOCAL), "--workers", "1", cwd=home)
    assert done.returncode == 0, done.stderr
    return RunFolder(home / "runs" / "micro")


def test_a_whole_recipe_with_vllm_on_two_ranks_uses_the_labels_of_one_process(local, tmp_path):
    done = micro.headwater(*command(runs="runs"), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    check(RunFolder(tmp_path / "runs" / "micro"), local)
    assert left() == []


def test_deaths_of_engines_ranks_and_drivers_at_random_moments_leave_a_run_that_holds(local, tmp_path):
    """`HEADWATER_VLLM_DEATHS=12 make cluster-test` for more; each sixth is a stop, and not of a driver."""
    deaths = Deaths(DEATHS, GPUS, longest=60.0)
    for number in itertools.count():
        runs = str(number)
        deaths.until_it_ends(tmp_path, *command("--commit-seconds", 0, runs=runs, patience=60))
        check(RunFolder(tmp_path / runs / "micro"), local)
        if deaths.enough:
            break
    print(dict(deaths.hit))
    assert left() == []


ROOT = Path(__file__).parents[3]
SHORTER = (
    "routes=[R3-full]",
    "engine.device=cpu",
    "problems.labelled=16",
    "problems.benchmarks={one-digit: {source: {path: data/sums/one-digit.jsonl}, problems: 4}}",
    "evaluation={samples: 2, temperature: 1.0, closeness_problems: 2}",
)


@pytest.mark.skipif(not (ROOT / "models" / "smollm2-25").is_dir(), reason="make models/smollm2-25 data/sums makes them")
def test_smollm2_goes_through_a_short_recipe_with_vllm_on_two_ranks(tmp_path):
    done = micro.headwater(*command(runs=tmp_path, recipe="smollm2-short", changed=SHORTER, patience=600), cwd=ROOT)
    assert done.returncode == 0, done.stderr
    folder = RunFolder(tmp_path / "smollm2-short")
    assert folder.verify() == []
    used = {title: len(own["answer"]) for title, own in labels(folder).items() if own["answer"]}
    assert used == {"teacher-rl on pool": 16}
    found = steps(folder)
    assert {title.partition(" ")[0]: len(own) for title, own in found.items()} == {
        "teacher-rl": 4,
        "warm-up": 2,
        "on-policy-distillation": 2,
    }
    assert 0 < largest_gap(found) <= GAP
