"""The cluster engine whole: a run on ranks under Ray ends as that of one process, through deaths and stops.

Needs Ray: `make cluster-test` sets up an environment with it and runs these.
"""

import itertools
import json
import os
import signal
import threading
import time

import pytest
import torch
from deaths import Deaths, left

import micro
from headwater.engines.opening import open_engine
from headwater.errors import EngineLost, NumericError
from headwater.ledger import Ledger
from headwater.plan import build_graph
from headwater.store import Store

pytestmark = pytest.mark.cluster

ROUTE = "routes=[R3-full]"
GPUS = 2
DEATHS = int(os.environ.get("HEADWATER_DEATHS", "6"))


def recipe(*more, patience=60):
    return micro.micro(ROUTE, "engine.device=cpu", f"engine.cluster={{gpus: {GPUS}, patience: {patience}}}", *more)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The run on ranks that nothing disturbs."""
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("whole")
    run(recipe(), root)
    return root


def run(given, root, disturb=None):
    """Make every node; `disturb` is called in a thread with the engine, and ends when it is told to."""
    engine, over = open_engine(given.engine), threading.Event()
    thread = threading.Thread(target=disturb, args=(engine, over)) if disturb else None
    if thread:
        thread.start()
    try:
        with engine:
            micro.make(given, root, engine=engine, commit_seconds=0)
    finally:
        over.set()
        if thread:
            thread.join()


def at_work(engine, over):
    """The engine's group once each of its ranks has a process; None where the run ends before."""
    while not over.wait(0.1):
        group = engine._group
        if group is not None and len(group.pids) == GPUS:
            return group
    return None


def metrics(given, root):
    store = Store(root)
    return {
        node.title: [json.loads(line)["metrics"] for line in store.read(name, "metrics.jsonl").splitlines()]
        for name, node in build_graph(given).nodes.items()
        if node.kind in ("model", "train")
    }


def labels(root):
    with Ledger(root / micro.LEDGER) as ledger:
        return ledger.digest()


def test_a_run_on_ranks_is_the_run_of_one_process(whole, tmp_path):
    one = micro.micro(ROUTE, "engine.device=cpu")
    micro.make(one, tmp_path, commit_seconds=0)
    assert labels(tmp_path) == labels(whole)
    assert list(build_graph(one).nodes) == list(build_graph(recipe()).nodes)  # ranks are no part of a name
    found, expected = metrics(recipe(), whole), metrics(one, tmp_path)
    assert found.keys() == expected.keys()
    for title, steps in expected.items():
        for many, single in zip(found[title], steps, strict=True):
            assert many.keys() == single.keys()
            for name in single.keys() - {"padding", "seconds"}:
                assert many[name] == pytest.approx(single[name], rel=1e-4, abs=1e-5), (title, name)


@pytest.mark.parametrize("signal", ["{kind: token-choice, share: 0.5}", "{kind: entropy-gate, share: 0.5}"])
def test_a_signal_that_asks_learner_or_teacher_before_the_update_is_answered_by_the_ranks(signal, tmp_path):
    asking = f"stages.on_policy_distillation.signal={signal}"
    one = micro.micro(ROUTE, "engine.device=cpu", asking)
    micro.make(one, tmp_path / "one", commit_seconds=0)
    run(recipe(asking), tmp_path / "ranks")
    found, expected = metrics(recipe(asking), tmp_path / "ranks"), metrics(one, tmp_path / "one")
    title = next(title for title in expected if "on-policy-distillation" in title)
    assert len(expected[title]) > 1
    for many, single in zip(found[title], expected[title], strict=True):
        assert many["loss"] == pytest.approx(single["loss"], rel=1e-4, abs=1e-5)


def test_a_run_begun_in_one_process_goes_on_on_ranks_and_back(whole, tmp_path):
    one = micro.micro(ROUTE, "engine.device=cpu")
    stop = iter([False] * 15 + [True] + [False] * 1000)
    with pytest.raises(Exception, match="run again to go on"):
        micro.make(one, tmp_path, commit_seconds=0, stopping=lambda: next(stop))
    run(recipe(), tmp_path)
    assert labels(tmp_path) == labels(whole)


