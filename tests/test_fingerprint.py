"""A value's name: equal values share it, any change of a field changes it, on every machine."""

import dataclasses
import hashlib
import math
import subprocess
import sys
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from headwater.fingerprint import canonical_json, derive_seed, fingerprint
from headwater.optimiser import Optimiser
from headwater.records import Message, Problem, Rollout, Sampling, Verdict
from headwater.routes.recipe import read_recipe
from headwater.routes.stages import Step
from headwater.samplers import OnPolicy, Recorded

ROLLOUT = Rollout(
    rollout_id="r",
    problem_id="p",
    prompt_ids=(1, 2),
    response_ids=(3, 4),
    response_text="x",
    logprobs=(-0.5, -0.25),
    policy_version=0,
    finish_reason="stop",
)


def other(value):
    """A value of the same type that is not equal."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, tuple):
        return (*value, value[0])
    return f"{value}x" if isinstance(value, str) else value + 1


def test_equal_values_have_equal_names():
    assert fingerprint(ROLLOUT) == fingerprint(dataclasses.replace(ROLLOUT))
    assert fingerprint(read_recipe("lab")) == fingerprint(read_recipe("lab"))
    assert fingerprint({"a": 1, "b": [1, 2]}) == fingerprint({"b": (1, 2), "a": 1})


@pytest.mark.parametrize("field", [f.name for f in dataclasses.fields(Rollout)])
def test_any_changed_field_of_a_record_changes_its_name(field):
    changed = dataclasses.replace(ROLLOUT, **{field: other(getattr(ROLLOUT, field))})
    assert fingerprint(changed) != fingerprint(ROLLOUT)


@pytest.mark.parametrize("field", Optimiser.model_fields)
def test_any_changed_field_of_a_setting_changes_its_name(field):
    value = Optimiser()
    changed = value.model_copy(update={field: getattr(value, field) + 0.125})
    assert fingerprint(changed) != fingerprint(value)


def numbers(value, path=()):
    """The path of every number in a tree of settings."""
    if isinstance(value, BaseModel):
        return [found for name in type(value).model_fields for found in numbers(getattr(value, name), (*path, name))]
    return [path] if isinstance(value, int | float) and not isinstance(value, bool) else []


def raised(value, path):
    """The tree with the number at this path raised by one."""
    if not path:
        return value + 1
    return value.model_copy(update={path[0]: raised(getattr(value, path[0]), path[1:])})


def test_any_changed_number_of_a_recipe_changes_its_name():
    recipe = read_recipe("lab")
    paths = numbers(recipe)
    assert len(paths) > 50
    assert len({fingerprint(recipe), *(fingerprint(raised(recipe, path)) for path in paths)}) == len(paths) + 1


def test_two_classes_with_equal_fields_have_different_names():
    @dataclass
    class One:
        step: int = 1

    @dataclass
    class Two:
        step: int = 1

    class Three(BaseModel):
        step: int = 1

    names = [fingerprint(value) for value in (One(), Two(), Three(), {"step": 1}, [1], 1)]
    assert len(set(names)) == len(names)
    inside = [fingerprint({"inner": [value]}) for value in (One(), Two(), Three(), {"step": 1})]
    assert len(set(inside)) == len(inside)
    shared = {"samples": 4, "temperature": 1.0}
    assert fingerprint(Recorded(**shared)) != fingerprint(OnPolicy(**shared))


def test_a_part_can_be_named_by_the_class_of_a_part():
    assert fingerprint(Problem(problem_id="p", prompt="x", source="s")) != fingerprint(
        Problem(problem_id="p", prompt=(Message(role="user", content="x"),), source="s")
    )


def test_types_that_look_alike_in_text_are_told_apart():
    values = [1, 1.5, "1", True, None, "None", "", [], {}, [1], [[1]], "1.5", 0, False, -0.5]
    assert len({fingerprint(value) for value in values}) == len(values)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_has_no_name(bad):
    for value in (bad, [1.0, bad], {"a": {"b": bad}}, dataclasses.replace(ROLLOUT, logprobs=(bad,))):
        with pytest.raises(ValueError, match="JSON compliant"):
            fingerprint(value)


@pytest.mark.parametrize("bad", [object(), {1, 2}, b"bytes", len, Rollout, 1j])
def test_what_is_not_plain_data_has_no_name(bad):
    with pytest.raises(TypeError, match="is not plain data"):
        fingerprint({"a": [bad]})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(JSON, JSON)
def test_two_values_share_a_name_exactly_when_they_are_one(one, two):
    assert (fingerprint(one) == fingerprint(two)) == (canonical_json(one) == canonical_json(two))
    assert fingerprint(one) == fingerprint(one)


def test_names_are_the_sha256_of_canonical_json():
    value = {"b": [Verdict.CORRECT, None, 0.1], "a": "é"}
    assert canonical_json(value) == '{"a":"é","b":["correct",null,0.1]}'
    assert fingerprint(value) == hashlib.sha256('{"a":"é","b":["correct",null,0.1]}'.encode()).hexdigest()
    sampling = '{"max_response_tokens":4,"temperature":1.0,"top_k":0,"top_p":1.0,"type":"Sampling"}'
    assert canonical_json(Sampling(max_response_tokens=4)) == sampling


def test_another_process_gives_the_same_names_and_seeds():
    code = (
        "from headwater.fingerprint import *; from headwater.records import Sampling;"
        "print(fingerprint({'z': Sampling(max_response_tokens=4), 'a': {'y': 1, 'x': 2}}), derive_seed(1, 'a', 2))"
    )
    here = fingerprint({"z": Sampling(max_response_tokens=4), "a": {"y": 1, "x": 2}}), derive_seed(1, "a", 2)
    there = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": "7"}
    )
    assert there.stdout.split() == [here[0], str(here[1])]


# seeds


@given(st.lists(st.integers(0, 50) | st.text(max_size=3), max_size=4))
def test_a_seed_is_a_function_of_its_parts_and_fits_64_bits(parts):
    assert derive_seed(*parts) == derive_seed(*parts)
    assert 0 <= derive_seed(*parts) < 2**64


def test_seeds_of_a_run_do_not_collide():
    seeds = {
        derive_seed(run, stream, step, problem, sample)
        for run in range(2)
        for stream in ("student-rl", "warm-up")
        for step in range(10)
        for problem in range(30)
        for sample in range(8)
    }
    assert len(seeds) == 2 * 2 * 10 * 30 * 8
    assert derive_seed(1, 23) != derive_seed(12, 3)
    assert Step(stage="warm-up") != Step(stage="student-rl")
