"""A run folder made of dicts, shaped like the laptop family, and a person's way to look at its page.

python tests/report/conftest.py /tmp/report.html
"""

from __future__ import annotations

import hashlib
import json
import math
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

PROBLEMS, SAMPLES = 32, 16
PRIMARY = "arithmetic-test"
STAGES = {  # stage -> learner, signal, reads labels, updates
    "pretrain": (None, "imitation", False, 1000),
    "teacher-rl": ("teacher", "reward", True, 320),
    "teacher-sft": ("teacher", "imitation", True, 128),
    "warm-up": ("student", "divergence", False, 128),
    "on-policy-distillation": ("student", "divergence", False, 128),
    "teacher-sample-sft": ("student", "imitation", False, 256),
    "student-rl": ("student", "reward", True, 160),
}
TEACHER, WARM, OPD, SFT, STUDENT = (
    "teacher-rl",
    "warm-up",
    "on-policy-distillation",
    "teacher-sample-sft",
    "student-rl",
)
ARMS = {  # name -> title, group, (stage, pool) ..., level of the arm
    "raw-student": ("raw student", "model", (), 0.169),
    "raw-teacher": ("raw teacher", "model", (), 0.255),
    "teacher-rl-1H": ("teacher-rl on 1H", "model", ((TEACHER, "1H"),), 0.93),
    "R1": ("direct GRPO on the whole pool", "route", ((STUDENT, "pool"),), 0.844),
    "R2": (
        "teacher-sample SFT in place of the bridge",
        "route",
        ((TEACHER, "1H"), (SFT, "1H"), (STUDENT, "2H")),
        0.804,
    ),
    "R3-full": (
        "all labels upstream",
        "route",
        ((TEACHER, "pool"), (WARM, "pool"), (OPD, "pool")),
        0.886,
    ),
    "R5-half": (
        "fresh labels after the bridge",
        "route",
        ((TEACHER, "1H"), (WARM, "1H"), (OPD, "1H"), (STUDENT, "2H")),
        0.832,
    ),
    "R6": (
        "teacher SFT in place of teacher RL",
        "route",
        (("teacher-sft", "1H"), (WARM, "1H"), (OPD, "1H"), (STUDENT, "2H")),
        0.79,
    ),
    "R7": (
        "replay of the teacher's half",
        "route",
        ((TEACHER, "1H"), (WARM, "1H"), (OPD, "1H"), (STUDENT, "1H")),
        0.701,
    ),
    "R8": (
        "the bridge without its warm-up",
        "route",
        ((TEACHER, "1H"), (OPD, "1H"), (STUDENT, "2H")),
        0.824,
    ),
    "bridge-raw": ("bridge from the raw teacher", "endpoint", ((WARM, "pool"), (OPD, "pool")), 0.311),
    "opd-only": ("on-policy distillation alone", "endpoint", ((TEACHER, "pool"), (OPD, "pool")), 0.90),
}
CONTRASTS = [
    (
        "bridge against direct GRPO",
        "R3-full",
        "R1",
        "the whole route",
        "Do labels spent on the teacher beat labels spent on the student?",
    ),
    ("fresh labels against replay", "R5-half", "R7", "student-rl.pool", "Do fresh labels help, or only more updates?"),
    ("warm-up", "R5-half", "R8", "warm-up", "Is the warm-up needed?"),
    ("bridge against teacher-sample SFT", "R5-half", "R2", "the transfer", "Is the dense bridge needed?"),
    ("teacher RL against teacher SFT", "R5-half", "R6", "the teacher's stage", "Is reward on the teacher needed?"),
    (
        "half split against direct GRPO",
        "R5-half",
        "R1",
        "the whole route",
        "Is it worth keeping labels for the student?",
    ),
    (
        "full bridge against on-policy distillation alone",
        "R3-full",
        "opd-only",
        "warm-up",
        "Does the warm-up pay on the whole pool?",
    ),
    ("raw teacher against direct GRPO", "bridge-raw", "R1", "the whole route", "Is a raw teacher a good source?"),
]


