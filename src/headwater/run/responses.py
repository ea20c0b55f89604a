"""The responses that a node keeps for a person to read: of a stage its first and last step, of an evaluation what fits.

Whoever generates and whoever grades is asked through a thin layer that remembers: neither the loop nor an engine knows.
One Parquet file a node; `RunFolder.rollouts` reads it.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from headwater import alarms
from headwater.evaluation.benchmark import Benchmark
from headwater.folder import RESPONSES, response_rows
from headwater.interfaces import Finder, Generator, Seeds, Verifier
from headwater.records import Grade, Group, Problem, Sampling, StepRecord, Verdict
from headwater.store import Store

STEP_ROWS = 64
"""Responses that are kept of a step."""
SHOWN = 600
"""Characters of a text that are shown in a terminal."""
EVALUATION_TOKENS = 1_000_000
"""Tokens of an evaluation's responses that are kept, at full length; beyond them fewer samples a problem."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """One response as a person reads it; `answer` is None where none was found, `verdict` where nobody graded."""

    step: int
    problem_id: str
    sample: int
    prompt: str  # as the model saw it, with its special tokens
    response: str
    finish_reason: str
    answer: str | None = None
    gold: str | None = None
    verdict: str | None = None
    reward: float | None = None


class Watched:
    """Remembers what was generated and graded since the last step. Mutable."""

    def __init__(
        self, decode: Callable[[Sequence[int]], str], earlier: Sequence[Kept] = (), samples: int | None = None
    ):
        """`decode` writes a prompt's ids with their special tokens; `earlier` is what a commit kept.

        Args: samples: how many of each problem's are remembered; None for all.
        """
        self._decode, self._samples = decode, samples
        self._first = [row for row in earlier if row.step == 0]
        self._last: list[Kept] = []
        self._now: dict[str, Kept] = {}
        self._graded = self._unanswered = 0

    def generator(self, inner: Generator) -> Generator:
        """The same generator, heard."""
        return _Heard(inner, self._heard)

    def verifier(self, inner: Finder) -> Verifier:
        """The same verifier, heard."""
        return _Judged(inner, self._judged)

    @property
    def unanswered(self) -> int:
        """Responses graded since the last step in which no answer was found."""
        return self._unanswered

    def metrics(self) -> dict[str, float]:
        """What the step since the last one adds to its record: the share of graded responses without an answer."""
        return {"unanswered": self._unanswered / self._graded} if self._graded else {}

    def step(self, step: int) -> Sequence[Kept]:
        """A step is over: its rows, which stay as the first or, until the next, as the last."""
        rows = [replace(row, step=step) for row in list(self._now.values())[:STEP_ROWS]]
        self._now, self._graded, self._unanswered = {}, 0, 0
        if rows and step == 0:
            self._first = rows
        elif rows:
            self._last = rows
        return rows

    @property
    def kept(self) -> list[Kept]:
        """Rows of the first and the last step."""
        return [*self._first, *self._last]

    @property
    def all(self) -> list[Kept]:
        """Every row of an evaluation: those of its last commit, and those since."""
        return [*self._first, *self._now.values()]

    def _heard(self, groups: Sequence[Group]) -> None:
        for group in groups:
            prompt = self._decode(group.rollouts[0].prompt_ids) if group.rollouts else ""
            for sample, rollout in enumerate(group.rollouts[: self._samples]):
                self._now[rollout.rollout_id] = Kept(
                    step=0,
                    problem_id=rollout.problem_id,
                    sample=sample,
                    prompt=prompt,
                    response=rollout.response_text,
                    finish_reason=rollout.finish_reason,
                )

    def _judged(
        self, responses: Mapping[str, tuple[str, str]], answers: Mapping[str, str | None], verdicts: Mapping[str, Any]
    ) -> None:
        self._graded += len(answers)
        self._unanswered += sum(answer is None for answer in answers.values())
        for name, answer in answers.items():
            row = self._now.get(name)
            if row is not None:
                given, gold = verdicts[name], responses[name][0]
                judged = {"answer": answer, "gold": gold, "verdict": given.verdict.value, "reward": given.reward}
                self._now[name] = replace(row, **judged)


