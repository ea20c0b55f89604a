"""The teacher's cache: what comes back is what was recorded, to the bit, or an error that says why not."""

import dataclasses
import re
import tracemalloc

import datasets
import pyarrow as pa
import pytest
import torch
from safetensors.torch import load_file

import tiny
from headwater import cache
from headwater import recording as of_recording
from headwater.batch import FullDistribution, HiddenDistribution, TopKDistribution
from headwater.engines.local import LocalTeacher
from headwater.engines.settings import EngineSettings
from headwater.errors import InputError, IntegrityError
from headwater.recording import Recording
from headwater.records import rollouts_of
from headwater.rollouts import RolloutTable, write_rollouts
from headwater.signals import Divergence, Imitation
from scripted import ONCE, ScriptedTeacher, scripted_group

TEMPERATURE = 0.8
FULL, HIDDEN = Recording(), Recording(keep="hidden")


def top(k, dtype="float32"):
    return Recording(keep="top_k", top_k=k, dtype=dtype)


ROLLOUTS, DISTRIBUTIONS = cache.ROLLOUTS.format(0), cache.DISTRIBUTIONS.format(0)
RECORDINGS = [FULL, HIDDEN, top(1), top(3), top(len(tiny.WORDS))]


def teacher_model():
    return tiny.llama(stop_ids=(4, 6))


def live():
    return LocalTeacher(teacher_model(), EngineSettings())


def recorded(directory, recording=FULL):
    """The teacher's own rollouts, of several lengths, written with its distributions."""
    groups = tiny.sample(teacher_model(), temperature=TEMPERATURE)
    assert len({len(one.response_ids) for one in rollouts_of(groups)}) > 2
    cache.write(directory, groups, live(), recording, temperature=TEMPERATURE)
    return groups


# round trips


def test_rollouts_come_back_as_they_were(tmp_path):
    groups = recorded(tmp_path)
    opened = cache.CachedTeacher(tmp_path)
    assert list(opened.rollouts.values()) == rollouts_of(groups)
    by_problem = opened.rollouts.by_problem
    assert {name: tuple(found) for name, found in by_problem.items()} == {
        group.problem.problem_id: group.rollouts for group in groups
    }
    assert by_problem["p2"][1:] == groups[2].rollouts[1:]


def test_any_ids_text_and_logprobs_survive(tmp_path):
    strange = tiny.rollout(
        "p/0",
        (0, 1, 151_935, 2**31 - 1),
        (2**31 - 1, 0, 128_000, 1),
        logprobs=(-0.1, -1e-45, -88.722839, -0.0),
        response_text='line\nline\r\x00\x1f "quoted" \\ \u2028 \ud7ff 𝒳 ½',
        finish_reason="length",
        policy_version=3,
    )
    write_rollouts(tmp_path / "r.arrow", [strange, dataclasses.replace(strange, rollout_id="p/1", logprobs=())])
    first, second = RolloutTable([tmp_path / "r.arrow"]).values()
    assert first == strange
    assert [str(logprob) for logprob in first.logprobs] == [str(logprob) for logprob in strange.logprobs]
    assert (second.rollout_id, second.logprobs) == ("p/1", ())


def test_an_open_file_keeps_few_tokens_in_memory_and_gives_all(tmp_path):
    short, long = tiny.rollout("p/0", (5,), (6, 7, 8)), tiny.rollout("p/1", (0,) * 1000, tuple(range(50_000)))
    write_rollouts(tmp_path / "r.arrow", [short, long])
    tracemalloc.start()
    opened = RolloutTable([tmp_path / "r.arrow"])
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 50_000
    assert (opened["p/0"], opened["p/1"]) == (short, long)
    assert opened.largest_id == 49_999


