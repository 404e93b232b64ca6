"""What `config.json` says of a model's shape. Whoever wrote it is not trusted: nonsense counts as not said."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from blocks.facts.model import AttentionLayers, ModelConfig

#: Keys under which configurations keep the longest context; the smallest of them counts, as in vLLM (`model_arch_config_convertor`).
_CONTEXT_KEYS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "max_sequence_length", "max_seq_length", "seq_len")

#: Scalings of RoPE whose factor `max_position_embeddings` already holds, as vLLM knows them.
_SCALED_ALREADY = ("su", "longrope", "llama3", "mrope", "default")

#: Families whose attention vLLM runs on the compressed latent (MLA); others with a `kv_lora_rank` keep whole heads.
_LATENT = ("deepseek", "kimi", "glm4_moe_lite", "glm_moe_dsa", "longcat_flash", "pangu_ultra_moe")

#: What `transformers` fills in where the published files of a family leave it out.
_LEFT_OUT: Mapping[str, Mapping[str, Any]] = {
    "gemma3_text": {
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "sliding_window": 4096,
        "sliding_window_pattern": 6,
        "max_position_embeddings": 131072,
    },
}

_FULL, _SLIDING, _LINEAR = "full_attention", "sliding_attention", "linear_attention"

#: Larger numbers than any model has; they are nonsense, and sums with them would be too.
_MOST = 2**40


def read_config(document: Mapping[str, Any]) -> ModelConfig:
    """The shape of the model that `config.json` describes; models with more than text keep theirs under `text_config`."""
    named = document.get("architectures")
    inner = document.get("text_config") or document.get("llm_config")
    text = {**document, **inner} if isinstance(inner, dict) else dict(document)
    text = {**_LEFT_OUT.get(str(text.get("model_type")), {}), **text}
    attention, state = _attention(text)
    return ModelConfig(
        architecture=named[0] if isinstance(named, list) and named and isinstance(named[0], str) else "",
        dtype=_word(text, "dtype") or _word(text, "torch_dtype") or "",
        quantisation=_quantisation(document) or _quantisation(text),
        attention_heads=_number(text, "num_attention_heads", "n_head", "n_heads"),
        attention=attention,
        state_values=state,
        max_context=_max_context(text),
        guessing_layers=_number(text, "num_nextn_predict_layers", "mtp_num_hidden_layers") or 0,
    )


#: What `params.json` calls things, and `config.json` the same; as vLLM translates it (`transformers_utils/configs/mistral.py`).
_MISTRAL_NAMES = {
    "dim": "hidden_size",
    "n_layers": "num_hidden_layers",
    "n_heads": "num_attention_heads",
    "n_kv_heads": "num_key_value_heads",
    "max_seq_len": "max_position_embeddings",
}


def read_params(document: Mapping[str, Any]) -> ModelConfig:
    """The shape of the model that `params.json` describes, Mistral's own configuration."""
    text = {_MISTRAL_NAMES.get(name, name): value for name, value in document.items()}
    architecture = "MixtralForCausalLM" if isinstance(document.get("moe"), dict) else "MistralForCausalLM"
    named = {"architectures": [architecture], "quantization_config": document.get("quantization")}
    return read_config({**named, **text})


def asks_for_code(document: Mapping[str, Any]) -> tuple[bool, tuple[str, ...]]:
    """Whether a configuration asks for code to be run (`auto_map`), and the other repositories that it asks for it."""
    found = document.get("auto_map")
    values = found.values() if isinstance(found, dict) else [found]
    names = [name for value in values for name in (value if isinstance(value, list) else [value]) if isinstance(name, str)]
    return bool(found), tuple(sorted({name.split("--")[0] for name in names if "--" in name}))


def _attention(text: Mapping[str, Any]) -> tuple[tuple[AttentionLayers, ...], int]:
    """The layers by what they keep, and the numbers that linear ones keep of a request; nothing where the file does not tell."""
    kinds = _kinds(text)
    kept = _kept(text)
    window = _number(text, "sliding_window")
    state = _linear_state(text)
    if kinds is None or kept is None or (kinds[_SLIDING] and window is None) or (kinds[_LINEAR] and state is None):
        return (), 0
    values, heads = kept
    groups = [
        AttentionLayers(layers=kinds[_FULL], values=values, heads=heads),
        AttentionLayers(layers=kinds[_SLIDING], values=values, heads=heads, window=window),
    ]
    return tuple(group for group in groups if group.layers), kinds[_LINEAR] * (state or 0)


