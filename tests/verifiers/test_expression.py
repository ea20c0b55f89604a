"""Claims about which expressions are the gold answer."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from headwater.records import Verdict
from headwater.verifiers.expression import ExpressionJudge
from probes import PROBES


@pytest.fixture(scope="module")
def judge() -> ExpressionJudge:
    return ExpressionJudge()


RIGHT = {
    r"\frac{\sqrt{3}}{2}": [r"\sqrt{\frac34}", r"\frac{3}{2\sqrt3}", r"\frac12\sqrt3", r"\sqrt{3}/2", r"{\sqrt3 \over 2}"][:4],
    r"2\sqrt{13}": [r"\sqrt{52}", r"2 \sqrt {13}", r"2·√13", r"2\cdot\sqrt{13}"],
    "x^2-1": [r"(x-1)(x+1)", r"-1+x^2", r"(x+1)(x-1)=x^2-1", r"x^{2} - 1."],
    r"\frac{1}{2}": ["0.5", ".5", "1/2", r"\frac{2}{4}", r"\frac12", "½", r"50\%", r"\dfrac 1 2", r"\left(\frac12\right)"],
    "5": ["٥", r"\$5", "5.0", "+5", "(5)", "5.", "x = 5", "5 = x", r"5\text{ apples}", r"\text{5 apples}", r"\mathbf{5}", "5_{10}",
          r"4+1=5", r"\{5\}", r"x \in \{5\}", r"5\text{ cm}^2", r"5\,\mathrm{m/s}", r"5^\circ", r"\text{Area} = 5", r"x \approx 5"],
    "1000": ["1,000", r"1\,000", "10{,}00".replace("10{,}00", "1{,}000"), r"1,\!000", r"1 \times 10^3"],
    r"\frac{3}{2}": [r"1\frac12", "1.5", r"1 \frac{1}{2}"],
    r"\frac13": [r"0.\overline{3}"],
    r"\frac16": [r"0.1\overline{6}"],
    "3,-1": [r"-1, 3", r"\{3, -1\}", r"x=3\text{ or }x=-1", r"x = 3, -1", r"3 \text{ and } -1"],
    r"1 \pm \sqrt2": [r"1+\sqrt2, 1-\sqrt2", r"1-\sqrt{2}\text{ or }1+\sqrt{2}", r"x = 1 \pm \sqrt{2}"],
    "3, 105": ["3,105", "105, 3"],
    "(3,-1)": ["(3, -1)", r"\left(3,-1\right)", r"(x,y) = (3,-1)", r"(\frac{6}{2}, -1.0)"],
    "[0,1)": [r"\left[0,1\right)", r"0 \le x < 1", r"1 > x \geq 0", r"x \in [0, 1)"],
    r"(-\infty,3]": [r"x\le 3", r"3 \geq x", r"(-\infty, 3]"],
    r"(-\infty,1)\cup(1,\infty)": [r"x \ne 1", r"\mathbb{R}\setminus\{1\}", r"(1,\infty)\cup(-\infty,1)"],
    r"\emptyset": [r"\{\}", r"\varnothing", r"\{ \}"],
    r"10\%": ["10", r"10 \%", r"10\text{ percent}", "10%"],
    r"5\text{ cm}": ["5", r"5\text{ cm}", r"5\mathrm{cm}", r"5\text{ centimeters}"],
    r"25\text{ square units}": [r"25\text{ units}^2", r"25\text{ units$^2$}", r"25 \text{ sq. units}", "25"],
    r"90^\circ": ["90", r"90\text{ degrees}", r"90^{\circ}"],
    "2516_8": ["2516", "2516_{8}", r"(2516)_8"],
    r"\text{A5}_{11}": [r"A5_{11}", r"\text{A5}_{11}"],
    "7:30": ["7 : 30", r"7\!:\!30", r"7:30\text{ p.m.}"],
    r"\text{Tuesday}": ["Tuesday", r"\text{tuesday}", r"\textbf{Tuesday}"],
    r"\text{(A)}": ["A", "(A)", r"\text{A}", r"\textbf{(A)}"],
    r"\text{A, C}": [r"A, C", r"\text{C, A}", r"\text{A and C}"],
    "y=2x+3": ["2x+3", "y = 3+2x", "2x+3=y", "f(x) = 2x+3".replace("f(x)", "y")],
    "x+2y-2z-9=0": ["2x+4y-4z-18=0", "x+2y-2z=9", "9 = x + 2y - 2z"],
    r"s^2 \le 8r^2": [r"8r^2 \ge s^2", r"s^2 - 8r^2 \leq 0"],
    r"\sqrt2": [r"\sqrt2 \approx 1.41", r"x = \sqrt{2} \approx 1.4142"],
    "1.41": [r"\sqrt2 \approx 1.41"],
    "i": [r"\sqrt{-1}"],
    "1+2i": ["2i+1"],
    r"\log_2 3": [r"\frac{\ln 3}{\ln 2}"],
    "10!": ["3628800"],
    "2^{49}": ["562949953421312"],
    r"\frac{n(n+1)}{2}": [r"\binom{n+1}{2}", r"\frac{n^2+n}{2}"][1:],
    "x+1": [r"\frac{x^2-1}{x-1}"],
    r"2 \sin 5x \cos x": [r"2\cos(x)\sin(5x)", r"\sin 6x + \sin 4x"],
    r"\cos(6^\circ)\sin(12^\circ)": [r"\sin 12^\circ \cos 6^\circ"],
    r"\begin{pmatrix}1\\2\end{pmatrix}": [r"\begin{bmatrix}1\\2\end{bmatrix}", r"\left(\begin{array}{c}1\\2\end{array}\right)"],
    r"0.56 = 56\%": ["0.56", r"56\%"],
    r"\frac{1}{7}\triangle ABC": [r"\frac{1}{7} \triangle ABC"],
}  # fmt: skip

WRONG = {
    r"\frac{\sqrt{3}}{2}": ["0.8660254", r"\sin 60^\circ", r"\cos\frac{\pi}{6}", r"-\frac{\sqrt3}{2}", r"\frac{\sqrt3}{2}, 1"],
    r"2\sqrt{13}": [r"\sqrt{6^2+4^2}", r"\sqrt{4\cdot 13}", r"\sqrt{50+2}", "7.211"],
    "2": ["1+1", r"2\cdot1", r"\sqrt{4}", "2^1", r"\frac{2\cdot 2}{2}", r"\log_2 4", r"\int_0^2 1\,dx", r"\sum_{k=1}^2 1",
          r"\lim_{x\to 2} x", r"\frac{d}{dx}2x", r"\max(1,2)", "1 or 2", r"1 \text{ or } 2", "1,2", "-2", "two", "x^2", "2x",
          r"2 \text{ or so}", r"\text{not } 2", r"1<2", r"1=2", r"\{1,2\}", "(1,2)", "2,2", "[2]", "|2|", "2 2", "2!", "--2"],
    "2x": [r"\frac{d}{dx} x^2", r"(x^2)'", r"\int 2\,dx", "2y", "2X", "2", "x2"],
    "x": [r"\frac{d}{dx} \frac{x^2}{2}", r"\sqrt{x^2}", "|x|", "x+0.0000000000000000000000000000000000000001"],
    "5": [r"5\%", "5%", r"5\text{ thousand}", r"5\text{ or }6", r"5\text{ is wrong}", "101_2", r"4\approx5", "2 3", "2(3)", "4=5",
          r"x=5, y=6", r"\frac{10}{2}+0", "5e0", "0x5", r"5\text{ dozen}", r"5\text{ per cent}", r"5\text{ tenths}", r"5\text{ k}", r"5\text{/2}", r"5\text{ a/2}", r"5\text{pi}", r"5\text{x}", r"5\text{ squared}", r"x>5", r"\text{5 or 6}", "5;6", "5:00"],
    "50": [r"50\%", r"0.5\cdot 100", "5 0", "5  0", r"5\times 10"],
    "no": ["n o", "n  o", "on"],
    "23": ["2 3", "2  3", r"2\,3", "2,3"],
    r"\frac{1}{3}": ["0.33", "0.333333333333333", r"33.33\%", r"33\%", "3^{-1}"],
    "0.333": ["1/3", "0.3330000000000000000001"],
    r"\sqrt2": [r"\sqrt2 \approx 1.42", r"\sqrt3 \approx \sqrt2", r"1.41 \approx \sqrt 2"],
    r"\pi": ["3.14159265", r"\frac{22}{7}", "3.14", r"180^\circ"],
    "90": [r"\frac{\pi}{2}", r"90\pi"],
    "3,-1": ["3", "(3,-1)", "3,-1,3", "3, 1", r"3\pm 4"],
    "(3,-1)": ["(-1,3)", "3,-1", "[3,-1]", r"\{3,-1\}", "(3,-1,0)", r"\begin{pmatrix}3\\-1\end{pmatrix}", r"-1<x<3"],
    r"\{1,2\}": ["(1,2)", "(2,1)", r"\{1,2,3\}", r"[1,2]", r"\{1\}"],
    "[0,1)": ["(0,1)", "[0,1]", "0<x<1", "[0,2)", r"x<1"],
    r"(-\infty,3]": [r"(-\infty,3)", r"x<3", r"x\ge3", "3"],
    r"(-\infty,1)\cup(1,\infty)": [r"(-\infty,\infty)", r"x\ne 2", r"\mathbb{R}", r"(-\infty,1]\cup(1,\infty)"],
    r"\emptyset": ["0", r"\{0\}", r"\text{none of these}"],
    r"10\%": ["0.1", r"1000\%", r"11\%", r"10\text{ cm}"],
    r"5\text{ cm}": [r"5\text{ m}", r"5\text{ cm}^2", r"50\text{ mm}", r"5\%"],
    "2516_8": ["2516_9", "1358", "2517_8", "2516_{10}"],
    "7:30": ["7:31", r"\frac{7}{30}", "30:7"],
    r"8:34\text{ p.m.}": [r"8:34\text{ a.m.}"],
    r"\text{Tuesday}": [r"\text{Monday}", r"\text{not Tuesday}", r"\text{Tuesday or Monday}", "2"],
    r"\text{(A)}": ["B", "a", "A, B", r"\text{A or B}", r"\text{not A}"],
    r"\text{A, C}": ["A", "A,B,C", r"\text{AC}"],
    "CD": ["DC", r"C \cdot D"],
    "y=2x+3": ["y=2x+4", "x=2y+3", "2x+4", "z=2x+3", "2y=4x+6"],
    "x=5": ["y=5", "x=6", "2x=10", "x>5"],
    "x+2y-2z-9=0": ["x+2y-2z+9=0", "x+2y-2z-9", "x+2y+2z-9=0", "0=0", "x+2y-2z-9=x+2y-2z-9"],
    r"s^2 \le 8r^2": [r"s^2<8r^2", r"s^2\ge 8r^2"],
    "i": ["-i", "1", "j"],
    "10!": ["9!", r"10\cdot9!", "3628801"],
    "2^{2008}-2": ["2^{2008}-3", "2^{2008}", "2^{2007}-2"],
    r"10\pi": [r"10\pi+10^{-300}", r"10\pi+0." + "0" * 300 + "1", "31.4159265358979323846264338327950288419716939937510582"],
    r"\begin{pmatrix}1\\2\end{pmatrix}": [r"\begin{pmatrix}2\\1\end{pmatrix}", r"\begin{pmatrix}1&2\end{pmatrix}", "(1,2)"],
    r"\sin^2 x": [r"1-\cos^2 x + 0.001", r"\sin x^2", r"\sin x"],
    "x^2+1": ["y^2+1", "x^2", "x^2-1", "x^2+1, x", "f(x)", "x^2+1=0"],
    r"\frac{1}{7}\triangle ABC": [r"\frac{1}{8}\triangle ABC"],
    "12": [r"1\text{ dozen}", "1 2", "1_2"],
}  # fmt: skip


def pairs(table: dict[str, list[str]]) -> list[tuple[str, str]]:
    return [(gold, answer) for gold, answers in table.items() for answer in answers]


@pytest.mark.parametrize(("gold", "answer"), pairs(RIGHT))
def test_another_way_to_write_it_is_right(judge: ExpressionJudge, gold: str, answer: str) -> None:
    assert judge.judge({"r": (gold, answer)}) == {"r": Verdict.CORRECT}


@pytest.mark.parametrize(("gold", "answer"), pairs(WRONG))
def test_another_value_a_task_or_a_choice_of_values_is_wrong(judge: ExpressionJudge, gold: str, answer: str) -> None:
    assert judge.judge({"r": (gold, answer)}) == {"r": Verdict.WRONG}


def test_every_probe_is_decided_as_a_person_decided_it(judge: ExpressionJudge) -> None:
    asked = [
        (gold, answer, right) for gold, both in PROBES.items() for right in (True, False) for answer in both[not right]
    ]
    verdicts = judge.judge({str(i): (gold, answer.strip()) for i, (gold, answer, _) in enumerate(asked)})
    assert len(asked) > 1000
    assert Verdict.UNGRADED not in verdicts.values()
    assert [row for i, row in enumerate(asked) if (verdicts[str(i)] is Verdict.CORRECT) != row[2]] == []


@pytest.mark.parametrize(
    ("gold", "answer", "right"),
    [
        (r"\sqrt{-2}<x", r"2\sqrt{-2}<2x", True),
        (r"\sqrt{-2}<x", r"\sqrt{-3}<x", False),
        (r"\binom{5}{\sqrt{2}}", r"\binom{5}{\sqrt{2}}+0", True),
        (r"\binom{5}{\sqrt{2}}", r"\binom{4}{\sqrt{2}}", False),
        (r"\lfloor 7^{500}\sqrt{2}\rfloor", r"\lfloor \sqrt{2}\cdot 7^{500}\rfloor", True),
    ],
)
def test_complex_sides_and_binomials_of_irrational_numbers_are_decided(
    judge: ExpressionJudge, gold: str, answer: str, right: bool
) -> None:
    assert judge.verdict(gold, answer) is (Verdict.CORRECT if right else Verdict.WRONG)


@pytest.mark.parametrize(
    "gold", [r"\binom{10^{10000}}{400}", r"\log_{1.00001}(2^{39999})", "+".join(["3000!"] * 100), "(10^{9999}+1)" * 60]
)
def test_what_would_swell_is_refused_before_it_is_worked_out(judge: ExpressionJudge, gold: str) -> None:
    assert judge.verdict(gold, gold) is Verdict.CORRECT
    assert judge.verdict(gold, f"{gold}+0") is Verdict.WRONG


def stated_policy() -> list[tuple[str, str, str]]:
    """(gold, answer, verdict) of every row of the policy table that is only LaTeX."""
    page = Path(__file__).resolve().parents[2] / "docs" / "grading.md"
    table = page.read_text(encoding="utf-8").partition("## Policy for expressions")[2].partition("\n## ")[0]
    found = []
    for line in table.split("\n"):
        cells = [cell.strip().replace("\\|", "|") for cell in line.strip("|").split(" | ")]
        if len(cells) < 4 or cells[3] not in ("correct", "wrong"):
            continue
        golds, answers = (re.findall(r"`([^`]+)`", cell) for cell in cells[1:3])
        only_latex = re.sub(r"`[^`]+`|,| ", "", cells[2]) == ""
        if only_latex and "boxed" not in cells[2]:
            found += [(golds[0], answer, cells[3]) for answer in answers]
    return found


def test_the_policy_in_the_documentation_is_what_is_done(judge: ExpressionJudge) -> None:
    rows = stated_policy()
    verdicts = judge.judge({str(i): (gold, answer) for i, (gold, answer, _) in enumerate(rows)})
    assert len(rows) > 30
    assert [row for i, row in enumerate(rows) if verdicts[str(i)].value != row[2]] == []