def test_a_file_changed_after_it_was_opened_is_noticed_when_it_is_read(tmp_path):
    path = tmp_path / "r.arrow"
    write_rollouts(path, [tiny.rollout("p/0", (5,), (7, 8, 70_001))])
    opened = RolloutTable([path])
    content = path.read_bytes()
    with path.open("r+b") as file:  # in place: a file that is replaced stays as it was for who has it open
        file.write(content.replace((70_001).to_bytes(4, "little"), (70_002).to_bytes(4, "little")))
    with pytest.raises(IntegrityError, match="rollout p/0 was changed since"):
        opened["p/0"]


def test_a_recording_replaces_an_older_one_with_all_its_shards(tmp_path):
    groups = recorded(tmp_path)
    cache.write(tmp_path, groups[2:], live(), FULL, temperature=TEMPERATURE, first=2)
    cache.write(tmp_path, groups[:1], live(), FULL, temperature=TEMPERATURE)
    assert list(cache.CachedTeacher(tmp_path).rollouts.values()) == list(groups[0].rollouts)


def test_a_file_of_rollouts_is_a_data_set(tmp_path):
    rollouts = rollouts_of(recorded(tmp_path))
    rows = datasets.Dataset.from_file(str(tmp_path / ROLLOUTS))
    assert [row["response_ids"] for row in rows] == [list(one.response_ids) for one in rollouts]
    assert [row["response_text"] for row in rows] == [one.response_text for one in rollouts]


def plain(value):
    return value.tolist() if isinstance(value, torch.Tensor) else value


@pytest.mark.parametrize("recording", RECORDINGS)
def test_a_recording_made_in_shards_is_read_as_one(recording, tmp_path):
    groups = recorded(tmp_path / "whole", recording)
    for first in (0, 1, 3):
        piece = groups[first : {0: 1, 1: 3, 3: None}[first]]
        cache.write(tmp_path / "shards", piece, live(), recording, temperature=TEMPERATURE, first=first)
    whole, shards = cache.CachedTeacher(tmp_path / "whole"), cache.CachedTeacher(tmp_path / "shards")
    assert list(shards.rollouts.items()) == list(whole.rollouts.items())
    mixed = rollouts_of(groups)[::-1]
    found, expected = (teacher.distributions(mixed, TEMPERATURE) for teacher in (shards, whole))
    for one, other in zip(found, expected, strict=True):
        assert {name: plain(value) for name, value in vars(one).items()} == {
            name: plain(value) for name, value in vars(other).items()
        }
    lost = tmp_path / "shards" / cache.ROLLOUTS.format(1)
    lost.unlink()
    with pytest.raises(IntegrityError, match=r"distributions in 3 files for .* in 2"):
        cache.CachedTeacher(tmp_path / "shards")


@pytest.mark.parametrize("recording", RECORDINGS)
def test_distributions_come_back_to_the_bit(recording, tmp_path):
    rollouts = rollouts_of(recorded(tmp_path, recording))
    found = cache.CachedTeacher(tmp_path).distributions(rollouts, TEMPERATURE)
    by_group = [live().distributions(rollouts[start : start + 3], TEMPERATURE) for start in range(0, len(rollouts), 3)]
    for distribution, expected in zip(found, [one for group in by_group for one in group], strict=True):
        if recording.keep == "full":
            assert isinstance(distribution, FullDistribution)
            assert torch.equal(distribution.full, expected.logprobs())
        elif recording.keep == "hidden":
            assert isinstance(distribution, HiddenDistribution)
            assert torch.equal(distribution.hidden, expected.hidden)
            assert torch.equal(distribution.head, expected.head)
            torch.testing.assert_close(distribution.logprobs(), expected.logprobs(), rtol=1e-6, atol=1e-6)
        else:
            kept = TopKDistribution.from_logprobs(expected.logprobs(), recording.top_k)
            assert torch.equal(distribution.token_ids, kept.token_ids)
            assert torch.equal(distribution.top_logprobs, kept.top_logprobs)
            assert torch.equal(distribution.tail_logprob, kept.tail_logprob)
            assert distribution.token_ids.dtype == torch.int64


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("recording", [FULL, HIDDEN, top(3)])
def test_half_precision_on_disk_rounds_and_does_no_more(recording, dtype, tmp_path):
    groups = recorded(tmp_path, recording.model_copy(update={"dtype": dtype}))
    found = cache.CachedTeacher(tmp_path).distributions(rollouts_of(groups), TEMPERATURE)
    column = {"full": "full", "hidden": "hidden", "top_k": "top_logprobs"}[recording.keep]
    assert all(getattr(one, column).dtype == getattr(torch, dtype) for one in found)
    rounded = gradient(cache.CachedTeacher(tmp_path), groups, "forward")
    exact = tmp_path / "exact"
    cache.write(exact, groups, live(), recording, temperature=TEMPERATURE)
    tiny.assert_near(rounded, gradient(cache.CachedTeacher(exact), groups, "forward"), 2e-2)


