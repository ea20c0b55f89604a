"""Claims about the chains modulo 23 and the three ways of writing their solution."""

from __future__ import annotations

import time
from collections import Counter

import numpy as np
import pytest

from headwater.errors import InputError
from headwater.problems import arithmetic
from headwater.problems.arithmetic import (
    Chain,
    Corpus,
    careful,
    direct,
    draw_chain,
    hasty,
    problem_set,
    style,
)
from headwater.problems.pools import cluster_ids, identity

EXAMPLE = Chain(17, ("-8", "*3", "+5"))


def evaluate(value: int, operations: list[str]) -> int:
    """The value after the operations, worked out apart from the module."""
    for operation in operations:
        sign, operand = operation[0], int(operation[1:])
        value = value + operand if sign == "+" else value - operand if sign == "-" else value * operand
    return value % 23


def steps_of(response: str) -> tuple[list[tuple[int, list[str], int]], int]:
    """The steps (value before, operations, result written) of a response, and its final answer."""
    *words, mark, answer = response.split()
    assert mark == "#"
    steps = []
    value, pending = int(words[0]) if words else -1, []
    for word in words[1:]:
        if word[0] in "+-*":
            pending.append(word)
        else:
            steps.append((value, pending, int(word)))
            value, pending = int(word), []
    assert not pending
    return steps, int(answer)


def chains(count: int, seed: int = 0) -> list[Chain]:
    rng = np.random.default_rng(seed)
    return [draw_chain(rng) for _ in range(count)]


def test_the_vocabulary_is_51_words_in_the_declared_order() -> None:
    words = arithmetic.VOCABULARY
    assert len(words) == len(set(words)) == 51
    assert words[:4] == ("<pad>", "<eos>", ":", "#")
    assert words[4:27] == tuple(str(number) for number in range(23))
    assert all(word[0] in "+-*" and 2 <= int(word[1:]) <= 9 for word in words[27:])


def test_the_example_of_the_docstring() -> None:
    assert EXAMPLE.prompt == "17 -8 *3 +5 :"
    assert careful(EXAMPLE) == "17 -8 9 *3 4 +5 9 # 9"
    assert direct(EXAMPLE) == "# 9"
    assert careful(Chain(17, ("-8",))) == "17 -8 9 # 9"
    written = {hasty(EXAMPLE, np.random.default_rng(seed)) for seed in range(200)}
    assert "17 -8 *3 4 +5 9 # 9" in written


def test_a_careful_response_writes_every_result_and_all_are_right() -> None:
    for chain in chains(300):
        steps, answer = steps_of(careful(chain))
        assert [operations for _, operations, _ in steps] == [[operation] for operation in chain.operations]
        assert all(evaluate(value, operations) == result for value, operations, result in steps)
        assert answer == evaluate(chain.start, list(chain.operations)) == int(chain.answer)


def test_a_direct_response_is_the_right_answer_alone() -> None:
    for chain in chains(300):
        assert direct(chain) == f"# {evaluate(chain.start, list(chain.operations))}"


def test_a_hasty_response_restates_the_chain_and_merges_one_to_three_operations() -> None:
    rng = np.random.default_rng(1)
    merged = Counter()
    for chain in chains(2000):
        steps, answer = steps_of(hasty(chain, rng))
        assert steps[0][0] == chain.start
        assert [operation for _, operations, _ in steps for operation in operations] == list(chain.operations)
        assert answer == steps[-1][2], "the answer is the last result, right or wrong"
        merged.update(len(operations) for _, operations, _ in steps[:-1])
    assert set(merged) == {1, 2, 3}
    assert merged[1] / merged.total() > 0.3


def test_a_hasty_result_is_random_one_time_in_ten() -> None:
    rng = np.random.default_rng(2)
    wrong = [
        evaluate(value, operations) != result
        for chain in chains(6000)
        for value, operations, result in steps_of(hasty(chain, rng))[0]
    ]
    expected = 0.10 * 22 / 23  # a random number is the right one in 1 of 23
    error = (expected * (1 - expected) / len(wrong)) ** 0.5
    assert len(wrong) > 10_000
    assert abs(np.mean(wrong) - expected) < 4 * error


def test_lengths_stay_within_7_and_14_tokens_of_the_vocabulary() -> None:
    prompts, responses = zip(*Corpus().batch(3, 3000), strict=True)
    assert max(len(text.split()) for text in prompts) == 7
    assert max(len(text.split()) + 1 for text in responses) == 14, "with the end token"
    assert {word for text in prompts + responses for word in text.split()} <= set(arithmetic.VOCABULARY)