def test_deaths_of_ranks_and_drivers_at_random_moments_cost_nothing_but_time(whole, tmp_path):
    """`HEADWATER_DEATHS=60 make cluster-test` is the full count; each sixth is a stop, and not of a driver."""
    deaths = Deaths(DEATHS, GPUS)
    changed = [f"--set={one}" for one in (ROUTE, "engine.device=cpu", f"engine.cluster={{gpus: {GPUS}, patience: 8}}")]
    for number in itertools.count():
        deaths.until_it_ends(tmp_path, "run", micro.FILE, *changed, "--commit-seconds", 0, "--runs", str(number))
        assert micro.identity(tmp_path / str(number) / "micro") == micro.identity(whole)
        if deaths.enough:
            break
    print(dict(deaths.hit))
    assert left() == []


def test_a_rank_that_is_stopped_is_found_and_its_process_ended(whole, tmp_path):
    stopped = []

    def stop(engine, over):
        if group := at_work(engine, over):
            over.wait(6)
            stopped.append(group.pids[1])
            os.kill(stopped[0], signal.SIGSTOP)

    run(recipe("engine.cluster.patience=8"), tmp_path, stop)
    assert stopped and not micro.alive(stopped[0])
    assert micro.identity(tmp_path) == micro.identity(whole)


def test_without_the_deadline_a_stopped_rank_holds_the_run_for_good(whole, tmp_path):
    """The control of the test before: for longer than its deadline nothing is written and nobody is found, until the
    rank is woken."""
    seen = []

    def stop(engine, over):
        if group := at_work(engine, over):
            over.wait(6)
            os.kill(group.pids[1], signal.SIGSTOP)
            over.wait(3)  # for what was under way
            before = written(tmp_path)
            over.wait(20)
            seen.append((before == written(tmp_path), engine._group is group, over.is_set()))
            os.kill(group.pids[1], signal.SIGCONT)

    run(recipe(patience=3600), tmp_path, stop)
    assert seen == [(True, True, False)]
    assert micro.identity(tmp_path) == micro.identity(whole)


def written(root):
    return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in root.rglob("*") if path.is_file()}


@pytest.fixture
def two_nodes():
    """A Ray cluster of two nodes on this machine, each with room for one rank; the recipe joins it by its address."""
    import ray
    from ray.cluster_utils import Cluster

    ray.shutdown()
    node = {"num_cpus": 1, "object_store_memory": 2**28}
    cluster = Cluster(initialize_head=True, head_node_args=node)
    cluster.add_node(**node)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def test_ranks_on_two_nodes_of_a_cluster_that_the_recipe_joins(whole, two_nodes, tmp_path):
    nodes = set()

    def look(engine, over):
        if group := at_work(engine, over):
            nodes.update(node for node, _, _ in group._where)

    run(recipe(f"engine.cluster.address={two_nodes.address}"), tmp_path, look)
    assert len(nodes) == 2
    assert micro.identity(tmp_path) == micro.identity(whole)


def test_a_node_that_is_lost_costs_nothing_but_time(whole, two_nodes, tmp_path):
    two_nodes.add_node(num_cpus=1, object_store_memory=2**28)  # a third, for the rank that loses its own
    lost = []

    def lose(engine, over):
        if group := at_work(engine, over):
            over.wait(6)
            used = {node for node, _, _ in group._where}
            lost.extend(node for node in two_nodes.worker_nodes if node.node_id in used)
            two_nodes.remove_node(lost[0], allow_graceful=False)

    run(recipe(f"engine.cluster.address={two_nodes.address}"), tmp_path, lose)
    assert lost
    assert micro.identity(tmp_path) == micro.identity(whole)


def opened(patience):
    engine = open_engine(recipe(patience=patience).engine)
    return engine, engine.ranks


def test_a_call_that_stands_still_is_told_with_its_ranks_in_time():
    engine, group = opened(patience=5)
    with engine:
        os.kill(group.pids[0], signal.SIGSTOP)
        begun, pids = time.monotonic(), group.pids
        with pytest.raises(EngineLost, match=r"rank 0 gave no sign for 5 s in forget"):
            group.all("forget", [])
        assert time.monotonic() - begun < 30
        assert not any(micro.alive(pid) for pid in pids)


def test_what_a_rank_refuses_is_raised_here_and_leaves_the_ranks_usable():
    engine, group = opened(patience=30)
    with engine:
        with pytest.raises(Exception, match="learner: it was not opened") as found:
            group.all("sync")
        assert not isinstance(found.value, (EngineLost, NumericError))
        assert group.all("forget", []) == [None, None]


def test_closing_leaves_no_process():
    engine, group = opened(patience=30)
    pids = group.pids
    engine.close()
    assert not any(micro.alive(pid) for pid in pids)