def test_what_float16_cannot_hold_is_refused(tmp_path):
    model = teacher_model()
    with torch.no_grad():
        model.network.model.norm.weight.mul_(1e6)
    with pytest.raises(InputError, match="too large for float16"):
        cache.write(
            tmp_path,
            tiny.sample(model, temperature=TEMPERATURE),
            LocalTeacher(model, EngineSettings()),
            Recording(keep="hidden", dtype="float16"),
            temperature=TEMPERATURE,
        )


@pytest.mark.parametrize("recording", [*RECORDINGS, top(3, "bfloat16"), Recording(keep="hidden", dtype="float16")])
def test_a_recording_takes_the_bytes_that_were_announced(recording, tmp_path):
    groups = recorded(tmp_path, recording)
    tokens = sum(len(one.response_ids) for one in rollouts_of(groups))
    announced = of_recording.sizes(tokens, recording, vocabulary=len(tiny.WORDS), hidden=16)
    stored = {re.split(r"[-.]", path.name)[0]: path.stat().st_size for path in tmp_path.iterdir()}
    assert set(stored) == set(announced)
    for name, size in stored.items():
        if name != "rollouts":  # a few tokens' names and prompts outweigh them
            assert announced[name] <= size <= announced[name] + 700  # the file's header


def test_rows_are_read_from_the_mapped_file_when_they_are_asked_for(tmp_path):
    rollouts = rollouts_of(recorded(tmp_path))
    opened = cache.CachedTeacher(tmp_path)
    path = tmp_path / DISTRIBUTIONS
    with path.open("r+b") as file:  # what lies in the file now is what is read: nothing was taken into memory
        file.seek(path.stat().st_size - 4 * len(tiny.WORDS))
        file.write(bytes(4 * len(tiny.WORDS)))
    last = opened.distributions(rollouts, TEMPERATURE)[-1]
    assert torch.equal(last.full[-1], torch.zeros(len(tiny.WORDS)))


