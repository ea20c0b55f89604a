"""Claims about taking a benchmark's problems out of a pool, and about the record of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from headwater.errors import LabelError
from headwater.fingerprint import plain
from headwater.problems.arithmetic import problem_set
from headwater.problems.files import FileSource, read_problems
from headwater.problems.frame import unframed
from headwater.problems.overlap import drop_overlap
from headwater.problems.pools import find_overlaps
from headwater.records import Message, Problem

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"

DAPO = (
    "Solve the following math problem step by step. The last line of your response should be of the form Answer: "
    "$Answer (without quotes) where $Answer is the answer to the problem.\n\n",
    '\n\nRemember to put your answer on its own line after "Answer:".',
)
GSM8K = ("", ' Let\'s think step by step and output the final answer after "####".')

SHEEP = (
    "A farmer has seventeen sheep and buys twelve more at the market on Monday. On Tuesday he sells nine of "
    "them to his neighbour for forty dollars each. How many sheep does the farmer have on Wednesday morning?"
)


def problem(name: str, text: str, source: str = "test") -> Problem:
    return Problem(problem_id=name, prompt=text, source=source)


def pool() -> list[Problem]:
    return [
        problem("copy", "Let $x+1 = \\frac{1}{2}$. Find $x$."),
        problem("own", "How many apples are there in the basket?"),
        problem("variant", "find the VALUE of 2 + 3."),
        problem("near", f"Solve this problem. {SHEEP} Give the number only."),
    ]


BENCHMARKS = {
    "one": [problem("b1", "Let $x+1 = \\frac{1}{2}$. Find $x$."), problem("b2", SHEEP)],
    "two": [problem("b3", "Find the value of $2 + 3$."), problem("b4", "let $x+1=\\dfrac{1}{2}$. find $x$.")],
}


def test_copies_and_variants_are_taken_out_and_near_duplicates_listed() -> None:
    kept, record = drop_overlap(pool(), BENCHMARKS, pool_name="labels")
    assert [p.problem_id for p in kept] == ["own", "near"]
    assert record.dropped == ("copy", "variant")
    assert (record.problems, record.kept, record.near_dropped) == (4, 2, False)
    one, two = record.benchmarks["one"], record.benchmarks["two"]
    assert (one.exact, one.normalised) == ((("copy", "b1"),), ())
    assert (two.exact, two.normalised) == ((), (("copy", "b4"), ("variant", "b3")))
    assert [(pair.pool_id, pair.benchmark_id) for pair in one.near] == [("near", "b2")]


def test_near_duplicates_are_taken_out_when_asked() -> None:
    kept, record = drop_overlap(pool(), BENCHMARKS, near=True)
    assert [p.problem_id for p in kept] == ["own"]
    assert record.dropped == ("copy", "variant", "near")


def test_what_is_kept_holds_no_problem_of_a_benchmark() -> None:
    assert find_overlaps(pool(), BENCHMARKS)["one"].same
    kept, _ = drop_overlap(pool(), BENCHMARKS)
    assert not any(found.same for found in find_overlaps(kept, BENCHMARKS).values())


def test_a_pool_without_overlap_is_kept_as_it_is() -> None:
    mine = problem_set(50, 0)[0]
    kept, record = drop_overlap(mine, BENCHMARKS)
    assert kept == mine
    assert str(record) == (
        "0 of 50 problems of pool removed, near-duplicates kept: 0 in one (0 word for word, 0 after normalisation; "
        "0 more are near-duplicates); 0 in two (0 word for word, 0 after normalisation; 0 more are near-duplicates)"
    )


def test_the_record_holds_no_text() -> None:
    _, record = drop_overlap(pool(), BENCHMARKS)
    written = json.dumps(plain(record))
    assert "sheep" not in written
    assert json.loads(written)["benchmarks"]["one"]["near"] == [{"pool_id": "near", "benchmark_id": "b2", "share": 1.0}]


def test_a_pool_of_which_nothing_is_left_is_refused() -> None:
    with pytest.raises(LabelError, match="all 1 problems of labels also occur in benchmark one, two; choose another"):
        drop_overlap(pool()[:1], BENCHMARKS, pool_name="labels")


QUESTIONS = [
    f"{start} {count} {thing} in a box that weighs {count + 3} pounds. How heavy are {count - 1} {thing}?"
    for count, thing in enumerate(("apples", "pears", "nuts", "stones", "coins", "balls"), 2)
    for start in ("There are", "A man has")
]


@pytest.mark.parametrize("mine", [("", ""), DAPO, GSM8K], ids=["plain", "DAPO", "GSM8K"])
@pytest.mark.parametrize("theirs", [("", ""), DAPO, GSM8K], ids=["plain", "DAPO", "GSM8K"])
def test_a_copy_is_found_inside_the_instruction_around_every_problem(
    mine: tuple[str, str], theirs: tuple[str, str]
) -> None:
    labels = [problem(f"p{n}", f"{mine[0]}{text}{mine[1]}") for n, text in enumerate(QUESTIONS)]
    held = [problem(f"b{n}", f"{theirs[0]}{text}{theirs[1]}") for n, text in enumerate(QUESTIONS[:9])]
    found = find_overlaps(labels, {"held": held})["held"]
    assert {*found.exact, *found.normalised} == {(f"p{n}", f"b{n}") for n in range(9)}
    assert len(found.exact) == (9 if mine == theirs else 0)


def test_an_instruction_in_messages_is_seen_through_as_well() -> None:
    turns = [(Message(role="user", content=f"{DAPO[0]}{text}{DAPO[1]}"),) for text in QUESTIONS]
    labels = [Problem(problem_id=f"p{n}", prompt=turn, source="math_dapo") for n, turn in enumerate(turns)]
    assert len(find_overlaps(labels, {"held": [problem("b", QUESTIONS[3])]})["held"].same) == 1


def test_two_templates_with_the_same_number_are_two_problems() -> None:
    mine = [problem(f"p{n}", f"What is the double of the number {n}?") for n in range(20)]
    theirs = [problem(f"b{n}", f"Please tell me half of the number {n}?") for n in range(20)]
    assert not find_overlaps(mine, {"held": theirs})["held"].same


def test_a_frame_is_cut_at_words_and_only_off_many_texts_of_one_source() -> None:
    texts = [f"Please solve this for me now: A{'n' * (n % 2)} item costs {n} dollars." for n in range(9)]
    assert unframed(texts, ["s"] * 9)[:2] == ["A item costs 0 dollars.", "An item costs 1 dollars."]
    assert unframed(texts, [f"s{n}" for n in range(9)]) == texts
    assert unframed(texts[:4], ["s"] * 4) == texts[:4]
    assert unframed(["the same text of six words"] * 9, ["s"] * 9) == ["the same text of six words"] * 9
    assert unframed([], []) == []


def shared(name: str) -> list[Problem]:
    path = SHARED / f"{name}.jsonl"
    if not path.exists():
        pytest.skip(f"no shared data at {path}")
    return list(read_problems(FileSource(path=str(path), on_bad="drop")).problems)


def test_dapo_in_verls_layout_gives_up_the_same_math_500_problems_as_without_its_instruction() -> None:
    dapo, math500 = shared("dapo_math_17k_en"), shared("math500_even")
    _, record = drop_overlap(dapo, {"math-500": math500}, pool_name="dapo")
    found = record.benchmarks["math-500"]
    assert len(record.dropped) == 4
    assert len({pair.pool_id for pair in found.near} - found.same) == 9
    some = [*dapo[:1000], *(p for p in dapo[1000:] if p.problem_id in record.dropped)]
    wrapped = [problem(p.problem_id, f"{DAPO[0]}{p.prompt}{DAPO[1]}", "math_dapo") for p in some]
    assert set(drop_overlap(wrapped, {"math-500": math500})[1].dropped) == set(record.dropped)


def test_dapo_repeats_math_train_and_what_is_left_does_not() -> None:
    # 1,735 on the full original sets (../shared/data/README.md), of which 17 prompts and 2 problems are not here.
    dapo = [*shared("dapo_math_17k_en"), *shared("dapo_math_17k_zh")]
    math_train = shared("math_train")
    kept, record = drop_overlap(dapo, {"math train": math_train}, pool_name="dapo")
    assert 1_715 <= len(record.dropped) == len(dapo) - len(kept) <= 1_735
    ids = {p.problem_id for p in math_train}
    assert not ids & {p.problem_id for p in kept}
