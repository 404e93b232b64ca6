"""Keys of a configuration that may change what layers keep: an unknown one is named, never overlooked."""

from __future__ import annotations

import re
from typing import Any

from flows.fit.configuration import Configuration
from flows.fit.errors import Unknown
from flows.fit.heads import KV_HEADS

#: What a key is called that may mean that layers differ, that they keep something else, or how many KV heads there are.
TELLING = re.compile(
    r"window|sliding|swa_|_swa|chunk_size|local_att|global_att|linear_att|mamba|ssm|rwkv|hybrid|layer_types|layers_types?|layer_pattern"
    r"|block_type|block_config|per_layer|kv_shar|shared_kv|share_kv|cross_layer|cross_att|(^|_)cla($|_)|compress|lora_rank|sparse_att"
    r"|index_(head|topk|n_)|state_size|conv_kernel|d_state|recurr|retention|attn_type|attention_type|attn_layer|attention_layer"
    r"|(^|_)kv($|_)|key_value|kv_head|n_head_kv|query_group|multi_query|attention_group|attn_config|no_rope|loop|conv_L_cache|layer_group"
)

#: Keys that the rules for keys and values by head read.
_READ = frozenset({
    *KV_HEADS, "attn_config", "attention_chunk_size", "layer_types", "layers_block_type", "max_window_layers", "multi_query",
    "multi_query_attention",
    "no_rope_layer_interval", "no_rope_layers", "num_kv_shared_layers", "per_layer_config", "sliding_window", "sliding_window_pattern",
    "use_sliding_window",
})  # fmt: skip

#: Keys that look so and change nothing of what is kept: sizes of projections, kernels' own pieces, what only multiplies.
_HARMLESS = frozenset({
    "attention_window_size_unused", "chunk_size_feed_forward", "chunk_size_lm_head", "hidden_size_per_layer_input", "mlp_layer_types",
    "original_sliding_window", "q_lora_rank", "qk_norm_per_head", "use_kv_cache", "vocab_size_per_layer_input", "window_attn_skip_freq",
    "kv_channels", "kv_cache_dtype", "use_shared_kv_norm", "attention_layer_scale", "mup_attn_multiplier", "original_max_window_layers",
    "use_cache_quantization", "use_cache_kernel", "use_dynamic_ntk", "kv_b_proj_bias", "attn_logit_softcapping", "k_eq_v",
})  # fmt: skip


def _means_nothing(text: Configuration, key: str, value: Any) -> bool:
    """Whether a telling key says nothing here: a second name of the same, a switch that is off, a list in which all layers are alike."""
    if key == "sliding_window_size":
        return value == -1 or bool(value == text.value("sliding_window"))  # -1 is none (Grok 2)
    if key.endswith("lora_rank"):
        return text.states("use_mla") and not text.flag("use_mla")
    if key == "cla_share_factor":
        return not text.flag("use_cla")
    if key in ("attn_type_list", "attention_types"):  # 1 is full attention (MiniMax)
        return isinstance(value, list) and all(item == 1 for item in value)
    return False


def refuse_unknown_keys(text: Configuration) -> None:
    """Refuse a configuration that says something telling which no rule reads.

    Keys with which `transformers` publishes the `model_type` itself are known: the rules are held to these families.

    Raises:
        Unknown: There is such a key; all of them are named.
    """
    found = tuple(
        f"{text.inside}{key}"
        for key, value in text.said.items()
        if TELLING.search(key)
        and key not in _READ
        and key not in _HARMLESS
        and key not in text.known_keys
        and _says_something(value)
        and not _means_nothing(text, key, value)
    )
    if found:
        named = ", ".join(key[:60] for key in found[:3]) + (f" and {len(found) - 3} more" if len(found) > 3 else "")
        raise Unknown(f"what {named} may change of what layers keep is not known here", found)


def _says_something(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return any(_says_something(item) for item in value[:1000])
    return value not in (None, False, 0, 0.0, "", {})
