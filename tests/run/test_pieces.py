"""Recordings and measurements go piece by piece: killed between two, they end with the bytes of a run left alone."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from headwater.engines import local_engine
from headwater.engines.local import LocalGenerator
from headwater.errors import Interrupted
from headwater.plan import build_graph
from headwater.plan.node import Node
from headwater.store import Store
from micro import identity, make, micro

ROUTE = "routes=[R5-half]"
PIECE = 2 * 2 * 14
"""Tokens of two problems, twice answered at full length: the recorded pool of 8 problems is then four pieces."""


@contextmanager
def small_pieces() -> Iterator[None]:
    before = local_engine.PIECE
    local_engine.PIECE = {"cpu": PIECE}
    try:
        yield
    finally:
        local_engine.PIECE = before


def in_pieces() -> list[Node]:
    return [node for node in build_graph(micro(ROUTE)).nodes.values() if node.problems]


def make_until_killed(root: Path, pieces: int) -> None:
    """One life of a process that commits after every step and dies when it is about to write its n-th piece."""
    torch.set_num_threads(1)
    generate, left = LocalGenerator.generate, pieces

    def mortal(self: LocalGenerator, *given: Any) -> Any:
        nonlocal left
        if self._learner is None:  # a recording or a measurement
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return generate(self, *given)

    LocalGenerator.generate = mortal  # type: ignore[method-assign]
    with small_pieces():
        make(micro(ROUTE), root, commit_seconds=0)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run in small pieces that nobody disturbed, and that never committed in between."""
    root = tmp_path_factory.mktemp("whole")
    with small_pieces():
        make(micro(ROUTE), root)
    return root


def test_killed_at_any_piece_a_run_ends_with_the_bytes_of_one_left_alone(whole: Path, tmp_path: Path) -> None:
    context = multiprocessing.get_context("forkserver")  # a fork of a process that never trained
    context.set_forkserver_preload(["headwater.run"])
    chance, codes = random.Random(3), list[int | None]()
    while not codes or codes[-1] != 0:
        process = context.Process(target=make_until_killed, args=(tmp_path, chance.randrange(1, 9)))
        process.start()
        process.join()
        codes.append(process.exitcode)
        assert codes[-1] in (0, -signal.SIGKILL)
    assert len(codes) > 4
    assert identity(tmp_path) == identity(whole)


def test_an_evaluation_in_pieces_counts_what_one_in_one_go_counts(whole: Path, tmp_path: Path) -> None:
    make(micro(ROUTE), tmp_path)
    evaluations = [node.fingerprint for node in in_pieces() if node.kind == "evaluate"]
    assert evaluations
    for name in evaluations:
        pieces, one = (json.loads(Store(root).read(name, "scores.json")) for root in (whole, tmp_path))
        assert pieces.pop("entropy") == pytest.approx(one.pop("entropy"))  # the logprobs round by their neighbours
        assert pieces == one


def test_a_recording_is_in_memory_a_piece_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []
    generate: Callable[..., Any] = LocalGenerator.generate

    def counted(self: LocalGenerator, problems: Any, samples: int, sampling: Any, seeds: Any) -> Any:
        if self._learner is None:
            asked.append((len(problems), samples * sampling.max_response_tokens))
        return generate(self, problems, samples, sampling, seeds)

    monkeypatch.setattr(LocalGenerator, "generate", counted)
    with small_pieces():
        make(micro(ROUTE), tmp_path)
    assert asked
    assert all(problems == 1 or problems * tokens <= PIECE for problems, tokens in asked)
    shards = {
        name
        for node in in_pieces()
        if node.kind == "rollouts" and (head := Store(tmp_path).head(node.fingerprint)) is not None
        for name in head.files
        if name.startswith("rollouts-")
    }
    assert len(shards) > 2


def test_told_to_stop_a_recording_and_an_evaluation_commit_the_piece_they_are_at(tmp_path: Path, whole: Path) -> None:
    stops = []
    with small_pieces():
        while True:
            try:
                make(micro(ROUTE), tmp_path, stopping=lambda: True)
                break
            except Interrupted as error:
                stops.append(str(error))
    for node in in_pieces():
        assert f"{node.title}: stopped after step 2 of {node.steps}; run again to go on" in stops
    assert identity(tmp_path) == identity(whole)
