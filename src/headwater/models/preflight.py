"""Whether a teacher and a student speak the same tokens: id maps are compared, never sizes."""

from __future__ import annotations

from headwater.errors import InputError
from headwater.models.language_model import LanguageModel


def check_pair(student: LanguageModel, teacher: LanguageModel) -> None:
    """Raise InputError naming the first token on which the two tokenizers, or the two heads' sizes, differ.

    A dense signal compares distributions id by id: another id map would teach nonsense without an error.
    """
    ours, theirs = student.tokenizer.get_vocab(), teacher.tokenizer.get_vocab()
    if ours != theirs:
        differing = sorted({*ours.items()} ^ {*theirs.items()}, key=lambda item: (item[1], item[0]))
        token, token_id = differing[0]
        raise InputError(
            f"teacher and student: their tokenizers differ in {len(differing)} entries (first: {token!r} is id "
            f"{ours.get(token)} for the student, {theirs.get(token)} for the teacher; looked at id {token_id}). "
            "Use models of one family that share a tokenizer."
        )
    rows, teacher_rows = student.head[0].shape[0], teacher.head[0].shape[0]
    if rows != teacher_rows:
        raise InputError(
            f"teacher and student: {teacher_rows} and {rows} rows of vocabulary for the same {len(ours)} tokens. "
            "Resize the embeddings of one to the other's (padded rows are emitted by no tokenizer)."
        )
