"""What a report shows, as frozen plain values: the terminal, the page and --json read nothing else.

Shares are fractions of 1. A number that does not exist yet is None, never zero; `state` says why.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt
from typing import Any

from headwater.evaluation.difference import Pairing, SeededDifference
from headwater.evaluation.estimate import Estimate, percent
from headwater.fingerprint import plain

MEASURED = "measured"
NOT_RUN = "not run yet"
REFUSED = "refused"


@dataclass(frozen=True, kw_only=True, slots=True)
class HarnessScore:
    """What lm-evaluation-harness says of a model on the same problems: exact match, a sample a problem."""

    mean: float
    standard_error: float
    version: str

    def __str__(self) -> str:
        return f"{percent(self.mean)} ± {percent(self.standard_error)}"


@dataclass(frozen=True, kw_only=True, slots=True)
class SeedScore:
    """One arm of one training seed on the benchmark; the numbers are None until it is measured."""

    seed: int
    state: str  # MEASURED | NOT_RUN | REFUSED
    average: Estimate | None = None  # avg@k over all samples
    passed: Estimate | None = None  # pass@k with k = all samples
    mixed: float | None = None  # expected share of groups of 8 with right and wrong answers
    response_tokens: float | None = None
    truncated: float | None = None
    entropy: float | None = None
    ungraded: int | None = None
    unanswered: int | None = None
    styles: Mapping[str, float] | None = None
    harness: HarnessScore | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelUse:
    """Labelled problems of one arm and seed. A teacher's reads are inherited, the student's own are direct.

    `distinct` counts a problem once however many stages read it; `reads` counts it once per stage.
    `prompts` counts problems that were used without their label and never with it.
    """

    direct: int
    inherited: int
    distinct: int
    reads: int
    prompts: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ArmCost:
    """What all of an arm's stages took, the recordings that they read included; means over seeds, None if not known."""

    tokens: float | None  # response tokens trained on
    flops: float | None  # at most, as planned: every response at its full length
    seconds: float | None  # of one worker


