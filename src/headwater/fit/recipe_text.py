"""A fitted recipe as YAML text: what was chosen stands with its reason beside it."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass

from headwater.fit.choices import Asking, Batches, Keeping, asking, batches, keeping, rates, training
from headwater.fit.facts import Facts, ModelFacts

WIDTH = 112
_HEAD = """\
# Written by `headwater init` for these models and labels; what stands behind # says why. Change what you like:
# `headwater validate` checks it, `headwater plan` says what it costs, `headwater run` makes it.
"""


@dataclass(frozen=True, kw_only=True)
class Sources:
    """Where problems will be read from, and what is to be said of them."""

    labels: str
    benchmark: str
    columns: dict[str, str]
    own_labels: bool
    own_benchmark: bool
    notes: tuple[str, ...]
    held_out: int
    overlap: str | None
    """what the labels share with the benchmark; None when they share nothing"""


def recipe_text(name: str, facts: Facts, sources: Sources) -> str:
    """The whole file. Raises InputError when something cannot fit."""
    count, answer = batches(facts.labels), asking(facts)
    kept = keeping(count.labelled * 4 * answer.response_tokens, facts.teacher, facts.machine)
    parts = [
        _HEAD,
        *_line(f"name: {name}", "the file's; the run's folder is runs/" + name),
        *_line("seeds: [0]", "a claim needs five: --seeds 5"),
        *_routes(facts),
        "",
        *_models(facts),
        "",
        *_problems(facts, sources, count, answer),
        "",
        *_line(f"max_response_tokens: {answer.response_tokens}", answer.why),
        *_line("cached_samples: 4", "the teacher's rollouts a problem, recorded once for the offline stages"),
        *_cache(kept),
        "",
        *_stages(facts, count),
        "",
        *_evaluation(facts),
        *_engine(facts),
    ]
    return "\n".join(parts) + "\n"


def _line(text: str, why: str) -> Iterator[str]:
    """The text with its reason beside it, or above it where a line has no room for both."""
    if len(text) + len(why) + 4 <= WIDTH:
        yield f"{text}  # {why}"
        return
    indent = " " * (len(text) - len(text.lstrip()))
    yield from textwrap.wrap(why, WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ")
    yield text


def _routes(facts: Facts) -> Iterator[str]:
    if facts.machine.gpu:
        yield from _line("routes: default", "five arms of the paper; all for every control")
    else:
        why = "labels on the student; on no one; on the teacher, then the bridge. More: default, paper, all"
        yield from _line("routes: [R1, raw-bridge, R3-full]", why)


def _models(facts: Facts) -> Iterator[str]:
    both = facts.student.stop_ids | facts.teacher.stop_ids
    for role in ("student", "teacher"):
        model: ModelFacts = getattr(facts, role)
        adapter, dtype, why = training(model, facts.machine)
        yield f"{role}:"
        yield from _line(f"  path: {_text(model.path)}", f"{model.parameters / 1e6:,.1f} M weights; {why}")
        if adapter:
            yield from _line(f"  adapter: {adapter}", "LoRA; leave it out to train every weight")
        if dtype:
            yield from _line(f"  dtype: {dtype}", "of the frozen weights")
        if missing := sorted(both - model.stop_ids):
            yield from _line(f"  stop_ids: {missing}", "the other model stops there; a pair stops at the same ids")
        if model.thinks:
            yield from _line("  template: {enable_thinking: false}", "thinking needs thousands of tokens a response")


def _problems(facts: Facts, sources: Sources, count: Batches, answer: Asking) -> Iterator[str]:
    ask = "" if answer.system_prompt is None else f", system_prompt: {_text(answer.system_prompt)}"
    yield "problems:"
    yield "  kind: files"
    for note in sources.notes:
        yield from textwrap.wrap(note, WIDTH, initial_indent="  # ", subsequent_indent="  # ")
    left = facts.labels - count.labelled
    why = f"of {facts.labels:,}; {left} left out so that whole batches divide the halves" if left else "all there are"
    yield from _line(f"  labelled: {count.labelled}", why)
    labels = f"  labels: {{path: {_text(sources.labels)}{_columns(sources, sources.own_labels)}{ask}}}"
    yield from _line(
        labels, "the instruction goes before every prompt" if ask else "prompts go to the model as they are"
    )
    yield "  benchmarks:"
    source = f"{{path: {_text(sources.benchmark)}{_columns(sources, sources.own_benchmark)}{ask}}}"
    most = 500 if facts.machine.gpu else 64
    problems = f", problems: {most}" if sources.held_out > most else ""
    why = f"{most} of {sources.held_out:,}, drawn by text" if problems else f"all {sources.held_out} of them"
    yield from _line(f"    held-out: {{source: {source}{problems}}}", why)
    if sources.overlap is not None:
        yield from _line("  drop_overlap: true", sources.overlap)
    grading = f"  grading: {{answer_type: {facts.answer_type}, extractor: {answer.extractor}}}"
    where = {"number": "a response's last number counts", "boxed": r"what stands in the last \boxed{} counts"}
    yield from _line(
        grading, f"every gold is right against itself; {where.get(answer.extractor, 'as the prompts ask')}"
    )


def _columns(sources: Sources, own: bool) -> str:
    if own or not sources.columns:
        return ""
    return f", columns: {{{', '.join(f'{part}: {_text(name)}' for part, name in sources.columns.items())}}}"


def _cache(kept: Keeping) -> Iterator[str]:
    top = ", top_k: 64" if kept.keep == "top_k" else ""
    yield from _line(f"cache: {{keep: {kept.keep}{top}}}", kept.why)


def _stages(facts: Facts, count: Batches) -> Iterator[str]:
    models = {
        role: rates(model, training(model, facts.machine)[0] is not None)
        for role, model in (("student", facts.student), ("teacher", facts.teacher))
    }
    epochs = 10 if facts.machine.gpu or facts.teacher.parameters < 1e7 else 4
    yield f"stages:  # rates: {'; '.join(f'{role}: {found.why}' for role, found in models.items())}"
    reward = f"epochs: {epochs}, problems: {count.reward}, samples: 8"
    yield from _stage("teacher_rl", reward, models["teacher"].reward, "GRPO compares the 8 responses to a problem")
    yield from _stage("student_rl", reward, models["student"].reward, "the same numbers, so that arms can be compared")
    updates = count.dense_epochs * count.labelled // count.dense
    dense = f"epochs: {count.dense_epochs}, problems: {count.dense}, samples: 1"
    yield from _stage("warm_up", dense, models["student"].dense, f"{updates} updates; dense signals need no groups")
    yield from _stage("on_policy_distillation", dense, models["student"].dense, "the same number of updates")
    twice = f"epochs: {2 * count.dense_epochs}, problems: {count.dense}, samples: 1"
    yield from _stage("teacher_sample_sft", twice, models["student"].dense, "as many as warm-up and OPD together")
    yield from _stage("teacher_sft", dense, models["teacher"].dense, "on the teacher's own right responses")


def _stage(name: str, numbers: str, rate: float, why: str) -> Iterator[str]:
    yield from _line(f"  {name}: {{{numbers}, optimiser: {{learning_rate: {rate:.1e}}}}}", why)


def _evaluation(facts: Facts) -> Iterator[str]:
    samples = 16 if facts.machine.gpu else 4
    why = "k of avg@k" if facts.machine.gpu else "k of avg@k; 16 in the paper, 4 where there is no GPU"
    yield from _line(f"evaluation: {{samples: {samples}, closeness_problems: 16}}", why)


def _engine(facts: Facts) -> Iterator[str]:
    share = facts.machine.memory // 4
    memory = max(2**28, 2 ** (share.bit_length() - 1))
    if facts.machine.gpu:
        text = f"engine: {{precision: bfloat16, gradient_checkpointing: true, memory: {memory}}}"
        yield from _line(text, "linear layers in bfloat16; weights and updates stay float32")
    else:
        memory = min(memory, 2**31)
        yield from _line(f"engine: {{memory: {memory}}}", f"{memory / 2**30:g} GiB for activations, beside the weights")


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)
