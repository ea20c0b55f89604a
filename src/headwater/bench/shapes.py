"""The models and batches that are measured: sizes as values, and what a forward pass over them must compute.

a, b and c are the shapes of a laptop: tiny Qwen3 models with a small and a middling vocabulary, and SmolLM2-135M
with a real one; the lab's pair is smaller still. The qwen3 shapes are the paper's student and teacher, for a GPU.
Weights are always random: what is measured does not depend on what a model says.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """Sizes of a causal language model."""

    architecture: str
    """transformers' model type: "qwen3" or "llama" """
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    ff: int
    vocab: int
    tied: bool = True

    @property
    def config(self) -> dict[str, Any]:
        """The keys of a transformers config."""
        return {
            "model_type": self.architecture,
            "hidden_size": self.hidden,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "head_dim": self.head_dim,
            "intermediate_size": self.ff,
            "vocab_size": self.vocab,
            "tie_word_embeddings": self.tied,
            "max_position_embeddings": 32768,
        }

    @property
    def matrices(self) -> int:
        """Weights of the layers' matrices: each costs two operations a token."""
        width = self.head_dim * (2 * self.heads + 2 * self.kv_heads)
        return self.layers * self.hidden * (width + 3 * self.ff)

    @property
    def parameters(self) -> int:
        """All weights, norms included."""
        norms = self.hidden * (2 * self.layers + 1)
        norms += 2 * self.head_dim * self.layers if self.architecture == "qwen3" else 0
        return self.matrices + norms + self.vocab * self.hidden * (1 if self.tied else 2)

    def forward(self, tokens: int, attended: int, scored: int) -> int:
        """Floating-point operations of a forward pass.

        Args: tokens: in all. attended: keys, summed over the tokens. scored: tokens whose logits are computed.
        """
        attention = 4 * self.layers * self.heads * self.head_dim * attended
        return 2 * self.matrices * tokens + attention + 2 * self.hidden * self.vocab * scored


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """What one step works on: prompts x samples responses, every one of full length unless it is ragged."""

    prompts: int
    samples: int
    prompt_tokens: int
    response_tokens: int

    @property
    def rows(self) -> int:
        """Responses in all."""
        return self.prompts * self.samples

    @property
    def length(self) -> int:
        """Tokens of a prompt with its response."""
        return self.prompt_tokens + self.response_tokens


SHAPES = {
    "tiny": Shape(architecture="qwen3", hidden=16, layers=1, heads=2, kv_heads=1, head_dim=8, ff=32, vocab=64),
    "lab": Shape(architecture="qwen3", hidden=48, layers=2, heads=2, kv_heads=1, head_dim=24, ff=128, vocab=51),
    "lab-teacher": Shape(architecture="qwen3", hidden=96, layers=3, heads=4, kv_heads=2, head_dim=24, ff=256, vocab=51),
    "a": Shape(architecture="qwen3", hidden=128, layers=4, heads=4, kv_heads=2, head_dim=32, ff=384, vocab=64),
    "b": Shape(architecture="qwen3", hidden=256, layers=6, heads=4, kv_heads=2, head_dim=64, ff=768, vocab=512),
    "c": Shape(architecture="llama", hidden=576, layers=30, heads=9, kv_heads=3, head_dim=64, ff=1536, vocab=49_152),
    "qwen3-1.7b": Shape(
        architecture="qwen3", hidden=2048, layers=28, heads=16, kv_heads=8, head_dim=128, ff=6144, vocab=151_936
    ),
    "qwen3-8b": Shape(
        architecture="qwen3",
        hidden=4096,
        layers=36,
        heads=32,
        kv_heads=8,
        head_dim=128,
        ff=12288,
        vocab=151_936,
        tied=False,
    ),
}

BATCHES = {
    "tiny": Batch(prompts=2, samples=4, prompt_tokens=4, response_tokens=6),
    "lab": Batch(prompts=64, samples=1, prompt_tokens=6, response_tokens=14),
    "lab-teacher": Batch(prompts=16, samples=8, prompt_tokens=6, response_tokens=14),
    "a": Batch(prompts=32, samples=8, prompt_tokens=16, response_tokens=48),
    "b": Batch(prompts=32, samples=8, prompt_tokens=16, response_tokens=48),
    "c": Batch(prompts=2, samples=8, prompt_tokens=16, response_tokens=32),
    "qwen3-1.7b": Batch(prompts=8, samples=8, prompt_tokens=256, response_tokens=1024),
}

LARGE = 1_000_000_000
"""Parameters from which a side makes its weights where it uses them, instead of reading them from a file."""

TEACHERS = {"lab": "lab-teacher", "qwen3-1.7b": "qwen3-8b"}
"""A teacher of the student's own shape unless it stands here."""


@dataclass(frozen=True, kw_only=True, slots=True)
class KernelSize:
    """Sizes of a full-vocabulary divergence from hidden states."""

    tokens: int
    hidden: int
    vocab: int

    @property
    def operations(self) -> int:
        """Student's and teacher's logits, and the gradients of the student's hidden states and head."""
        return 8 * self.tokens * self.hidden * self.vocab


KERNELS = {
    "tiny": KernelSize(tokens=32, hidden=16, vocab=64),
    "2048x576x49152": KernelSize(tokens=2048, hidden=576, vocab=49_152),
    "8192x576x49152": KernelSize(tokens=8192, hidden=576, vocab=49_152),
    "2048x576x151936": KernelSize(tokens=2048, hidden=576, vocab=151_936),
    "2048x2048x49152": KernelSize(tokens=2048, hidden=2048, vocab=49_152),
}
