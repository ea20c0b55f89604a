"""Verdicts remembered by judge, gold answer and answer, in memory and, if wanted, in one SQLite file.

    key = sha256(JSON of [judge's name, gold, answer])

The judge's name holds its type, settings and version, so another grader never meets these verdicts. UNGRADED is
not remembered: the grader failed, and may not the next time. The file holds hashes and verdicts, no answers.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from headwater.errors import IntegrityError
from headwater.records import Verdict
from headwater.verifiers.answers import Answers, Judge

_SCHEMA = "CREATE TABLE IF NOT EXISTS verdicts (key TEXT PRIMARY KEY, verdict TEXT NOT NULL)"
_AT_ONCE = 500
"""Keys in one query; SQLite takes at most 999 in old builds."""
_SETTLED = {Verdict.CORRECT.value: Verdict.CORRECT, Verdict.WRONG.value: Verdict.WRONG}


class CachedJudge:
    """A `Judge` that asks another one only what it has not been asked before.

    At most `limit` verdicts stay in memory, and as many in the file; the oldest go first. Raises IntegrityError
    for a file that is no such cache.
    """

    def __init__(self, judge: Judge, *, path: Path | None = None, limit: int = 100_000):
        self._judge = judge
        self._limit = limit
        self._path = path
        self._memory: OrderedDict[str, Verdict] = OrderedDict()
        self.hits = 0
        self.misses = 0

    @property
    def name(self) -> str:
        """The judge's: the cache changes no verdict."""
        return self._judge.name

    def judge(self, answers: Answers) -> dict[str, Verdict]:
        """Remembered verdicts, and the judge's for the rest."""
        keys = {pair: self._key(*pair) for pair in answers.values() if pair[1] is not None}
        known = self._recall(list(dict.fromkeys(keys.values())))
        rest = {name: pair for name, pair in answers.items() if keys.get(pair) not in known}
        fresh = self._judge.judge(rest)
        self.hits += len(answers) - len(rest)
        self.misses += len(rest)
        self._remember(
            {
                keys[pair]: fresh[name]
                for name, pair in rest.items()
                if pair in keys and fresh[name] is not Verdict.UNGRADED
            }
        )
        return {name: fresh[name] if name in fresh else known[keys[pair]] for name, pair in answers.items()}

    def close(self) -> None:
        """Close the judge; the file is closed after every use."""
        self._judge.close()

    def _key(self, gold: str, answer: str | None) -> str:
        # ASCII: a response may hold halves of surrogate pairs, which UTF-8 cannot write
        return hashlib.sha256(json.dumps([self.name, gold, answer]).encode("ascii")).hexdigest()

    def _recall(self, keys: Sequence[str]) -> dict[str, Verdict]:
        known = {key: self._memory[key] for key in keys if key in self._memory}
        for key in known:
            self._memory.move_to_end(key)
        missing = [key for key in keys if key not in known]
        if self._path is None or not missing:
            return known
        with self._file() as file:
            for start in range(0, len(missing), _AT_ONCE):
                some = missing[start : start + _AT_ONCE]
                marks = ",".join("?" * len(some))
                query = f"SELECT key, verdict FROM verdicts WHERE key IN ({marks})"  # noqa: S608  marks are "?,?,?"
                known |= {key: _SETTLED[verdict] for key, verdict in file.execute(query, some) if verdict in _SETTLED}
        return known

    def _remember(self, fresh: dict[str, Verdict]) -> None:
        self._memory.update(fresh)
        while len(self._memory) > self._limit:
            self._memory.popitem(last=False)
        if self._path is None or not fresh:
            return
        with self._file() as file:
            rows = [(key, verdict.value) for key, verdict in fresh.items()]
            file.executemany("INSERT OR REPLACE INTO verdicts VALUES (?, ?)", rows)
            oldest = (
                "DELETE FROM verdicts WHERE rowid IN (SELECT rowid FROM verdicts ORDER BY rowid DESC LIMIT -1 OFFSET ?)"
            )
            file.execute(oldest, (self._limit,))

    @contextmanager
    def _file(self) -> Iterator[sqlite3.Connection]:
        try:
            with closing(sqlite3.connect(str(self._path), timeout=60.0)) as connection, connection:
                connection.execute(_SCHEMA)
                yield connection
        except sqlite3.DatabaseError as error:
            raise IntegrityError(
                f"verdict cache: {self._path} cannot be used ({error}); delete it, it is only a cache"
            ) from error