def test_a_distribution_is_recorded_in_pieces_as_it_is_whole(tmp_path, monkeypatch):
    """Up to the rounding of products with other numbers of rows, which the processor decides."""
    found = []
    for name, piece in (("whole", of_recording.PIECE), ("pieces", 2 * len(tiny.WORDS))):
        monkeypatch.setattr(of_recording, "PIECE", piece)
        recorded(tmp_path / name, top(3))
        found.append(load_file(tmp_path / name / DISTRIBUTIONS))
    whole, pieces = found
    assert whole.keys() == pieces.keys()
    assert torch.equal(whole["token_ids"], pieces["token_ids"])
    for name, values in whole.items():
        torch.testing.assert_close(pieces[name], values, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("k", [1, 3, 9])
def test_the_kept_tokens_and_the_tail_hold_all_of_the_mass(k, tmp_path):
    rollouts = rollouts_of(recorded(tmp_path, top(k)))
    for distribution in cache.CachedTeacher(tmp_path).distributions(rollouts, TEMPERATURE):
        mass = distribution.top_logprobs.exp().sum(-1) + distribution.tail_logprob.exp()
        torch.testing.assert_close(mass, torch.ones_like(mass), rtol=0, atol=1e-5)


def test_distributions_are_found_by_rollout_and_in_any_order(tmp_path):
    rollouts = rollouts_of(recorded(tmp_path))
    opened = cache.CachedTeacher(tmp_path)
    whole = dict(zip([r.rollout_id for r in rollouts], opened.distributions(rollouts, TEMPERATURE), strict=True))
    for one in reversed(rollouts):
        [distribution] = opened.distributions([one], TEMPERATURE)
        assert torch.equal(distribution.full, whole[one.rollout_id].full)
        assert len(distribution.full) == len(one.response_ids)


def test_the_recorded_logprobs_are_those_the_tokens_were_drawn_with(tmp_path):
    rollouts = rollouts_of(recorded(tmp_path))
    opened = cache.CachedTeacher(tmp_path)
    for one, logprobs, full in zip(
        rollouts, opened.logprobs(rollouts, TEMPERATURE), opened.distributions(rollouts, TEMPERATURE), strict=True
    ):
        assert logprobs.tolist() == pytest.approx(one.logprobs, rel=1e-5, abs=1e-6)
        drawn = full.full.gather(-1, torch.tensor(one.response_ids)[:, None])[:, 0]
        torch.testing.assert_close(logprobs, drawn, rtol=0, atol=1e-5)


def test_a_teacher_that_did_not_write_says_its_own_logprobs_of_what_was_written(tmp_path):
    groups = tiny.sample(tiny.qwen(seed=3), samples=2, temperature=TEMPERATURE)
    teacher, rollouts = LocalTeacher(tiny.qwen(seed=8), EngineSettings()), rollouts_of(groups)
    cache.write(tmp_path, groups, teacher, temperature=TEMPERATURE)
    opened = cache.CachedTeacher(tmp_path)
    for found, live in zip(
        opened.logprobs(rollouts, TEMPERATURE), teacher.logprobs(rollouts, TEMPERATURE), strict=True
    ):
        torch.testing.assert_close(found, live, rtol=0, atol=1e-5)


def test_token_ids_on_disk_are_wide_enough_for_any_vocabulary(tmp_path):
    vocab, likely = 152_064, (151_935, 65_536, 32_768, 70_000)
    logprobs = torch.full((2, vocab), -20.0)
    logprobs[0, list(likely[:2])], logprobs[1, list(likely[2:])] = -0.7, -0.7
    logprobs = torch.log_softmax(logprobs, -1)
    group = scripted_group("p", [likely[:2]])
    teacher = ScriptedTeacher(by_rollout={"p/0": FullDistribution(full=logprobs)})
    cache.write(tmp_path, [group], teacher, top(2), temperature=1.0)
    [found] = cache.CachedTeacher(tmp_path).distributions(group.rollouts, 1.0)
    assert {frozenset(row) for row in found.token_ids.tolist()} == {frozenset(likely[:2]), frozenset(likely[2:])}


# what is refused


@pytest.mark.parametrize("temperature", [1.0, 0.80001])
def test_another_temperature_is_refused(temperature, tmp_path):
    recorded(tmp_path)
    with pytest.raises(InputError, match=f"recorded at temperature 0.8, the stage scores at {temperature}"):
        cache.CachedTeacher(tmp_path).distributions([], temperature)


def test_unknown_rollouts_and_known_ones_with_other_tokens_are_refused(tmp_path):
    first = rollouts_of(recorded(tmp_path))[0]
    opened = cache.CachedTeacher(tmp_path)
    others = [
        dataclasses.replace(first, rollout_id="tiny/1/p0/0"),
        dataclasses.replace(first, response_ids=(*first.response_ids[:-1], first.response_ids[-1] ^ 1)),
        dataclasses.replace(first, response_ids=first.response_ids[:-1]),
        dataclasses.replace(first, prompt_ids=(*first.prompt_ids, 2)),
    ]
    for other in others:
        for ask in (opened.distributions, opened.logprobs):
            with pytest.raises(InputError, match=other.rollout_id):
                ask([other], TEMPERATURE)


@pytest.mark.parametrize("recording", [FULL, HIDDEN, top(4)])
def test_more_than_a_teacher_says_cannot_be_recorded(recording, tmp_path):
    group = scripted_group("p", [(2, 3)])
    coarse = TopKDistribution.from_logprobs(torch.log_softmax(torch.randn(2, 10), -1), 3)
    with pytest.raises(InputError, match="knows its 3 likeliest tokens"):
        cache.write(tmp_path, [group], ScriptedTeacher(by_rollout={"p/0": coarse}), recording, temperature=1.0)


@pytest.mark.parametrize("k", [1, 2, 3])
def test_a_teacher_that_is_not_exact_is_recorded_with_the_rest_in_the_tail(k, tmp_path):
    group = scripted_group("p", [(2, 3)])
    logprobs = torch.log_softmax(torch.randn(2, 10), -1)
    coarse = TopKDistribution.from_logprobs(logprobs, 3)
    teacher = ScriptedTeacher(exact=False, by_rollout={"p/0": coarse})
    cache.write(tmp_path, [group], teacher, top(k), temperature=1.0)
    opened = cache.CachedTeacher(tmp_path)
    assert not opened.exact
    [found] = opened.distributions(group.rollouts, 1.0)
    expected = TopKDistribution.from_logprobs(logprobs, k)
    assert torch.equal(found.token_ids, expected.token_ids)
    torch.testing.assert_close(found.top_logprobs, expected.top_logprobs)
    torch.testing.assert_close(found.tail_logprob, expected.tail_logprob)


# a cached teacher teaches what the live one does


def gradient(teacher, groups, direction):
    model, signal = tiny.qwen(), Divergence(direction=direction)
    scored = signal.score(groups, tiny.workers(teacher=teacher, temperature=TEMPERATURE), ONCE)
    tiny.learner(model, temperature=TEMPERATURE).update(scored, signal)
    return tiny.gradients(model)


@pytest.mark.parametrize("direction", ["forward", "reverse", "jsd"])
@pytest.mark.parametrize("recording", [FULL, HIDDEN])
def test_a_cached_divergence_has_the_gradient_of_the_live_teacher(recording, direction, tmp_path):
    groups = recorded(tmp_path, recording)
    cached = gradient(cache.CachedTeacher(tmp_path), groups, direction)
    tiny.assert_near(cached, gradient(live(), groups, direction), 1e-5)


@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_a_cached_top_k_divergence_has_the_gradient_of_the_live_teachers_top_k(direction, tmp_path):
    class Coarse(LocalTeacher):
        def distributions(self, rollouts, temperature):
            exact = super().distributions(rollouts, temperature)
            return [TopKDistribution.from_logprobs(d.logprobs(), 3) for d in exact]

    groups = recorded(tmp_path, top(3))
    cached = gradient(cache.CachedTeacher(tmp_path), groups, direction)
    coarse = Coarse(teacher_model(), EngineSettings())
    tiny.assert_near(cached, gradient(coarse, groups, direction), 1e-5)
    assert (cached - gradient(live(), groups, direction)).norm() > 1e-3 * cached.norm()


def test_imitating_cached_rollouts_is_imitating_the_live_ones(tmp_path):
    groups = recorded(tmp_path)
    by_problem = cache.CachedTeacher(tmp_path).rollouts.by_problem
    again = [dataclasses.replace(group, rollouts=tuple(by_problem[group.problem.problem_id])) for group in groups]
    found = []
    for read in (groups, again):
        model = tiny.qwen()
        tiny.learner(model).update(Imitation().score(read, tiny.workers(), ONCE), Imitation())
        found.append(tiny.gradients(model))
    assert torch.equal(*found)


# damage


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("name", [ROLLOUTS, DISTRIBUTIONS, cache.HEAD])
def test_a_file_cut_anywhere_is_an_integrity_error_that_names_it(name, share, tmp_path):
    recorded(tmp_path, HIDDEN)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: int(len(content) * share)])
    with pytest.raises(IntegrityError, match="record it again") as found:
        cache.CachedTeacher(tmp_path)
    assert str(tmp_path) in str(found.value)
    assert "\n" not in str(found.value)


