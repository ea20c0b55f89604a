"""The label ledger: which problem was used for what, at which step of which stage, with edits seen.

Each stage (named by its node's fingerprint) has its own chain of SHA-256 hashes,

    chain[n] = sha256(chain[n-1], stage, n, step, problem, use)

so that several processes may write different stages into one file in any order and the content stays the
same. `AnswerKey` is the only way to an answer, and it writes here before it gives one out.

Left out: who asked (one run folder has one lock), and signatures: someone who may rewrite the whole file
can recompute the chains, which is why a run keeps its heads in its own manifest as well.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from headwater.errors import HeadwaterError, InputError, IntegrityError, LabelError, LockedError, ResourceError
from headwater.records import Problem

ASKED = ("answer", "demonstration", "validation")
"""What a stage can ask for: the gold answer, a worked solution, a gold answer to watch training or to choose among its
weights."""
LABELS = (*ASKED, "pilot")
"""The uses that read a label; pilot: a gold answer read to choose a route, before any arm is made."""
USES = ("prompt", *LABELS)
"""prompt: trained on, no label read."""


BUSY_SECONDS = 60.0

_SCHEMA = """
CREATE TABLE IF NOT EXISTS uses (
    stage TEXT NOT NULL, seq INTEGER NOT NULL, step INTEGER NOT NULL,
    problem_id TEXT NOT NULL, use TEXT NOT NULL, chain TEXT NOT NULL,
    PRIMARY KEY (stage, seq)
) WITHOUT ROWID
"""

Use = tuple[int, str, str]
"""(step, use, problem id): the order in which the rows of one commit are written."""


def genesis(stage: str) -> str:
    """The head of a stage without rows: 64 hex digits."""
    return hashlib.sha256(json.dumps(["headwater ledger", stage]).encode()).hexdigest()


def link(previous: str, stage: str, seq: int, use: tuple[Any, ...]) -> str:
    """The chain value of row `seq`, from the chain value before it and a `Use`: 64 hex digits."""
    # default=repr: a tampered cell may hold bytes, and must give a mismatch and not a TypeError
    return hashlib.sha256(json.dumps([previous, stage, seq, *use], default=repr).encode()).hexdigest()


class Ledger:
    """Rows of label use in one SQLite file, buffered per stage and written by `commit`.

    Raises IntegrityError for a file that is no ledger, LockedError when another process holds the file for
    60 seconds, ResourceError when the disk is full.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._buffers: dict[str, list[Use]] = {}
        self._seen: dict[str, set[Use]] = {}
        if self.path.is_symlink():  # another run's rows would be rolled back
            raise InputError(f"ledger: {self.path} is a symbolic link; a run keeps its ledger in its own folder")
        with self._named_errors():
            self._connection = sqlite3.connect(self.path, timeout=BUSY_SECONDS, isolation_level=None)
            # EXTRA is FULL and an fsync of the folder after the journal is removed: without it a power cut
            # can bring the journal back and undo a commit that the run's manifest already names.
            self._connection.execute("PRAGMA synchronous = EXTRA")
            self._connection.execute(_SCHEMA)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; buffered rows are dropped."""
        self._connection.close()

    def expose(self, stage: str, step: int, problems: Sequence[Problem]) -> None:
        """Note that these problems' prompts are trained on at this step; no label is read."""
        for problem in problems:
            self.record(stage, step, problem.problem_id, "prompt")

    def record(self, stage: str, step: int, problem_id: str, use: str) -> None:
        """Note one use, to be written by the next `commit`; the same (step, problem, use) counts once."""
        if use not in USES:
            raise LabelError(f"labels: use {use!r} of problem {problem_id} is not one of {', '.join(USES)}")
        row = (step, use, problem_id)
        if stage not in self._seen:
            self._seen[stage] = {(s, u, p) for _, s, u, p, _ in self._rows(stage)}
        if row not in self._seen[stage]:
            self._seen[stage].add(row)
            self._buffers.setdefault(stage, []).append(row)

    def commit(self, stage: str) -> str:
        """Write the stage's buffered rows in one transaction and return the new head.

        Rows are sorted by (step, use, problem), so the head does not depend on the order of reads in a step.
        """
        rows = sorted(self._buffers.get(stage, ()))
        with self._transaction():
            seq, head = self._last(stage)
            written = []
            for number, row in enumerate(rows, start=seq + 1):
                head = link(head, stage, number, row)
                step, use, problem_id = row
                written.append((stage, number, step, problem_id, use, head))
            self._connection.executemany("INSERT INTO uses VALUES (?, ?, ?, ?, ?, ?)", written)
        self._buffers.pop(stage, None)
        return head

    def rollback_to(self, stage: str, head: str | None) -> None:
        """Delete the stage's rows after `head` (None: all of them) and drop what is buffered.

        What a crash left of steps that the run never committed; raises IntegrityError for an unknown head.
        """
        with self._transaction():
            if head is None or head == genesis(stage):
                seq = -1
            else:
                query = "SELECT seq FROM uses WHERE stage = ? AND chain = ?"
                found = self._connection.execute(query, (stage, head)).fetchone()
                if found is None:
                    raise IntegrityError(
                        f"ledger: stage {stage[:12]} has no row with head {head[:12]} in {self.path}; "
                        "the ledger and the run's last commit do not belong together: restore the file"
                    )
                seq = found[0]
            self._connection.execute("DELETE FROM uses WHERE stage = ? AND seq > ?", (stage, seq))
        self._buffers.pop(stage, None)
        self._seen.pop(stage, None)

    def head(self, stage: str) -> str:
        """The chain value of the stage's last committed row; `genesis(stage)` when there is none."""
        with self._named_errors():
            return self._last(stage)[1]

    def heads(self) -> dict[str, str]:
        """stage -> head of every stage with a committed row, sorted by stage; read in one snapshot."""
        # SQLite takes the bare column `chain` from the row that has the largest seq.
        query = "SELECT stage, chain, MAX(seq) FROM uses GROUP BY stage ORDER BY stage"
        with self._named_errors():
            return {stage: chain for stage, chain, _ in self._connection.execute(query)}

    def labels(self, stage: str) -> dict[str, set[str]]:
        """The distinct problems of the stage's committed rows, per use."""
        problems: dict[str, set[str]] = {use: set() for use in USES}
        query = "SELECT DISTINCT use, problem_id FROM uses WHERE stage = ?"  # thousands of rows, hundreds of problems
        with self._named_errors():
            for use, problem_id in self._connection.execute(query, (stage,)):
                problems[use].add(problem_id)
        return problems

    def counts(self, stage: str) -> dict[str, int]:
        """The number of the stage's committed rows, per use."""
        counts = dict.fromkeys(USES, 0)
        for _, _, use, _, _ in self._rows(stage):
            counts[use] += 1
        return counts

    def verify(self, heads: Mapping[str, str] | None = None) -> None:
        """Recompute every chain; raises IntegrityError naming stage and seq at the first mismatch.

        Rows cut off a chain's end leave a valid chain: `heads` (stage -> expected head) finds those.
        """
        found = self._scan()
        for stage, head in (heads or {}).items():
            seq, chain = found.get(stage, (-1, genesis(stage)))
            if chain != head:
                raise IntegrityError(
                    f"ledger: stage {stage} ends at {chain[:12]} (row {seq}) and the run's commit says {head[:12]} in "
                    f"{self.path}; rows are missing or added: restore the file"
                )

    def _scan(self) -> dict[str, tuple[int, str]]:
        """stage -> last seq and chain value, recomputed over the whole table.

        A scan and no look-up by stage: in a damaged file a look-up can miss rows that a scan meets. The scan must
        be in order, too, since only then a look-up finds what the scan has found.
        """
        last: dict[str, tuple[int, str]] = {}
        stage = ""
        query = "SELECT stage, seq, step, use, problem_id, chain FROM uses"
        with self._named_errors():
            for name, seq, *use, stored in self._connection.execute(query):
                before, chain = last.get(name) or (-1, genesis(str(name)))
                chain = link(chain, str(name), before + 1, tuple(use))
                if str(name) < stage or seq != before + 1 or chain != stored:
                    raise IntegrityError(
                        f"ledger: stage {name} seq {before + 1} does not follow from the rows before it in "
                        f"{self.path}; a row was edited, deleted or moved: restore the file"
                    )
                stage, last[name] = str(name), (seq, chain)
        return last

    def digest(self) -> str:
        """One hash of the whole content: SHA-256 over the sorted (stage, head) pairs, 64 hex digits."""
        return hashlib.sha256(json.dumps(sorted(self.heads().items())).encode()).hexdigest()

    def _last(self, stage: str) -> tuple[int, str]:
        query = "SELECT seq, chain FROM uses WHERE stage = ? ORDER BY seq DESC LIMIT 1"
        return self._connection.execute(query, (stage,)).fetchone() or (-1, genesis(stage))

    def _rows(self, stage: str) -> list[tuple[Any, ...]]:
        # (seq, step, use, problem id, chain), of any type: SQLite does not hold a tampered cell to its column
        query = "SELECT seq, step, use, problem_id, chain FROM uses WHERE stage = ? ORDER BY seq"
        with self._named_errors():
            return self._connection.execute(query, (stage,)).fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        # IMMEDIATE takes the write lock before the head is read, so two writers cannot both extend one head.
        with self._named_errors():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.ProgrammingError:
            raise  # a closed connection or another thread: our own mistake, not the file's
        except (sqlite3.Error, UnicodeDecodeError) as error:  # the latter: SQLite's own message quotes a damaged name
            raise _named(self.path, error) from error


