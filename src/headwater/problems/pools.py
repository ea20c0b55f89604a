r"""Which problems are one and the same, how a pool is halved, and whether a pool overlaps a benchmark.

Two problems are the same when their normalised texts are equal. `normalise` takes out what does not change
a mathematical problem on paper: the Unicode form (NFKC), letter case, typographic quotes, dashes and
invisible characters, LaTeX spacing (\, \! \; \quad ~), \left and \right, math delimiters ($, \( \), \[ \]),
\dfrac and \tfrac for \frac, and all white space but that between two digits ("1 2" is not "12"). It errs on
the side of joining (upper and lower case letters are one): a pair joined wrongly lands in one half, which
costs nothing; a pair missed leaks a label.

Near-duplicates (a changed name, an added instruction) are found by shared word 8-grams and reported, not
refused: templates with other numbers look the same and are other problems.

Left out: paraphrase and translation.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from headwater.errors import InputError
from headwater.fingerprint import derive_seed, fingerprint
from headwater.problems.frame import unframed
from headwater.records import Problem

GRAM = 8
"""Words in one gram of the near-duplicate search."""
FEWEST_WORDS = 20
"""Shorter texts are compared exactly only: a few shared grams would say nothing."""
FEWEST_GRAMS = 5
"""Grams that must remain of both texts when the set phrases are left out."""
NEAR_SHARE = 0.5
"""Near-duplicates share at least this part of the grams of the text that has fewer."""
MOST_HOLDERS = 50
"""A gram that more benchmark problems hold is a set phrase and is left out; this keeps the search linear."""
PILOT = "pilot"
"""The pool of `headwater advise`."""
PILOT_PROBLEMS = 128
LISTED = 10
"""Ids named in a message before "..."."""

_TYPOGRAPHY = str.maketrans(
    {"‘": "'", "’": "'", "“": '"', "”": '"', "–": "-", "—": "-", "‐": "-", "‑": "-", "−": "-", "⁄": "/"}
    | dict.fromkeys("\u00ad\u200b\u200c\u200d\u2060\ufeff", "")
)
_FRACTION = re.compile(r"\\[dtc]frac(?![a-z])")
_GROUPED_COMMA = re.compile(r"\{,\}|\\!,|,\\!")
_MARKS = re.compile(
    r"\\(?:left|right)(?![a-z])\.?"
    r"|\\(?:bigg?[lrm]?|(?:display|text)style|q?quad|(?:thin|neg)space|limits|nolimits)(?![a-z])"
    r"|\\[,!;:>()\[\]$ ]|[$~]"
)
# White space goes unless it parts two digits; of a run between two digits one character stays.
_SPACE = re.compile(r"(?<!\d)\s+|\s+(?!\d)")
# One word: an ideograph or kana or hangul sign, a run of other letters, or a run of digits.
_IDEOGRAPH = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"
_WORD = re.compile(rf"[{_IDEOGRAPH}]|[^\W\d_{_IDEOGRAPH}]+|\d+")


def _unmarked(text: str, space: str) -> str:
    text = unicodedata.normalize("NFKC", text).casefold().translate(_TYPOGRAPHY)
    return _MARKS.sub(space, _GROUPED_COMMA.sub(",", _FRACTION.sub(r"\\frac", text)))


def normalise(text: str) -> str:
    """The text without what does not change a problem (see above): equal results mean the same problem."""
    return _SPACE.sub("", _unmarked(text, "").strip())


def words_of(text: str) -> list[str]:
    """The words and numbers of a text, in order, without case, LaTeX marks and punctuation."""
    return _WORD.findall(_unmarked(text, " "))


def prompt_text(problem: Problem) -> str:
    """The text that makes the problem: the prompt, or the user's turns of a chat (or all turns); no worked examples."""
    if problem.asked is not None:
        return problem.asked
    if isinstance(problem.prompt, str):
        return problem.prompt
    turns = [message.content for message in problem.prompt if message.role == "user"]
    return "\n".join(turns or [message.content for message in problem.prompt])


@lru_cache(maxsize=2**16)  # reading, overlap and the halves of every seed ask for the same texts
def identity(text: str) -> str:
    """The id of a problem: 16 hex digits of the SHA-256 of its normalised text."""
    return hashlib.sha256(normalise(text).encode()).hexdigest()[:16]


def cluster_ids(problems: Sequence[Problem]) -> dict[str, str]:
    """problem id -> the hash of its normalised prompt; equal hashes are one cluster.

    Raises InputError when two rows have one problem id.
    """
    clusters = {problem.problem_id: identity(prompt_text(problem)) for problem in problems}
    if len(clusters) != len(problems):
        repeated = [name for name, rows in Counter(p.problem_id for p in problems).items() if rows > 1]
        raise InputError(
            f"problems: {len(repeated)} problem ids occur more than once: {_listed(repeated)}. Give each row its own id"
        )
    return clusters


