"""One node of the graph from its parents to its commit: open models, run the loop or a measurement, store it."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from headwater import cache
from headwater.cache import CachedTeacher
from headwater.data.problems import RunData
from headwater.engines.opening import open_engine
from headwater.errors import InputError, Interrupted
from headwater.evaluation.benchmark import Benchmark, evaluate
from headwater.evaluation.closeness import SAMPLES, closeness
from headwater.fingerprint import derive_seed, fingerprint
from headwater.interfaces import Engine, Generator, Learner, Need, Seeds, Teacher, Verifier
from headwater.ledger import AnswerKey, Ledger, NoAnswers
from headwater.loop import Accountant, Stage, run_stage
from headwater.models import adapters
from headwater.models.choice import ModelChoice, ModelSource
from headwater.models.family import build
from headwater.models.language_model import LanguageModel, silence_progress
from headwater.models.preflight import check_pair
from headwater.plan.graph import Graph, Node
from headwater.plan.pretraining import Exercises
from headwater.plan.prompts import refuse_long
from headwater.problems.arithmetic import VOCABULARY
from headwater.problems.labels import LabelSet
from headwater.records import Sampling, StepRecord, rollouts_of
from headwater.routes.recipe import Recipe
from headwater.run.assemble import Given, assemble
from headwater.run.auditing import Auditor
from headwater.run.card import model_card
from headwater.run.consistency import inputs, not_from_this, other_input
from headwater.run.identity import identity
from headwater.store import Manifest, Store, full_disk_named
from headwater.verifiers.audit import AuditedVerifier

METRICS = "metrics.jsonl"
METRICS_LINE = 1024
"""Bytes that a step's metrics take, at most."""
SHARE = 10
"""A stage gives at most one part in so many of its time to its commits."""
MODEL = "model/"
"""Prefix of a node's files that together are a Hugging Face directory."""


