"""A tiny config of every causal architecture of the installed transformers, from the defaults of its own config."""

import copy
import re

import torch
import transformers
from transformers import AutoModelForCausalLM
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

ARCHITECTURES = sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
LARGEST = 20_000_000
"""Parameters of a network that is tiny enough to be compared."""
NARROW = {
    r"num_attention_heads|n_heads?|num_heads|(en|de)coder_attention_heads|attention_heads|swa_num_attention_heads"
    r"|linear_num_(heads|key_heads|value_heads)|index_n_heads": 4,
    r"num_key_value_heads|swa_num_key_value_heads|num_kv_heads|num_query_groups": 2,
    r"head_dim|swa_head_dim|attention_head_dim|kv_channels|linear_(key_|value_)?head_dim|v_head_dim|qk_nope_head_dim"
    r"|d_head|dim_head|global_head_dim|kv_lora_rank|q_lora_rank|index_head_dim": 16,
    r"qk_rope_head_dim|rotary_dim": 8,
    r"hidden_size|n_embd|d_model|dim_model|emb_dim|embedding_dim|word_embed_proj_dim|lru_width"
    r"|attention_hidden_size": 64,
    r".*intermediate_size|.*ffn_dim|ffn_hidden_size|expert_ffn_hidden_size|dff|dim_ff|d_inner"
    r"|intermediate_size_mlp": 64,
    r"(num|n)(_local|_routed)?_experts|moe_num_experts": 16,
}
LAYERS = re.compile(r"num_(hidden_|encoder_|decoder_)?layers|n_layers?|(en|de)coder_layers")
TEXT = {"vocab_size": 128, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 1}
STATE = {"mamba_n_heads": 8, "mamba_d_head": 16}
OWN = {
    "mistral": {"sliding_window": 12},
    "gemma3": {"sliding_window": 12},
    "gemma3_text": {"sliding_window": 12},
    "gemma4": {"sliding_window": 12, "vocab_size_per_layer_input": 128},
    "gemma4_text": {"sliding_window": 12, "vocab_size_per_layer_input": 128},
    "gpt_oss": {"sliding_window": 12},
    "deepseek_v2": {"head_dim": 8, "num_key_value_heads": 4},
    "deepseek_v3": {"head_dim": 8, "num_key_value_heads": 4},
    "mamba2": {"num_heads": 8, "head_dim": 16},
    "bamba": STATE,
    "granitemoehybrid": STATE,
    "nemotron": {"num_key_value_heads": 2},
}
"""Windows within the length, where the default lies beyond it; sizes that must fit each other."""
WAYS = ((4, True, True), (8, True, True), (4, True, False), (8, True, False), (None, True, True), (4, False, False))
"""Layers, whether widths are narrowed, and whether keys and values are shared by heads: the first that builds."""


def tiny_config(kind):
    """The config and None, or None and why there is no tiny one."""
    reason = "too large"
    for layers, narrow, grouped in WAYS:
        try:
            plain = CONFIG_MAPPING[kind]().to_dict()
            _shrink(plain, layers, narrow=narrow, grouped=grouped)
            plain |= {key: value for key, value in TEXT.items() if key.endswith("_id")}
            for node in (plain, *(part for part in plain.values() if isinstance(part, dict))):
                node |= {key: value for key, value in {**TEXT, **OWN.get(kind, {})}.items() if key in node}
            config = CONFIG_MAPPING[kind].from_dict(plain)
            with torch.device("meta"):
                network = AutoModelForCausalLM.from_config(copy.deepcopy(config))
            if sum(parameter.numel() for parameter in network.parameters()) > LARGEST:
                continue
            network = AutoModelForCausalLM.from_config(copy.deepcopy(config), dtype=torch.float32).eval()
            with torch.no_grad():
                network(input_ids=torch.randint(2, 30, (1, 24)))
            return config, None
        except Exception as error:  # noqa: BLE001  other people's network code
            reason = type(error).__name__
    return None, reason


def _shrink(node, layers, *, narrow, grouped):
    total = max((v for k, v in node.items() if LAYERS.fullmatch(k) and isinstance(v, int)), default=0)
    kept = total if layers is None else min(layers, total)
    for key, value in list(node.items()):
        if isinstance(value, dict) and value and all(str(k).isdigit() for k in value):
            node[key] = {k: v for k, v in value.items() if int(k) < kept} or None
        elif isinstance(value, dict):
            _shrink(value, layers, narrow=narrow, grouped=grouped)
        elif isinstance(value, list) and total and len(value) == total:
            node[key] = value[:kept]
        elif isinstance(value, int) and not isinstance(value, bool):
            if layers is not None and LAYERS.fullmatch(key):
                node[key] = min(value, layers)
            elif narrow:
                for names, small in NARROW.items():
                    if re.fullmatch(names, key):
                        whole = small == 2 and not grouped
                        node[key] = min(value, 4 if whole else small)


def version():
    """Of transformers."""
    return transformers.__version__
