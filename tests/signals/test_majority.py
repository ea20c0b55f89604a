"""Majority vote as reward: the group's most common answer is its gold, and no label is read."""

import pytest
import torch

from headwater.errors import ObjectiveError
from headwater.interfaces import Need
from headwater.records import Verdict
from headwater.signals import Reward
from headwater.signals.majority import Majority
from scripted import ScriptedAnswers
from tabular import RESPONSES, STUDENT, apart, asked, measured, near, scored

pytestmark = pytest.mark.usefixtures("double")
# the last token of a response is its answer; 0 is none
GROUPS = {"most": ([1, 5, 2, 9], "cccc"), "tie": ([3, 2, 7, 6], "cccc"), "none": ([4, 8], "cc")}


class LastToken:
    """Takes the last token for the answer."""

    def find(self, text):
        last = text.split()[-1]
        return None if last == "0" else last

    def grade(self, responses):
        return {
            name: Verdict.UNGRADED if not gold else Verdict.CORRECT if self.find(text) == gold else Verdict.WRONG
            for name, (gold, text) in responses.items()
        }


def test_a_response_is_right_when_it_says_what_most_of_its_group_say():
    signal = Majority(divide_by_std=False, kl_coefficient=0.0, ungraded_limit=1.0)
    found = scored(signal, groups=GROUPS, verifier=LastToken())
    assert [int(RESPONSES[i][-1]) for i in GROUPS["most"][0]] == [1, 1, 2, 1]
    advantages = {m.rollout.rollout_id: float(m.target.advantage[0]) for m in found.rollouts}
    assert [advantages[f"most/{i}"] for i in range(4)] == [0.25, 0.25, -0.75, 0.25]
    assert [advantages[f"tie/{i}"] for i in range(4)] == [0.5, -0.5, 0.5, -0.5]  # 3 came first
    assert "none/0" not in advantages
    assert found.metrics["agreement"] == pytest.approx((3 + 2) / 8)
    assert "reward" not in found.metrics


def test_it_reads_no_label():
    script = asked(GROUPS, answers=ScriptedAnswers())
    scored(Majority(ungraded_limit=1.0), script, groups=GROUPS, verifier=LastToken())
    assert script.answers.reads == []
    assert not Majority().reads_labels
    assert Need.VERIFIER in Majority().needs


def test_where_the_majority_is_right_it_is_grpo_with_labels():
    alone = {"most": (GROUPS["most"][0], "ccwc")}
    near(measured(Majority(), groups=alone, verifier=LastToken()), measured(Reward(), groups=alone))
    apart(measured(Majority(), groups=alone, verifier=LastToken()), torch.zeros_like(STUDENT))


def test_a_verifier_that_names_no_answer_is_refused():
    with pytest.raises(ObjectiveError, match="give it a method find"):
        scored(Majority(), groups=GROUPS)
