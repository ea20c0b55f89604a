"""A benchmark does the work it says, leaves a file that is read again, and a page that is made of it."""

import dataclasses
import json

import pytest
from rich.console import Console

from bench.__main__ import measure, peers
from bench.cases import BFLOAT16, FLOAT32, TRL_AMP, Bar, Case, choose
from bench.compare import Options, best_micro, run_case
from bench.page import MARK, render, write_page
from bench.results import figures, new_document, ratios, read_document, write_document
from headwater.bench import command
from headwater.bench.inputs import write_inputs
from headwater.bench.protocol import Parts
from headwater.bench.shapes import BATCHES, KERNELS, Batch
from headwater.bench.side import build
from headwater.bench.work import WORKS, Work, on_shape
from headwater.engines.cpu import products
from headwater.errors import InputError

PEAK = {"float32": 100.0, "bfloat16": 400.0}
MIB = 2**20


def tiny(kind):
    (case,) = choose((kind,), "tiny")
    return case


@pytest.mark.parametrize("work", WORKS)
def test_a_round_does_the_whole_batch(work, tmp_path):
    job = {**write_inputs(on_shape(work, "tiny"), tmp_path), "side": FLOAT32, "micro": None}
    rounds, memory = build(job)
    for _ in range(2):  # the second step has other prompts and the first one's weights
        parts = Parts()
        done = rounds.round(parts)
        batch = BATCHES["tiny"]
        if work == "kl":
            assert done["tokens"] == KERNELS["tiny"].tokens
        elif work == "grpo-ragged":
            assert batch.rows <= done["tokens"] <= batch.rows * batch.response_tokens
        else:
            assert done["tokens"] == batch.rows * batch.response_tokens
        assert parts.measured["seconds"] == pytest.approx(sum(parts.seconds.values()))
        assert set(parts.seconds) <= {"generate", "score", "update"}
    assert memory.measured["peak"] >= memory.measured["base"] > 0


@pytest.mark.parametrize(("shape", "small"), [("lab", True), ("a", False)])
def test_products_take_the_library_that_a_run_of_such_networks_takes(shape, small, tmp_path, monkeypatch):
    asked, rule = [], products.rule
    monkeypatch.setattr(products, "_kept", [])
    monkeypatch.setattr(products, "rule", lambda here, *, tiny: asked.append(tiny) or rule(here, tiny=tiny))
    build({**write_inputs(on_shape("grpo", shape), tmp_path), "side": FLOAT32, "micro": None})
    assert set(asked) == {small}


def test_responses_are_of_full_length_unless_they_are_to_be_ragged(tmp_path):
    ends = {}
    for work in ("generation", "grpo-ragged"):
        case = Work(kind=work, shape="tiny", batch=Batch(prompts=8, samples=8, prompt_tokens=4, response_tokens=48))
        rounds, _ = build({**write_inputs(case, tmp_path / work), "side": FLOAT32, "micro": None})
        ends[work] = rounds.round(Parts())["tokens"] / (64 * 48)
    assert ends["generation"] == 1.0
    assert 0.5 < ends["grpo-ragged"] < 0.9  # one token of 64 ends a response: 0.71 of the places are filled


def test_a_case_is_measured_written_and_not_measured_again(tmp_path):
    said, file = [], tmp_path / "bench.json"
    options = Options(precision="float32", repeat=2, say=said.append)
    for _ in range(2):
        measure(choose(("generation",), "tiny"), options, file, Console(quiet=True), redo=False)
    assert [line.rpartition(":")[0] for line in said] == [f"generation tiny: {FLOAT32}: round {n}" for n in (1, 2)]
    (side,) = read_document(file)["cases"]["generation tiny"]["sides"].values()
    batch = BATCHES["tiny"]
    assert [done["tokens"] for done in side["rounds"]] == [batch.rows * batch.response_tokens] * 2


def test_of_micro_batches_as_fast_as_each_other_the_smallest_is_taken():
    assert best_micro({"256": 2.0, "128": 1.99, "64": 2.02, "32": 2.2}) == 64
    assert best_micro(None) is None


def test_a_side_that_fails_is_named_with_its_last_words():
    case = dataclasses.replace(tiny("kl"), sides=("headwater float8",))
    with pytest.raises(InputError, match=r"headwater float8 ended with 1: .*float8"):
        run_case(case, Options(repeat=1), {})


def test_the_command_measures_our_own_side_and_prints_a_row_a_precision(capsys):
    command.measure(["generation"], "tiny", None, None, 2)
    printed = capsys.readouterr().out
    assert "generation tiny" in printed
    rows = {line.split("│")[1].strip(): line.split("│")[2:] for line in printed.splitlines() if "float" in line}
    assert set(rows) == {"float32", "bfloat16"}
    assert all(float(row[0]) > 0 for row in rows.values())


# What follows from the rounds


def rounds(seconds, tokens, peak):
    return [
        {
            "seconds": second,
            "wall": second,
            "tokens": tokens,
            "parts": {"generate": second / 4, "update": 3 * second / 4},
            "memory": {"base": 100 * MIB, "peak": (100 + peak) * MIB},
        }
        for second in seconds
    ]


def entry():
    sides = {
        BFLOAT16: {"micro": 320, "versions": {"torch": "2"}, "rounds": rounds([1.0, 2.0, 1.0], 10, 50)},
        TRL_AMP: {"micro": 8, "versions": {"trl": "1"}, "rounds": rounds([3.0, 3.0, 6.0], 10, 100)},
    }
    return {"sides": sides, "code": "", "load": 0.0}