class _Heard(Generator):
    def __init__(self, inner: Generator, tell: Callable[[Sequence[Group]], None]):
        self._inner, self._tell = inner, tell

    def generate(self, problems: Sequence[Problem], samples: int, sampling: Sampling, seeds: Seeds) -> list[Group]:
        groups = self._inner.generate(problems, samples, sampling, seeds)
        self._tell(groups)
        return groups

    def sync(self) -> None:
        self._inner.sync()


class _Judged:
    def __init__(self, inner: Finder, tell: Callable[..., None]):
        self._inner, self._tell = inner, tell

    def grade(self, responses: Mapping[str, tuple[str, str]]) -> Mapping[str, Verdict | Grade]:
        verdicts = self._inner.grade(responses)
        answers = {name: self._inner.find(text) for name, (_, text) in responses.items() if name in verdicts}
        self._tell(responses, answers, verdicts)
        return verdicts

    def find(self, text: str) -> str | None:
        return self._inner.find(text)


def samples_kept(benchmark: Benchmark) -> int:
    """How many responses to each problem of a benchmark are kept: at least one, and known before any is drawn."""
    tokens = len(benchmark.problems) * benchmark.sampling.max_response_tokens
    return max(1, min(benchmark.samples, EVALUATION_TOKENS // tokens))


_SCHEMA = pa.schema(
    [
        *((name, pa.int32()) for name in ("step", "sample")),
        *((name, pa.string()) for name in ("problem_id", "prompt", "response", "finish_reason")),
        *((name, pa.string()) for name in ("answer", "gold", "verdict")),
        ("reward", pa.float64()),
    ]
)


def written(rows: Sequence[Kept]) -> dict[str, bytes]:
    """The file of these rows by its name; none for no rows."""
    if not rows:
        return {}
    columns = [{name: _whole(value) for name, value in asdict(row).items()} for row in rows]
    buffer = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist(columns, schema=_SCHEMA), buffer, compression="zstd")
    return {RESPONSES: buffer.getvalue()}


def read(raw: bytes) -> list[Kept]:
    """The rows of such a file."""
    return [Kept(**row) for row in response_rows(raw)]


def committed(store: Store, node: str) -> list[Kept]:
    """What work in progress has kept, at its last commit."""
    head = store.head(node)
    return read(store.read(node, RESPONSES)) if head is not None and RESPONSES in head.files else []


class Listeners:
    """Tells a person of a stage while it goes on: its first response, and each alarm once. Mutable."""

    def __init__(self, title: str, watched: Watched, tell: Callable[[str, str], None]):
        """`tell` is given "look" or "alarm", and the words."""
        self._title, self._watched, self._tell = title, watched, tell
        self._told: set[str] = set()

    def step(self, records: Sequence[StepRecord]) -> None:
        """After the last of these steps."""
        rows = self._watched.step(records[-1].step)
        if rows and records[-1].step == 0:
            self._tell("look", first_look(rows))
        self._alarm(records, done=False)

    def end(self, records: Sequence[StepRecord]) -> None:
        """No step will come any more."""
        self._alarm(records, done=True)

    def _alarm(self, records: Sequence[StepRecord], *, done: bool) -> None:
        for alarm in alarms.of_stage(self._title, records, done=done):
            if alarm.kind not in self._told:
                self._told.add(alarm.kind)
                self._tell("alarm", alarm.said)


def first_look(rows: Sequence[Kept]) -> str:
    """One prompt as the model sees it, one response, the answer found in it and the verdict."""
    row = rows[0]
    found = "no answer found" if row.answer is None else f"answer {_short(row.answer)}"
    graded = "nobody grades it" if row.verdict is None else f"{found}, gold {_short(row.gold or '')}: {row.verdict}"
    return f"the model sees {_short(row.prompt)} and writes {_short(row.response)} ({row.finish_reason}); {graded}"


def _short(text: str) -> str:
    """Quoted, with everything that could steer a terminal written out; its middle left out where it is long."""
    return repr(text if len(text) <= SHOWN else f"{text[: SHOWN // 2]} ... {text[-SHOWN // 2 :]}")


def _whole(value: Any) -> Any:
    """Text that UTF-8 can hold: half a surrogate pair becomes U+FFFD."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