_HELD = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_NO_ROOM = (
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_PERM,
)


def _named(path: Path, error: sqlite3.Error | UnicodeDecodeError) -> HeadwaterError:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the low byte is the kind; the rest says more about it
    said = " ".join(str(error).split())  # SQLite may quote a damaged table definition with its line breaks
    if code in _HELD:
        return LockedError(f"ledger: {path} was held by another process for {BUSY_SECONDS:.0f} s; run again")
    if code in _NO_ROOM:
        return ResourceError(f"ledger: {path} cannot be written ({said}); free disk space, run again")
    return IntegrityError(f"ledger: {path} is not a readable ledger ({said}); restore the file")


@dataclass(kw_only=True, eq=False, slots=True)
class AnswerKey:
    """The answers of one stage's pool. Mutable: `step`, which the loop sets and the ledger's rows carry.

    `pool` holds the ids of the problems whose answers the stage may read; `answers` and `demonstrations` (by
    problem id) may hold more.
    """

    ledger: Ledger = field(repr=False)
    stage: str
    stage_name: str = ""
    pool: frozenset[str] = field(repr=False)
    pool_name: str = "pool"
    answers: Mapping[str, str] = field(repr=False)
    demonstrations: Mapping[str, str] | None = field(repr=False, default=None)
    charged: str | None = None
    """the use that a read answer is noted as; None: as what it is asked for"""
    step: int = field(init=False, default=0)

    def at(self, step: int) -> None:
        """Say at which step the next reads happen."""
        self.step = step

    def read(self, problem_id: str, use: str = "answer") -> str:
        """The answer (or the demonstration) of one problem, recorded in the ledger before it is returned.

        Raises LabelError, and records nothing, for a problem outside the pool or without such a label.
        """
        where = f"labels: stage {self.stage_name or self.stage[:12]} step {self.step}"
        if problem_id not in self.pool:
            raise LabelError(
                f"{where} asked for the {use} of problem {problem_id}, which is not among the "
                f"{len(self.pool)} problems of {self.pool_name}. Give the stage a pool that holds the problem"
            )
        if use not in ASKED:
            raise LabelError(f"{where} asked for {use!r} of problem {problem_id}; only {ASKED} can be read")
        table = (self.demonstrations or {}) if use == "demonstration" else self.answers
        if problem_id not in table:
            raise LabelError(
                f"{where}: problem {problem_id} of {self.pool_name} has no {use}. Add it to the data or "
                "remove the problem from the pool"
            )
        self.ledger.record(self.stage, self.step, problem_id, self.charged or use)
        return table[problem_id]


@dataclass(frozen=True, slots=True)
class NoAnswers:
    """The answer key of a dense stage: every read raises LabelError."""

    stage_name: str

    def at(self, step: int) -> None:
        """Nothing to note: no read can follow."""

    def read(self, problem_id: str, use: str = "answer") -> str:
        """Always raises LabelError."""
        raise LabelError(
            f"labels: dense stage {self.stage_name} reads no label; it asked for the {use} of problem "
            f"{problem_id}. Use a signal that needs no label, or declare the stage as one that reads labels"
        )
