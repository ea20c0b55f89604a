"""Batches as the field means them: problems a rollout batch, problems an update, passes; what the clip range then does.

Source of the objective: GRPO, arXiv 2402.03300 eq. 3, with old logprobs those of the policy that sampled.
"""

from __future__ import annotations

import copy
import sqlite3
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

import tiny
from headwater.batch import Scored
from headwater.fingerprint import fingerprint
from headwater.interfaces import At, Workers
from headwater.loop import Schedule, Stage
from headwater.optimiser import Optimiser
from headwater.plan import build_graph
from headwater.plan.cost import Costs
from headwater.records import Group, rollouts_of
from headwater.routes.recipe import Recipe
from headwater.run.assemble import Labels, train
from headwater.samplers import OnPolicy
from headwater.signals import Reward
from micro import micro

RATE, LOW, HIGH = 2e-2, 0.1, 0.3
SEVERAL = Schedule(updates=12, problems=2, rollout_problems=4, passes=3)
ONE = Schedule(updates=12, problems=2)
PROBLEMS = tiny.problems(8)


def marks(completions: Sequence[str], answer: Sequence[str]) -> list[float]:
    """A graded reward: the share of letters before "e" in a response."""
    return [sum(letter in "abcd" for letter in text) / max(len(text.split()), 1) for text in completions]


@dataclass
class Run:
    """What a stage measured, the groups of every part that it scored, in order, and the weights before each update."""

    metrics: list[Any]
    parts: list[Sequence[Group]]
    weights: list[dict[str, torch.Tensor]]
    ledger: Path = field(default_factory=Path)


def run(schedule: Schedule, ledger: Path) -> Run:
    parts: list[Sequence[Group]] = []

    class Kept(Reward):
        def score(self, groups: Sequence[Group], workers: Workers, at: At) -> Scored:
            parts.append(groups)
            return super().score(groups, workers, at)

    stage = Stage(
        name="student-rl",
        sampler=OnPolicy(samples=4, max_response_tokens=6),
        signal=Kept(kl_coefficient=0.0, clip_low=LOW, clip_high=HIGH),
        schedule=schedule,
        optimiser=Optimiser(learning_rate=RATE, warmup_share=0, final_share=1, clip_norm=1e9),
    )
    model = tiny.llama()
    weights = [copy.deepcopy(model.network.state_dict())]
    labels = Labels(answers={p.problem_id: "1" for p in PROBLEMS}, verifier=marks, ledger=str(ledger))
    keep = lambda record: weights.append(copy.deepcopy(model.network.state_dict()))  # noqa: E731
    records = train(stage, model, PROBLEMS, labels=labels, on_step=keep)
    return Run([record.metrics for record in records], parts, weights, ledger)


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run(SEVERAL, tmp_path_factory.mktemp("several") / "ledger")


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run(ONE, tmp_path_factory.mktemp("one") / "ledger")


# What clips


def test_with_one_update_a_rollout_batch_the_ratio_is_one_and_nothing_is_clipped(one: Run) -> None:
    taken = [measured for measured in one.metrics if measured["tokens"]]  # else all groups had equal rewards
    assert len(taken) > 6
    for measured in taken:
        assert measured["ratio"] == pytest.approx(1, abs=1e-5)
        assert measured["clip_fraction"] == 0


def test_only_the_first_update_of_a_rollout_batch_is_on_policy(several: Run) -> None:
    clipped = [measured["clip_fraction"] for measured in several.metrics]
    for first in (0, 6):
        assert clipped[first] == 0
        assert "sampler_gap" in several.metrics[first]
        assert not any("sampler_gap" in measured for measured in several.metrics[first + 1 : first + 6])
        assert max(clipped[first + 2 : first + 6]) > 0.05


def test_every_update_is_that_of_the_formulas_in_float64_through_transformers_alone(several: Run) -> None:
    """Loss, clipped share and gradient norm at the weights that the update began with; nothing of ours but those."""
    network = tiny.llama().network.double()
    assert len(several.parts) == 4  # two rollout batches of two parts: each is scored once, and used three times
    updates = [part for batch in (several.parts[:2], several.parts[2:]) for part in 3 * batch]
    for measured, groups, weights in zip(several.metrics, updates, several.weights, strict=False):
        network.load_state_dict(weights)
        network.zero_grad()
        loss, clipped, tokens = torch.zeros((), dtype=torch.float64), 0, 0
        total = sum(len(rollout.response_ids) for rollout in rollouts_of(groups))
        for group in groups:
            rewards = marks([rollout.response_text for rollout in group.rollouts], [])
            if len(set(rewards)) == 1:
                continue  # dropped, but its tokens were counted
            for rollout, reward in zip(group.rollouts, rewards, strict=True):
                advantage = (reward - statistics.fmean(rewards)) / (statistics.stdev(rewards) + 1e-4)
                ratio = torch.exp(logprobs(network, rollout) - torch.tensor(rollout.logprobs, dtype=torch.float64))
                loss = loss - torch.minimum(ratio * advantage, ratio.clamp(1 - LOW, 1 + HIGH) * advantage).sum() / total
                outside = {1: ratio > 1 + HIGH, -1: ratio < 1 - LOW}.get((advantage > 0) - (advantage < 0))
                clipped += 0 if outside is None else int(outside.sum())  # an advantage of 0 has nothing to clip
                tokens += len(rollout.response_ids)
        loss.backward()
        norm = torch.sqrt(sum(parameter.grad.square().sum() for parameter in network.parameters()))
        assert measured["loss"] == pytest.approx(float(loss.detach()), rel=1e-4, abs=1e-6)
        assert measured["gradient_norm"] == pytest.approx(float(norm), rel=1e-3)
        assert measured["clip_fraction"] == pytest.approx(clipped / tokens, abs=1e-9)