@dataclass(kw_only=True)
class Executor:
    """Makes nodes of one graph in one run folder. Live: holds the store, the ledger and this process's limits."""

    graph: Graph
    store: Store
    ledger: Ledger
    commit_seconds: float = 60.0
    on_step: Callable[[Node, StepRecord], None] = lambda node, record: None
    stopping: Callable[[], bool] = lambda: False
    engine: Engine | None = None
    """what computes; None opens the recipe's"""
    commit_cost: float = field(init=False, default=0.0)
    """seconds that the present node's commits took"""
    _inputs: dict[str, str] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._data = self.graph.data
        self._engine = self.engine or open_engine(self.graph.recipe.engine)
        self._origin = {"recipe": fingerprint(self.graph.recipe), "code": identity()}
        self._auditor = Auditor()

    def close(self) -> None:
        """End what grades and what computes."""
        self._auditor.close()
        self._engine.close()

    def execute(self, name: str) -> None:
        """Make one node and commit it; a node that is done is left alone.

        Raises Interrupted after a commit when told to stop; the next call goes on from there.
        """
        head = self.store.head(name)
        if head is not None and head.done:
            return
        node = self.graph.nodes[name]
        self.commit_cost = 0.0
        work = {
            "model": self._make_model,
            "train": self._train,
            "rollouts": self._record_rollouts,
            "evaluate": self._evaluate,
            "closeness": self._closeness,
        }[node.kind]
        self._inputs = inputs(node, self.store)
        if head is not None and (role := other_input(head, self._inputs)) is not None:
            raise not_from_this(node, role)
        with full_disk_named(node.title, self.store.root), self._scratch() as scratch:
            work(node, scratch)

    @contextmanager
    def _scratch(self) -> Iterator[Path]:
        (self.store.root / "tmp").mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix="work-", dir=self.store.root / "tmp"))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _model(self, name: str, scratch: Path) -> Path:
        """Where the model that a finished node made lies now, every byte checked against its manifest."""
        return self.store.checkout(name, scratch / name[:16], MODEL)

    def _commit(self, node: Node, files: Mapping[str, Path | bytes], *, step: int, done: bool) -> None:
        begun = time.monotonic()
        ledger_head = self.ledger.commit(node.fingerprint)
        about = {"title": node.title, "kind": node.kind, "seed": node.seed, "ledger": ledger_head}
        about |= {"inputs": self._inputs, **self._origin}
        self.store.commit(node.fingerprint, files, step=step, done=done, about=about)
        self.commit_cost += time.monotonic() - begun

    # models and stages

    def _make_model(self, node: Node, scratch: Path) -> None:
        """A raw model: opened where it lies, or made from a shape and pretrained in the loop."""
        if node.stage is None:
            opening = dict(node.settings)
            model = LanguageModel.load(str(opening.pop("path")), **opening)
            if model.commit is not None:  # a hub id: a directory's digest is there already
                self._inputs = {**self._inputs, "path": model.commit}
            self.store.require(node.fingerprint, {"the weights": model.size})
            model.save(scratch / "import")
            (scratch / "import" / "README.md").write_text(model_card(self.graph, node), encoding="utf-8")
            self._commit(node, _files(scratch / "import", MODEL), step=0, done=True)
            return
        role = "teacher" if node.settings["role"] == "teacher" else "student"
        choice: ModelChoice = getattr(self.graph.recipe, role)
        model = build(choice.shape, VOCABULARY, derive_seed(node.seed, role))
        model.save(scratch / "start")
        exercises = Exercises(
            choice.pretraining, model, self._data.corpus_exclusions(), derive_seed(node.seed, "pretrain", role)
        )
        given = Given(problems=exercises.problems, answers=NoAnswers("pretrain"), recorded=exercises)
        self._run(node, ModelSource(path=scratch / "start"), given, scratch)

    def _train(self, node: Node, scratch: Path) -> None:
        """One stage of a route: its parents' models and recordings, then the loop."""
        stage = _stage(node)
        problems = self._data.problems(stage.pool, node.seed)
        answers: AnswerKey | NoAnswers = NoAnswers(stage.name)
        if stage.reads_labels:
            answers = AnswerKey(
                ledger=self.ledger,
                stage=node.fingerprint,
                stage_name=stage.name,
                pool_name=stage.pool,
                pool=frozenset(problem.problem_id for problem in problems),
                answers=self._data.answers,
                demonstrations=self._data.demonstrations,
            )
        given = Given(problems=problems, answers=answers)
        start = self._model(node.parents["start"], scratch)
        student = LanguageModel.outline(start, dtype="auto")
        refuse_long(stage.name, problems, self.graph.recipe.settings(stage.name).max_prompt_tokens, student)
        teachers: dict[str, Teacher] = {}
        for name in (name for name in stage.teachers if name in node.parents):
            teacher = self._model(node.parents[name], scratch)
            check_pair(student, LanguageModel.outline(teacher, dtype="auto"))
            teachers[name] = self._engine.teacher(ModelSource(path=teacher))
        if "recorded" in node.parents:
            folder = self.store.checkout(node.parents["recorded"], scratch / "recorded")
            cached = CachedTeacher(folder, self.graph.recipe.engine.torch_device)
            cached.check_student(student.vocabulary, len(student.head[0]))
            # whoever is no parent of this node is the one whose distributions the recording holds
            teachers |= {name: cached for name in stage.teachers if name not in teachers}
            given = replace(given, recorded=cached.rollouts.by_problem)
        if Need.REFERENCE in stage.needs:
            given = replace(given, reference=self._engine.teacher(ModelSource(path=start)))
        given = replace(given, teachers=teachers)
        adapter = node.settings.get("adapter")
        source = ModelSource(path=start, adapter=adapter, adapter_seed=derive_seed(node.seed, stage.name))
        self._run(node, source, given, scratch)

    def _run(self, node: Node, model: ModelSource, given: Given, scratch: Path) -> None:
        """The loop with commits: from the last committed step, by time, and at the end."""
        stage = _stage(node)
        grading = self.graph.recipe.problems.grading
        audited = self._auditor.watch(node, grading, self.store) if Need.VERIFIER in stage.needs else None
        records: list[StepRecord] = []
        head = self.store.head(node.fingerprint)
        self.store.require(node.fingerprint, _stage_sizes(model, node.updates, head))
        self.ledger.rollback_to(node.fingerprint, head.about["ledger"] if head else None)
        workers = assemble(stage, model, replace(given, verifier=audited), self._engine)
        if head is not None:
            workers.learner.load(self.store.checkout(node.fingerprint, scratch / "resume", MODEL))
            lines = self.store.read(node.fingerprint, METRICS).splitlines()
            records = [StepRecord(**json.loads(line)) for line in lines]
        committer = _Committer(self, node, workers.learner, records, scratch, audited)
        account = _Quiet() if node.kind == "model" else Accountant(self.ledger, node.fingerprint, given.answers)
        run_stage(stage, workers, account, given.problems, seed=node.seed, on_step=committer.step)
        committer.commit(done=True)

    # recordings and measurements

    def _record_rollouts(self, node: Node, scratch: Path) -> None:
        """A model's rollouts on a pool with a teacher's distributions: what the offline stages read."""
        writer, teacher = (self._model(node.parents[role], scratch) for role in ("writer", "teacher"))
        model = LanguageModel.outline(teacher, dtype="auto")
        check_pair(LanguageModel.outline(writer, dtype="auto"), model)
        settings, problems = node.settings, self._data.problems(str(node.pool), node.seed)
        tokens = len(problems) * settings["samples"] * settings["max_response_tokens"]
        rows, hidden = model.head[0].shape
        self.store.require(
            node.fingerprint, cache.sizes(tokens, settings["cache"], vocabulary=min(rows, model.emitted), hidden=hidden)
        )
        sampling = Sampling(temperature=settings["temperature"], max_response_tokens=settings["max_response_tokens"])
        seeds = Seeds(run=node.seed, stream=f"rollouts/{node.pool}", step=0)
        generator = self._engine.generator(ModelSource(path=writer))
        groups = generator.generate(problems, settings["samples"], sampling, seeds)
        cache.write(
            scratch / "cache",
            groups,
            self._engine.teacher(ModelSource(path=teacher)),
            settings["cache"],
            temperature=sampling.temperature,
            vocabulary=model.vocabulary,
        )
        self._commit(node, _files(scratch / "cache", ""), step=0, done=True)

    def _evaluate(self, node: Node, scratch: Path) -> None:
        """avg@k on one benchmark."""
        generator = self._engine.generator(ModelSource(path=self._model(node.parents["model"], scratch)))
        recipe, name = self.graph.recipe, str(node.settings["benchmark"])
        grading = recipe.problems.grading_of(name)
        audited = self._auditor.watch(node, grading)
        scores = measure(generator, recipe, self._data.benchmarks[name], name, node.seed, audited)
        files = {"scores.json": _json(scores), **self._auditor.files(audited, grading, done=True)}
        self._commit(node, files, step=0, done=True)

    def _closeness(self, node: Node, scratch: Path) -> None:
        """C2 on the student's and on the teacher's own states, SAMPLES rollouts a prompt."""
        settings = node.settings
        problems = self._data.problems("pool", node.seed)[: settings["problems"]]
        sampling = Sampling(temperature=settings["temperature"], max_response_tokens=settings["max_response_tokens"])
        models = {role: ModelSource(path=self._model(node.parents[role], scratch)) for role in ("student", "teacher")}
        scorers = {role: self._engine.teacher(model) for role, model in models.items()}
        result: dict[str, Any] = {"temperature": sampling.temperature}
        for role, model in models.items():
            seeds = Seeds(run=node.seed, stream=f"closeness/{role}", step=0)
            rollouts = rollouts_of(self._engine.generator(model).generate(problems, SAMPLES, sampling, seeds))
            found = closeness(scorers["student"], scorers["teacher"], rollouts, sampling.temperature)
            result[f"{role}_states"] = found
        self._commit(node, {"closeness.json": _json(result)}, step=0, done=True)


