"""What only a GPU can show, held against the CPU: `make gpu-check` runs it on one card, with nothing to download.

Where there is no GPU `pytest -m gpu` goes the same way on the CPU, and skips by name what needs one.
"""

import pytest
import torch

import tiny
from headwater.batch import NoTarget, Scored, ScoredRollout, token_mean_weights
from headwater.engines import body
from headwater.engines.body import Body, Ways, probes
from headwater.engines.decoding import capture_on_gpu
from headwater.engines.generation import draw_responses
from headwater.engines.local import LocalGenerator, LocalTeacher
from headwater.engines.settings import EngineSettings
from headwater.interfaces import Seeds
from headwater.records import Sampling, rollouts_of
from headwater.signals import Divergence, Imitation, PolicyTarget, Reward

pytestmark = pytest.mark.gpu
GPU = torch.cuda.is_available()
HERE = "cuda" if GPU else "cpu"
NEEDS_GPU = pytest.mark.skipif(not GPU, reason="torch finds no GPU here")
FAMILIES = pytest.mark.parametrize("family", tiny.FAMILIES)
SIGNALS = {
    "reward": Reward(kl_coefficient=0.0, clip_low=1.0, clip_high=1e3),  # at a clip rounding decides
    "reverse": Divergence(direction="reverse"),
    "forward": Divergence(direction="forward"),
    "imitation": Imitation(),
}
UPDATES = 6


def batch(name):
    """Rollouts of the untrained network and their targets, made on the CPU."""
    rollouts = rollouts_of(tiny.sample(tiny.qwen(), samples=6, tokens=8))
    if name == "reward":
        targets = [
            PolicyTarget(
                advantage=torch.full((len(one.response_ids),), 1.0 if i % 3 else -2.0),
                old_logprobs=torch.tensor(one.logprobs),
            )
            for i, one in enumerate(rollouts)
        ]
    elif name == "imitation":
        targets = [NoTarget()] * len(rollouts)
    else:
        targets = LocalTeacher(tiny.qwen(seed=8), EngineSettings(device="cpu")).distributions(rollouts, 1.0)
    members = zip(rollouts, targets, token_mean_weights(rollouts), strict=True)
    return Scored(rollouts=tuple(ScoredRollout(rollout=r, target=t, weight=w) for r, t, w in members))


def trained(name, device, precision="float32"):
    """The norm of each gradient, and how far the weights went, on one batch that no learner drew."""
    model = tiny.qwen()
    start = torch.cat([p.detach().flatten() for p in model.network.parameters()])
    learner = tiny.learner(model, engine=EngineSettings(device=device, precision=precision))
    norms = [learner.update(batch(name), SIGNALS[name])["gradient_norm"] for _ in range(UPDATES)]
    return torch.tensor(norms), torch.cat([p.detach().cpu().flatten() for p in model.network.parameters()]) - start


@pytest.mark.parametrize("name", SIGNALS)
def test_updates_in_float32_are_those_of_a_cpu(name):
    (norms, moved), (expected, way) = trained(name, HERE), trained(name, "cpu")
    torch.testing.assert_close(norms, expected, rtol=1e-3, atol=0)
    tiny.assert_near(moved, way, 1e-2)


@pytest.mark.parametrize("name", SIGNALS)
def test_updates_in_bfloat16_follow_float32_of_a_cpu(name):
    (norms, moved), (expected, way) = trained(name, HERE, "bfloat16"), trained(name, "cpu")
    torch.testing.assert_close(norms, expected, rtol=0.05, atol=0)
    tiny.assert_near(moved, way, 0.2)


@FAMILIES
def test_what_is_drawn_there_has_the_logprobs_that_plain_transformers_gives_on_a_cpu(family):
    model = tiny.FAMILIES[family]()
    model.to(torch.device(HERE))
    generator = LocalGenerator(model, None, EngineSettings(device=HERE))
    sampling = Sampling(temperature=0.8, max_response_tokens=12)
    drawn = rollouts_of(generator.generate(tiny.problems(9), 4, sampling, Seeds(run=0, stream="gpu", step=0)))
    assert len({len(one.response_ids) for one in drawn}) > 2
    plain = tiny.FAMILIES[family]()
    for one in drawn:
        found = torch.tensor(one.logprobs)
        torch.testing.assert_close(found, tiny.token_logprobs(plain, one, 0.8), rtol=0, atol=1e-4)


@FAMILIES
def test_trees_rows_of_either_kind_and_one_at_a_time_have_the_same_hidden_states(family):
    rollouts, found = probes(40, 8), []
    for way in ("trees", "open rows", "rows", "alone"):
        model = tiny.FAMILIES[family]()
        model.to(torch.device(HERE))
        network = Body(model, ways=Ways(scoring=way, sampling="no cache"))
        states = {}
        with torch.no_grad(), network.work():
            for layout in network.pack(rollouts, 10**9):
                with network.attention(layout):
                    hidden = network.scored_hidden(layout)
                states.update(zip(layout.members, hidden.split(layout.response_lengths), strict=True))
        found.append(torch.cat([states[i] for i in range(len(rollouts))]).cpu())
    tiny.assert_near(found[0], found[2], 1e-5)
    tiny.assert_near(found[1], found[2], 1e-5)


@NEEDS_GPU
@FAMILIES
def test_captured_steps_draw_what_steps_run_anew_draw(family):
    model = tiny.FAMILIES[family]()
    model.to(torch.device("cuda"))
    prompts = [model.encode(problem) for problem in tiny.problems(9)]
    seeds = [[Seeds(run=0, stream="s", step=0).of(str(i), s) for s in range(4)] for i in range(len(prompts))]
    sampling = Sampling(max_response_tokens=12)
    plain, replayed = (draw_responses(Body(model), prompts, seeds, sampling, 8, how) for how in (None, capture_on_gpu))
    assert [[one.ids for one in own] for own in plain] == [[one.ids for one in own] for own in replayed]


@NEEDS_GPU
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_an_update_on_16384_tokens_holds_no_mask_of_length_squared(precision):
    learner = tiny.learner(tiny.qwen(), engine=EngineSettings(device="cuda", precision=precision))
    ids = [2 + i % 8 for i in range(16_384)]
    one = tiny.rollout("p/0", ids[:8], ids[8:])
    (weight,) = token_mean_weights([one])
    scored = Scored(rollouts=(ScoredRollout(rollout=one, target=NoTarget(), weight=weight),))
    assert len(one.prompt_ids) + len(one.response_ids) > body.LONG
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    assert learner.update(scored, Imitation())["gradient_norm"] > 0
    assert torch.cuda.max_memory_allocated() - before < 400 * 2**20  # a mask of floats alone would be 1,024 MiB
