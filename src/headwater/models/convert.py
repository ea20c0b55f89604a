"""Any causal language model as an ordinary directory: from a GGUF file, a directory or the hub, whole or cut shorter.

A cut leaves out one block of consecutive layers: the one without which the next-token distribution changes least,
measured as KL(whole to cut) on a few fixed sentences. The result is a rougher model of the same family that shares
the tokenizer and every width, so it can be taught by the whole.

Left out: narrower layers, merged layers, and healing the cut (that is what a bridge is for).
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer

from headwater.errors import InputError
from headwater.models.language_model import LanguageModel

PROBES = (
    "The capital of France is Paris, and the capital of Italy is Rome.",
    "What is 12 + 30? 12 + 30 = 42. What is 7 + 5? 7 + 5 = 12.",
    "Water boils at one hundred degrees. To make tea, first boil the water, then pour it over the leaves.",
    "def add(a, b):\n    return a + b\n",
)
"""What a cut is judged on."""


@dataclass(frozen=True, kw_only=True)
class Converted:
    """What was written: the layers that were left out, if any, and how far that moved the model."""

    model: LanguageModel
    layers: int
    left_out: tuple[int, ...] = ()
    divergence: float = 0.0
    """KL(whole to cut) on the probe sentences, nats a token"""

    def __str__(self) -> str:
        size = f"{self.model.parameters / 1e6:,.1f} M parameters"
        if not self.left_out:
            return f"{self.layers} layers, {size}"
        return (
            f"{self.layers - len(self.left_out)} of {self.layers} layers ({self.left_out[0]} to {self.left_out[-1]} "
            f"left out, counted from 0: {self.divergence:.2f} nats a token from the whole), {size}"
        )


def convert(source: str, target: Path, *, revision: str | None = None, layers: int | None = None) -> Converted:
    """Write `source`, a .gguf file, a model directory or a hub id, as a directory that everything here opens.

    Args: layers: keep so many; None keeps all. The target appears when it is whole. Raises InputError when it is
    there already, when the source cannot be opened, and when it has fewer layers than are asked for.
    """
    if target.exists():
        raise InputError(f"convert: {target} exists; choose another place with --to")
    model = _open_gguf(Path(source)) if source.endswith(".gguf") else LanguageModel.load(source, revision=revision)
    result = Converted(model=model, layers=len(_layers(model)[1]))
    if layers is not None:
        result = cut(model, layers)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        model.save(Path(scratch) / "model")
        os.replace(Path(scratch) / "model", target)
    return result


def _open_gguf(file: Path) -> LanguageModel:
    """The weights of a GGUF file as float32: what was lost when they were quantised stays lost."""
    try:
        from transformers import GgufConfig  # noqa: PLC0415  not in every version that does all the rest

        network = AutoModelForCausalLM.from_pretrained(
            file.parent,
            gguf_file=file.name,
            quantization_config=GgufConfig(dequantize=True),
            dtype=torch.float32,
            trust_remote_code=False,
        )
        tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name, trust_remote_code=False)
    except Exception as error:  # a reader of bytes that others wrote has errors without a common base
        reason = (str(error) or type(error).__name__).strip().splitlines()[0]
        raise InputError(
            f"convert: cannot read {file} ({reason}). A GGUF file needs `pip install headwater[gguf]`, transformers 5 "
            "and an architecture that transformers reads from GGUF."
        ) from error
    return LanguageModel(network=network, tokenizer=tokenizer)


def cut(model: LanguageModel, layers: int) -> Converted:
    """Take out the block of layers that the model misses least, in place. Raises InputError for a wrong number."""
    name, whole = _layers(model)
    total = len(whole)
    if not 1 <= layers < total:
        raise InputError(f"convert: --layers {layers}; a cut of this model has from 1 to {total - 1}")
    block = total - layers
    rows = [torch.tensor([model.tokenizer(text)["input_ids"]]) for text in PROBES]
    reference = _logprobs(model, rows)
    divergences = []
    for first in range(total - block + 1):
        with _only(model, [i for i in range(total) if not first <= i < first + block]):
            other = _logprobs(model, rows)
        divergences.append(float((reference.exp() * (reference - other)).sum(-1).mean()))
    first = min(range(len(divergences)), key=divergences.__getitem__)
    left_out = tuple(range(first, first + block))
    kept = [i for i in range(total) if i not in left_out]
    setattr(model.body, name, nn.ModuleList([whole[i] for i in kept]))
    for place, i in enumerate(kept):
        for module in whole[i].modules():
            if getattr(module, "layer_idx", None) is not None:
                setattr(module, "layer_idx", place)  # noqa: B010  the type of a submodule's attribute is not known
    _declare(model, kept)
    return Converted(model=model, layers=total, left_out=left_out, divergence=divergences[first])


def _layers(model: LanguageModel) -> tuple[str, nn.ModuleList]:
    """The body's list of layers and its name there."""
    count = model.network.config.num_hidden_layers
    for name, child in model.body.named_children():
        if isinstance(child, nn.ModuleList) and len(child) == count:
            return name, child
    raise InputError(f"convert: {model.network.config.model_type} keeps its layers in no list; it cannot be cut")


def _declare(model: LanguageModel, kept: Sequence[int]) -> None:
    """The config of the layers that are kept."""
    config = model.network.config
    config.num_hidden_layers = len(kept)
    kinds = getattr(config, "layer_types", None)
    if kinds is not None:
        config.layer_types = [kinds[i] for i in kept]


@contextmanager
def _only(model: LanguageModel, kept: Sequence[int]) -> Iterator[None]:
    """The model with these layers alone, for a while."""
    name, whole = _layers(model)
    config = model.network.config
    before = config.num_hidden_layers
    setattr(model.body, name, nn.ModuleList([whole[i] for i in kept]))
    config.num_hidden_layers = len(kept)
    try:
        yield
    finally:
        setattr(model.body, name, whole)
        config.num_hidden_layers = before


@torch.no_grad()
def _logprobs(model: LanguageModel, rows: Sequence[Tensor]) -> Tensor:
    """Next-token logprobs [token vocab] at every place of every row."""
    weight, bias = model.head
    hidden = torch.cat([model.hidden(row)[0] for row in rows])
    return torch.log_softmax(nn.functional.linear(hidden, weight, bias).float(), dim=-1)