def measure(
    generator: Generator,
    recipe: Recipe,
    held_out: LabelSet,
    name: str,
    seed: int,
    verifier: Verifier,
) -> dict[str, Any]:
    """A model's scores on one of the recipe's benchmarks. Raises GraderError when too many have no verdict."""
    evaluation, problems = recipe.evaluation, recipe.problems
    benchmark = Benchmark(
        name=name,
        problems=held_out.problems,
        answers=held_out.answers,
        samples=problems.samples_of(name, evaluation.samples),
        sampling=Sampling(
            temperature=evaluation.temperature,
            top_p=evaluation.top_p,
            max_response_tokens=recipe.max_response_tokens,
        ),
    )
    return evaluate(benchmark, generator, verifier, seed, ungraded_limit=recipe.reward.ungraded_limit)


def evaluate_model(source: str, recipe: Recipe, seed: int = 0) -> dict[str, dict[str, Any]]:
    """Open a model directory or hub id and measure it: benchmark -> scores, the primary one first."""
    silence_progress()
    graders = Auditor()
    try:
        with open_engine(recipe.engine) as engine:
            generator = engine.generator(ModelSource(path=source))
            return {
                name: measure(
                    generator, recipe, held_out, name, seed, graders.verifier(recipe.problems.grading_of(name))
                )
                for name, held_out in RunData(recipe.problems).benchmarks.items()
            }
    finally:
        graders.close()


