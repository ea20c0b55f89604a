"""A run asks an engine for all that computes: with another kind of engine it goes through, and opens no model."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NoReturn

import pytest

from headwater.cache import CachedTeacher
from headwater.engines.opening import open_engine
from headwater.engines.settings import EngineSettings
from headwater.errors import HeadwaterError
from headwater.interfaces import Engine, Training
from headwater.models.choice import ModelSource
from headwater.models.language_model import LanguageModel
from headwater.plan import build_graph
from headwater.store import Store
from micro import make, micro
from scripted import ScriptedEngine, ScriptedLearner


@pytest.fixture
def no_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever opens a model's weights is found."""

    def refused(*given: object, **how: object) -> NoReturn:
        raise AssertionError("weights were opened outside the engine")

    monkeypatch.setattr(LanguageModel, "load", refused)


@pytest.mark.usefixtures("no_weights")
def test_a_whole_run_goes_through_an_engine_of_another_kind(tmp_path: Path) -> None:
    engine, recipe = ScriptedEngine(), micro("routes=[R3-full]")
    make(recipe, tmp_path, engine=engine)
    store, graph = Store(tmp_path), build_graph(recipe)
    for name, node in graph.nodes.items():
        head = store.result(name)
        assert head is not None
        assert head.step == node.steps
    made = [what for what, _ in engine.asked]
    stages = [node for node in graph.nodes.values() if node.stage]
    assert made.count("learner") == made.count("generator") - sum(
        {"rollouts": 1, "evaluate": 1, "closeness": 2}.get(node.kind, 0) for node in graph.nodes.values()
    )
    assert made.count("learner") == len(stages)
    assert all(Path(path).is_absolute() for _, path in engine.asked if path != "the learner")


@pytest.mark.usefixtures("no_weights")
def test_a_teacher_that_knows_its_likeliest_tokens_alone_is_recorded_and_learned_from(tmp_path: Path) -> None:
    recipe = micro("routes=[R3-full]", "cache.keep=top_k", "cache.top_k=3")
    graph = build_graph(recipe)
    wanted = [name for name, node in graph.nodes.items() if node.kind in ("model", "train", "rollouts")]
    make(recipe, tmp_path / "run", nodes=wanted, engine=ScriptedEngine(known=5))
    store = Store(tmp_path / "run")
    [recording] = [name for name in wanted if graph.nodes[name].kind == "rollouts"]
    assert not CachedTeacher(store.checkout(recording, tmp_path / "recording")).exact
    assert all(store.result(name) is not None for name in wanted)


def test_what_an_engine_gives_is_of_that_engine() -> None:
    engine: Engine = open_engine(EngineSettings())
    with pytest.raises(HeadwaterError, match="ScriptedLearner is of another engine"):
        engine.generator(ScriptedLearner())


def test_frozen_models_of_one_source_are_opened_once_and_a_learner_has_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tiny

    tiny.qwen().save(tmp_path)
    opened: list[object] = []
    load = LanguageModel.load.__func__  # type: ignore[attr-defined]

    def counted(kind: type[LanguageModel], *given: object, **how: object) -> LanguageModel:
        opened.append(given)
        model: LanguageModel = load(kind, *given, **how)
        return model

    monkeypatch.setattr(LanguageModel, "load", classmethod(counted))
    with open_engine(EngineSettings()) as engine:
        source = ModelSource(path=tmp_path)
        teacher, generator = engine.teacher(source), engine.generator(source)
        assert len(opened) == 1
        learner = engine.learner(source, training())
        assert len(opened) == 2
        engine.generator(learner)
        assert len(opened) == 2
        del teacher, generator
        again = engine.teacher(source)  # nobody held the frozen one any more
        assert len(opened) == 3
        assert again.exact


def training() -> Training:
    """What the learner of the micro run's last stage must know."""
    return [node.stage.training for node in build_graph(micro()).nodes.values() if node.stage][-1]


@pytest.mark.parametrize(("visible", "wanted"), [(None, ["0", "1", "0"]), ("3,GPU-7", ["3", "GPU-7", "3"])])
def test_each_slot_has_a_gpu_of_its_own(
    visible: str | None, wanted: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    engine = open_engine(EngineSettings())
    assert engine.slots == 2  # and not one a core
    assert [engine.environment(slot)["CUDA_VISIBLE_DEVICES"] for slot in range(3)] == wanted
    assert "CUDA_VISIBLE_DEVICES" not in open_engine(EngineSettings(device="cpu")).environment(0)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system lends all of its cores")
def test_a_run_has_as_many_slots_as_cores_are_lent_to_it() -> None:
    lent = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(lent)})
        assert open_engine(EngineSettings(device="cpu")).slots == 1  # and not one for each of the machine's
    finally:
        os.sched_setaffinity(0, lent)
    assert open_engine(EngineSettings(device="cpu")).slots == len(lent)