CASE = Case(
    work=Work(kind="grpo", shape="a", batch=BATCHES["a"]),
    sides=(BFLOAT16, TRL_AMP),
    bars=(Bar(ours=BFLOAT16, theirs=(TRL_AMP,), time=2.5, memory=2.0),),
)


def test_figures_are_medians_and_the_peak_is_the_highest():
    ours, theirs = figures(CASE, entry())
    assert (ours.seconds, ours.rate, ours.peak, ours.whole) == (1.0, 10.0, 50 * MIB, 150 * MIB)
    assert (theirs.seconds, theirs.parts) == (3.0, {"generate": 0.75, "update": 2.25})


def test_a_ratio_is_that_of_the_medians_and_its_range_that_of_rounds_in_turn():
    (ratio,) = ratios(CASE, entry())
    assert (ratio.time, ratio.least, ratio.most, ratio.memory) == (3.0, 1.5, 6.0, 2.0)
    assert ratio.reached


def test_the_fastest_peer_is_the_one_that_counts():
    sides = {**entry()["sides"], "trl default": {"micro": 8, "versions": {}, "rounds": rounds([2.0] * 3, 10, 10)}}
    bar = Bar(ours=BFLOAT16, theirs=(TRL_AMP, "trl default"), time=2.5)
    (ratio,) = ratios(dataclasses.replace(CASE, sides=tuple(sides), bars=(bar,)), {"sides": sides})
    assert (ratio.theirs, ratio.time, ratio.memory) == ("trl default", 2.0, 0.2)
    assert not ratio.reached


def test_a_bar_without_its_peer_says_nothing():
    assert ratios(CASE, {"sides": {BFLOAT16: entry()["sides"][BFLOAT16]}}) == []


# The page


def document(seconds=1.0):
    made = new_document(PEAK)
    sides = entry()["sides"] | {BFLOAT16: {"micro": 320, "versions": {}, "rounds": rounds([seconds] * 3, 10, 50)}}
    made["cases"]["grpo a"] = {**entry(), "sides": sides}
    return made


def test_the_page_holds_ratios_bars_and_every_side(tmp_path):
    text = render(document(), tmp_path / "cpu.json")
    assert "| grpo a | bfloat16 | trl amp | 3.00 | 3.00 to 6.00 | 1.7 | yes | 2.00 | 1 | yes |" in text
    assert "| trl amp | 8 rows | 3.000 | 3 | 0.750 |  | 2.250 |  | 100 | 200 |  |" in text
    assert "Not reached" not in text


def test_the_page_says_by_how_much_a_bar_is_missed_and_where_the_time_goes(tmp_path):
    text = render(document(seconds=2.0), tmp_path / "cpu.json")
    assert "| 1.50 | 1.50 to 3.00 | 1.7 | **no** | 2.00 | 1 | yes |" in text
    assert (
        "- grpo a, headwater bfloat16 against trl amp: 1.50 x of 1.7 x in time. headwater bfloat16 generate 0.50 s, "
        "update 1.50 s; trl amp generate 0.75 s, update 2.25 s."
    ) in text


def test_what_was_written_by_hand_is_kept(tmp_path):
    page, file = tmp_path / "page.md", tmp_path / "cpu.json"
    write_page(document(), file, page)
    page.write_text(page.read_text() + "\nWhy it is slow.\n")
    write_page(document(seconds=2.0), file, page)
    assert page.read_text().count(MARK) == 1
    assert page.read_text().endswith("\nWhy it is slow.\n")


def test_the_page_tells_of_the_whole_route_where_it_was_measured(tmp_path):
    done = {"parts": {"teacher RL": 2.0, "OPD": 1.0}, "setting": "float32", "memory": {}}
    done |= {name: {"mean": 0.88, "standard_error": 0.005} for name in ("accuracy", "teacher_accuracy")}
    whole = {"seconds": {"headwater": 3.0, "trl": 12.0}, "rounds": {"headwater": [done], "trl": [done]}}
    (tmp_path / "r3-full.json").write_text(json.dumps(whole))
    write_page(document(), tmp_path / "cpu.json", tmp_path / "page.md")
    assert "4.00 times faster (bar 3)" in (tmp_path / "page.md").read_text()
    assert "| trl | float32 | 2.0 | 1.0 | 3.0 | 88.0 ± 0.5 | 88.0 ± 0.5 |" in (tmp_path / "page.md").read_text()


# What is refused


def test_unknown_works_shapes_peers_and_files_are_named(tmp_path):
    for ask, words in (
        (lambda: choose(("grppo",), None), "no work 'grppo'"),
        (lambda: choose(("grpo",), "d"), "no shape 'd'"),
        (lambda: choose(("kl",), "a"), "kl has no shape a"),
        (lambda: command.measure([], "a", None, None, 1), "name a work"),
        (lambda: peers(["verl"], []), "no peer 'verl'"),
        (lambda: peers([], ["trl"]), "give PEER=PYTHON"),
        (lambda: read_document(tmp_path / "absent.json"), "cannot be read"),
    ):
        with pytest.raises(InputError, match=words):
            ask()
    write_document(tmp_path / "other.json", {"schema": 0})
    with pytest.raises(InputError, match="schema 1"):
        read_document(tmp_path / "other.json")
