"""What can be known of models before their weights are loaded: do a teacher and a student speak the same tokens.

A fault is a line: what was found, and what to do. Ids are compared, never sizes: models of one family pad their
embeddings to different rows, and rows that no tokenizer emits take no part in anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from headwater.errors import InputError
from headwater.models.files import id_faults
from headwater.models.language_model import LanguageModel
from headwater.records import Message, Problem

LISTED = 8
"""Offenders named in a fault before "..."."""

_TEXTS = (
    "What is 12 + 30?",
    " two  spaces,\ttabs\nand lines\n\n",
    "\\frac{1}{2} of 1,234,567.89 is $x^2 \\le 10^{-3}$",
    "def f(x):\n    return x['a'] != None",
    "Größe, naïve, 数学, العربية, 🙂",
)


def probes() -> tuple[Problem, ...]:
    """Prompts that are apt to show a difference: plain texts, and chats of one to three turns, one with a system."""
    chats: list[tuple[Message, ...]] = [(Message(role="user", content=text),) for text in _TEXTS]
    chats.append((Message(role="system", content="Be brief."), Message(role="user", content=_TEXTS[0])))
    turns = (_TEXTS[0], "42", "And 7 + 5?")
    roles = ("user", "assistant", "user")
    chats.append(tuple(Message(role=role, content=text) for role, text in zip(roles, turns, strict=True)))
    prompts: list[str | tuple[Message, ...]] = [*_TEXTS, *chats]
    return tuple(Problem(problem_id=f"probe {i}", prompt=p, source="probe") for i, p in enumerate(prompts))


def check_pair(student: LanguageModel, teacher: LanguageModel) -> None:
    """Raise InputError naming the first id on which the two models differ.

    A dense signal compares distributions id by id: another id map would teach nonsense without an error.
    """
    faults = id_faults(student.tokenizer.get_vocab(), teacher.tokenizer.get_vocab())
    if faults:
        raise InputError(faults[0])


def template_faults(student: LanguageModel, teacher: LanguageModel, problems: Iterable[Problem]) -> list[str]:
    """The first prompt that the two models read as different ids, with the place and the tokens."""
    if student.vocabulary == teacher.vocabulary and student.tokenizer.chat_template == teacher.tokenizer.chat_template:
        problems = [problem for problem in problems if isinstance(problem.prompt, str)]  # merges may still differ
    for problem in problems:
        ours, theirs = _ids(student, problem), _ids(teacher, problem)
        if ours == theirs:
            continue
        if isinstance(ours, str) or isinstance(theirs, str):
            refusing, reason = ("student", ours) if isinstance(ours, str) else ("teacher", theirs)
            return [f"teacher and student: the {refusing} alone refuses {problem.problem_id} ({reason})"]
        place = next(i for i in range(len(ours) + 1) if ours[i : i + 1] != theirs[i : i + 1])
        return [
            f"teacher and student: they read {problem.problem_id} as different ids; at token {place} the student has "
            f"{_token(student, ours, place)}, the teacher {_token(teacher, theirs, place)}. Give both the same chat "
            "template and `template` arguments."
        ]
    return []


def _ids(model: LanguageModel, problem: Problem) -> tuple[int, ...] | str:
    """A prompt's ids, or why there are none."""
    try:
        return model.encode(problem)
    except InputError as error:
        return str(error)


def _token(model: LanguageModel, ids: Sequence[int], place: int) -> str:
    return repr(model.tokenizer.convert_ids_to_tokens(ids[place])) if place < len(ids) else "nothing more"


def stop_faults(student: LanguageModel, teacher: LanguageModel) -> list[str]:
    """Whether the two end a response at different ids: then one of them never learns to stop, or stops early."""
    ours, theirs = student.stop_ids, teacher.stop_ids
    if ours == theirs:
        return []
    missing = {"student": sorted(theirs - ours), "teacher": sorted(ours - theirs)}
    wanted = " and ".join(f"{role}.stop_ids: {ids}" for role, ids in missing.items() if ids)
    return [
        f"teacher and student: the student stops at {_named(student)}, the teacher at {_named(teacher)}. "
        f"Make the two sets one: {wanted}."
    ]


def _named(model: LanguageModel) -> str:
    ids = sorted(model.stop_ids)
    return ", ".join(f"{i} ({model.tokenizer.convert_ids_to_tokens(i)})" for i in ids) or "no id"


def prompt_faults(
    role: str, model: LanguageModel, problems: Sequence[Problem], response_tokens: int
) -> tuple[list[str], int]:
    """What is wrong with a set of prompts for one model, all offenders listed; and the longest prompt in tokens."""
    refused: dict[str, str] = {}
    lengths: dict[str, int] = {}
    for problem in problems:
        ids = _ids(model, problem)
        if isinstance(ids, str):
            refused[problem.problem_id] = ids
        else:
            lengths[problem.problem_id] = len(ids)
    faults = []
    if refused:
        faults.append(
            f"{role}: {len(refused)} of {len(problems)} prompts cannot be read: {_listed(refused)}. First: "
            f"{next(iter(refused.values()))}"
        )
    room = (model.positions or 10**9) - response_tokens
    long = {name: length for name, length in lengths.items() if length > room}
    if long:
        faults.append(
            f"{role}: {len(long)} of {len(problems)} prompts have no room for {response_tokens} response tokens in a "
            f"context of {room + response_tokens} (longest: {max(long.values())} tokens): {_listed(long)}. Take these "
            "problems out, or lower max_response_tokens."
        )
    return faults, max(lengths.values(), default=0)


def _listed(names: Iterable[str]) -> str:
    found = list(names)
    return ", ".join(found[:LISTED]) + (", ..." if len(found) > LISTED else "")
