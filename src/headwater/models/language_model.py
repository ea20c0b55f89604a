"""A Hugging Face causal language model with its tokenizer, as headwater uses the two: prompts in, ids out.

The network is split where every causal LM splits: a body that gives last hidden states, and a head (one matrix,
sometimes a bias) that gives logits. Where, and what follows the head, is measured (`split`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.utils import logging as hub_logging
from jaxtyping import Float, Int
from jinja2 import TemplateError
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging

from headwater.errors import InputError, nearest
from headwater.fingerprint import fingerprint
from headwater.models import adapters
from headwater.models.choice import Quantise
from headwater.models.files import WANTED, require_model
from headwater.models.split import Split, before_head, split
from headwater.models.template import chat_ids, check_arguments
from headwater.records import Problem, Rollout

ONE_FILE = 10**18
"""Bytes up to which weights are one file: a resume reads model.safetensors, however large the model is."""

SCALES = "headwater_learning_rate_scales"
"""Key in a model's config: parameter name -> factor on the learning rate (the lab family needs it)."""

DTYPES = {name: getattr(torch, name) for name in ("float32", "bfloat16", "float16", "float64")} | {"auto": None}
"""Kinds of number by the names under which weights are asked for in them; auto: as they are stored."""

TEMPLATE = "headwater_template"
"""Key in a model's config: the chat template's keyword arguments, so that a saved model is asked as it was trained."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LanguageModel:
    """One network and its tokenizer; the network is live and changes when it learns."""

    network: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    template: Mapping[str, Any] = field(default_factory=dict)
    """keyword arguments of the chat template, such as enable_thinking"""

    @classmethod
    def load(
        cls,
        source: Path | str,
        *,
        revision: str | None = None,
        dtype: str = "float32",
        template: Mapping[str, Any] | None = None,
        stop_ids: Sequence[int] = (),
        quantise: Quantise | None = None,
    ) -> LanguageModel:
        """Open a model directory or hub id, from safetensors alone; never runs remote code.

        Args: dtype: of the weights; "auto" as they are stored. template: keyword arguments of the chat template;
        None takes those the directory was saved with. stop_ids: ids that end a response beside the model's own.
        quantise: the form of the layers' weights, by bitsandbytes; what is saved keeps it. Such a model cannot learn.
        Raises InputError for another dtype, when there is no such model, when weights are missing, and for a stop id
        without a row.
        """
        kind = _kind(dtype)
        with _opening(source, revision):
            opened: Any = AutoModelForCausalLM.from_pretrained(
                source,
                revision=revision,
                dtype="auto" if kind is None else kind,
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
                **({} if quantise is None else {"quantization_config": _quantised(quantise, kind)}),
            )
            tokenizer = AutoTokenizer.from_pretrained(source, revision=revision, trust_remote_code=False)
        network, found = opened
        _refuse_missing(source, found)
        return cls._as_chosen(source, network, tokenizer, template, stop_ids)

    @classmethod
    def outline(
        cls,
        source: Path | str,
        *,
        revision: str | None = None,
        dtype: str = "float32",
        template: Mapping[str, Any] | None = None,
        stop_ids: Sequence[int] = (),
        quantise: Quantise | None = None,
    ) -> LanguageModel:
        """The model without its weights, from config, tokenizer and generation config alone, in about a second.

        It encodes prompts, knows its stop ids and its size, and cannot compute: its tensors are on the meta device.
        Arguments and errors are those of `load`; names and shapes are the same whether it is quantised or not.
        """
        kind = _kind(dtype)
        with _opening(source, revision):
            config = AutoConfig.from_pretrained(source, revision=revision, trust_remote_code=False)
            with torch.device("meta"):
                made = kind or config.dtype or torch.float32
                network = AutoModelForCausalLM.from_config(config, dtype=made, trust_remote_code=False)
            tokenizer = AutoTokenizer.from_pretrained(source, revision=revision, trust_remote_code=False)
        try:
            network.generation_config = GenerationConfig.from_pretrained(source, revision=revision or "main")
        except OSError:  # there is none, and `load` makes one of the model's config too
            network.generation_config = GenerationConfig.from_model_config(config)
        return cls._as_chosen(source, network, tokenizer, template, stop_ids)

    @classmethod
    def _as_chosen(
        cls,
        source: Path | str,
        network: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        template: Mapping[str, Any] | None,
        stop_ids: Sequence[int],
    ) -> LanguageModel:
        """What was opened, with the recipe's stop ids and template."""
        add_stop_ids(network, stop_ids)
        check_arguments(tokenizer, template or {})
        kept = getattr(network.config, TEMPLATE, None) or {}
        model = cls(network=network, tokenizer=tokenizer, template=kept if template is None else template)
        rows = model.head[0].shape[0]
        if model.emitted > rows:
            raise InputError(
                f"model: {source} has a tokenizer that emits ids up to {model.emitted - 1} and a head of {rows} rows; "
                "give the tokenizer that belongs to the model."
            )
        return model

    def __post_init__(self) -> None:
        self.network.eval()  # dropout off for good: sampler and trainer must see one policy

    @property
    def body(self) -> nn.Module:
        """The network below the head."""
        return self.network.base_model

    @property
    def head(self) -> tuple[Float[Tensor, "vocab hidden"], Float[Tensor, " vocab"] | None]:
        """The head's matrix and bias (None where there is no bias)."""
        module = self.network.get_output_embeddings()
        return module.weight, getattr(module, "bias", None)

    @property
    def stop_ids(self) -> frozenset[int]:
        """Every id that ends a response: those of the generation config and the tokenizer's end token."""
        declared = self.network.generation_config.eos_token_id if self.network.generation_config else None
        ids = declared if isinstance(declared, list) else [declared]
        return frozenset(int(i) for i in [*ids, self.tokenizer.eos_token_id] if i is not None)

    @cached_property
    def emitted(self) -> int:
        """One more than the largest id the tokenizer emits; the head's rows from there on are padding."""
        return 1 + max(self.tokenizer.get_vocab().values())

    @property
    def vocabulary(self) -> str:
        """Hash of what turns text into ids: the id map, special ids, chat template and its keyword arguments."""
        words, special = self.tokenizer.get_vocab(), sorted(self.tokenizer.all_special_ids)
        return fingerprint([words, special, self.tokenizer.chat_template, dict(self.template)])

    @property
    def size(self) -> int:
        """Bytes of the weights."""
        return sum(parameter.numel() * parameter.element_size() for parameter in self.network.parameters())

    @property
    def parameters(self) -> int:
        """Numbers in the weights, a tied head counted once."""
        return sum(parameter.numel() for parameter in self.network.parameters())

    @property
    def quantised(self) -> bool:
        """Whether the layers' weights are of fewer bits than what is computed with them; such a model cannot learn."""
        return bool(getattr(self.network, "is_quantized", False))

    @property
    def commit(self) -> str | None:
        """The hub commit that a hub id stood for when it was opened; None for a directory."""
        return getattr(self.network.config, "_commit_hash", None)

    @property
    def pad_id(self) -> int:
        """The id that fills unused places; masks come from lengths, so its value never matters."""
        return int(self.tokenizer.pad_token_id or 0)

    def refuse_missing(self, directory: str) -> None:
        """Raise InputError where the directory's weights lack a tensor, by transformers' own account; reads none."""
        with _opening(directory, None):
            opened: Any = type(self.network).from_pretrained(
                directory, device_map="meta", use_safetensors=True, output_loading_info=True
            )
        _refuse_missing(directory, opened[1])

    @property
    def positions(self) -> int | None:
        """The longest sequence that the config names, in tokens; None where it names none."""
        found = getattr(self.network.config.get_text_config(), "max_position_embeddings", None)
        return found if isinstance(found, int) and found > 0 else None

    @property
    def learning_rate_scales(self) -> Mapping[str, float]:
        """Parameter name -> factor on the learning rate; empty for models not made by headwater's family."""
        return getattr(self.network.config, SCALES, None) or {}

    def encode(self, problem: Problem) -> tuple[int, ...]:
        """The prompt's ids. A chat goes through the template, and is continued where it ends in the assistant's turn.

        A problem's text cannot smuggle in control tokens, and a template cannot write today's date.
        Raises InputError for a prompt without any token, for plain text with a word that only a special id can
        stand for, and for a chat message that spells a special token: inside a template it would become one.
        """
        if isinstance(problem.prompt, str):
            self._refuse_special(problem, problem.prompt, split=True)
            ids = tuple(self.tokenizer(problem.prompt, split_special_tokens=True)["input_ids"])
            if not ids:
                raise InputError(f"problem {problem.problem_id}: the prompt has no token; give it a text")
            return ids
        for message in problem.prompt:
            self._refuse_special(problem, message.content, split=False)
        if self.tokenizer.chat_template is None:
            raise InputError(
                f"problem {problem.problem_id}: it is a chat, and the tokenizer has no chat template. Give prompts as "
                "text, or a model with a template."
            )
        try:
            return chat_ids(self.tokenizer, problem.prompt, self.template)
        except (TemplateError, TypeError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise InputError(
                f"problem {problem.problem_id}: the chat template does not take it ({reason:.200}). Change the roles "
                "of its messages, or the template's keyword arguments."
            ) from error

    def written(self, problem: Problem, text: str) -> Rollout:
        """A text as this model's whole response to a problem: its ids and one that ends it, as if it had said so.

        It carries no logprobs: nobody sampled it. Raises InputError as `encode` does, and for a model that never stops.
        """
        self._refuse_special(problem, text, split=True)
        ids = self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        usual = self.tokenizer.eos_token_id
        stops = sorted(self.stop_ids)
        if not stops:
            raise InputError("model: no id ends a response, so a worked solution cannot be one. Give stop_ids.")
        return Rollout(
            rollout_id=f"{problem.problem_id}/written",
            problem_id=problem.problem_id,
            prompt_ids=self.encode(problem),
            response_ids=(*ids, usual if usual in stops else stops[0]),
            response_text=text,
            logprobs=(),
            policy_version=-1,
            finish_reason="stop",
        )

    def _refuse_special(self, problem: Problem, text: str, *, split: bool) -> None:
        """Refuse text that holds special ids of its own, beside those which the tokenizer or template adds."""
        ids = self.tokenizer(text, split_special_tokens=split, add_special_tokens=False)["input_ids"]
        control = {i for i, token in self.tokenizer.added_tokens_decoder.items() if token.special}
        found = sorted(control.union(self.tokenizer.all_special_ids).intersection(ids))
        if found:
            raise InputError(
                f"problem {problem.problem_id}: its text becomes the special tokens "
                f"{', '.join(self.tokenizer.convert_ids_to_tokens(found))}. Remove the problem or rewrite its text."
            )

    def decode(self, response_ids: Sequence[int]) -> str:
        """Text for grading and display; never encoded again."""
        return str(self.tokenizer.decode(list(response_ids), skip_special_tokens=True))

    def shown(self, ids: Sequence[int]) -> str:
        """Text as the model sees it, special tokens and all; for display."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=False))

    @cached_property
    def split(self) -> Split:
        """Where body and head part, and what follows the head. Raises InputError where they do not part."""
        return split(self.network)

    def states(self, **inputs: Any) -> Float[Tensor, "row time hidden"]:
        """What enters the head when the network is given these inputs."""
        if self.split.whole_body:
            return self.body(**inputs).last_hidden_state
        return before_head(self.network, lambda: self.network(**inputs))

    def hidden(self, input_ids: Int[Tensor, "row time"]) -> Float[Tensor, "row time hidden"]:
        """What enters the head over right-padded rows; causality makes a padding mask needless."""
        return self.states(input_ids=input_ids, use_cache=False)

    def to(self, device: torch.device) -> None:
        """Move the network there, in place."""
        nn.Module.to(self.network, device)

    def save(self, directory: Path) -> None:
        """Write a directory that `from_pretrained` opens, a trained adapter merged into its weights and beside them."""
        if self.template:
            setattr(self.network.config, TEMPLATE, dict(self.template))
        written = self.network
        if adapters.attached(self.network):
            written = adapters.merged(self.network)
            adapters.save(self.network, directory / adapters.FOLDER)
        written.save_pretrained(directory, max_shard_size=ONE_FILE)
        self.tokenizer.save_pretrained(directory)


def _kind(dtype: str) -> torch.dtype | None:
    """The kind of number of that name; None for "auto". Raises InputError for any other name."""
    if dtype not in DTYPES:
        raise InputError(f"model: dtype {dtype!r:.40}{nearest(dtype, DTYPES)}; allowed: {', '.join(DTYPES)}")
    return DTYPES[dtype]


def _quantised(form: Quantise, kind: torch.dtype | None) -> BitsAndBytesConfig:
    """What transformers is told: the head stays as it is, and products of 4 bits are made in the weights' dtype."""
    if form == "int8":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=kind or torch.float32
    )


