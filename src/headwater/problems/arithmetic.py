"""Problems made here: chains of operations modulo 23, with three ways of writing the way to the answer.

    prompt   17 -8 *3 +5 :
    careful  17 -8 9 *3 4 +5 9 # 9     every operation its own step
    hasty    17 -8 *3 4 +5 9 # 9       1 to 3 operations a step, each result random with probability 0.10
    direct   # 9                       the right answer without a step

Nothing in a prompt marks a style, so a model trained on the mixture samples the styles in their shares, and
reward can shift them. The label of a problem is the number after `#` alone. More than 100 million problems.

Left out: the end token (the tokenizer side adds it) and every other operation than + - * with 2 to 9.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

import numpy as np

from headwater.errors import InputError
from headwater.problems.pools import identity
from headwater.records import Problem

MODULUS = 23
STEPS = (3, 5)
"""Fewest and most operations of a problem; a single-step exercise has one."""
ERROR_PROBABILITY = 0.10
"""How often a hasty result is replaced by a random number (which is the right one in 1 of 23 cases)."""
MOST_MERGED = 3

PAD, END, ASK, ANSWER = "<pad>", "<eos>", ":", "#"
NUMBERS = tuple(str(number) for number in range(MODULUS))
OPERATIONS = tuple(f"{sign}{operand}" for sign in "+-*" for operand in range(2, 10))
VOCABULARY = (PAD, END, ASK, ANSWER, *NUMBERS, *OPERATIONS)
"""The 51 word tokens; the index is the token id."""

_APPLY = {"+": lambda a, b: a + b, "-": lambda a, b: a - b, "*": lambda a, b: a * b}
_RESULT = {
    operation: tuple(_APPLY[operation[0]](value, int(operation[1:])) % MODULUS for value in range(MODULUS))
    for operation in OPERATIONS
}
"""operation -> the result for each value 0..22: a look-up is quicker than parsing the operation each time."""


@dataclass(frozen=True, slots=True)
class Chain:
    """A start value 0..22 and operations such as "-8", applied left to right modulo 23."""

    start: int
    operations: tuple[str, ...]

    @property
    def prompt(self) -> str:
        """The problem as text: "17 -8 *3 +5 :"."""
        return f"{self.start} {' '.join(self.operations)} {ASK}"

    @property
    def answer(self) -> str:
        """The value after the last operation, as text."""
        return str(_apply(self.start, self.operations))


def _apply(value: int, operations: tuple[str, ...]) -> int:
    for operation in operations:
        value = _RESULT[operation][value]
    return value


def careful(chain: Chain) -> str:
    """The response that writes the result of every operation, all of them right."""
    value, words = chain.start, [str(chain.start)]
    for operation in chain.operations:
        value = _RESULT[operation][value]
        words += [operation, str(value)]
    return " ".join([*words, ANSWER, str(value)])


def hasty(chain: Chain, rng: np.random.Generator) -> str:
    """The response that merges 1 to 3 operations a step and gets each written result wrong one time in ten.

    A wrong result is carried on: the next step starts from what was written. The answer is the last result.
    """
    longest = len(chain.operations)
    merges = rng.integers(1, MOST_MERGED + 1, size=longest)
    slips = rng.random(longest) < ERROR_PROBABILITY
    replacements = rng.integers(0, MODULUS, size=longest)
    value, done, words = chain.start, 0, [str(chain.start)]
    for merge, slip, replacement in zip(merges, slips, replacements, strict=True):
        merged = chain.operations[done : done + merge]
        if not merged:
            break
        value = int(replacement) if slip else _apply(value, merged)
        words += [*merged, str(value)]
        done += len(merged)
    return " ".join([*words, ANSWER, str(value)])


def direct(chain: Chain) -> str:
    """The response that gives the right answer and no step."""
    return f"{ANSWER} {chain.answer}"


def style(response_text: str) -> str:
    """The style a response is written in: "careful", "hasty", "direct" or "other", by its form alone.

    A hasty response that happens to merge nothing has the form of a careful one and is called so.
    """
    words = response_text.removesuffix(END).split()
    if len(words) < 2 or words[-2] != ANSWER or words[-1] not in NUMBERS:
        return "other"
    steps = words[:-2]
    if not steps:
        return "direct"
    kinds = "".join("n" if word in NUMBERS else "o" if word in _RESULT else "?" for word in steps)
    runs = kinds[1:].split("n")
    regular = kinds[0] == "n" and runs[-1] == "" and all(set(run) == {"o"} for run in runs[:-1])
    if not regular or len(runs) < 2 or steps[-1] != words[-1]:
        return "other"
    if all(len(run) == 1 for run in runs[:-1]):
        return "careful"
    return "hasty" if all(len(run) <= MOST_MERGED for run in runs[:-1]) else "other"


def draw_chain(rng: np.random.Generator, fewest: int = STEPS[0], most: int = STEPS[1]) -> Chain:
    """One chain with uniformly `fewest` to `most` operations."""
    length = int(rng.integers(fewest, most + 1))
    operations = tuple(OPERATIONS[index] for index in rng.integers(0, len(OPERATIONS), size=length))
    return Chain(int(rng.integers(0, MODULUS)), operations)


def problem_set(
    count: int, seed: int, *, exclude: AbstractSet[str] = frozenset()
) -> tuple[list[Problem], dict[str, str]]:
    """`count` distinct problems whose ids are not in `exclude`, and the answers by problem id."""
    rng = np.random.default_rng(seed)
    problems: list[Problem] = []
    answers: dict[str, str] = {}
    while len(problems) < count:  # of 23 x 24^5 and more: a repeat is rare
        chain = draw_chain(rng)
        problem_id = identity(chain.prompt)
        if problem_id not in exclude and problem_id not in answers:
            problems.append(Problem(problem_id=problem_id, prompt=chain.prompt, source="arithmetic"))
            answers[problem_id] = chain.answer
    return problems, answers


def by_operations(problem: Problem) -> str:
    """A source for each length of a chain: "operations-4"."""
    return f"operations-{len(str(problem.prompt).split()) - 2}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Corpus:
    """The pretraining mixture: shares of the styles, and of single-step exercises among all examples.

    `single_step_share` of the examples are single-step exercises ("17 -8 :" -> "17 -8 9 # 9"); the rest
    follow the style shares, which sum to 1. Problems in `exclude` (test and labelled ones) never occur.
    Raises InputError for shares that are no shares.
    """

    careful: float = 0.30
    hasty: float = 0.40
    direct: float = 0.30
    single_step_share: float = 0.20
    exclude: AbstractSet[str] = field(default=frozenset(), repr=False)

    def __post_init__(self) -> None:
        shares = (self.careful, self.hasty, self.direct)
        if min(shares) < 0 or abs(sum(shares) - 1) > 1e-9 or not 0 <= self.single_step_share <= 1:
            raise InputError(
                f"corpus: shares careful, hasty, direct are {shares} and single_step_share is "
                f"{self.single_step_share}; shares must not be negative and the styles must sum to 1"
            )

    def batch(self, step_seed: int, size: int, single_step_only: bool = False) -> list[tuple[str, str]]:
        """`size` pairs (prompt text, response text); the same seed gives the same pairs."""
        rng = np.random.default_rng(step_seed)
        # One draw for the whole batch: a NumPy call for each number would take most of the time.
        single = rng.random(size) < self.single_step_share
        styles = rng.random(size)
        lengths = rng.integers(STEPS[0], STEPS[1] + 1, size=size).tolist()
        starts = rng.integers(0, MODULUS, size=size).tolist()
        operations = rng.integers(0, len(OPERATIONS), size=(size, STEPS[1])).tolist()
        pairs = []
        for index in range(size):
            is_single = single_step_only or bool(single[index])
            chosen = operations[index][: 1 if is_single else lengths[index]]
            chain = Chain(starts[index], tuple(OPERATIONS[operation] for operation in chosen))
            while identity(chain.prompt) in self.exclude:
                chain = draw_chain(rng, 1, 1) if is_single else draw_chain(rng)
            response = careful(chain) if is_single else self._respond(chain, float(styles[index]), rng)
            pairs.append((chain.prompt, response))
        return pairs

    def _respond(self, chain: Chain, style_draw: float, rng: np.random.Generator) -> str:
        if style_draw < self.careful:
            return careful(chain)
        return hasty(chain, rng) if style_draw < self.careful + self.hasty else direct(chain)
