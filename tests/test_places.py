"""A path that leads nowhere is said to lead nowhere, at once, with what was probably meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from headwater import places
from headwater.errors import ContrastError, InputError, nearest
from headwater.models.choice import ModelChoice
from headwater.models.language_model import LanguageModel
from headwater.models.size import model_size
from headwater.problems.files import FileSource, read_problems
from headwater.routes.recipe import read_recipe
from micro import FILE


@pytest.fixture
def no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks the hub for anything fails the test."""

    def asked() -> None:
        raise AssertionError("the hub was asked")

    monkeypatch.setattr(places, "_unreachable", asked)


@pytest.mark.usefixtures("no_hub")
def test_a_folder_that_lacks_the_model_is_never_asked_of_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "models" / "student").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    for source in ("models/studemt", str(tmp_path / "models" / "studemt")):
        with pytest.raises(InputError, match=rf"there is no {source} \(did you mean .*models/student\?\)"):
            LanguageModel.outline(source)
    assert model_size(ModelChoice(path="models/studemt"), 10) is None


@pytest.mark.usefixtures("no_hub")
def test_a_folder_that_lacks_the_labels_is_never_asked_of_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data" / "sums").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"there is no data/sum \(did you mean data/sums\?\)"):
        read_problems(FileSource(path="data/sum"))


def test_a_hub_that_cannot_be_reached_is_said_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(places, "_unreachable", lambda: "ConnectError")
    for ask in (lambda: LanguageModel.load("owner/name"), lambda: read_problems(FileSource(path="owner/name"))):
        with pytest.raises(InputError, match=r"owner/name is no path here .* cannot be reached \(ConnectError\)"):
            ask()


def test_a_closed_port_counts_as_out_of_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    places._unreachable.cache_clear()
    try:
        assert places._unreachable() is not None
    finally:
        places._unreachable.cache_clear()


def test_what_is_near_is_named_and_what_is_not_is_not() -> None:
    assert nearest("R3-ful", ["R1", "R3-full"]) == " (did you mean R3-full?)"
    assert nearest("xyz", ["R1", "R3-full"]) == ""


@pytest.mark.parametrize(
    ("override", "meant"),
    [
        ("sedes=[0]", "did you mean seeds?"),
        ("stages.student_rl.epoch=2", "did you mean epochs?"),
        ("routes=[R3-ful]", "did you mean R3-full?"),
    ],
)
def test_a_misspelt_word_of_a_recipe_is_told_what_was_meant(override: str, meant: str) -> None:
    with pytest.raises(InputError) as error:
        read_recipe(str(FILE), [override])
    assert meant in str(error.value)


def test_a_misspelt_recipe_is_told_what_was_meant() -> None:
    with pytest.raises(InputError, match=r"recipe 'suport-gap' \(did you mean support-gap\?\): cannot be read"):
        read_recipe("suport-gap")


def test_a_misspelt_arm_of_a_contrast_is_told_what_was_meant() -> None:
    contrast = "contrasts=[{name: mine, treatment: R3-ful, control: R1, declares: [x], question: q}]"
    with pytest.raises(ContrastError, match=r"no arm R3-ful \(did you mean R3-full\?\)"):
        read_recipe(str(FILE), ["routes=[R1, R3-full]", contrast])
