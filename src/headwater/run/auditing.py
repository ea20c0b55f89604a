"""The graders of a run, and second ones that look over their shoulders: up to 200 verdicts of each stage.

A stage in progress keeps its sample with its commits, so that one that is killed and resumed ends with the same
audit. The second grader is asked once, when the stage is done. All are live and closed with their owner.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from headwater.errors import InputError
from headwater.plan.node import Node
from headwater.run.committer import as_json
from headwater.store import Store
from headwater.verifiers.answers import AnswerVerifier, Judge
from headwater.verifiers.function import FunctionAgain, FunctionVerifier
from headwater.verifiers.grading import Grading, grading_identity, make_verifier, second_judge
from headwater.verifiers.second import AuditedVerifier, audit

AUDIT = "audit.json"
SAMPLE = "audit-sample.json"
"""Of a stage in progress: its verdicts so far that will be graded again."""


class Auditor:
    """Gives each stage that grades a verifier that keeps a sample, and at its end the second opinion."""

    def __init__(self) -> None:
        self._first: dict[Grading, AnswerVerifier | FunctionVerifier] = {}
        self._second: dict[Grading, Judge | FunctionAgain] = {}

    def verifier(self, grading: Grading) -> AnswerVerifier | FunctionVerifier:
        """The grader of this kind of answer; made once."""
        if grading not in self._first:
            self._first[grading] = make_verifier(grading)
        return self._first[grading]

    def watch(self, node: Node, grading: Grading, store: Store | None = None) -> AuditedVerifier:
        """The grader with this node's sample, which goes on from its last commit in `store`.

        Raises InputError when a user's function is no longer the one that the node is named by.
        """
        grader = self.verifier(grading)
        if grading.function is not None and grading_identity(grading) != node.settings["grading"]:
            raise InputError(
                f"{node.title}: {_files(grading)} changed while the run went on; restore it and run the "
                "same command again, or give the new run a name (--name NAME)"
            )
        head = None if store is None else store.head(node.fingerprint)
        earlier = json.loads(store.read(node.fingerprint, SAMPLE)) if store and head and SAMPLE in head.files else ()
        return AuditedVerifier(grader, seed=node.fingerprint, earlier=earlier)

    def files(self, audited: AuditedVerifier | None, grading: Grading, *, done: bool) -> Mapping[str, bytes]:
        """What a commit keeps of it: the sample while the stage goes on, the audit when it is done."""
        if audited is None:
            return {}
        if not done:
            return {SAMPLE: as_json(audited.sample)}
        first = self.verifier(grading)
        if grading not in self._second:
            self._second[grading] = second_judge(grading, first)
        return {AUDIT: as_json(audit(audited.sample, first.name, self._second[grading]))}

    def close(self) -> None:
        """End the grading processes."""
        for grader in (*self._first.values(), *self._second.values()):
            grader.close()


def _files(grading: Grading) -> str:
    files = grading.functions
    return f"the file of {files[0]}" if len(files) == 1 else f"a file of {', '.join(files)}"
