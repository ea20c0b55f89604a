"""The loop: six stages are six settings of five lines, each step is accounted for, and a stop changes nothing."""

import sqlite3
from collections import Counter

import pytest
import torch

import tiny
from headwater import cache, loop
from headwater.engines.local import LocalGenerator, LocalLearner, LocalTeacher
from headwater.engines.settings import EngineSettings
from headwater.errors import InputError, LabelError
from headwater.fingerprint import fingerprint
from headwater.ledger import AnswerKey, Ledger, NoAnswers
from headwater.loop import Accountant, Schedule, run_stage
from headwater.optimiser import Optimiser
from headwater.plan.graph import build_graph
from headwater.records import Problem, Verdict
from headwater.routes import methods
from headwater.routes.recipe import read_recipe
from headwater.routes.stages import Step
from headwater.routes.table import Route
from headwater.samplers import OnPolicy, Recorded
from headwater.signals import Divergence, Imitation, Reward
from scripted import ScriptedGenerator, ScriptedLearner, ScriptedTeacher, scripted_group


def table():
    """The rows of the table in the loop's docstring."""
    lines = [line for line in loop.__doc__.splitlines() if line.startswith("|")][2:]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0].lower().replace(" ", "-"): row[1:] for row in rows}


STAGES = pytest.mark.parametrize("name", table())
DENSE = [name for name, row in table().items() if row[3] == "no"]


def resolved(name, **changes):
    """A stage of the lab recipe."""
    step = Step(stage=name, pool="pool")
    stage = read_recipe("lab").stage(Route(name="R", steps=(step,)), step)
    return stage.model_copy(update=changes)


# the table


def test_the_table_has_the_six_stages_of_the_routes():
    assert list(table()) == list(Step.model_fields["stage"].annotation.__args__) == list(methods.TABLE)
    assert len(DENSE) == 3


@STAGES
def test_a_stage_resolves_to_its_row_of_the_table(name):
    learner, states, scores, labels = table()[name]
    stage = resolved(name)
    row = methods.TABLE[name]
    assert (row.learner, type(row.sampler), type(row.signal)) == (learner, type(stage.sampler), type(stage.signal))
    assert stage.name == name
    assert stage.learner == learner
    assert type(stage.sampler) is {"on policy": OnPolicy, "recorded": Recorded}[states.split(":")[0]]
    if isinstance(stage.sampler, Recorded):
        assert stage.sampler.only_correct == states.endswith("demonstrations")
    kind, _, direction = scores.partition(", ")
    assert type(stage.signal) is {"reward": Reward, "imitation": Imitation, "divergence": Divergence}[kind]
    assert getattr(stage.signal, "direction", "") == direction
    assert stage.reads_labels == {"yes": True, "no": False}[labels]


@pytest.fixture(scope="module")
def graph():
    return build_graph(read_recipe("lab", ["routes=all"]))


@STAGES
def test_states_that_are_recorded_are_the_teachers_and_a_live_teacher_serves_on_policy_states_alone(name, graph):
    nodes = [node for node in graph.nodes.values() if node.stage is not None and node.stage.name == name]
    same_size = {arm.inherited[0] for arm in graph.arms if arm.name.startswith("same-size-")}
    assert nodes
    for node in nodes:
        recorded = table()[name][1].startswith("recorded")
        assert ("recorded" in node.parents) == recorded
        if recorded:
            rollouts = graph.nodes[node.parents["recorded"]]
            source = graph.nodes[rollouts.parents["teacher"]]
            assert rollouts.pool == node.pool
            students_own = rollouts.parents["teacher"] in same_size
            assert source.stage.learner == "teacher" or source.stage.name == "pretrain" or students_own
            assert (rollouts.parents["teacher"] == node.parents["start"]) == (name == "teacher-sft")
        assert ("teacher" in node.parents) == (name == "on-policy-distillation")


def test_two_arms_that_share_a_stage_draw_common_random_numbers():
    stage = resolved("student-rl")
    other = stage.model_copy(update={"pool": "2H", "optimiser": Optimiser(learning_rate=1.0)})
    seen = []
    for one in (stage, other):
        watch = Watch()
        short = one.model_copy(update={"schedule": Schedule(updates=2, problems=2), "signal": Imitation()})
        run_stage(short, watch.workers(), watch, PROBLEMS, seed=3)
        seen.append(watch.seeds)
    assert seen[0] == seen[1]
    assert len({str(seeds) for seeds in seen[0]}) == 2


