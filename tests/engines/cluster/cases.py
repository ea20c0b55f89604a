"""What ranks do in the tests, and one process beside them: both sides of each claim, as plain numbers.

Every rank builds the same batch and takes its share; the first rank runs the same updates in one process too.
"""

import contextlib
import dataclasses
import math
from pathlib import Path

import torch

import tiny
from headwater.batch import Scored, ScoredRollout, TopKDistribution, token_mean_weights
from headwater.engines.cluster import learner as limits
from headwater.engines.cluster.learner import ShardedLearner
from headwater.engines.cluster.sharding import whole
from headwater.engines.cluster.share import deal
from headwater.engines.cluster.teacher import Promised, ShardedTeacher
from headwater.engines.cpu import embeddings
from headwater.engines.local import LocalLearner, LocalTeacher
from headwater.engines.settings import EngineSettings
from headwater.errors import HeadwaterError
from headwater.interfaces import Training
from headwater.models import adapters
from headwater.models.choice import Lora
from headwater.models.family import build
from headwater.models.shape import QwenShape
from headwater.optimiser import Optimiser
from headwater.signals import Divergence, Imitation, PolicyTarget, Reward
from headwater.signals.inner import weighted
from headwater.signals.mixture import Mixture
from headwater.signals.summed import summed
from scripted import ONCE

WORDS = ["<pad>", "<end>", *"abcdefgh", *[f"w{i}" for i in range(60)]]
"""70 rows, which neither 3 ranks nor 4 share evenly."""
TEACHER = QwenShape(hidden_size=32, layers=3, heads=4, kv_heads=2, head_dim=8, ff_size=64)
CLIPPED = Optimiser(learning_rate=2e-3, clip_norm=0.05, warmup_share=0.0, weight_decay=0.01)
UPDATES = 6

SIGNALS = {
    "reward": Reward(kl_coefficient=0.0),
    "reward near a reference": Reward(kl_coefficient=0.1),
    "reverse": Divergence(direction="reverse"),
    "forward": Divergence(direction="forward"),
    "top k": Divergence(direction="forward"),
    "imitation": Imitation(),
    "mixture": Mixture(share=0.4, sparse=Reward(kl_coefficient=0.0)),
}


def engine(**more):
    return EngineSettings(device="cpu", **{"micro_batch_tokens": 160, "head_bytes": 2**20, **more})


def student(form="tied", seed=1):
    """A tiny network: tied, untied (its head's rows then differ from its table's), with an adapter or a large table."""
    model = build(tiny.SHAPE, WORDS, seed)
    if form == "untied":
        network = model.network
        network.config.tie_word_embeddings = False
        with torch.no_grad():
            network.lm_head.weight = torch.nn.Parameter(network.lm_head.weight.detach().clone() * 0.5)
    if form == "large":
        with torch.random.fork_rng(), torch.no_grad():
            torch.manual_seed(seed)
            rows = embeddings.LARGE // model.network.config.hidden_size
            model.network.resize_token_embeddings(rows, mean_resizing=False)
    if form == "adapter":
        adapters.attach(model.network, Lora(rank=4, alpha=8), seed=3)
    return model


def teacher_model():
    return build(TEACHER, WORDS, 7)


def rollouts(step, problems=5, samples=4, longest=24):
    """Made-up rollouts of some prompts; from no sampler."""
    source = torch.Generator().manual_seed(100 + step)

    def ids(least, most):
        count = int(torch.randint(least, most, (), generator=source))
        return tuple(torch.randint(1, len(WORDS), (count,), generator=source).tolist())

    found = []
    for p in range(problems):
        prompt = ids(3, 9)
        for s in range(samples):
            response = ids(1, longest)
            logprobs = tuple((-4.2 + 0.1 * torch.randn(len(response), generator=source)).tolist())
            found.append(tiny.rollout(f"p{p}/{step}/{s}", prompt, response, logprobs=logprobs))
    return found


