"""What a person sees while a run works: live bars in a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from headwater.plan.node import Node

PLAIN_SECONDS = 10.0
"""Without a terminal, a stage in progress says so at most this often."""


class ProgressDisplay:
    """Watches a run and shows it. Mutable: knows what has finished and how fast steps go."""

    def __init__(self, work: Mapping[str, float], done: set[str], console: Console):
        self._console = console
        self._live = console.is_terminal
        self._begun = time.monotonic()
        self._work = {name: flops for name, flops in work.items() if name not in done}
        self._finished = 0.0
        self._parts: dict[str, float] = {}
        """node in progress -> what was made of it since it was taken up"""
        self._count, self._nodes = 0, len(self._work)
        self._starts: dict[str, float] = {}
        self._steps: dict[str, tuple[int, float, float]] = {}
        self._told: dict[str, float] = {}
        self._tasks: dict[str, TaskID] = {}
        self._looked = False
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}"),
            console=console,
            transient=True,
            disable=not self._live,
        )
        self._all = self._bars.add_task("[bold]run", total=self._nodes or 1, note="")

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def started(self, node: Node) -> None:
        """A worker took a node."""
        self._starts[node.fingerprint] = time.monotonic()
        self._tasks[node.fingerprint] = self._bars.add_task(_name(node), total=node.steps or 1, note="")

    def stepped(self, node: Node, step: int, metrics: Mapping[str, float]) -> None:
        """A stage made a step; `metrics` are of that step alone."""
        note = self._note(node, step, metrics)
        self._bars.update(self._tasks[node.fingerprint], completed=step + 1, note=note)
        now = time.monotonic()
        if not self._live and now - self._told.get(node.fingerprint, self._starts[node.fingerprint]) > PLAIN_SECONDS:
            self._told[node.fingerprint] = now
            self._console.print(
                f"  {_name(node)}: step {step + 1} of {node.steps}, {note}", highlight=False, soft_wrap=True
            )

    def said(self, node: Node, kind: str, text: str) -> None:
        """A worker has words for a person: an alarm, or a look at the first response of the run."""
        if kind == "look":
            if self._looked:
                return
            self._looked = True
        words = f"{kind}: {_name(node)}: {text}"
        self._console.print(Text(words, style="bold yellow" if kind == "alarm" else "dim"), soft_wrap=True)

    def finished(self, node: Node, seconds: float, commit_seconds: float) -> None:
        """A node was committed; `commit_seconds` of its time went into commits."""
        self._finished += self._work[node.fingerprint]
        self._parts.pop(node.fingerprint, None)
        self._count += 1
        self._bars.remove_task(self._tasks.pop(node.fingerprint))
        self._bars.update(self._all, completed=self._count, note=self._left())
        self._console.print(
            f"[{self._count}/{self._nodes}] {_name(node)}: {seconds:.1f} s (commits {commit_seconds:.2f} s), "
            f"{self._left()}",
            highlight=False,
            soft_wrap=True,
            markup=False,
        )

    def stopping(self) -> None:
        """The run was asked to stop."""
        self._bars.update(self._all, note="stopping after a commit; Ctrl-C again ends at once")

    def _note(self, node: Node, step: int, metrics: Mapping[str, float]) -> str:
        """The stage's number, its speed and its own time left."""
        before = self._steps.get(node.fingerprint)
        if before is not None:
            gone = (step - before[0]) / node.steps * self._work[node.fingerprint]
            self._parts[node.fingerprint] = self._parts.get(node.fingerprint, 0.0) + gone
        now, tokens = time.monotonic(), metrics.get("tokens", 0.0)
        self._steps[node.fingerprint] = (step, now, tokens)
        names = [watch.metric for watch in node.stage.watch] if node.stage else []
        watched = next((f"{name} {metrics[name]:.3f}" for name in names if name in metrics), "")
        if before is None or step <= before[0] or now <= before[1]:
            return watched
        pace = (now - before[1]) / (step - before[0])
        speed = [f"{tokens / pace:,.0f} tokens/s"] if tokens else []
        left = f"{_clock(pace * (node.steps - step - 1))} left in {'stage' if node.stage else 'this'}"
        return ", ".join([*([watched] if watched else []), *speed, left])

    def _left(self) -> str:
        """Time left in the run, from the share of its FLOPs that is done."""
        made = self._finished + sum(self._parts.values())
        if not made:
            return "time left not known yet"
        elapsed = time.monotonic() - self._begun
        return f"about {_clock(elapsed * (sum(self._work.values()) - made) / made)} left"


def _name(node: Node) -> str:
    return f"seed {node.seed}: {node.title}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(max(seconds, 0)), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
