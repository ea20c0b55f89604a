"""The ranks under Ray: placed, started, called together, watched while they work, and ended by process id.

Ray places, starts and ends; the ranks talk to each other by torch.distributed. A rank is never restarted alone, since
its communicator is gone with it: the first that dies, errs on its own or stands still for `patience` ends the group
(EngineLost), and whoever asked makes a new one from the last commit. An answer to a health call would prove that a
rank can be reached, not that it gets on: so what is watched is the number of passes that each has made.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import ray
from ray.util.placement_group import PlacementGroup, placement_group, placement_group_table, remove_placement_group
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy, PlacementGroupSchedulingStrategy

from headwater.engines.cluster.rank import Rank
from headwater.engines.settings import Cluster, EngineSettings
from headwater.errors import EngineLost, HeadwaterError, InputError

STARTING = 300.0
"""Seconds that starting, finding each other and opening models may take without a sign, at least."""
OPENING = frozenset({"where", "port", "join", "open_teacher", "open_learner", "open_writer", "save", "load"})
POLL = 0.5
ENDING = 20.0
"""Seconds that a killed process may take to be gone."""
OBJECTS = 2**30
"""Bytes of shared memory for what driver and ranks hand each other, where this process starts Ray on a CPU."""


class WatchedRank(Rank):
    """A rank that says where it is and, from a thread of its own, how far it has come."""

    def where(self) -> tuple[str, int, str]:
        """Node, process id and address."""
        return ray.get_runtime_context().get_node_id(), os.getpid(), ray.util.get_node_ip_address()

    def port(self) -> int:
        """A free port here, for the ranks to find each other."""
        with socket.socket() as found:
            found.bind(("", 0))
            return int(found.getsockname()[1])

    @ray.method(concurrency_group="pulse")
    def pulse(self) -> int:
        """Passes made."""
        return self.beats


class Warden:
    """Ends processes of its node: `ray.kill` leaves one that is stopped as it is, with all that it holds."""

    def end(self, pids: Sequence[int]) -> list[int]:
        """Kill them; those that are still there."""
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        deadline = time.monotonic() + ENDING
        while (left := [pid for pid in pids if _alive(pid)]) and time.monotonic() < deadline:
            time.sleep(0.05)
        return left


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class Group:
    """All ranks of one engine. Live; `close` ends them."""

    def __init__(self, settings: EngineSettings, cluster: Cluster):
        self._patience = cluster.patience
        start_ray(settings, cluster)
        self._placement, bundles = _placed(settings, cluster)
        make = ray.remote(concurrency_groups={"pulse": 1}, max_restarts=0, max_task_retries=0)(WatchedRank)
        self._ranks: list[Any] = [
            make.options(
                num_cpus=1,
                num_gpus=_gpus(settings),
                scheduling_strategy=PlacementGroupSchedulingStrategy(self._placement, bundle),
            ).remote(settings)
            for bundle in bundles
        ]
        self._where: list[tuple[str, int, str]] = []
        self._wardens: dict[str, Any] = {}
        try:
            self._where = self.all("where")
            for node in {node for node, _, _ in self._where}:
                here = NodeAffinitySchedulingStrategy(node, soft=False)
                self._wardens[node] = ray.remote(Warden).options(num_cpus=0, scheduling_strategy=here).remote()
            port = self.each("port", [()], ranks=[0])[0]
            address = f"tcp://{self._where[0][2]}:{port}"
            self.each("join", [(address, rank, len(self), 2 * self._patience) for rank in range(len(self))])
        except BaseException:
            self.close()
            raise

    def __len__(self) -> int:
        return len(self._ranks)

    @property
    def pids(self) -> list[int]:
        """Process ids by rank."""
        return [pid for _, pid, _ in self._where]

    def all(self, method: str, *arguments: Any) -> list[Any]:
        """The same call on every rank; what each returned."""
        shared = tuple(ray.put(argument) for argument in arguments)  # once, not once a rank
        return self.each(method, [shared] * len(self))

    def each(self, method: str, given: Sequence[tuple[Any, ...]], ranks: Sequence[int] | None = None) -> list[Any]:
        """A call on each rank (or on these) with arguments of its own; what each returned, in their order.

        Raises the HeadwaterError that ranks raised, once all have answered; they stay usable. Raises EngineLost, and
        ends them all, for anything else.
        """
        chosen = range(len(self)) if ranks is None else ranks
        waiting = {
            getattr(self._ranks[rank], method).remote(*arguments): rank
            for rank, arguments in zip(chosen, given, strict=True)
        }
        watch = _Watch(self._ranks, max(self._patience, STARTING) if method in OPENING else self._patience)
        found: dict[int, Any] = {}
        refused: HeadwaterError | None = None
        while waiting:
            ready, _ = ray.wait(list(waiting), num_returns=1, timeout=POLL)
            for answer in ready:
                rank = waiting.pop(answer)
                try:
                    found[rank] = ray.get(answer)
                except ray.exceptions.RayTaskError as error:
                    cause = error.cause
                    if not isinstance(cause, HeadwaterError):
                        self._lose(f"rank {rank} failed in {method}", _told(cause))
                    refused = refused or cause
                except ray.exceptions.RayError as error:  # the process is gone, or its node
                    self._lose(f"rank {rank} died in {method}", _told(error))
            stuck = None if ready else watch.stuck(waiting.values())
            if stuck is not None:
                self._lose(f"{stuck} in {method}", "its process is ended")
        if refused is not None:
            raise refused
        return [found[rank] for rank in chosen]

    def _lose(self, what: str, why: str) -> None:
        where = ", ".join(f"{rank} on {ip} (pid {pid})" for rank, (_, pid, ip) in enumerate(self._where))
        self.close()
        raise EngineLost(f"engine: {what}: {why}. The ranks were {where or 'being started'}.")

    def close(self) -> None:
        """End every rank and wait until its process is gone."""
        by_node: dict[str, list[int]] = {}
        for node, pid, _ in self._where:
            by_node.setdefault(node, []).append(pid)
        ends = [self._wardens[node].end.remote(pids) for node, pids in by_node.items() if node in self._wardens]
        for actor in self._ranks:
            ray.kill(actor, no_restart=True)
        if ends:
            ray.wait(ends, num_returns=len(ends), timeout=ENDING + 5)  # a node that is lost has nothing to end
        for actor in self._wardens.values():
            ray.kill(actor, no_restart=True)
        remove_placement_group(self._placement)
        self._ranks, self._where, self._wardens = [], [], {}


class _Watch:
    """One call's look at the ranks that have not answered yet."""

    def __init__(self, ranks: Sequence[Any], patience: float):
        self._ranks, self._patience = ranks, patience
        now = time.monotonic()
        self._beats: dict[int, int] = {}
        self._heard = dict.fromkeys(range(len(ranks)), now)
        self._moved = now
        self._asked: dict[Any, int] = {}

    def stuck(self, waiting: Iterable[int]) -> str | None:
        """Who gives no sign, or that none gets on, for longer than patience; None while all is well."""
        wanted = sorted(waiting)
        for rank in set(wanted) - set(self._asked.values()):
            self._asked[self._ranks[rank].pulse.remote()] = rank
        ready, _ = ray.wait(list(self._asked), num_returns=len(self._asked), timeout=0)
        now = time.monotonic()
        for answer in ready:
            rank = self._asked.pop(answer)
            try:
                beats = ray.get(answer)
            except ray.exceptions.RayError:  # its own call tells of it
                continue
            self._heard[rank] = now
            if beats != self._beats.get(rank):
                self._beats[rank], self._moved = beats, now
        silent = [rank for rank in wanted if now - self._heard[rank] > self._patience]
        if silent:
            return f"{_ranks(silent)} gave no sign for {self._patience:.0f} s"
        if now - self._moved > self._patience:
            passes = ", ".join(f"rank {rank}: {self._beats.get(rank, 0)}" for rank in wanted)
            return f"{_ranks(wanted)} stood still for {self._patience:.0f} s (passes made: {passes})"
        return None