class _Committer:
    """Keeps a stage's records and commits by time, at the end, and when told to stop."""

    def __init__(
        self,
        executor: Executor,
        node: Node,
        learner: Learner,
        records: list[StepRecord],
        scratch: Path,
        audited: AuditedVerifier | None,
    ):
        self._executor, self._node, self._learner = executor, node, learner
        self._records, self._scratch, self._audited = records, scratch, audited
        self._last, self._took = time.monotonic(), 0.0

    def step(self, record: StepRecord) -> None:
        """After each step of the loop."""
        self._records.append(record)
        self._executor.on_step(self._node, record)
        self._executor.graph.recipe.guard.check(self._node.title, self._records)
        updates = self._node.updates
        if self._executor.stopping() and self._learner.version < updates:
            self.commit(done=False)
            raise Interrupted(
                f"{self._node.title}: stopped after step {record.step + 1} of {updates}; run again to go on"
            )
        if time.monotonic() - self._last > self._pause and self._learner.version < updates:
            self.commit(done=False)

    @property
    def _pause(self) -> float:
        """Seconds between commits: as asked, and more where they would take over a tenth of the time."""
        asked = self._executor.commit_seconds
        return max(asked, (SHARE - 1) * self._took) if asked else 0.0

    def commit(self, *, done: bool) -> None:
        """Weights, optimiser, metrics, audited verdicts and ledger as one."""
        begun, before = time.monotonic(), self._executor.commit_cost
        folder = self._scratch / f"commit-{self._learner.version}"
        self._learner.save(folder)
        (folder / "README.md").write_text(model_card(self._executor.graph, self._node), encoding="utf-8")
        files = _files(folder, MODEL)
        if done:  # a finished stage is never resumed: its moments would only fill the disk
            files = {name: path for name, path in files.items() if not name.startswith(f"{MODEL}training/")}
        lines = [json.dumps(asdict(record)) for record in self._records]
        files[METRICS] = ("\n".join(lines) + "\n").encode() if lines else b""
        grading = self._executor.graph.recipe.problems.grading
        files |= self._executor._auditor.files(self._audited, grading, done=done)
        self._executor._commit(self._node, files, step=self._learner.version, done=done)
        shutil.rmtree(folder)
        self._last = time.monotonic()
        self._took = self._last - begun
        self._executor.commit_cost = before + self._took


class _Quiet:
    """The account of pretraining: its exercises belong to no pool, so there is nothing to note."""

    def expose(self, step: int, problems: object) -> None:
        """Nothing to note."""


def _stage_sizes(model: ModelSource, updates: int, head: Manifest | None) -> dict[str, int]:
    """Bytes by file that a stage still writes at its peak: three commits, less those that are there.

    Three, because the older of the two that are kept goes only after the new one is safe.
    """
    stored = 0 if head is None else 1 if head.parent is None else 2
    outline = LanguageModel.outline(model.path, dtype="auto")
    weights = trained = outline.size
    if model.adapter is not None:
        trained = adapters.parameters_added(outline.network, model.adapter) * outline.network.dtype.itemsize
    sizes: dict[str, int] = {}
    for copy in range(stored, 3):
        sizes |= {f"weights {copy}": weights, f"moments {copy}": 2 * trained}
        sizes[f"metrics {copy}"] = updates * METRICS_LINE
    return sizes


def _stage(node: Node) -> Stage:
    if node.stage is None:
        raise InputError(f"{node.title}: this node runs no stage")
    return node.stage


def _files(directory: Path, prefix: str) -> dict[str, Path | bytes]:
    return {
        f"{prefix}{path.relative_to(directory).as_posix()}": path
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, sort_keys=True) + "\n").encode()