def logprobs(network: Any, rollout: Any) -> torch.Tensor:
    prompt, ids = list(rollout.prompt_ids), list(rollout.response_ids)
    logits = network(torch.tensor([[*prompt, *ids]])).logits[0, len(prompt) - 1 : -1, : len(tiny.WORDS)]
    return torch.log_softmax(logits, -1).gather(-1, torch.tensor(ids)[:, None])[:, 0]


# What is drawn, and who reads what


def test_a_rollout_batch_is_drawn_once_and_cut_into_the_same_parts_in_every_pass(several: Run) -> None:
    drawn = [[group.problem.problem_id for group in part] for part in several.parts]
    assert [len(part) for part in drawn] == [2, 2, 2, 2]
    assert sorted(name for part in drawn for name in part) == [
        p.problem_id for p in PROBLEMS
    ]  # two batches of four are the pool once
    versions = [{rollout.policy_version for rollout in rollouts_of(part)} for part in several.parts]
    assert versions == [{0}, {0}, {6}, {6}]


def test_the_ledger_counts_a_read_once_a_rollout_however_often_it_is_used(several: Run, one: Run) -> None:
    for found, steps in ((several, {0: 4, 6: 4}), (one, dict.fromkeys(range(12), 2))):
        with sqlite3.connect(found.ledger) as file:
            rows = file.execute("SELECT step, use, COUNT(*) FROM uses GROUP BY step, use").fetchall()
        for use in ("prompt", "answer"):
            assert {step: count for step, kind, count in rows if kind == use} == steps


# What a recipe may say


def schedule_of(recipe: Recipe, stage: str = "student-rl") -> Schedule:
    node = next(
        n for n in build_graph(recipe).nodes.values() if n.kind == "train" and n.stage and n.stage.name == stage
    )
    assert node.stage is not None
    assert node.stage.updates == node.updates
    return node.stage.schedule


def test_both_readings_of_the_papers_epochs_can_be_said() -> None:
    """Ten passes over the data at one update a batch, or ten over each rollout batch, in the same mini-batches."""
    data = schedule_of(micro("stages.student_rl.epochs=10"))
    rollouts = schedule_of(
        micro("stages.student_rl.epochs=1", "stages.student_rl.rollout_problems=8", "stages.student_rl.passes=10")
    )
    assert (data.updates, data.problems, data.updates_a_batch) == (20, 4, 1)
    assert (rollouts.updates, rollouts.problems, rollouts.updates_a_batch) == (20, 4, 20)


def test_stages_with_one_update_a_batch_have_the_names_that_they_had() -> None:
    plain, said = micro(), micro("stages.student_rl.rollout_problems=4", "stages.student_rl.passes=1")
    assert build_graph(plain).nodes.keys() == build_graph(said).nodes.keys()
    assert fingerprint(Schedule(updates=4, problems=2)) == fingerprint(Schedule(updates=4, problems=2, passes=1))
    assert fingerprint(ONE) != fingerprint(Schedule(updates=12, problems=2, passes=2))


def test_an_older_recipe_that_names_what_passes_replaced_reads_as_it_did() -> None:
    assert micro("stages.student_rl.optimiser.inner_steps=1") == micro()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("rollout_problems=6", "rollout_problems: 6 problems a rollout batch do not divide the 8 of"),
        ("rollout_problems=16", "rollout_problems: 16 problems a rollout batch, but 2H of R5-half has 8"),
        ("rollout_problems=2", "problems: 4 problems an update do not divide the 2 of a rollout batch"),
        ("passes=0", "stages.student_rl.passes = 0"),
        ("optimiser.inner_steps=2", "unknown key stages.student_rl.optimiser.inner_steps"),
    ],
)
def test_batches_that_do_not_fit_are_refused(settings: str, said: str) -> None:
    with pytest.raises(Exception, match=said):
        micro(f"stages.student_rl.{settings}")


def test_a_schedule_of_broken_batches_is_refused() -> None:
    with pytest.raises(ValidationError, match="no multiple"):
        Schedule(updates=6, problems=2, rollout_problems=3)
    with pytest.raises(ValidationError, match="no whole number of rollout batches"):
        Schedule(updates=5, problems=2, passes=2)


def test_the_plan_generates_once_and_trains_as_often_as_said() -> None:
    def cost(*changes: str) -> Any:
        graph = build_graph(micro("routes=[R1]", *changes))
        return next(Costs(graph).of(name) for name, node in graph.nodes.items() if node.title == "student-rl on pool")

    once, thrice = cost(), cost("stages.student_rl.passes=3", "stages.student_rl.rollout_problems=8")
    assert (thrice.generated, thrice.scored, thrice.trained) == (once.generated, once.scored, 3 * once.trained)