WATCH = {
    "reward": [{"metric": "reward", "label": "reward", "logarithmic": False}],
    "divergence": [{"metric": "kl", "label": "KL, nats per token", "logarithmic": True}],
    "imitation": [{"metric": "loss", "label": "loss", "logarithmic": False}],
}


class FakeFolder:
    """What `summarise` asks of a run folder, answered from dicts."""

    def __init__(self, graph: dict[str, Any]) -> None:
        self.name = graph["name"]
        self.graph = graph
        self.files: dict[tuple[str, str], bytes] = {}
        self.finished: set[str] = set()
        self.used: dict[str, dict[str, set[str]]] = {}
        self.harness: dict[str, dict[str, Any]] = {}

    def done(self, node: str) -> bool:
        return node in self.finished

    def result(self, node: str, name: str) -> bytes | None:
        return self.files.get((node, name)) if node in self.finished else None

    def piloted(self) -> set[str]:
        return set()

    def labels(self, node: str) -> dict[str, set[str]]:
        return self.used.get(node, {})

    def ledger_digest(self) -> str:
        return hashlib.sha256(b"ledger").hexdigest()

    def put(self, node: str, name: str, value: Any) -> None:
        self.finished.add(node)
        self.files[node, name] = json.dumps(value).encode()


def pool(part: str) -> set[str]:
    """The problem ids of a pool's part."""
    first = {f"p{i}" for i in range(128)}
    second = {f"p{i}" for i in range(128, 256)}
    return {"1H": first, "2H": second, "pool": first | second}[part]


