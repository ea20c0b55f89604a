"""Claims about what is one problem, how pools are halved, and what overlaps a benchmark."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from headwater.errors import InputError
from headwater.problems.arithmetic import problem_set
from headwater.problems.pools import (
    PILOT_PROBLEMS,
    Overlap,
    cluster_ids,
    find_overlaps,
    halves,
    normalise,
    words_of,
)
from headwater.records import Message, Problem

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"

FIVE_KINDS = [
    ("exact", "Let $x+1 = \\frac{1}{2}$. Find $x$.", "Let $x+1 = \\frac{1}{2}$. Find $x$."),
    ("case", "Find the value of $2 + 3$.", "FIND THE VALUE OF $2 + 3$."),
    ("space", "Solve  $ y = 4 $ for\n\ty.", "Solve $y=4$ for y. "),
    (
        "latex",
        "Evaluate $\\left( \\dfrac{3}{4} \\right)\\,+\\!10{,}000$.",
        "Evaluate \\((\\frac{3}{4})+10,000\\).",
    ),
    ("unicode", "Janet’s ﬁrst “try” was 5 − 3\u200b.", 'Janet\'s first "try" was 5 - 3.'),
]

VARIANTS: dict[str, Callable[[str], str]] = {
    "exact": lambda text: text,
    "upper case": str.upper,
    "wide spaces": lambda text: text.replace(" ", " \n "),
    "no dollars": lambda text: text.replace("$", ""),
    "round delimiters": lambda text: re.sub(r"\$([^$]*)\$", r"\\(\1\\)", text),
    "displayed": lambda text: re.sub(r"\$([^$]*)\$", r"\\[ \1 \\]", text),
    "thin spaces": lambda text: text.replace("+", "\\,+\\;"),
    "left and right": lambda text: text.replace("(", "\\left(").replace(")", "\\right)"),
    "display fractions": lambda text: text.replace("\\frac", "\\dfrac"),
    "non-breaking spaces": lambda text: text.replace(" ", "\u00a0"),
}


def problem(name: str, text: str) -> Problem:
    return Problem(problem_id=name, prompt=text, source="test")


def overlap(pool: list[Problem], benchmark: list[Problem]) -> Overlap:
    return find_overlaps(pool, {"held": benchmark})["held"]


def texts(*prompts: str) -> list[Problem]:
    return [problem(f"p{index}", prompt) for index, prompt in enumerate(prompts)]


@pytest.mark.parametrize(("kind", "one", "other"), FIVE_KINDS, ids=[kind for kind, _, _ in FIVE_KINDS])
def test_five_kinds_of_duplicate_are_one_cluster(kind: str, one: str, other: str) -> None:
    assert normalise(one) == normalise(other), kind
    assert len(set(cluster_ids(texts(one, other)).values())) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("compute 1 2", "compute 12"),
        ("x + 1", "x - 1"),
        ("find 2x", "find 3x"),
        ("\\leftarrow", "arrow"),
        ("\\frac{1}{2}", "\\frac{2}{1}"),
        ("5% of 10", "5 of 10"),
        ("17 -8 *3 :", "17 +8 *3 :"),
    ],
)
def test_different_problems_stay_apart(one: str, other: str) -> None:
    assert normalise(one) != normalise(other)


def test_a_chat_is_the_problem_its_user_asks() -> None:
    turns = (Message(role="system", content="Be brief."), Message(role="user", content="What is $2+2$?"))
    chat = Problem(problem_id="chat", prompt=turns, source="test")
    clusters = cluster_ids([chat, problem("text", "what is 2 + 2?")])
    assert clusters["chat"] == clusters["text"]


def test_a_repeated_problem_id_is_refused() -> None:
    with pytest.raises(InputError, match="more than once: same"):
        cluster_ids([problem("same", "one"), problem("same", "two")])


def benchmark() -> list[Problem]:
    return [
        problem(
            f"b{index}",
            f"Let $f(x) = \\frac{{x + {index}}}{{(x - 1)}}$ for real $x$. Find the sum of all values of "
            f"$x$ with $f(x) + {index * index} = 0$, and state how many there are in the interval.",
        )
        for index in range(2, 30)
    ]


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_planted_copy_is_found(variant: str) -> None:
    original = benchmark()
    planted = [problem(f"copy of {p.problem_id}", VARIANTS[variant](str(p.prompt))) for p in original]
    own = problem_set(50, 0)[0]
    found = overlap([*own, *planted], original)
    assert {*found.exact, *found.normalised} == {(f"copy of {p.problem_id}", p.problem_id) for p in original}


LONG = (
    "A farmer has seventeen sheep and buys twelve more at the market on Monday. On Tuesday he sells nine of "
    "them to his neighbour for forty dollars each. How many sheep does the farmer have on Wednesday morning?"
)


@pytest.mark.parametrize(
    ("kind", "text", "least"),
    [
        ("instruction added", f"Solve this problem. {LONG} Give the number only.", 0.99),
        ("a name changed", LONG.replace("Wednesday", "Friday"), 0.8),
        ("a number changed", LONG.replace("forty", "fifty"), 0.6),
        ("cut short", " ".join(LONG.split()[:25]), 0.99),
    ],
)
def test_near_duplicates_are_no_copies(kind: str, text: str, least: float) -> None:
    near = overlap([problem("mine", text)], [*benchmark(), problem("sheep", LONG)]).near
    assert [(pair.pool_id, pair.benchmark_id) for pair in near] == [("mine", "sheep")], kind
    assert least <= near[0].share <= 1


def test_short_and_unrelated_texts_are_no_near_duplicates() -> None:
    pool = texts(
        "How many sheep does the farmer have on Wednesday morning?",
        "A train leaves the station at noon and travels for seven hours at a constant speed before it stops "
        "at the last town. How far from the station is the town if the speed was sixty miles an hour?",
    )
    found = overlap(pool, [problem("sheep", LONG)])
    assert (found.same, found.near) == (frozenset(), ())


def test_a_set_phrase_that_many_problems_hold_makes_no_near_duplicate() -> None:
    phrase = "Please reason step by step and put your final answer within a box at the very end of it."
    bench = [problem(f"b{i}", f"{phrase} Topic {i} a{i} b{i} c{i} d{i} e{i} f{i} g{i} h{i}") for i in range(60)]
    found = overlap([problem("mine", f"{phrase} Quite something else.")], bench)
    assert (found.same, found.near) == (frozenset(), ())


def test_words_are_numbers_letters_and_single_ideographs() -> None:
    assert words_of("Let $x_{12}\\,=\\dfrac{3}{4}$; 数列") == ["let", "x", "12", "frac", "3", "4", "数", "列"]


def test_the_halves_are_equal_disjoint_and_make_the_pool() -> None:
    problems = problem_set(256, 0)[0]
    pools = halves(problems, 0)
    assert list(pools.ids) == ["pool", "1H", "2H", "pilot"]
    assert pools.ids["pool"] == tuple(p.problem_id for p in problems)
    assert len(pools.ids["1H"]) == len(pools.ids["2H"]) == 128
    assert set(pools.ids["1H"]) | set(pools.ids["2H"]) == set(pools.ids["pool"])
    assert pools.seed == 0


def test_the_split_depends_on_seed_and_texts_and_not_on_the_order_of_rows() -> None:
    problems = problem_set(100, 0)[0]
    one, turned = halves(problems, 3), halves(problems[::-1], 3)
    assert one == halves(problems, 3)
    assert set(one.ids["1H"]) == set(turned.ids["1H"])
    assert one.digests == turned.digests
    assert one.digests["1H"] != halves(problems, 4).digests["1H"]


def test_a_pilots_problems_are_drawn_from_1h_and_from_2h_only_where_it_has_too_few() -> None:
    problems = problem_set(400, 0)[0]
    drawn, turned = halves(problems, 3), halves(problems[::-1], 3)
    assert set(drawn.ids["pilot"]) == set(turned.ids["pilot"])
    assert drawn.digests == turned.digests
    assert len(drawn.ids["pilot"]) == PILOT_PROBLEMS
    assert set(drawn.ids["pilot"]) < set(drawn.ids["1H"])
    assert drawn.ids["pilot"] == tuple(one for one in drawn.ids["pool"] if one in set(drawn.ids["pilot"]))
    assert drawn.ids["pilot"] != drawn.ids["1H"][:PILOT_PROBLEMS]  # not the first rows, which may be the easy ones
    few = halves(problems[:150], 3)
    assert set(few.ids["1H"]) < set(few.ids["pilot"])
    assert len(set(few.ids["pilot"])) == PILOT_PROBLEMS


def test_duplicates_never_fall_on_both_sides() -> None:
    base = problem_set(60, 0)[0]
    copies = [
        problem(f"{p.problem_id} copy {number}", f" {str(p.prompt).replace(' ', '  ' * (number + 1))}")
        for index, p in enumerate(base)
        for number in range(index % 4)
    ]
    pools = halves([*base, *copies], 1)
    clusters = cluster_ids([*base, *copies])
    sides = [{clusters[problem_id] for problem_id in pools.ids[name]} for name in ("1H", "2H")]
    assert not sides[0] & sides[1]
    assert abs(len(pools.ids["1H"]) - len(pools.ids["2H"])) <= 1


def test_twenty_thousand_problems_are_split_and_checked_quickly() -> None:
    problems = problem_set(20_000, 0)[0]
    begin = time.process_time()
    pools = halves(problems, 0)
    found = overlap(problems, problems[:500]).same
    assert time.process_time() - begin < 10
    assert len(pools.ids["1H"]) == 10_000
    assert len(found) == 500


def shared_problems(name: str) -> list[Problem]:
    path = SHARED / f"{name}.jsonl"
    if not path.exists():
        pytest.skip(f"no shared data at {path}")
    rows = [json.loads(line) for line in path.read_text().split("\n") if line]  # not splitlines: U+2028 in a problem
    return [problem(row["id"], row["problem"]) for row in rows]


def test_dapo_holds_math_500_problems_and_gsm8k_train_no_test_problem() -> None:
    dapo = shared_problems("dapo_math_17k_en")
    assert overlap(dapo, shared_problems("math500_even")).same
    gsm8k = shared_problems("gsm8k_train"), shared_problems("gsm8k_test_even")
    found = overlap(*gsm8k)
    assert not found.same
    assert len(found.near) < 10
