"""Claims about where the final answer of a response is found."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.verifiers.extract import LONGEST_ANSWER, find_answer

N = 1_000_000


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("17 -8 9 # 9 <eos>", "9"),
        ("17 -8 9 # 9", "9"),
        ("# 9<eos>", "9"),
        ("# 3 # 9", "9"),
        ("# 9 9", "9 9"),
        ("# 9 <eos> # 4 <eos>", "4"),
        ("17 -8 9", None),
        ("17 # ", None),
        ("17 # <eos>", None),
        ("9 <eos> # 9", "9"),
        ("", None),
        ("# 1 or # 2", None),
        ("# 1 and # 2", None),
        ("# " + "1" * (LONGEST_ANSWER + 1), None),
    ],
)
def test_the_answer_stands_between_the_last_marker_and_the_end(text: str, answer: str | None) -> None:
    assert find_answer(text, "marker", "#", "<eos>") == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("14", "14"),
        ("The answer is 14.", "14"),
        ("7 + 7 = 14", "14"),
        ("7+7=14", "14"),
        ("10-3", "3"),
        ("It is -3", "-3"),
        ("It is 1,234,567.", "1,234,567"),
        ("3.5 apples", "3.5"),
        ("14 and 14", "14"),
        ("14 or 15", None),
        ("**14** or **15**", None),
        ("x2", None),
        ("fourteen", None),
        ("", None),
        ("1" * (LONGEST_ANSWER + 1), None),
    ],
)
def test_the_last_number_of_a_text_that_follows_no_format_counts(text: str, answer: str | None) -> None:
    assert find_answer(text, "number") == answer


def test_the_marker_and_the_end_can_be_chosen() -> None:
    assert find_answer("So # of apples is\n#### 1,234", "marker") == "1,234"
    assert find_answer("A: 5\nA: 7", "marker", "A:") == "7"
    assert find_answer("# 5 <eos>", "marker", "#") == "5 <eos>"


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"\boxed{2}", "2"),
        (r"\fbox{2}", "2"),
        (r"\boxed {2}", "2"),
        (r"$\boxed{ \frac{1}{2} }$.", r"\frac{1}{2}"),
        (r"\boxed{\{1,2\}}", r"\{1,2\}"),
        (r"\boxed{a\}b}", r"a\}b"),
        (r"\boxed{\\}", "\\\\"),
        (r"First \boxed{3}, correction \boxed{2}", "2"),
        (r"Step 1: \boxed{1}, \boxed{2}, \boxed{3}. Final: \boxed{5}", "5"),
        (r"\boxed{2}. No wait, so it is \boxed{3}.", "3"),
        (r"\boxed{2}, that is, \boxed{2}", "2"),
        (r"\boxed{2} $\boxed{2}$", "2"),
        (r"\boxed{\boxed{2}}", "2"),
        (r"\boxed{ \fbox{ \boxed{2} } }", "2"),
        (r"\boxed{1+\boxed{2}}", r"1+\boxed{2}"),
        (r"\boxed{\boxed{1}\boxed{2}}", r"\boxed{1}\boxed{2}"),
        (r"} \boxed{2} }", "2"),
        (r"{ \boxed{2}", "2"),
        (r"\boxed{3 no, \boxed{5}", "5"),
        (r"$\boxed 2$", "2"),
        (r"$\boxed2$.", "2"),
        (r"\boxed{3}, no: \boxed B", "B"),
        (r"\boxed{\boxed 2}", "2"),
        (r"\boxed 1 then at last \boxed{2}", "2"),
    ],
)
def test_the_answer_is_the_last_complete_box(text: str, answer: str) -> None:
    assert find_answer(text, "boxed") == answer


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2",
        r"\boxed{}",
        r"\boxed{ }",
        r"\boxed{2",
        r"\boxed{2\}",
        r"\boxed 25",
        r"\boxed 2.5",
        r"\boxed \frac12",
        r"\boxed{3} then \boxed 12",
        r"\boxedanswer{2}",
        r"\bbox{2}",
        r"\\boxed{2}",
        r"\boxed{3} then \boxed{2",
        r"\boxed{3} then \boxed{\frac{1}{2}",
        r"\boxed{3} then \boxed",
        r"\boxed{3} and so on, with \boxed{ \{ 2 \}",
        r"\boxed{\boxed{}}",
        "\\boxed{" + "1" * (LONGEST_ANSWER + 1) + "}",
    ],
)
def test_a_broken_last_box_gives_no_answer_and_no_earlier_one(text: str) -> None:
    assert find_answer(text, "boxed") is None


@pytest.mark.parametrize(
    "text",
    [
        r"\boxed{1} or \boxed{2}",
        r"$\boxed{1}$, $\boxed{2}$",
        r"\boxed{1}\boxed{2}",
        r"\boxed{1} and \boxed{2}",
        "\\boxed{1}.\n\n\\fbox{2}",
        r"\boxed{0}, \boxed{1}, or \boxed{2}",
    ],
)
def test_answers_offered_side_by_side_are_none(text: str) -> None:
    assert find_answer(text, "boxed") is None


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("<answer>2</answer>", "2"),
        ("<answer> 2 </answer> bye", "2"),
        ("<answer>1</answer> no: <answer>2</answer>", "2"),
        ("<answer>2</answer> <answer>2</answer>", "2"),
        ("<answer>1</answer> or <answer>2</answer>", None),
        ("<answer>1</answer> then <answer>2", None),
        ("<answer></answer>", None),
        ("2</answer>", None),
        ("2", None),
        ("<answer>" + "1" * (LONGEST_ANSWER + 1) + "</answer>", None),
    ],
)
def test_the_answer_stands_in_the_last_complete_tag(text: str, answer: str | None) -> None:
    assert find_answer(text, "tag") == answer


@pytest.mark.parametrize(
    ("text", "extractor", "answer"),
    [
        (r"<think>\boxed{1}</think> \boxed{2}", "boxed", "2"),
        (r"so \boxed{1}</think> \boxed{2}", "boxed", "2"),
        (r"<think>\boxed{1}</think> I do not know.", "boxed", None),
        (r"<think>\boxed{1}", "boxed", None),
        (r"a</think>b<think>\boxed{1}", "boxed", None),
        (r"$x=\boxed{3}$ and $x=\boxed{5}$", "boxed", None),
        (r"$x_1 = \boxed{3}$ or $x_2 = \boxed{5}$", "boxed", None),
        (r"$x=\boxed{3}$, no, $x=\boxed{5}$", "boxed", "5"),
        ("<think>1</think>####: **7**", "marker", "7"),
        ("<think>#### 1</think> #### **7**", "marker", "7"),
        ("#### `7`", "marker", "7"),
        ("#### 9**9", "marker", "9**9"),
        ("#### **", "marker", "**"),
        ("#### 7", "marker", "7"),
        ("<think><answer>1</answer></think><answer>2</answer>", "tag", "2"),
    ],
)
def test_what_a_model_thinks_is_no_answer_and_bold_marks_are_no_part_of_one(
    text: str, extractor: str, answer: str | None
) -> None:
    assert find_answer(text, extractor, "####", "") == answer


def hostile(length: int) -> dict[str, str]:
    """Texts of so many characters."""
    return {
        "open boxes": r"\boxed{" * (length // 7),
        "nested boxes": r"\boxed{" * (length // 8) + "1" + "}" * (length // 8),
        "nested boxes with spaces": (r"\boxed{" + " " * 38) * (length // 46) + "}" * (length // 46),
        "nested boxes with siblings": r"\boxed{\boxed{1}" * (length // 17) + "}" * (length // 17),
        "empty boxes": r"\boxed{}" * (length // 8),
        "braces": "{" * length,
        "closing braces": "}" * length,
        "backslashes": "\\" * length,
        "box and spaces": r"\boxed" + " " * length,
        "boxes and spaces": (r"\boxed" + " " * 994) * (length // 1000),
        "digits": r"\boxed{" + "1" * length + "}",
        "markers": "#" * length,
        "joined markers": "# or " * (length // 5),
        "ends": "# <eos>" * (length // 7),
        "tags": "<answer>" * (length // 8),
        "closed tags": "<answer></answer>" * (length // 17),
        "thoughts": "<think></think>" * (length // 15),
        "bold": "# " + "*" * length,
    }


SMALLER = 8
HOSTILE = {name: (text, hostile(N // SMALLER)[name]) for name, text in hostile(N).items()}


def seconds(text: str) -> float:
    """CPU time of every extractor on it."""
    begin = time.process_time()
    for extractor in ("boxed", "marker", "tag", "number"):
        find_answer(text, extractor, "#")
        find_answer(text, extractor, "####", "<eos>")
    return time.process_time() - begin


@pytest.mark.parametrize("name", HOSTILE)
def test_a_million_hostile_characters_take_linear_time(name: str) -> None:
    """Against an eighth of them, since a clock alone would time the machine: a square would take 64 times as long."""
    long, short = HOSTILE[name]
    taken, expected = (min(seconds(text) for _ in range(3)) for text in (long, short))
    assert taken < 2 * SMALLER * (expected + 0.01)


@given(st.text(alphabet="\\boxedf{} #1or$", max_size=60))
def test_no_text_raises_and_an_answer_is_always_a_part_of_it(text: str) -> None:
    for answer in (find_answer(text, "boxed"), find_answer(text, "marker", "#", "<eos>")):
        assert answer is None or (answer in text and answer == answer.strip() != "")


@given(st.text(max_size=40), st.from_regex(r"[0-9a-z+ ]{0,9}[0-9a-z]", fullmatch=True))
def test_a_box_at_the_end_after_prose_is_found(prose: str, answer: str) -> None:
    assert find_answer(f"{prose} hence the answer \\boxed{{{answer}}}", "boxed") == answer.strip()