@dataclass(frozen=True, kw_only=True, slots=True)
class Response:
    """A response as a person reads it; `prompt` as the model saw it, `answer` None where none was found."""

    problem: str
    step: int
    prompt: str
    response: str
    finish_reason: str
    answer: str | None
    gold: str | None
    verdict: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class ArmExamples:
    """Some responses of one arm's model."""

    arm: str
    seed: int
    responses: tuple[Response, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class AlarmRow:
    """An alarm over its seeds, with responses to three problems."""

    kind: str
    where: str
    said: str
    seeds: tuple[int, ...]
    responses: tuple[Response, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class QuarterRow:
    """An arm's share of right answers on the hardest quarter of the problems to the easiest."""

    arm: str
    shares: tuple[float, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class ProblemRow:
    """A problem on which the arms of the first comparison differ: shares of right answers, means over seeds."""

    problem: str
    prompt: str
    treatment: float
    control: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Answers:
    """The three answers of the first screen, in words."""

    which: str
    how_sure: str
    cost: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchmarkScore:
    """One arm over its seeds on one benchmark. `spread` is the standard deviation between seeds."""

    benchmark: str
    state: str
    scores: tuple[SeedScore, ...]
    mean: float | None
    spread: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class ArmRow:
    """One arm over its seeds. `spread` is the standard deviation between seeds, None below two seeds.

    Every number of right answers is of the primary benchmark; `others` has those of the others.
    """

    name: str
    title: str
    group: str  # route | endpoint | model
    state: str  # MEASURED | NOT_RUN | REFUSED | "2 of 3 seeds"
    reason: str
    scores: tuple[SeedScore, ...]
    mean: float | None
    spread: float | None
    passed: float | None
    mixed: float | None
    response_tokens: float | None
    truncated: float | None
    entropy: float | None
    ungraded: int | None
    updates: int  # of all stages of one seed
    labels: tuple[LabelUse, ...]  # one per seed whose stages have all finished
    cost: ArmCost
    unanswered: int | None  # responses in which no answer was found, all seeds together
    stages: tuple[str, ...]
    others: tuple[BenchmarkScore, ...] = ()
    family: str = ""  # its name without the number of labels, where arms differ in that alone

    @property
    def harness(self) -> float | None:
        """What lm-evaluation-harness says, a mean over the seeds that it measured."""
        found = [score.harness.mean for score in self.scores if score.harness]
        return sum(found) / len(found) if found else None

    @property
    def error(self) -> float | None:
        """Of the mean: over seeds where there are several, else over problems; a standard error."""
        averages = [score.average for score in self.scores if score.average]
        if self.spread is not None:
            return self.spread / sqrt(len(averages))
        return averages[0].standard_error if averages else None


@dataclass(frozen=True, kw_only=True, slots=True)
class ContrastRow:
    """A planned comparison. `word` is one of `evaluation.verdict.WORDS` for the treatment, else the state."""

    name: str
    benchmark: str
    question: str
    treatment: str
    control: str
    declares: str
    pairing: Pairing
    matched: str
    state: str  # MEASURED | NOT_RUN | REFUSED
    reason: str
    seeds: tuple[int, ...]  # the seeds that are measured on both sides
    planned: int
    difference: SeededDifference | None
    adjusted_p: float | None
    word: str
    sentence: str

    @property
    def signs(self) -> str:
        """How many seeds have the sign of the whole, as a count: "3 of 3"."""
        if self.difference is None:
            return ""
        return f"{self.difference.agreeing} of {len(self.seeds)}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Closeness:
    """Student against teacher at one moment of one seed, in nats per token, on the student's own states."""

    when: str
    seed: int
    kl_student_teacher: float | None
    kl_teacher_student: float | None
    overlap: float | None
    top1: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class ConditionRow:
    """C1 and C2 of one arm: what its teacher can do, and how near the student is to it. Means over seeds."""

    arm: str
    teacher: str
    shaped_by: str  # reward | imitation | nothing
    teacher_before: float | None
    teacher_after: float | None  # equal to `teacher_before` for a raw teacher
    student_before: float | None
    student_end: float | None
    closeness: tuple[Closeness, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Flow:
    """How many labelled problems of a pool part went through a stage into an arm; mean over seeds."""

    part: str
    stage: str
    arm: str
    inherited: bool
    problems: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Curve:
    """A training metric of one node; long curves are averaged over equal blocks of steps."""

    stage: str
    pool: str
    learner: str
    metric: str
    measure: str  # what the axis calls the metric
    logarithmic: bool
    label: str
    seed: int
    steps: tuple[float, ...]
    values: tuple[float, ...]
    not_finite: int


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeIdentity:
    """One node's fingerprint, its parents' and its cost; `seconds` and `tokens` are None if not recorded."""

    seed: int
    fingerprint: str
    parents: Mapping[str, str]
    done: bool
    seconds: float | None
    tokens: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class StageRow:
    """Nodes that differ in their seed only: one set of settings, an identity per seed."""

    title: str
    kind: str
    stage: str
    pool: str
    learner: str
    signal: str
    reads_labels: bool
    updates: int
    arms: tuple[str, ...]
    settings: Mapping[str, Any]
    nodes: tuple[NodeIdentity, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Disagreement:
    """A response that two graders see differently; `answer` is None where the first found none."""

    seed: int
    rollout: str
    gold: str
    answer: str | None
    verdict: str
    second: str
    reward: float | None
    second_reward: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditRow:
    """Verdicts of all stages of one name that were graded twice; `undecided` are those that one side could not give."""

    title: str
    first: str
    second: str
    seeds: tuple[int, ...]
    stages: int
    checked: int
    agreed: int
    undecided: int
    disagreements: tuple[Disagreement, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """Everything that a report says about one run."""

    name: str
    headline: str
    answers: Answers
    alarms: tuple[AlarmRow, ...]
    tally: Mapping[str, int]  # verdict -> number of planned contrasts
    notes: tuple[str, ...]
    seeds: tuple[int, ...]
    evaluations_done: int
    evaluations_planned: int
    benchmarks: tuple[Mapping[str, Any], ...]  # the primary one first
    overlap: Mapping[str, Any]
    arms: tuple[ArmRow, ...]
    contrasts: tuple[ContrastRow, ...]  # on the primary benchmark
    other_contrasts: tuple[ContrastRow, ...]  # the same on every other benchmark
    conditions: tuple[ConditionRow, ...]
    flows: tuple[Flow, ...]
    curves: tuple[Curve, ...]
    stages: tuple[StageRow, ...]
    audits: tuple[AuditRow, ...]
    first_look: Response | None
    examples: tuple[ArmExamples, ...]
    quarters: tuple[QuarterRow, ...]
    problems: tuple[ProblemRow, ...]
    pools: Mapping[str, Any]
    recipe: Mapping[str, Any]
    identity: Mapping[str, Any]
    ledger_digest: str

    @property
    def benchmark(self) -> Mapping[str, Any]:
        """The primary benchmark."""
        return self.benchmarks[0]

    @property
    def harnessed(self) -> bool:
        """Whether any arm was measured by lm-evaluation-harness on the primary benchmark: then tables have a column."""
        return any(score.harness for arm in self.arms for score in arm.scores)

    def contrasts_on(self, benchmark: str) -> tuple[ContrastRow, ...]:
        """The planned comparisons on one benchmark."""
        return tuple(row for row in (*self.contrasts, *self.other_contrasts) if row.benchmark == benchmark)

    def to_json(self) -> dict[str, Any]:
        """The same as plain data."""
        value: dict[str, Any] = plain(self)
        return value


def harness_seeds(arm: ArmRow) -> str:
    """What the harness says of an arm, seed by seed, a dash if nothing."""
    return ", ".join(str(score.harness) for score in arm.scores if score.harness) or "–"


def label_range(arm: ArmRow, use: str) -> str:
    """A count of `LabelUse` as text: one number if all seeds agree, else the range, a dash if none is known."""
    counts = sorted({int(getattr(labels, use)) for labels in arm.labels})
    return "–" if not counts else f"{counts[0]}" if len(counts) == 1 else f"{counts[0]}–{counts[-1]}"