def _refuse_missing(source: Path | str, found: Mapping[str, Any]) -> None:
    missing = sorted(found["missing_keys"])  # transformers would fill them with chance
    if missing:
        raise InputError(
            f"model: {source} lacks {len(missing)} tensors of its own network (first: {missing[0]}); give a whole "
            "checkpoint."
        )


@contextmanager
def _opening(source: Path | str, revision: str | None) -> Iterator[None]:
    """InputError, one line, in place of what opening a directory or hub id that others wrote can raise."""
    require_model(str(source), revision)
    try:
        yield
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError) as error:
        reason = (str(error) or type(error).__name__).strip().splitlines()[0]
        raise InputError(f"model: cannot open {source} ({reason}); {WANTED}") from error


def add_stop_ids(network: PreTrainedModel, stop_ids: Sequence[int]) -> None:
    """Let these ids end a response too, in the generation config and so in every copy that is saved."""
    rows = network.get_output_embeddings().weight.shape[0]
    beyond = [i for i in stop_ids if i >= rows]
    if beyond:
        raise InputError(f"model: stop id {beyond[0]} is beyond the {rows} rows of its head; leave it out")
    if not stop_ids:
        return
    settings: GenerationConfig = network.generation_config
    declared = settings.eos_token_id
    ids = declared if isinstance(declared, list) else [declared]
    settings.eos_token_id = sorted({int(i) for i in [*ids, *stop_ids] if i is not None})


def silence_progress() -> None:
    """Turn off the libraries' own progress bars and advice, in worker processes that print nothing."""
    hub_logging.set_verbosity_error()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
