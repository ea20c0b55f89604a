"""A verifier in two halves: where the answer stands in a response, and whether that answer is right.

The second half is a `Judge`. It sees the gold answer and the answer alone, and a second judge can be asked again. A
grader that fails stops a run: an ungraded response is counted, and never taken for a wrong one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from headwater.errors import GraderError, InputError
from headwater.records import Grade, Verdict
from headwater.verifiers.extract import find_answer, side_by_side

AnswerType = Literal["integer", "fraction", "decimal", "tuple", "set", "choice", "text", "expression"]
Extractor = Literal["boxed", "marker", "tag", "number"]
Answers = Mapping[str, tuple[str, str | None]]
"""rollout id -> (gold answer, the response's answer; None when it has none)"""
_LISTED = 10
"""Gold answers that a message names."""


class Judge:
    """Says whether an answer is the gold answer."""

    @property
    def name(self) -> str:
        """Type, settings and version: two judges of one name give one verdict."""
        raise NotImplementedError

    def verdict(self, gold: str, answer: str | None) -> Verdict:
        """No answer is WRONG, a gold answer that cannot be graded UNGRADED."""
        raise NotImplementedError

    def judge(self, answers: Answers) -> dict[str, Verdict]:
        """A verdict for every id; the same pair of texts is decided once."""
        known = {pair: self.verdict(*pair) for pair in dict.fromkeys(answers.values())}
        return {name: known[pair] for name, pair in answers.items()}

    def readable(self, gold: str) -> bool:
        """Whether the gold answer has a reading, and is right against itself spelled in another way."""
        return True

    def several(self, gold: str) -> bool:
        """Whether the gold answer is a list or set, so that its members may stand in boxes of their own."""
        return False

    def close(self) -> None:
        """Give back what it holds: processes, files."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AnswerVerifier:
    r"""A `Verifier`: finds the answer ("boxed", "marker", "tag" or "number") and has it judged.

    `prompt_end` is how the rendered prompt ends: a response goes on from there, so that one which never closes the
    <think> of its prompt has no answer. Raises InputError for another extractor, or an empty marker.
    """

    judge: Judge
    extractor: Extractor = "boxed"
    marker: str = "####"
    end: str = ""
    prompt_end: str = ""

    def __post_init__(self) -> None:
        if self.extractor not in get_args(Extractor) or not self.marker:
            raise InputError(
                f"verifier: extractor {self.extractor!r} (allowed: boxed, marker, tag, number), marker {self.marker!r} "
                "(must not be empty)"
            )

    def grade(self, responses: Mapping[str, tuple[str, str]]) -> dict[str, Verdict]:
        """From rollout id -> (gold answer, response text) to rollout id -> verdict, for every id given.

        A malformed response is WRONG; UNGRADED is a gold answer that cannot be read, or a grader that failed.
        """
        return self.judge.judge({name: (gold, self._found(gold, text)) for name, (gold, text) in responses.items()})

    @property
    def name(self) -> str:
        """The judge's."""
        return self.judge.name

    def find(self, text: str) -> str | None:
        """The answer of a response, or None."""
        return find_answer(self.prompt_end + text, self.extractor, self.marker, self.end)

    def unreadable(self, golds: Mapping[str, str]) -> list[str]:
        """The ids of gold answers that nobody can answer: no reading of the type, or not right when spelled again."""
        bad = {
            gold
            for gold in set(golds.values())
            if self.judge.verdict(gold, gold) is not Verdict.CORRECT or not self.judge.readable(gold)
        }
        return [name for name, gold in golds.items() if gold in bad]

    def check_golds(self, golds: Mapping[str, str], places: Mapping[str, str] | None = None) -> None:
        """Raise InputError unless every gold answer (by problem id) is read, and is right when spelled in another way.

        `places` says where each of them stands, such as "labels.jsonl, line 7".
        """
        bad = self.unreadable(golds)
        if bad:
            shown = [f"{(places or {}).get(name, f'problem {name}')}: {golds[name]!r:.60}" for name in bad[:_LISTED]]
            kind = self.judge.name.partition("/")[0]
            raise InputError(
                f"verifier: {len(bad)} of {len(golds)} gold answers have no reading as {kind} "
                f"({'; '.join(shown)}{'; ...' if len(bad) > _LISTED else ''}). Mend or drop them, choose another "
                "answer type, say where the answer stands in its column (columns.answer_from), or keep them with "
                "grading.unreadable: keep (a response is then right only letter by letter)"
            )

    def close(self) -> None:
        """Give back what the judge holds."""
        self.judge.close()

    def _found(self, gold: str, text: str) -> str | None:
        found = self.find(text)
        if found is None and self.extractor in ("boxed", "tag") and self.judge.several(gold):
            return "; ".join(side_by_side(self.prompt_end + text, self.extractor)) or None
        return found


_WRAPPED = re.compile(
    r"""\[\s*"([^"]*)"\s*\]|\[\s*'([^']*)'\s*\]|"([^"]*)"|\#{2,4}([^#\n]*)|\*\*([^*]*)\*\*|<answer>([^<]*)</answer>"""
    r"""|(?:the )?(?:final )?answer(?: is)?:([^:\n]*)""",
    re.IGNORECASE,
)
"""One value in a list, in quotes, behind a marker, in bold or in a tag."""
_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{(.*)\}", re.DOTALL)


def unwrapped(gold: str) -> str:
    r"""A gold answer out of what data sets wrap around it: \boxed{5}, ["5"], `\\\\frac`, 1e-05, a solution."""
    gold = gold.strip().rpartition("\n####")[2].strip()
    if (wrapped := _WRAPPED.fullmatch(gold)) is not None:
        gold = next(inside for inside in wrapped.groups() if inside is not None).strip()
    if (box := _BOX.fullmatch(gold.strip("$ "))) is not None and box[1].count("{") == box[1].count("}"):
        gold = box[1]
    if "\\\\" in gold and "\\begin" not in gold:
        gold = re.sub(r"\\\\(?=[A-Za-z{}%$,;:! ])", r"\\", gold)
    if (power := re.fullmatch(r"([-+]?[0-9]+(?:\.[0-9]+)?)[eE]([-+]?)0*([0-9]{1,3})", gold)) is not None:
        gold = f"{power[1]} \\times 10^{{{power[2].replace('+', '')}{power[3]}}}"
    return gold


def respelled(gold: str) -> str:
    r"""The same answer in other sizes and blanks, so that no identity of texts can say that it is right."""
    spelled = gold.replace("\\frac", "\\dfrac ").replace("\\dfrac  ", "\\dfrac ")
    return f"\\displaystyle {spelled} "


UNGRADED_LIMIT = 0.005
"""Largest share of a step's responses that may have no verdict."""


def refuse_ungraded(verdicts: Mapping[str, Verdict | Grade], limit: float, where: str) -> None:
    """Raise GraderError when more than this share of the verdicts, by rollout id, are none."""
    ungraded = [name for name, given in verdicts.items() if given.verdict is Verdict.UNGRADED]
    refuse_share(len(ungraded), len(verdicts), limit, where, first=f", {ungraded[0]} first" if ungraded else "")


def refuse_share(ungraded: int, of: int, limit: float, where: str, first: str = "") -> None:
    """Raise GraderError when so many of so many are more than this share."""
    if ungraded > limit * of:
        raise GraderError(
            f"{where}: {ungraded} of {of} rollouts have no verdict{first}; at most {limit:.2%} may. Look at the "
            "verifier, or raise reward.ungraded_limit"
        )