# the five lines, in order, on scripted workers

PROBLEMS = tuple(Problem(problem_id=f"p{i}", prompt="?", source="s") for i in range(6))


class Watch:
    """An account and scripted workers that note each call in one list."""

    def __init__(self, version=0):
        self.calls, self.seeds, self.exposed = [], [], []
        watch = self

        class Generator(ScriptedGenerator):
            def generate(self, problems, samples, sampling, seeds):
                watch.calls.append("sample")
                watch.seeds.append(seeds)
                return super().generate(problems, samples, sampling, seeds)

            def sync(self):
                watch.calls.append("sync")

        class Teacher(ScriptedTeacher):
            def distributions(self, rollouts, temperature):
                watch.calls.append("score")
                return super().distributions(rollouts, temperature)

        class Learner(ScriptedLearner):
            def update(self, scored, signal):
                watch.calls.append("update")
                return super().update(scored, signal)

        groups = {problem.problem_id: scripted_group(problem.problem_id, [(2, 3)]) for problem in PROBLEMS}
        full = torch.log_softmax(torch.zeros(2, 5), -1)
        said = {f"{name}/0": cache.FullDistribution(full=full) for name in groups}
        self.learner = Learner(version=version)
        self.given = {
            "generator": Generator(by_problem=groups),
            "teacher": Teacher(by_rollout=said),
            "learner": self.learner,
        }

    def workers(self):
        return tiny.workers(**self.given)

    def expose(self, step, problems):
        self.calls.append("account")
        self.exposed.append((step, [problem.problem_id for problem in problems]))


def distillation(updates=3, problems=2):
    return resolved("on-policy-distillation", schedule=Schedule(updates=updates, problems=problems))


def test_each_step_accounts_samples_scores_updates_and_syncs_in_this_order():
    watch, records = Watch(), []
    on_step = lambda record: (watch.calls.append("record"), records.append(record))  # noqa: E731
    run_stage(distillation(), watch.workers(), watch, PROBLEMS, seed=0, on_step=on_step)
    assert watch.calls == ["account", "sample", "score", "update", "sync", "record"] * 3
    assert [record.step for record in records] == [0, 1, 2]
    assert all({"loss", "response_tokens"} <= record.metrics.keys() for record in records)
    assert [[s.rollout.problem_id for s in batch.rollouts] for batch in watch.learner.batches] == [
        ids for _, ids in watch.exposed
    ]


@pytest.mark.parametrize("version", [0, 1, 2, 3, 7])
def test_a_stage_goes_on_from_the_learners_version_and_a_finished_one_does_nothing(version):
    whole, rest = Watch(), Watch(version)
    run_stage(distillation(), whole.workers(), whole, PROBLEMS, seed=0)
    run_stage(distillation(), rest.workers(), rest, PROBLEMS, seed=0)
    assert rest.exposed == whole.exposed[version:]
    assert rest.seeds == whole.seeds[version:]


def test_a_pool_smaller_than_a_batch_is_refused_before_any_call():
    watch = Watch()
    with pytest.raises(InputError, match=r"pool has 6 problems, a step needs 7"):
        run_stage(distillation(problems=7), watch.workers(), watch, PROBLEMS, seed=0)
    assert watch.calls == []
    run_stage(distillation(problems=6), watch.workers(), watch, PROBLEMS, seed=0)


# which problems a step takes


def ids(schedule, step, seed=0):
    return [problem.problem_id for problem in schedule.batch(PROBLEMS, seed, step)]


