"""One node of the graph from its parents to its commit: open models, run the loop or a measurement, store it."""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from headwater import cache, recording
from headwater.cache import CachedTeacher
from headwater.engines.opening import open_engine
from headwater.errors import EngineLost
from headwater.evaluation.benchmark import Tally, evaluate
from headwater.evaluation.closeness import SAMPLES, by_problem, errors, means, total
from headwater.fingerprint import derive_seed, fingerprint
from headwater.interfaces import Engine, Need, Seeds, Teacher
from headwater.ledger import AnswerKey, Ledger, NoAnswers
from headwater.loop import Accountant, Unaccounted, run_stage
from headwater.models.choice import ModelSource
from headwater.models.family import build
from headwater.models.language_model import LanguageModel
from headwater.models.preflight import check_pair
from headwater.plan.graph import Graph
from headwater.plan.node import Node, stage_of
from headwater.plan.pretraining import Exercises
from headwater.plan.prompts import refuse_long
from headwater.problems.arithmetic import VOCABULARY
from headwater.problems.pools import PILOT
from headwater.records import Problem, Sampling, StepRecord
from headwater.run import responses
from headwater.run.assemble import Given, assemble
from headwater.run.auditing import Auditor
from headwater.run.card import model_card
from headwater.run.committer import Committer, Files, as_json, files_in, stage_sizes
from headwater.run.consistency import inputs, not_from_this, other_input
from headwater.run.identity import identity
from headwater.run.measuring import measured_on, piece_of
from headwater.run.responses import Listeners, Watched
from headwater.run.validating import BEST, Validator
from headwater.store import Source, Store, full_disk_named