def test_rollouts_lost_or_written_twice_are_detected(tmp_path):
    rollouts = rollouts_of(recorded(tmp_path))
    for changed in (rollouts[:-1], rollouts[1:], rollouts + rollouts[:1]):
        write_rollouts(tmp_path / ROLLOUTS, changed)
        with pytest.raises(IntegrityError):
            cache.CachedTeacher(tmp_path)


def test_a_table_of_something_else_is_refused(tmp_path):
    recorded(tmp_path)
    table = pa.table({"rollout_id": ["x"]})
    with pa.ipc.new_stream(str(tmp_path / ROLLOUTS), table.schema) as stream:
        stream.write_table(table)
    with pytest.raises(IntegrityError, match="columns are not those of rollouts"):
        cache.CachedTeacher(tmp_path)


def test_tokens_changed_on_disk_no_longer_match_the_rollouts_in_hand(tmp_path):
    groups = recorded(tmp_path)
    first, *others = rollouts_of(groups)
    changed = dataclasses.replace(first, response_ids=(first.response_ids[0] ^ 1, *first.response_ids[1:]))
    write_rollouts(tmp_path / ROLLOUTS, [changed, *others])
    with pytest.raises(InputError, match="was not recorded with these token ids"):
        cache.CachedTeacher(tmp_path).distributions(groups[0].rollouts, TEMPERATURE)