@pytest.mark.parametrize("size", [1, 2, 3, 6])
def test_an_epoch_takes_every_problem_once_and_the_next_one_in_another_order(size):
    schedule = Schedule(updates=100, problems=size)
    per_epoch = 6 // size
    epochs = [
        [name for step in range(epoch * per_epoch, (epoch + 1) * per_epoch) for name in ids(schedule, step)]
        for epoch in range(4)
    ]
    assert all(sorted(epoch) == [p.problem_id for p in PROBLEMS] for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1


@pytest.mark.parametrize("size", [1, 4, 6])
def test_a_batch_is_a_function_of_seed_and_step_alone(size):
    schedule = Schedule(updates=20, problems=size)
    forwards = [ids(schedule, step) for step in range(20)]
    backwards = [ids(schedule, step) for step in reversed(range(20))]
    assert forwards == backwards[::-1]
    assert forwards == [ids(Schedule(updates=999, problems=size), step) for step in range(20)]
    assert forwards != [ids(schedule, step, seed=1) for step in range(20)]


def test_batches_that_straddle_epochs_skip_nothing():
    schedule = Schedule(updates=6, problems=4)
    counts = Counter(name for step in range(6) for name in ids(schedule, step))
    assert set(counts.values()) == {4}


def test_the_given_order_is_kept_and_wraps():
    schedule = Schedule(updates=6, problems=4, order="given")
    assert ids(schedule, 0) == ["p0", "p1", "p2", "p3"]
    assert ids(schedule, 1) == ["p4", "p5", "p0", "p1"]


# every stage on a live pair, with the real ledger


class WordParity:
    """A response is right when its number of words and the gold answer are both even or both odd."""

    def grade(self, responses):
        right = {True: Verdict.CORRECT, False: Verdict.WRONG}
        return {name: right[len(text.split()) % 2 == int(gold) % 2] for name, (gold, text) in responses.items()}


POOL = tiny.problems(6)
ANSWERS = {problem.problem_id: str(i % 2) for i, problem in enumerate(POOL)}


class Bench:
    """A short stage, its ledger, and everything that its workers need."""

    def __init__(self, name, folder, updates=3):
        stage = resolved(name, schedule=Schedule(updates=updates, problems=2))
        changes = {"samples": 6} | ({"max_response_tokens": 6} if isinstance(stage.sampler, OnPolicy) else {})
        self.stage = stage.model_copy(
            update={
                "sampler": stage.sampler.model_copy(update=changes),
                "optimiser": tiny.STEADY.model_copy(update={"weight_decay": 0.1}),
            }
        )
        self.key = fingerprint(self.stage)
        self.folder = folder
        self.folder.mkdir(exist_ok=True)
        self.ledger = Ledger(folder / "ledger.sqlite")
        if not (folder / "cache").exists():
            groups = tiny.sample(tiny.qwen(seed=8), POOL, samples=6)
            cache.write(folder / "cache", groups, self.frozen(8), temperature=1.0)

    def frozen(self, seed):
        return LocalTeacher(tiny.qwen(seed), EngineSettings())

    def learner(self):
        model = tiny.qwen(seed=8 if self.stage.learner == "teacher" else 0)
        return LocalLearner(model, self.stage.training, EngineSettings())

    def answers(self):
        if not self.stage.reads_labels:
            return NoAnswers(self.stage.name)
        pool = frozenset(problem.problem_id for problem in POOL)
        return AnswerKey(ledger=self.ledger, stage=self.key, pool=pool, answers=ANSWERS)

    def run(self, learner, on_step=lambda record: None, stage=None, answers=None):
        answers, stage = answers or self.answers(), stage or self.stage
        on_policy = isinstance(stage.sampler, OnPolicy)
        cached = cache.CachedTeacher(self.folder / "cache")
        workers = tiny.workers(
            learner=learner,
            generator=LocalGenerator(learner.model, learner, EngineSettings()),
            teacher=self.frozen(8) if on_policy else cached,
            reference=self.frozen(8 if stage.learner == "teacher" else 0),
            answers=answers,
            verifier=WordParity(),
            recorded={} if on_policy else cached.rollouts.by_problem,
        )
        account = Accountant(self.ledger, self.key, answers)
        run_stage(stage, workers, account, POOL, seed=0, on_step=on_step)
        self.ledger.commit(self.key)

    def rows(self):
        """step -> use -> problem ids, as they stand in the file."""
        with sqlite3.connect(self.ledger.path) as file:
            found = file.execute("SELECT step, use, problem_id FROM uses WHERE stage = ?", (self.key,)).fetchall()
        rows = {}
        for step, use, problem_id in found:
            rows.setdefault(step, {}).setdefault(use, []).append(problem_id)
        return rows

    def batch(self, step):
        seed = loop.derive_seed(0, self.stage.name, "order")
        return sorted(problem.problem_id for problem in self.stage.schedule.batch(POOL, seed, step))


@STAGES
def test_every_stage_learns_and_the_ledger_holds_its_prompts_and_only_the_labels_it_read(name, tmp_path):
    bench, records = Bench(name, tmp_path, updates=2), []
    learner = bench.learner()
    before = tiny.weights(learner.model)
    bench.run(learner, records.append)
    assert learner.version == len(records) == 2
    assert any(not torch.equal(value, before[key]) for key, value in tiny.weights(learner.model).items())
    assert all(isinstance(value, float) for record in records for value in record.metrics.values())
    rows = bench.rows()
    assert sorted(rows) == [0, 1]
    for step, uses in rows.items():
        assert sorted(uses["prompt"]) == bench.batch(step)
        if name in DENSE:
            assert uses.keys() == {"prompt"}
        else:
            assert uses.keys() == {"prompt", "answer"}
            assert sorted(uses["answer"]) == bench.batch(step)
    bench.ledger.verify()


@pytest.mark.parametrize("name", DENSE)
@pytest.mark.parametrize("part", ["signal", "sampler"])
def test_a_dense_stage_that_asks_for_a_label_is_stopped_before_it_learns(name, part, tmp_path):
    bench = Bench(name, tmp_path, updates=1)
    learner = bench.learner()
    before = tiny.weights(learner.model)
    reader = {"signal": Reward(), "sampler": Recorded(samples=6, only_correct=True)}[part]
    if part == "sampler" and isinstance(bench.stage.sampler, OnPolicy):
        bench.stage = bench.stage.model_copy(update={"sampler": Recorded(samples=6)})
    stage = bench.stage.model_copy(update={part: reader})
    with pytest.raises(LabelError, match=f"dense stage {name} reads no label"):
        bench.run(learner, stage=stage, answers=NoAnswers(name))
    tiny.assert_same_bits(tiny.weights(learner.model), before)


def test_teacher_sft_imitates_right_responses_only(tmp_path):
    bench, kept = Bench("teacher-sft", tmp_path, updates=1), []

    class Keep(Imitation):
        def score(self, groups, workers, at):
            kept.extend(groups)
            return super().score(groups, workers, at)

    bench.run(bench.learner(), stage=bench.stage.model_copy(update={"signal": Keep()}))
    texts = [(r.response_text, ANSWERS[r.problem_id]) for group in kept for r in group.rollouts]
    assert texts
    assert all(len(text.split()) % 2 == int(gold) for text, gold in texts)


# stopping and going on


class Killed(Exception):
    """The process ends here."""


def crash_in(bench, step, saved):
    """Run with a commit at each step before `step`, and die between the ledger's commit of `step` and the model's.

    Returns the ledger's head at the last commit of both, None when there was none.
    """
    learner, head = bench.learner(), None

    def on_step(record):
        nonlocal head
        written = bench.ledger.commit(bench.key)
        if record.step == step:
            raise Killed
        learner.save(saved)
        head = written

    with pytest.raises(Killed):
        bench.run(learner, on_step)
    return head


@STAGES
@pytest.mark.parametrize("step", [0, 1, 2])
def test_a_stop_at_any_step_sees_the_same_problems_once_each_and_ends_bit_identical(name, step, tmp_path):
    whole = Bench(name, tmp_path / "whole")
    unbroken = whole.learner()
    whole.run(unbroken)

    head = crash_in(Bench(name, tmp_path / "stopped"), step, tmp_path / "saved")
    again = Bench(name, tmp_path / "stopped")
    again.ledger.rollback_to(again.key, head)
    resumed = again.learner()
    if step:
        resumed.load(tmp_path / "saved")
    assert resumed.version == step
    steps = []
    again.run(resumed, lambda record: steps.append(record.step))

    assert steps == list(range(step, 3))
    tiny.assert_same_bits(tiny.weights(resumed.model), tiny.weights(unbroken.model))
    assert again.rows() == whole.rows()
    assert again.ledger.digest() == whole.ledger.digest()