LOG = logging.getLogger(__name__)
RESTARTS = 3
"""Times in a row, without a commit between them, that a node goes on after what computes was lost."""
METRICS = "metrics.jsonl"
PARTIAL = "partial.json"
"""Of a measurement in progress: what was counted so far."""
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
    on_word: Callable[[Node, str, str], None] = lambda node, kind, said: None
    """what a person should hear while the run goes on: "look" (a first response) or "alarm", and the words"""
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
        if self.store.result(name) is not None:
            return
        head = self.store.head(name)
        node = self.graph.nodes[name]
        self.commit_cost = 0.0
        work = {
            "model": self._make_model,
            "train": self._train,
            "rollouts": self._record_rollouts,
            "evaluate": self._evaluate,
            "pass-rate": self._evaluate,
            "closeness": self._closeness,
        }[node.kind]
        self._inputs = inputs(node, self.store)
        if head is not None and (role := other_input(head, self._inputs)) is not None:
            raise not_from_this(node, role)
        lost = 0
        while True:
            begun = self._committed(name)
            try:
                with full_disk_named(node.title, self.store.root), self._scratch() as scratch:
                    work(node, scratch)
                return
            except EngineLost as error:  # the next thing that is made starts the engine again
                lost = lost + 1 if self._committed(name) == begun else 1
                if lost > RESTARTS:
                    raise
                LOG.warning("%s: %s Going on from the last commit.", node.title, error)

    def _committed(self, name: str) -> int:
        """The step of a node's last commit; -1 where there is none."""
        head = self.store.head(name)
        return -1 if head is None else head.step

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

    def _commit(self, node: Node, files: Mapping[str, Source], *, step: int, done: bool) -> None:
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
            self._commit(node, files_in(scratch / "import", MODEL), step=0, done=True)
            return
        role = str(node.settings["role"])
        choice = self.graph.recipe.all_models[role]
        model = build(choice.shape, VOCABULARY, derive_seed(node.seed, role))
        model.save(scratch / "start")
        exercises = Exercises(
            choice.pretraining, model, self._data.corpus_exclusions(), derive_seed(node.seed, "pretrain", role)
        )
        given = Given(problems=exercises.problems, answers=NoAnswers("pretrain"), recorded=exercises)
        self._run(node, ModelSource(path=scratch / "start"), given, scratch)

    def _train(self, node: Node, scratch: Path) -> None:
        """One stage of a route: its parents' models and recordings, then the loop."""
        stage = stage_of(node)
        problems = self._data.problems(stage.pool, node.seed)
        answers = self._key(node, stage.name, stage.pool, problems) if stage.reads_labels else NoAnswers(stage.name)
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
        given = replace(given, teachers=teachers, written=student.written)
        adapter = node.settings.get("adapter")
        source = ModelSource(path=start, adapter=adapter, adapter_seed=derive_seed(node.seed, stage.name))
        self._run(node, source, given, scratch)

    def _key(self, node: Node, stage: str, pool: str, problems: Sequence[Problem]) -> AnswerKey:
        """The answers of these problems, each reading a row of the node's ledger; a pilot's are noted as such."""
        return AnswerKey(
            ledger=self.ledger,
            stage=node.fingerprint,
            stage_name=stage,
            pool_name=pool,
            pool=frozenset(problem.problem_id for problem in problems),
            answers=self._data.answers,
            demonstrations=self._data.demonstrations,
            charged=PILOT if pool == PILOT else None,
        )

    def _run(self, node: Node, model: ModelSource, given: Given, scratch: Path) -> None:
        """The loop with commits: from the last committed step, by time, and at the end."""
        stage = stage_of(node)
        grading = self.graph.recipe.problems.grading
        audited = self._auditor.watch(node, grading, self.store) if Need.VERIFIER in stage.needs else None
        records: list[StepRecord] = []
        head = self.store.head(node.fingerprint)
        self.store.require(node.fingerprint, stage_sizes(model, stage, head))
        self.ledger.rollback_to(node.fingerprint, head.about["ledger"] if head else None)
        earlier = responses.committed(self.store, node.fingerprint)
        watched = Watched(LanguageModel.outline(model.path, dtype="auto").shown, earlier)
        graded = None if audited is None else watched.verifier(audited)
        workers = assemble(stage, model, replace(given, verifier=graded), self._engine)
        unheard, workers.generator = workers.generator, watched.generator(workers.generator)
        if head is not None:
            workers.learner.load(self.store.checkout(node.fingerprint, scratch / "resume", MODEL))
            lines = self.store.read(node.fingerprint, METRICS).splitlines()
            records = [StepRecord(**json.loads(line)) for line in lines]
        validator = self._validator(node, scratch, records)

        def files(folder: Path, done: bool) -> Mapping[str, Source]:
            """Weights, optimiser, metrics, audited verdicts and responses to read."""
            workers.learner.save(folder)
            (folder / "README.md").write_text(model_card(self.graph, node), encoding="utf-8")
            kept = files_in(folder, MODEL)
            if done:  # a finished stage is never resumed: its moments would only fill the disk
                kept = {name: path for name, path in kept.items() if not name.startswith(f"{MODEL}training/")}
            elif validator is not None and validator.folder.exists():
                kept |= files_in(validator.folder, BEST)
            kept[METRICS] = "".join(f"{json.dumps(asdict(record))}\n" for record in records).encode()
            return {**kept, **self._auditor.files(audited, grading, done=done), **responses.written(watched.kept)}

        committer = self._committer(node, files, scratch)
        listeners = Listeners(node.title, watched, lambda kind, said: self.on_word(node, kind, said))

        def step(record: StepRecord) -> None:
            seen = {} if validator is None else validator.after(workers.learner, unheard)
            record = replace(record, metrics={**record.metrics, **watched.metrics(), **seen})
            records.append(record)
            self.on_step(node, record)
            listeners.step(records)
            self.graph.recipe.guard.check(node.title, records)
            if workers.learner.version % stage.schedule.updates_a_batch == 0:  # within a batch rollouts are not kept
                committer.step(workers.learner.version)

        account = Unaccounted() if node.kind == "model" else Accountant(self.ledger, node.fingerprint, given.answers)
        run_stage(stage, workers, account, given.problems, seed=node.seed, on_step=step)
        listeners.end(records)
        if validator is not None and stage.keeps_best:
            workers.learner.load(validator.folder)
        committer.commit(node.updates, done=True)

    def _validator(self, node: Node, scratch: Path, records: Sequence[StepRecord]) -> Validator | None:
        """What measures the stage as it goes on; None where its recipe asks for nothing."""
        stage, head = stage_of(node), self.store.head(node.fingerprint)
        if stage.validation is None:
            return None
        problems = self._data.problems("validation", node.seed)
        if head is not None and any(name.startswith(BEST) for name in head.files):
            self.store.checkout(node.fingerprint, scratch / "best", BEST)
        return Validator(
            stage=stage,
            problems=problems,
            answers=self._key(node, stage.name, stage.pool, problems),
            verifier=self._auditor.verifier(self.graph.recipe.problems.grading),
            seed=node.seed,
            limit=self.graph.recipe.max_response_tokens,
            folder=scratch / "best",
            earlier=records,
        )

    def _committer(self, node: Node, files: Files, scratch: Path) -> Committer:
        return Committer(
            node=node,
            files=files,
            store=self._commit,
            folder=scratch,
            stopping=self.stopping,
            seconds=self.commit_seconds,
        )

    def _made(self, node: Node, committer: Committer, problems: int) -> None:
        """A piece of a recording or a measurement is done: so many problems in all."""
        self.on_step(node, StepRecord(step=problems - 1, metrics={}))
        committer.step(problems)

    def _record_rollouts(self, node: Node, scratch: Path) -> None:
        """A model's rollouts on a pool with a teacher's distributions, a shard a piece: for the offline stages."""
        writer, teacher = (ModelSource(path=self._model(node.parents[role], scratch)) for role in ("writer", "teacher"))
        model = LanguageModel.outline(teacher.path, dtype="auto")
        check_pair(LanguageModel.outline(writer.path, dtype="auto"), model)
        settings, problems = node.settings, self._data.problems(str(node.pool), node.seed)
        samples, limit = settings["samples"], settings["max_response_tokens"]
        head, folder = self.store.head(node.fingerprint), scratch / "cache"
        first = head.step if head else 0
        rows, hidden = model.head[0].shape
        sizes = recording.sizes(
            (len(problems) - first) * samples * limit,
            settings["cache"],
            vocabulary=min(rows, model.emitted),
            hidden=hidden,
        )
        self.store.require(node.fingerprint, sizes)
        sampling = Sampling(temperature=settings["temperature"], max_response_tokens=limit)
        generator, scorer = self._engine.generator(writer), self._engine.teacher(teacher)
        seeds = Seeds(run=node.seed, stream=f"rollouts/{node.pool}", step=0)
        about: dict[str, Any] = {"temperature": sampling.temperature, "vocabulary": model.vocabulary}

        def files(_: Path, done: bool) -> Mapping[str, Source]:
            """The shards of the last commit, which are stored, and those made since."""
            before = self.store.head(node.fingerprint)
            return {**(before.files if before else {}), **files_in(folder, "")}

        committer, size = self._committer(node, files, scratch), piece_of(self._engine, samples, sampling)
        for made in range(first, len(problems), size):
            piece = problems[made : made + size]
            groups = generator.generate(piece, samples, sampling, seeds)
            cache.write(folder, groups, scorer, settings["cache"], first=made, **about)
            self._made(node, committer, made + len(piece))
        committer.commit(len(problems), done=True)

    def _evaluate(self, node: Node, scratch: Path) -> None:
        """avg@k on one benchmark, or on a pool, whose labels are then read."""
        source = ModelSource(path=self._model(node.parents["model"], scratch))
        recipe = self.graph.recipe
        benchmark, grading = measured_on(node, recipe, self._data, lambda *asked: self._key(node, node.kind, *asked))
        audited = self._auditor.watch(node, grading, self.store)
        partial = self._partial(node)
        before = partial.pop("unanswered", 0)
        tally = Tally(**partial)
        shown = LanguageModel.outline(source.path, dtype="auto").shown
        watched = Watched(
            shown, responses.committed(self.store, node.fingerprint), samples=responses.samples_kept(benchmark)
        )

        def files(_: Path, done: bool) -> Mapping[str, Source]:
            unanswered = {"unanswered": before + watched.unanswered}
            scores = {"scores.json": as_json({**tally.scores(benchmark), **unanswered})} if done else {}
            counted = scores or {PARTIAL: as_json({**asdict(tally), **unanswered})}
            kept = responses.written(watched.all)
            return {**counted, **self._auditor.files(audited, grading, done=done), **kept}

        committer = self._committer(node, files, scratch)
        evaluate(
            benchmark,
            watched.generator(self._engine.generator(source)),
            watched.verifier(audited),
            node.seed,
            ungraded_limit=recipe.reward.ungraded_limit,
            tally=tally,
            piece=piece_of(self._engine, benchmark.samples, benchmark.sampling),
            on_piece=lambda problems: self._made(node, committer, problems),
        )
        committer.commit(len(benchmark.problems), done=True)

    def _closeness(self, node: Node, scratch: Path) -> None:
        """C2 on the student's and on the teacher's own states, SAMPLES rollouts a prompt."""
        settings = node.settings
        problems = self._data.problems("pool", node.seed)[: settings["problems"]]
        sampling = Sampling(temperature=settings["temperature"], max_response_tokens=settings["max_response_tokens"])
        models = {role: ModelSource(path=self._model(node.parents[role], scratch)) for role in ("student", "teacher")}
        generators = {role: self._engine.generator(model) for role, model in models.items()}
        student, teacher = (self._engine.teacher(model) for model in models.values())
        found: dict[str, list[dict[str, float]]] = self._partial(node) or {role: [] for role in models}

        def files(_: Path, done: bool) -> Mapping[str, Source]:
            if not done:
                return {PARTIAL: as_json(found)}
            states = {f"{role}_states": means(total(found[role])) for role in models}
            spread = {f"{role}_errors": errors(found[role]) for role in models}
            return {"closeness.json": as_json({"temperature": sampling.temperature, **states, **spread})}

        head = self.store.head(node.fingerprint)
        committer, size = self._committer(node, files, scratch), piece_of(self._engine, SAMPLES, sampling)
        for made in range(head.step if head else 0, len(problems), size):
            piece = problems[made : made + size]
            for role, generator in generators.items():
                seeds = Seeds(run=node.seed, stream=f"closeness/{role}", step=0)
                groups = generator.generate(piece, SAMPLES, sampling, seeds)
                found[role] += by_problem(student, teacher, groups, sampling.temperature)
            self._made(node, committer, made + len(piece))
        committer.commit(len(problems), done=True)

    def _partial(self, node: Node) -> dict[str, Any]:
        """What a measurement in progress has counted, at its last commit."""
        head = self.store.head(node.fingerprint)
        return json.loads(self.store.read(node.fingerprint, PARTIAL)) if head else {}