class LabMaker:
    """Fills a FakeFolder the way a run does: shared prefixes once, an evaluation per arm."""

    def __init__(self, name: str, seeds: tuple[int, ...], benchmarks: dict[str, int]) -> None:
        self.benchmarks = benchmarks
        self.random = random.Random(5)
        self.difficulty = [self.random.gauss(0, 1.2) for _ in range(PROBLEMS)]
        pools = {
            str(s): {
                "seed": s,
                **{
                    p: {"problems": len(pool(p)), "digest": hashlib.sha256(f"{s}{p}".encode()).hexdigest()}
                    for p in ("pool", "1H", "2H")
                },
            }
            for s in seeds
        }
        self.folder = FakeFolder(
            {
                "name": name,
                "seeds": list(seeds),
                "recipe": {"name": name, "student": {"hidden": 48, "layers": 2}, "group_size": 8},
                "identity": {"headwater": "0.1.0", "python": "3.11.7", "torch": "2.13.0", "transformers": "5.23.0"},
                "notes": [],
                "nodes": {},
                "pools": pools,
                "benchmarks": [
                    {
                        "name": name,
                        "problems": problems,
                        "samples": SAMPLES,
                        "temperature": 1.0,
                        "digest": "cd" * 32,
                    }
                    for name, problems in self.benchmarks.items()
                ],
                "overlap": {
                    "problems": 259,
                    "removed": 3,
                    "near_removed": False,
                    "benchmarks": [
                        {"benchmark": name, "problems": problems, "exact": 1, "normalised": 2, "near": 4}
                        for name, problems in self.benchmarks.items()
                    ],
                },
                "arms": [],
                "contrasts": [
                    {
                        "name": n,
                        "treatment": t,
                        "control": c,
                        "declares": d.split(", "),
                        "question": q,
                        "matched": "updates 320 vs 320, labels 256 vs 256",
                    }
                    for n, t, c, d, q in CONTRASTS
                ],
            }
        )
        for seed in seeds:
            for arm in ARMS:
                self.arm(arm, seed)

    def node(self, seed: int, chain: tuple[str, ...], kind: str, **entry: Any) -> str:
        """A node of the graph; the same chain is the same node."""
        name = hashlib.sha256(f"{seed}|{chain}|{kind}".encode()).hexdigest()
        base = {
            "kind": kind,
            "title": " then ".join(chain),
            "stage": None,
            "seed": seed,
            "pool": None,
            "learner": None,
            "signal": None,
            "watch": [],
            "reads_labels": False,
            "updates": 0,
            "parents": {},
            "settings": {},
        }
        self.folder.graph["nodes"].setdefault(name, base | entry)
        return name

    def train(self, seed: int, stage: str, part: str | None, parents: dict[str, str]) -> str:
        """A training node with its curve and the labels that it used."""
        learner, signal, reads, updates = STAGES[stage]
        who = learner or ("teacher" if "teacher" in parents.get("who", "") else "student")
        parents = {role: parent for role, parent in parents.items() if role != "who"}
        chain = (f"{stage} on {part}" if part else f"pretrained {who}", *sorted(parents.values()))
        kind = "pretrain" if stage == "pretrain" else "train"
        digest = self.folder.graph["pools"][str(seed)][part]["digest"] if part else None
        settings = {
            "pool": digest,
            "learning_rate": 1e-3,
            "batch": 64,
            "clip": 0.2,
            "schedule": {"name": "cosine", "floor": 0.3},
        }
        name = self.node(
            seed,
            chain,
            kind,
            title=chain[0],
            stage=stage,
            pool=part,
            learner=who,
            signal=signal,
            watch=WATCH[signal],
            reads_labels=reads,
            updates=updates,
            parents=parents,
            settings=settings,
        )
        if not self.folder.done(name):
            self.folder.finished.add(name)
            self.folder.files[name, "metrics.jsonl"] = self.curve(signal, updates)
            self.folder.files[name, "timing.json"] = json.dumps({"seconds": 11.5, "tokens": 52000}).encode()
            if part:
                use = {"prompt": pool(part)}
                if reads:
                    use["demonstration" if stage == "teacher-sft" else "answer"] = pool(part)
                self.folder.used[name] = use
        return name

    def curve(self, signal: str, updates: int) -> bytes:
        """One JSON a line: a reward that rises, a divergence or a loss that falls."""
        lines = []
        tau = updates / 4
        for step in range(0, updates, 8):
            noise = self.random.gauss(0, 0.03)
            rise = 1 - math.exp(-step / tau)
            metrics = {"loss": 1.4 - rise + noise, "gradient_norm": 0.8, "learning_rate": 1e-3}
            if signal == "reward":
                metrics |= {"reward": min(1.0, max(0.0, 0.2 + 0.7 * rise + noise)), "mixed_groups": 0.7 - 0.4 * rise}
            if signal == "divergence":
                metrics |= {"kl": 1.1 * (1 - rise) + 0.04 + abs(noise)}
            lines.append(json.dumps({"step": step, "metrics": metrics}))
        return "\n".join(lines).encode() + b"\n"

    def evaluate(self, seed: int, model: str, level: float) -> dict[str, str]:
        """Benchmark -> evaluation node."""
        return {benchmark: self.evaluate_on(benchmark, seed, model, level) for benchmark in self.benchmarks}

    def evaluate_on(self, benchmark: str, seed: int, model: str, level: float) -> str:
        """An evaluation node: correct answers of 16 per problem, easier and harder problems shared by arms."""
        chain = ("evaluation", model) if benchmark == PRIMARY else ("evaluation", benchmark, model)
        name = self.node(seed, chain, "evaluate", parents={"start": model})
        if self.folder.done(name):
            return name
        problems = self.benchmarks[benchmark]
        shift = math.log(level / (1 - level)) * 1.25 + self.random.gauss(0, 0.18)
        chance = [1 / (1 + math.exp(-(shift + d))) for d in self.difficulty[:problems]]
        scores = {
            "samples": SAMPLES,
            "problems": [f"t{i}" for i in range(problems)],
            "correct": [sum(self.random.random() < c for _ in range(SAMPLES)) for c in chance],
            "ungraded": [0] * problems,
            "response_tokens": 8 + self.random.random(),
            "truncated": 0.01 * self.random.random(),
            "entropy": 0.3 + 0.1 * self.random.random(),
            "styles": {"careful": level, "hasty": (1 - level) * 0.7, "direct": (1 - level) * 0.3},
        }
        self.folder.put(name, "scores.json", scores)
        return name

    def closeness(self, seed: int, student: str, teacher: str, kl: float) -> str:
        """A closeness node."""
        name = self.node(
            seed, ("closeness", student, teacher), "closeness", parents={"start": student, "teacher": teacher}
        )
        state = {
            "kl_teacher_student": kl * 1.1,
            "kl_student_teacher": kl * (1 + 0.1 * self.random.random()),
            "overlap": math.exp(-kl / 7),
            "top1": math.exp(-kl / 4),
            "student_entropy": 0.4,
            "teacher_entropy": 0.2,
            "tokens": 9000,
        }
        self.folder.put(name, "closeness.json", {"student_states": state, "teacher_states": state, "temperature": 1.0})
        return name

    def arm(self, arm: str, seed: int) -> None:
        """One arm of one seed: walks its stages, then evaluates."""
        title, group, stages, level = ARMS[arm]
        student = raw_student = self.train(seed, "pretrain", None, {"who": "student"})
        teacher = raw_teacher = self.train(seed, "pretrain", None, {"who": "teacher"})
        path, after_warm_up = [], None
        for stage, part in stages:
            if stage.startswith("teacher-r") or stage == "teacher-sft":
                teacher = self.train(seed, stage, part, {"start": teacher})
                path.append(teacher)
                continue
            parents = {"start": student} | ({} if stage == "student-rl" else {"teacher": teacher})
            student = self.train(seed, stage, part, parents)
            path.append(student)
            after_warm_up = student if stage == "warm-up" else after_warm_up
        model = teacher if arm.startswith(("raw-teacher", "teacher")) else student
        nodes = self.folder.graph["nodes"]
        entry: dict[str, Any] = {
            "name": arm,
            "title": title,
            "group": group,
            "seed": seed,
            "stages": path,
            "inherited": [node for node in path if group != "model" and nodes[node]["learner"] == "teacher"],
            "evaluation": self.evaluate(seed, model, level),
            "teacher": None,
            "student_before": None,
            "closeness": None,
        }
        if any(stage in (WARM, OPD, SFT) for stage, _ in stages):
            shaped = {"teacher-rl": 0.94, "teacher-sft": 0.62}.get(stages[0][0], 0.255)
            cold = {"teacher-rl": 1.15, "teacher-sft": 0.7}.get(stages[0][0], 0.4)
            entry["student_before"] = self.evaluate(seed, raw_student, 0.169)
            entry["teacher"] = {
                "name": self.folder.graph["nodes"][teacher]["title"],
                "before": self.evaluate(seed, raw_teacher, 0.255),
                "after": None if teacher == raw_teacher else self.evaluate(seed, teacher, shaped),
            }
            entry["closeness"] = {
                "before": self.closeness(seed, raw_student, teacher, cold),
                "end": self.closeness(seed, student, teacher, 0.07),
            }
            if after_warm_up:
                entry["closeness"]["after warm-up"] = self.closeness(seed, after_warm_up, teacher, 0.1)
        self.folder.graph["arms"].append(entry)


def finished_lab(
    name: str = "lab", seeds: tuple[int, ...] = (0, 1, 2), more: dict[str, int] | None = None
) -> FakeFolder:
    """A finished run of eleven arms, on `more` benchmarks than the primary one if given (name -> problems)."""
    return LabMaker(name, seeds, {PRIMARY: PROBLEMS, **(more or {})}).folder


@pytest.fixture
def lab() -> FakeFolder:
    """A finished run of eleven arms and three seeds."""
    return finished_lab()


@pytest.fixture(scope="session")
def make_lab() -> Callable[..., FakeFolder]:
    """Makes such runs with other seeds."""
    return finished_lab


if __name__ == "__main__":
    from headwater.report import write_page

    write_page(finished_lab(), Path(sys.argv[1]))