def scored(name, step, teacher=None, **shape):
    """A batch as the signal of that name scores one."""
    if name == "mixture":
        parts = [(scored("reward", step, **shape), 0.4), (scored("reverse", step, teacher, **shape), 0.6)]
        return summed(*(weighted(part, [share] * len(part.rollouts)) for part, share in parts))
    given = rollouts(step, **shape)
    if name.startswith("reward"):
        source = torch.Generator().manual_seed(step)
        advantages = torch.randn(len(given), generator=source)
        references = [None] * len(given)
        if name == "reward near a reference":
            references = [torch.tensor(one.logprobs) - 0.1 for one in given]
        targets = [
            PolicyTarget(
                advantage=torch.full((len(one.response_ids),), float(advantage)),
                old_logprobs=torch.tensor(one.logprobs),
                reference_logprobs=reference,
            )
            for one, advantage, reference in zip(given, advantages, references, strict=True)
        ]
    elif name == "imitation":
        return Imitation().score(groups(given), tiny.workers(), ONCE)
    else:
        targets = teacher.distributions(given, 1.0)
        if name == "top k":
            targets = [TopKDistribution.from_logprobs(target.logprobs(), 8) for target in targets]
    weights = token_mean_weights(given)
    members = [
        ScoredRollout(rollout=one, target=target, weight=weight)
        for one, target, weight in zip(given, targets, weights, strict=True)
    ]
    return Scored(rollouts=tuple(members))


def groups(given):
    from headwater.records import Group, Problem

    return [
        Group(problem=Problem(problem_id=one.problem_id, prompt="?", source="tiny"), rollouts=(one,)) for one in given
    ]


def share(batch, mesh):
    """This rank's part."""
    mine = deal([member.rollout for member in batch.rollouts], mesh.size())[mesh.get_local_rank()]
    return Scored(rollouts=tuple(batch.rollouts[i] for i in mine))


def tensors(learner):
    """Every parameter, whole; all ranks ask together."""
    return {name: whole(p.detach()).clone() for name, p in learner.model.network.named_parameters()}


def apart(one, other):
    """The largest difference between two sets of weights."""
    assert one.keys() == other.keys()
    return max(float((one[name] - other[name]).abs().max()) for name in one)


def first(mesh):
    return mesh.get_local_rank() == 0


def sharded(mesh, form="tied", settings=CLIPPED, given=None, teachers=None):
    return ShardedLearner(student(form), training(settings), given or engine(), mesh, teachers or {})


def local(form="tied", settings=CLIPPED, given=None):
    return LocalLearner(student(form), training(settings), given or engine())


def training(settings):
    return settings if isinstance(settings, Training) else Training(optimiser=settings, updates=UPDATES)


