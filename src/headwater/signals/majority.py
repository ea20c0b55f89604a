"""The answer that most of a group gives is its gold: a reward without a label (TTRL, arXiv 2504.16084).

Votes are counted as answers are written; of equally common ones the first in the group's order wins. A response is then
right when the verifier accepts it against the majority's answer. A group in which no answer stands has no gold, and no
verdicts. Counts as zero labels: the answer key is never asked.

Pitfall: it sharpens what the model believes, right or wrong, and can collapse onto one answer; run it with the guard
on. `agreement` is the majority's mean share.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from headwater.batch import Scored
from headwater.errors import ObjectiveError
from headwater.interfaces import At, Finder, Need, Watch, Workers
from headwater.records import Grade, Group, Verdict
from headwater.signals.grades import graded
from headwater.signals.reward import Reward


class Majority(Reward):
    """GRPO on agreement with the group's most common answer; every setting is `reward`'s."""

    @property
    def needs(self) -> frozenset[Need]:
        """Verdicts, and no answer."""
        return super().needs - {Need.ANSWERS}

    @property
    def watch(self) -> tuple[Watch, ...]:
        """How much of a group agrees."""
        return (Watch("agreement", "share of the majority"),)

    def score(self, groups: Sequence[Group], workers: Workers, at: At) -> Scored:
        """As GRPO, with the majority's answers; `reward` is named `agreement`, since it is no reward of a label."""
        found = super().score(groups, workers, at)
        metrics = dict(found.metrics)
        if "reward" in metrics:
            metrics["agreement"] = metrics.pop("reward")
        return Scored(rollouts=found.rollouts, metrics=metrics)

    def _grade(self, groups: Sequence[Group], workers: Workers) -> dict[str, Verdict | Grade]:
        """Rollout id -> whether it gives the answer of most of its group."""
        finder = workers.verifier
        if not isinstance(finder, Finder):
            raise ObjectiveError(
                "majority: this verifier does not say what it takes for the answer; give it a method find(text)"
            )
        golds = {group.problem.problem_id: _most_common(group, finder) for group in groups}
        return graded(groups, golds, workers, self.ungraded_limit, "majority")


def _most_common(group: Group, finder: Finder) -> str:
    """The answer that most of the group's responses give, as it is written; empty where none gives one."""
    answers = (finder.find(rollout.response_text) for rollout in group.rollouts)
    votes = Counter(answer for answer in answers if answer is not None)
    return votes.most_common(1)[0][0] if votes else ""