def test_a_problem_without_recorded_rollouts_is_not_there(tmp_path):
    recorded(tmp_path)
    by_problem = cache.CachedTeacher(tmp_path).rollouts.by_problem
    assert [p.problem_id for p in tiny.problems(6) if p.problem_id not in by_problem] == ["p4", "p5"]


# whose tokens


@pytest.mark.parametrize("recording", [FULL, HIDDEN, top(2)])
def test_a_recording_is_read_by_students_of_its_own_vocabulary_alone(recording, tmp_path):
    model = teacher_model()
    groups = tiny.sample(model, temperature=TEMPERATURE)
    cache.write(tmp_path, groups, live(), recording, temperature=TEMPERATURE, vocabulary=model.vocabulary)
    opened, width = cache.CachedTeacher(tmp_path), len(tiny.WORDS)
    opened.check_student(tiny.qwen().vocabulary, width)
    permuted = ("<pad>", "<eos>", *"bacdefgh")
    for other in (tiny.qwen(words=permuted), tiny.qwen(words=(*tiny.WORDS, "x"))):
        with pytest.raises(InputError, match="another tokenizer"):
            opened.check_student(other.vocabulary, width)
    largest = max(i for one in rollouts_of(groups) for i in (*one.prompt_ids, *one.response_ids))
    with pytest.raises(InputError, match=f"token id {width - 1}|token id {largest}"):
        opened.check_student(model.vocabulary, largest)


def test_the_vocabulary_covers_ids_special_tokens_and_template():
    plain, other = tiny.qwen(), tiny.qwen()
    assert plain.vocabulary == other.vocabulary == tiny.llama().vocabulary
    other.tokenizer.chat_template = "{{ messages }}"
    thinking = dataclasses.replace(plain, template={"enable_thinking": False})
    assert len({plain.vocabulary, other.vocabulary, thinking.vocabulary}) == 3