def parity(mesh, signal, form="tied", problems=5, updates_a_batch=1, **settings):
    """Six clipped AdamW steps on ranks and in one process."""
    given = engine(**settings)
    taught = Training(optimiser=CLIPPED, updates=UPDATES, updates_a_batch=updates_a_batch)
    live = signal in ("reverse", "mixture")
    asked = ShardedTeacher(teacher_model(), given, mesh) if live else None
    near = LocalTeacher(teacher_model(), given)
    many, many_metrics = sharded(mesh, form, taught, given, {"near": asked} if live else {}), []
    start = tensors(many)
    for step in range(UPDATES):
        batch = scored(signal, step // updates_a_batch, Promised("near", near) if live else near, problems=problems)
        many_metrics.append(many.update(share(batch, mesh), SIGNALS[signal]))
    found = tensors(many)
    if not first(mesh):
        return None
    one = local(form, taught, given)
    one_metrics = [
        one.update(scored(signal, step // updates_a_batch, near, problems=problems), SIGNALS[signal])
        for step in range(UPDATES)
    ]
    return {
        "apart": apart(found, tensors(one)),
        "moved": apart(found, start),
        "metrics": many_metrics,
        "expected": one_metrics,
        "local rows": len(many.model.head[0].to_local()) if mesh.size() > 1 else None,
    }


def gap(mesh, nudge):
    """The sampler's gap on rollouts of the present weights, or of weights that have since moved by `nudge`."""
    learners = {"ranks": sharded(mesh), "one": local()}
    with unlimited():
        return {name: nudged(mesh, learner, nudge) for name, learner in learners.items()}


def limited(mesh, nudge):
    """What each rank says of such rollouts, and how far its weights went."""
    learner = sharded(mesh)
    said = refused(lambda: nudged(mesh, learner, nudge))
    return {"said": learner._everywhere(said), "version": learner.version}


def nudged(mesh, learner, nudge):
    groups = tiny.sample(student(), tiny.problems(6), learner=tiny_version(0), tokens=12)
    batch = Imitation().score(groups, tiny.workers(), ONCE)
    with torch.no_grad():
        learner.model.network.model.norm.weight.mul_(1 + nudge)
    return learner.update(share(batch, mesh) if isinstance(learner, ShardedLearner) else batch, Imitation())


@contextlib.contextmanager
def unlimited():
    kept = dict(limits.GAP_LIMITS)
    limits.GAP_LIMITS.update(dict.fromkeys(kept, math.inf))
    try:
        yield
    finally:
        limits.GAP_LIMITS.update(kept)


def tiny_version(version):
    """Stands for a learner whose generator stamps this version."""
    return type("Version", (), {"version": version})()


def bad_token(mesh, at):
    """One number of one problem's targets is not finite: who says what, and what stays."""
    signal, learner = SIGNALS["reward"], sharded(mesh)
    learner.update(share(scored("reward", 0), mesh), signal)
    before, batch = tensors(learner), scored("reward", 1)
    position = next(i for i, member in enumerate(batch.rollouts) if member.rollout.problem_id == at)
    batch.rollouts[position].target.advantage.fill_(math.nan)
    said = refused(lambda: learner.update(share(batch, mesh), signal))
    kept = apart(before, tensors(learner))
    after = learner.update(share(scored("reward", 1), mesh), signal)
    return {"said": learner._everywhere(said), "kept": kept, "version": learner.version, "after": after}


def stale(mesh):
    """One rank's rollout is of other weights."""
    learner, batch = sharded(mesh), scored("reward", 0)
    old = dataclasses.replace(batch.rollouts[0].rollout, policy_version=7)
    members = (dataclasses.replace(batch.rollouts[0], rollout=old), *batch.rollouts[1:])
    said = refused(lambda: learner.update(share(Scored(rollouts=members), mesh), SIGNALS["reward"]))
    return {"said": learner._everywhere(said)}


def exploding(mesh):
    """A gradient whose norm is not finite."""
    learner, batch = sharded(mesh), scored("imitation", 0)
    members = tuple(dataclasses.replace(member, weight=member.weight * 1e38) for member in batch.rollouts)
    said = refused(lambda: learner.update(share(Scored(rollouts=members), mesh), SIGNALS["imitation"]))
    return {"said": learner._everywhere(said), "version": learner.version}


def refused(act):
    try:
        act()
    except HeadwaterError as error:
        return f"{type(error).__name__}: {error}"
    return None


def empty(mesh):
    """A batch of which every group was dropped."""
    learner = sharded(mesh)
    learner.update(share(scored("reward", 0), mesh), SIGNALS["reward"])
    before = tensors(learner)
    metrics = learner.update(Scored(rollouts=()), SIGNALS["reward"])
    return {"kept": apart(before, tensors(learner)), "metrics": metrics, "version": learner.version}


def checkpoints(mesh, folder, form):
    """Three updates, saved; then three more by every pair of who saved and who goes on."""
    folder = Path(folder)
    many = sharded(mesh, form)
    for step in range(3):
        many.update(share(scored("reward", step), mesh), SIGNALS["reward"])
    many.save(folder / "ranks")
    one = local(form)
    if first(mesh):
        one.load(folder / "ranks")
        one.save(folder / "one")
    many._everywhere(0)  # the file is there
    again = sharded(mesh, form)
    again.load(folder / "one")
    ends = {}
    for name, learner in (("unbroken", many), ("ranks", again), ("one", one)):
        if name != "one":
            for step in range(3, UPDATES):
                learner.update(share(scored("reward", step), mesh), SIGNALS["reward"])
            ends[name] = tensors(learner)
        elif first(mesh):
            for step in range(3, UPDATES):
                learner.update(scored("reward", step), SIGNALS["reward"])
            ends[name] = tensors(learner)
    return {
        "versions": [many.version, again.version, one.version],
        "ranks": apart(ends["unbroken"], ends["ranks"]),
        "one": apart(ends["unbroken"], ends["one"]) if first(mesh) else None,
    }


def full_disk(mesh, folder):
    """The first rank cannot write; everyone hears of it."""
    learner = sharded(mesh)
    path = Path(folder) / "file"
    if first(mesh):
        path.write_text("")
    learner._everywhere(0)
    try:
        learner.save(path / "model")
    except (OSError, HeadwaterError) as error:
        said = type(error).__name__
    return {"said": learner._everywhere(said)}


def references(mesh, dtype="float32"):
    """Logprobs of a frozen model, each rank its share, against one process."""
    given, models = rollouts(0), (teacher_model(), teacher_model())
    for model in models:
        model.network.to(getattr(torch, dtype))
    ours = [given[i] for i in deal(given, mesh.size())[mesh.get_local_rank()]]
    reference = ShardedTeacher(models[0], engine(), mesh)
    mine = torch.cat(reference.logprobs(ours, 0.8))
    states = torch.cat(reference.hidden(ours))
    again = torch.log_softmax((states @ reference.head.head.T).float() / 0.8, -1)
    ids = torch.tensor([token for one in ours for token in one.response_ids])
    expected = torch.cat(LocalTeacher(models[1], engine()).logprobs(ours, 0.8))
    return {
        "kept states": float((again.gather(-1, ids[:, None])[:, 0] - mine).abs().max()),
        "one process": float((mine - expected).abs().max()),
    }


def present(mesh, form):
    """What a learner's own weights say before an update and after it, on ranks and in one process."""
    many, one, given = sharded(mesh, form), local(form), rollouts(0)
    mine = [given[i] for i in deal(given, mesh.size())[mesh.get_local_rank()]]
    ids = torch.tensor([token for rollout in mine for token in rollout.response_ids])
    found = []
    for step in range(3):
        asked = many.asked()
        logprobs, states = torch.cat(asked.logprobs(mine, 0.8)), torch.cat(asked.hidden(mine))
        own = torch.cat([told.logprobs() for told in one.present().distributions(mine, 0.8)])
        made = dataclasses.replace(asked.head, hidden=states, temperature=0.8).logprobs()
        found.append(
            {
                "logprobs": float((logprobs - torch.cat(one.present().logprobs(mine, 0.8))).abs().max()),
                "distributions": float((made - own).abs().max()),
                "both": float((made.gather(-1, ids[:, None])[:, 0] - logprobs).abs().max()),
                "moved": float((logprobs - found[0]["said"]).abs().max()) if found else None,
                "said": logprobs,
            }
        )
        many.update(share(scored("reward", step), mesh), SIGNALS["reward"])
        one.update(scored("reward", step), SIGNALS["reward"])
    return [{name: value for name, value in looked.items() if name != "said"} for looked in found]


def rounded(mesh):
    """One update with products in bfloat16: the gradient's norm, on ranks and in one process, and in float32."""
    found = {}
    for precision in ("bfloat16", "float32"):
        given = engine(precision=precision)
        near = LocalTeacher(teacher_model(), given)
        teachers = {"near": ShardedTeacher(teacher_model(), given, mesh)}
        batch = scored("reverse", 0, Promised("near", near))
        many = sharded(mesh, given=given, teachers=teachers)
        found[f"{precision} ranks"] = many.update(share(batch, mesh), SIGNALS["reverse"])["gradient_norm"]
        one = local(given=given)
        found[precision] = one.update(scored("reverse", 0, near), SIGNALS["reverse"])["gradient_norm"]
    return found


def telling(mesh):
    """What ranks tell each other comes back in their order, numbers to the bit."""
    from headwater.engines.cluster.sharding import told

    rank = mesh.get_local_rank()
    return told({"rank": rank, "tenth": 0.1 + rank, "text": "ü" * rank, "nothing": None}, mesh)


CASES = {
    case.__name__: case
    for case in (
        parity,
        gap,
        limited,
        bad_token,
        stale,
        exploding,
        empty,
        checkpoints,
        full_disk,
        references,
        present,
        rounded,
        telling,
    )
}