def _kinds(text: Mapping[str, Any]) -> Counter[str] | None:
    """How many layers there are of each kind. A window is believed only where the file says which layers have it."""
    layers = _number(text, "num_hidden_layers", "n_layer", "n_layers", "num_layers")
    if layers is None or layers > 10_000:
        return None
    types = text.get("layer_types")
    if isinstance(types, list) and types:
        # vLLM keeps everything of chunked attention as well, unless it is told otherwise.
        names = [_FULL if name == "chunked_attention" else name for name in types]
        if len(names) != layers or any(name not in (_FULL, _SLIDING, _LINEAR) for name in names):
            return None
        return Counter(names)
    every = _number(text, "full_attention_interval")
    if every is not None and _linear_state(text) is not None:
        return Counter({_FULL: layers // every, _LINEAR: layers - layers // every})
    every = _number(text, "sliding_window_pattern")
    if every is not None and _number(text, "sliding_window") is not None:
        return Counter({_FULL: layers // every, _SLIDING: layers - layers // every})
    if any(key in text for key in ("ssm_cfg", "mamba_d_state", "ssm_state_size", "attn_layer_period", "hybrid_override_pattern")):
        return None  # layers of another kind, whose state is not known here
    return Counter({_FULL: layers})


def _kept(text: Mapping[str, Any]) -> tuple[int, int] | None:
    """Numbers that one attention layer keeps of one token, and the heads that share them."""
    heads = _number(text, "num_attention_heads", "n_head", "n_heads")
    latent, rope = _number(text, "kv_lora_rank"), _number(text, "qk_rope_head_dim")
    if latent is not None and rope is not None:
        if str(text.get("model_type")).startswith(_LATENT):
            return latent + rope + _index_values(text), 1
        plain = _number(text, "qk_nope_head_dim")
        return (2 * heads * (plain + rope), heads) if heads is not None and plain is not None else None
    hidden = _number(text, "hidden_size", "n_embd", "d_model")
    kv_heads = _number(text, "num_key_value_heads", "num_kv_heads", "n_head_kv") or (1 if text.get("multi_query") is True else heads)
    head_dim = _number(text, "head_dim") or (hidden // heads if hidden is not None and heads is not None else None)
    return (2 * kv_heads * head_dim, kv_heads) if kv_heads and head_dim else None


def _index_values(text: Mapping[str, Any]) -> int:
    """Sparse attention (DeepSeek V3.2) keeps an index beside the latent: a byte a dimension and four for each 128 of them."""
    dimensions = _number(text, "index_head_dim")
    return -(-(dimensions + dimensions // 128 * 4) // 2) if dimensions else 0


def _linear_state(text: Mapping[str, Any]) -> int | None:
    """Numbers that one layer of gated linear attention (Qwen3-Next) keeps: the recurrent state and the convolution's last inputs."""
    names = ("linear_num_value_heads", "linear_value_head_dim", "linear_num_key_heads", "linear_key_head_dim", "linear_conv_kernel_dim")
    found = [_number(text, name) for name in names]
    value_heads, value_dim, key_heads, key_dim, kernel = found
    if value_heads is None or value_dim is None or key_heads is None or key_dim is None or kernel is None:
        return None
    return value_heads * value_dim * key_dim + (2 * key_heads * key_dim + value_heads * value_dim) * (kernel - 1)


def _max_context(text: Mapping[str, Any]) -> int | None:
    """The longest context by the rules of vLLM's `_get_and_verify_max_len`: the smallest key, times the factor of RoPE scaling."""
    said = [number for key in _CONTEXT_KEYS if (number := _number(text, key)) is not None]
    longest = _number(text, "model_max_length") or min(said, default=None)
    scaling = text.get("rope_scaling") or text.get("rope_parameters")
    if longest is None or not isinstance(scaling, dict) or "gemma3" in str(text.get("model_type")):
        return longest
    kind = scaling.get("rope_type") or scaling.get("type")
    factor = scaling.get("factor")
    if kind in _SCALED_ALREADY or not isinstance(factor, (int, float)) or not 1 <= factor <= 10_000:
        return longest
    original = _number(scaling, "original_max_position_embeddings") if kind == "yarn" else None
    return int((original or longest) * factor)


def _quantisation(document: Mapping[str, Any]) -> str | None:
    found = document.get("quantization_config") or document.get("compression_config")
    return (_word(found, "quant_method") or "unnamed") if isinstance(found, dict) and found else None


def _number(document: Mapping[str, Any], *keys: str) -> int | None:
    # Not isinstance: `true` is an int to Python.
    return next((value for value in _values(document, keys) if type(value) is int and 0 < value < _MOST), None)


def _word(document: Mapping[str, Any], key: str) -> str | None:
    value = document.get(key)
    # Cut, as it is shown in messages and may be as long as its author likes.
    return value.removeprefix("torch.")[:80] if isinstance(value, str) else None


def _values(document: Mapping[str, Any], keys: Iterable[str]) -> Iterable[Any]:
    return (document.get(key) for key in keys)