def test_the_operations_of_a_problem_are_three_to_five_uniformly() -> None:
    lengths = Counter(len(chain.operations) for chain in chains(6000))
    assert set(lengths) == {3, 4, 5}
    assert all(abs(count - 2000) < 160 for count in lengths.values())


def test_problem_sets_are_distinct_deterministic_and_hold_no_excluded_problem() -> None:
    test, answers = problem_set(400, 7)
    assert problem_set(400, 7) == (test, answers)
    assert problem_set(400, 8)[0] != test
    assert len({problem.problem_id for problem in test}) == 400 == len(set(answers))
    assert cluster_ids(test) == {problem.problem_id: problem.problem_id for problem in test}
    again, _ = problem_set(400, 7, exclude=set(answers))
    assert not set(answers) & {problem.problem_id for problem in again}
    for problem in test:
        start, *operations, colon = str(problem.prompt).split()
        assert colon == ":"
        assert answers[problem.problem_id] == str(evaluate(int(start), operations))


def test_a_problem_holds_no_answer() -> None:
    (problem,), answers = problem_set(1, 0)
    assert set(answers) == {problem.problem_id}
    assert "#" not in str(problem.prompt)


def test_the_corpus_never_yields_an_excluded_problem() -> None:
    seen = {identity(prompt) for prompt, _ in Corpus().batch(11, 500)}
    without = Corpus(exclude=frozenset(seen)).batch(11, 500)
    assert len(without) == 500
    assert not seen & {identity(prompt) for prompt, _ in without if len(prompt.split()) > 3}


def test_an_excluded_single_step_exercise_does_not_occur_either() -> None:
    prompts = sorted({prompt for prompt, _ in Corpus().batch(0, 200, single_step_only=True)})
    without = Corpus(exclude=frozenset(map(identity, prompts))).batch(0, 200, single_step_only=True)
    assert not set(prompts) & {prompt for prompt, _ in without}
    assert all(len(prompt.split()) == 3 for prompt, _ in without)


def test_a_batch_is_a_function_of_its_seed() -> None:
    corpus = Corpus()
    assert corpus.batch(5, 64) == corpus.batch(5, 64)
    assert corpus.batch(5, 64) != corpus.batch(6, 64)
    assert corpus.batch(2**64 - 1, 4)


def test_a_fifth_of_the_examples_are_exercises_and_the_rest_follow_the_style_shares() -> None:
    pairs = Corpus(careful=0.2, hasty=0.5, direct=0.3).batch(9, 8000)
    problems = [response for prompt, response in pairs if len(prompt.split()) > 3]
    assert abs(1 - len(problems) / 8000 - 0.20) < 0.02
    assert abs(sum(response.startswith("#") for response in problems) / len(problems) - 0.3) < 0.025
    assert sum(style(response) == "hasty" for response in problems) / len(problems) > 0.35
    assert {style(response) for _, response in pairs} == {"careful", "hasty", "direct"}


def test_the_first_phase_is_exercises_only() -> None:
    for prompt, response in Corpus().batch(4, 200, single_step_only=True):
        start, operation, _ = prompt.split()
        result = evaluate(int(start), [operation])
        assert response == f"{start} {operation} {result} # {result}"


def test_one_style_alone_is_possible_and_bad_shares_are_refused() -> None:
    alone = Corpus(careful=1.0, hasty=0.0, direct=0.0, single_step_share=0.0)
    assert {style(response) for _, response in alone.batch(0, 100)} == {"careful"}
    for shares in ({"careful": 0.5}, {"careful": -0.1, "hasty": 0.8}, {"single_step_share": 1.5}):
        with pytest.raises(InputError, match="shares"):
            Corpus(**shares)


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        ("17 -8 9 *3 4 +5 9 # 9", "careful"),
        ("17 -8 *3 4 +5 9 # 9 <eos>", "hasty"),
        ("17 -8 *3 +5 2 # 2", "hasty"),
        ("# 9", "direct"),
        ("", "other"),
        ("# ", "other"),
        ("17 # 9", "other"),
        ("17 -8 9 # 4", "other"),
        ("17 9 -8 9 # 9", "other"),
        ("17 -8 *3 +5 +2 9 # 9", "other"),
        ("17 -8 # 9 # 9", "other"),
        ("# 23", "other"),
    ],
)
def test_styles_are_told_by_their_form(response: str, expected: str) -> None:
    assert style(response) == expected


def test_a_batch_of_64_takes_less_than_three_milliseconds() -> None:
    corpus = Corpus(exclude=frozenset(identity(problem.prompt) for problem in problem_set(656, 1)[0]))
    corpus.batch(0, 64)
    times = []
    for seed in range(20):
        begin = time.process_time()
        corpus.batch(seed, 64)
        times.append(time.process_time() - begin)
    assert min(times) < 0.003
