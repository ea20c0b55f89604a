"""The mixture on the lambda axis: its ends are the two methods themselves, and between them gradients add up."""

import pytest
from pydantic import ValidationError

from headwater.interfaces import At, Need
from headwater.signals import Divergence, Reward
from headwater.signals.mixture import Mixture
from headwater.signals.sampled import Sampled
from headwater.signals.schedule import Ramp
from scripted import ONCE
from tabular import GROUPS, OTHER, STUDENT, apart, asked, gradient, group, measured, near, table

GRPO = Reward(kl_coefficient=0.3)
ENDS = {
    "losses": Divergence(direction="reverse"),
    "advantage": Sampled(),
}
FORMS = pytest.mark.parametrize("form", ENDS)
pytestmark = pytest.mark.usefixtures("double")


def mixed(form, share, sparse=GRPO):
    return Mixture(form=form, share=share, sparse=sparse, dense=ENDS[form])


@FORMS
def test_lambda_zero_is_distillation_and_reads_no_label(form):
    script = asked()
    near(measured(mixed(form, 0.0), script), measured(ENDS[form]))
    assert script.answers.reads == []
    assert Need.ANSWERS not in mixed(form, 0.0).needs


def test_the_dense_end_of_one_advantage_is_the_sampled_estimator_of_the_divergence():
    literal = Divergence(direction="reverse", estimator="sampled")
    near(measured(mixed("advantage", 0.0)), measured(literal))


@FORMS
def test_lambda_one_is_grpo_and_asks_no_teacher(form):
    script = asked()
    near(measured(mixed(form, 1.0), script), measured(GRPO))
    assert script.teacher.asked == []
    assert mixed(form, 1.0).teachers == ()


@FORMS
@pytest.mark.parametrize("zero_variance", ["keep", "drop"])
@pytest.mark.parametrize("share", [1e-9, 0.3, 1 - 1e-9])
def test_between_them_the_gradients_add_up_groups_without_spread_and_the_kl_included(form, share, zero_variance):
    grpo = GRPO.model_copy(update={"zero_variance": zero_variance})
    expected = share * measured(grpo) + (1 - share) * measured(ENDS[form])
    near(measured(mixed(form, share, grpo)), expected)


@FORMS
def test_each_end_keeps_its_own_denominator(form):
    grpo = GRPO.model_copy(update={"normalisation": "constant", "constant_length": 10})
    near(measured(mixed(form, 0.3, grpo)), 0.3 * measured(grpo) + 0.7 * measured(ENDS[form]))


@FORMS
def test_what_it_reads_moves_it(form):
    usual = measured(mixed(form, 0.5))
    apart(measured(mixed(form, 0.5), asked(teacher=OTHER)), usual)
    other = str.maketrans("cw", "wc")
    turned = {name: (members, letters.translate(other)) for name, (members, letters) in GROUPS.items()}
    apart(measured(mixed(form, 0.5), groups=turned), usual)


@pytest.mark.parametrize(
    ("ramp", "shares"),
    [
        (0.25, [0.25, 0.25, 0.25]),
        (Ramp(start=0.0, end=1.0), [0.0, 0.5, 1.0]),
        (Ramp(start=1.0, end=0.5), [1.0, 0.75, 0.5]),
        (Ramp(start=0.0, end=1.0, switch=0.5), [0.0, 1.0, 1.0]),
    ],
)
@FORMS
def test_a_schedule_is_a_function_of_the_step(form, ramp, shares):
    for step, share in enumerate(shares):
        near(measured(mixed(form, ramp), at=At(step=step, updates=3)), measured(mixed(form, share)))


def test_a_switch_reads_no_label_before_it_and_asks_no_teacher_after_it():
    signal, script = mixed("losses", Ramp(switch=0.5)), asked()
    measured(signal, script, at=At(step=0, updates=3))
    assert (script.answers.reads, len(script.teacher.asked)) == ([], 1)
    measured(signal, script, at=At(step=2, updates=3))
    assert (len(script.answers.reads), len(script.teacher.asked)) == (3, 1)
    assert signal.needs >= {Need.ANSWERS, Need.TEACHER}


def test_one_advantage_is_clipped_as_one():
    # the present policy is far from the one that drew: the ratio is out of its range for most tokens
    far = STUDENT + table(5, scale=2.0)
    signal, groups = mixed("advantage", 0.5), [group(STUDENT, GROUPS["mixed"][0], "mixed")]
    batch = signal.score(groups, asked().workers(), ONCE)
    whole = sum(m.target.advantage.abs().sum() for m in batch.rollouts)
    assert whole > 0
    free = Mixture(**{**dict(signal), "sparse": GRPO.model_copy(update={"clip_low": 1.0, "clip_high": 1e9})})
    apart(gradient(signal, batch, far), gradient(free, batch, far))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"share": 1.5}, "between 0 and 1"),
        ({"share": Ramp(start=0.0, end=2.0)}, "between 0 and 1"),
        ({"form": "advantage"}, "one advantage is made of two"),
        ({"form": "advantage", "dense": Sampled(baseline=True)}, "without baseline"),
        ({"form": "advantage", "dense": Sampled(kl_coefficient=0.1)}, "without a KL of its own"),
    ],
)
def test_a_mixture_that_means_nothing_is_refused(fields, message):
    with pytest.raises(ValidationError, match=message):
        Mixture(**fields)