@dataclass(frozen=True, kw_only=True, slots=True)
class Pools:
    """The labelled pool, its two halves and the pilot's part: problem ids by pool name, in the pool's order.

    `digests` holds the SHA-256 of each pool's sorted ids: what a report prints and a resume compares. A pool is
    asked for by name; "1H of 64" is the 1H of a pool of 64 problems. Such pools are nested, and so are their halves: a
    smaller one is part of every larger one.
    """

    seed: int
    ids: Mapping[str, tuple[str, ...]]
    digests: Mapping[str, str]

    def part(self, name: str) -> tuple[str, ...]:
        """The problem ids of a pool. Raises InputError when there are not so many problems."""
        if name in self.ids:
            return self.ids[name]
        base, _, size = name.partition(" of ")
        if base not in ("pool", "1H", "2H") or not size.isdecimal():
            raise InputError(f"pools: no pool {name!r:.60}; there are {', '.join(self.ids)}, and each half of fewer")
        if int(size) % 2 or int(size) > len(self.ids["pool"]):
            raise InputError(f"pools: {name}; an even number, and at most the {len(self.ids['pool'])} of the pool")
        chosen = {i for half in ("1H", "2H") for i in self._first(self.ids[half], int(size) // 2)}
        return tuple(problem_id for problem_id in self.ids[base] if problem_id in chosen)

    def _first(self, ids: tuple[str, ...], count: int) -> list[str]:
        return sorted(ids, key=lambda problem_id: (derive_seed("nested", self.seed, problem_id), problem_id))[:count]

    def digest(self, name: str) -> str:
        """The SHA-256 of a pool's sorted ids."""
        return self.digests.get(name) or fingerprint(sorted(self.part(name)))

    def beside(self, others: Mapping[str, tuple[str, ...]]) -> Pools:
        """With further pools by name, which are no part of the labelled one."""
        digests = {name: fingerprint(sorted(ids)) for name, ids in others.items()}
        return Pools(seed=self.seed, ids={**self.ids, **others}, digests={**self.digests, **digests})


def halves(problems: Sequence[Problem], seed: int) -> Pools:
    """The pools "pool", "1H", "2H" and "pilot"; duplicates of a problem always stay in one half.

    The halves are equal in size (1H one larger for an odd count) when no problem has a duplicate. Which half
    a problem falls in depends on the seed and the texts, not on the order of rows. "pilot" is 128 problems of 1H,
    with some of 2H only where 1H has fewer: so that what a pilot reads leaves 2H fresh.
    """
    clusters = cluster_ids(problems)
    rows = Counter(clusters.values())
    sizes = {"1H": 0, "2H": 0}
    side: dict[str, str] = {}
    # Large clusters first, so that the single ones can level the halves.
    for cluster in sorted(rows, key=lambda c: (-rows[c], derive_seed("halves", seed, c), c)):
        side[cluster] = "1H" if sizes["1H"] <= sizes["2H"] else "2H"
        sizes[side[cluster]] += rows[cluster]
    ids = {"pool": tuple(clusters)}
    for name in sizes:
        ids[name] = tuple(problem_id for problem_id, cluster in clusters.items() if side[cluster] == name)
    ids[PILOT] = _drawn(ids, seed)
    digests = {name: fingerprint(sorted(ids[name])) for name in ids}
    digests[PILOT] = fingerprint([PILOT, *sorted(ids[PILOT])])  # never that of a half: other work is drawn on it
    return Pools(seed=seed, ids=ids, digests=digests)


def _drawn(ids: Mapping[str, tuple[str, ...]], seed: int) -> tuple[str, ...]:
    """The pilot's problems, drawn by seed and id, 1H's before any of 2H; in the pool's order."""
    order = [
        problem_id
        for half in ("1H", "2H")
        for problem_id in sorted(ids[half], key=lambda one: (derive_seed("pilot", seed, one), one))
    ]
    chosen = frozenset(order[:PILOT_PROBLEMS])
    return tuple(problem_id for problem_id in ids["pool"] if problem_id in chosen)


@dataclass(frozen=True, kw_only=True, slots=True)
class NearDuplicate:
    """Two long texts that share word 8-grams: `share` of the grams of the text that has fewer, 0.5 to 1."""

    pool_id: str
    benchmark_id: str
    share: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Overlap:
    """What of a pool is in a benchmark of so many `problems`: pairs (pool id, benchmark id), each pair in one list.

    exact: the same text; normalised: the same but for case, spaces, LaTeX marks or an instruction around it;
    near: shared word 8-grams. A problem that is in two benchmarks is in the overlap of both.
    """

    problems: int
    exact: tuple[tuple[str, str], ...]
    normalised: tuple[tuple[str, str], ...]
    near: tuple[NearDuplicate, ...]

    @property
    def same(self) -> frozenset[str]:
        """Ids of the pool's problems that are in the benchmark, near-duplicates not counted."""
        return frozenset(pool_id for pool_id, _ in (*self.exact, *self.normalised))


class _Asked(NamedTuple):
    """What a problem asks: its text, the identity of that, and its text without the frame of its data set."""

    text: str
    whole: str
    inner: str
    framed: bool


def _asked(problems: Sequence[Problem]) -> list[_Asked]:
    texts = [prompt_text(problem) for problem in problems]
    inner = unframed(texts, [problem.source for problem in problems])
    return [_Asked(text, identity(text), inside, inside != text) for text, inside in zip(texts, inner, strict=True)]


def find_overlaps(pool: Sequence[Problem], benchmarks: Mapping[str, Sequence[Problem]]) -> dict[str, Overlap]:
    """What of a pool also occurs in each benchmark, in time linear in their length.

    A problem is found also inside the instruction that its data set writes around every problem (see `frame`).
    """
    mine = (pool, _asked(pool))
    held = {name: (benchmark, _asked(benchmark)) for name, benchmark in benchmarks.items()}
    near = _near_duplicates(mine, held)
    return {name: _overlap(_same(mine, benchmark), near[name], benchmark) for name, benchmark in held.items()}


def _overlap(same: Mapping[tuple[str, str], bool], near: Iterable[NearDuplicate], benchmark: _Side) -> Overlap:
    return Overlap(
        problems=len(benchmark[0]),
        exact=tuple(pair for pair, exact in same.items() if exact),
        normalised=tuple(pair for pair, exact in same.items() if not exact),
        near=tuple(pair for pair in near if (pair.pool_id, pair.benchmark_id) not in same),
    )


def _grams(text: str) -> set[tuple[str, ...]]:
    words = words_of(text)
    if len(words) < FEWEST_WORDS:
        return set()
    return set(zip(*(words[offset:] for offset in range(GRAM)), strict=False))


_Side = tuple[Sequence[Problem], Sequence[_Asked]]


def _same(pool: _Side, benchmark: _Side) -> dict[tuple[str, str], bool]:
    """Pairs of one problem -> whether their texts are the same word for word."""
    texts = {problem.problem_id: asked.text for problem, asked in zip(*benchmark, strict=True)}
    whole, inner = defaultdict(list), defaultdict(list)
    for problem, text in zip(*benchmark, strict=True):
        whole[text.whole].append(problem.problem_id)
        if text.framed:
            inner[identity(text.inner)].append(problem.problem_id)
    same: dict[tuple[str, str], bool] = {}
    for problem, text in zip(*pool, strict=True):
        found = [*whole.get(text.whole, ()), *inner.get(text.whole, ())]
        if text.framed:
            key = identity(text.inner)
            found += whole.get(key, ())
            # Of two frames ("What is half of N", "What is the double of N") a short inside says nothing.
            found += inner.get(key, ()) if len(text.inner.split()) >= GRAM else ()
        same |= {(problem.problem_id, benchmark_id): texts[benchmark_id] == text.text for benchmark_id in found}
    return same


class _Held(NamedTuple):
    """The grams of the benchmarks: gram -> (benchmark, its problem's place), set phrases left out; and their number."""

    holders: Mapping[tuple[str, ...], list[tuple[str, int]]]
    phrases: Mapping[str, frozenset[tuple[str, ...]]]
    sizes: Mapping[tuple[str, int], int]


def _held(benchmarks: Mapping[str, _Side]) -> _Held:
    holders: dict[tuple[str, ...], list[tuple[str, int]]] = defaultdict(list)
    phrases: dict[str, frozenset[tuple[str, ...]]] = {}
    sizes: Counter[tuple[str, int]] = Counter()
    for name, (_, texts) in benchmarks.items():
        grams = [_grams(text.inner) for text in texts]
        counts = Counter(gram for held in grams for gram in held)
        phrases[name] = frozenset(gram for gram, count in counts.items() if count > MOST_HOLDERS)
        for index, held in enumerate(grams):
            own = held - phrases[name]
            sizes[name, index] = len(own)
            for gram in own:
                holders[gram].append((name, index))
    return _Held(holders, phrases, sizes)


def _near_duplicates(pool: _Side, benchmarks: Mapping[str, _Side]) -> dict[str, list[NearDuplicate]]:
    held = _held(benchmarks)
    found: dict[str, list[NearDuplicate]] = {name: [] for name in benchmarks}
    for problem, text in zip(*pool, strict=True):
        grams = _grams(text.inner)
        shared = Counter(place for gram in grams for place in held.holders.get(gram, ()))
        for (name, index), count in sorted(shared.items()):
            fewer = min(len(grams - held.phrases[name]), held.sizes[name, index])
            share = count / fewer
            if share >= NEAR_SHARE and fewer >= FEWEST_GRAMS:
                benchmark_id = benchmarks[name][0][index].problem_id
                found[name].append(NearDuplicate(pool_id=problem.problem_id, benchmark_id=benchmark_id, share=share))
    return found


def contradictions(clusters: Mapping[str, str], answers: Mapping[str, str]) -> list[tuple[str, str]]:
    """Pairs (first id of a cluster, another of its ids) whose (normalised) answers differ, in the ids' order.

    `clusters` maps the id of a row to its cluster, `answers` the same ids to the gold answer.
    """
    first: dict[str, str] = {}
    pairs = []
    for name, cluster in clusters.items():
        kept = first.setdefault(cluster, name)
        if kept != name and normalise(answers[name]) != normalise(answers[kept]):
            pairs.append((kept, name))
    return pairs


def _listed(names: Sequence[str], most: int = LISTED) -> str:
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")