def _ranks(ranks: Sequence[int]) -> str:
    return f"rank{'s' if len(ranks) > 1 else ''} {', '.join(map(str, ranks))}"


def _told(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return f"{type(error).__name__}: {lines[0]:.300}"


def start_ray(settings: EngineSettings, cluster: Cluster) -> None:
    """Join the Ray cluster that the recipe names, or start one on this machine that ends with this process."""
    if ray.is_initialized():
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_IGNORE_UNHANDLED_ERRORS", "1")  # of ranks that are given up with their answers unread
    options: dict[str, Any] = {"include_dashboard": False, "log_to_driver": False, "logging_level": "ERROR"}
    if cluster.address is None and settings.kind == "cpu":
        options |= {"num_cpus": cluster.gpus, "object_store_memory": OBJECTS, "_node_ip_address": "127.0.0.1"}
    try:
        ray.init(address=cluster.address or "local", **options)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise InputError(
            f"engine.cluster.address: Ray at {cluster.address or 'this machine'} cannot be reached ({_told(error)}); "
            "start it (`ray start --head`), or leave the address out"
        ) from error


def _gpus(settings: EngineSettings) -> int:
    return 1 if settings.kind == "cuda" else 0


def _placed(settings: EngineSettings, cluster: Cluster) -> tuple[PlacementGroup, list[int]]:
    """A place for each rank, and the places node by node, so that neighbours in the ring share a node."""
    bundle = {"CPU": 1.0} | ({"GPU": 1.0} if _gpus(settings) else {})
    group = placement_group([bundle] * cluster.gpus, strategy="PACK")
    if not group.wait(timeout_seconds=int(max(cluster.patience, 30))):
        remove_placement_group(group)
        kind = "GPU" if _gpus(settings) else "CPU"
        raise InputError(
            f"engine.cluster.gpus: {cluster.gpus} are asked for, and Ray has {ray.cluster_resources().get(kind, 0):g} "
            f"{kind}s; ask for fewer, or join more nodes (`ray start --address`)"
        )
    nodes: dict[int, str] = placement_group_table(group)["bundles_to_node_id"]
    return group, sorted(range(cluster.gpus), key=lambda bundle: (nodes[bundle], bundle))
