"""What `config.json` says of a model itself. Whoever wrote it is not trusted: nonsense counts as not said.

What its memory takes is another question, and asked of the same text by `flows/fit`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from blocks.facts.model import ModelConfig

#: Keys that a configuration may be long by, and that say nothing of how a model is served.
_LONG = ("id2label", "label2id")


def read_config(document: Mapping[str, Any], quantised: Mapping[str, Any] | None = None) -> ModelConfig:
    """What `config.json` says of the model.

    Args:
        document: The file.
        quantised: ModelOpt's `hf_quant_config.json`, which vLLM reads where the configuration has no `quantization_config`.
    """
    inner = next((found for key in ("text_config", "llm_config", "thinker_config") if isinstance(found := document.get(key), dict)), {})
    whole = {key: value for key, value in document.items() if key not in _LONG}
    if quantised and not whole.get("quantization_config") and not whole.get("compression_config"):
        whole["quantization_config"] = {"quant_method": "modelopt", **quantised}
    named = document.get("architectures")
    return ModelConfig(
        architecture=named[0] if isinstance(named, list) and named and isinstance(named[0], str) else "",
        dtype=next((found for place in (inner, document) for key in ("dtype", "torch_dtype") if (found := _word(place, key))), ""),
        quantisation=_quantisation(whole) or _quantisation(inner),
        # As text: what strangers write may hold numbers and characters that no database takes.
        configuration=_text(whole),
    )


#: What `params.json` calls things, and `config.json` the same; as vLLM translates it (`transformers_utils/configs/mistral.py`).
_MISTRAL_NAMES = {
    "dim": "hidden_size",
    "hidden_dim": "intermediate_size",
    "n_layers": "num_hidden_layers",
    "n_heads": "num_attention_heads",
    "n_kv_heads": "num_key_value_heads",
    "max_seq_len": "max_position_embeddings",
}


def read_params(document: Mapping[str, Any]) -> ModelConfig:
    """What `params.json` says of the model, Mistral's own configuration."""
    text = {_MISTRAL_NAMES.get(name, name): value for name, value in document.items()}
    experts = document.get("moe")
    shared = isinstance(experts, dict) and bool(experts.get("num_shared_experts"))
    architecture = "MixtralForCausalLM" if isinstance(experts, dict) else "MistralForCausalLM"
    named = {"architectures": ["MistralLarge3ForCausalLM" if shared else architecture], "quantization_config": document.get("quantization")}
    family = {"model_type": "deepseek_v3" if shared else "mixtral" if isinstance(experts, dict) else "mistral"}
    return read_config({**family, **named, **text})


def asks_for_code(document: Mapping[str, Any]) -> tuple[bool, tuple[str, ...]]:
    """Whether a configuration asks for code to be run (`auto_map`), and the other repositories that it asks for it."""
    found = document.get("auto_map")
    values = found.values() if isinstance(found, dict) else [found]
    names = [name for value in values for name in (value if isinstance(value, list) else [value]) if isinstance(name, str)]
    return bool(found), tuple(sorted({name.split("--")[0] for name in names if "--" in name}))


def _text(document: Mapping[str, Any]) -> str:
    try:
        return json.dumps(document, separators=(",", ":"))
    except RecursionError:  # nested just so deep that it could be read
        return "{}"


def _quantisation(document: Mapping[str, Any]) -> str | None:
    found = document.get("quantization_config") or document.get("compression_config")
    return (_word(found, "quant_method") or "unnamed") if isinstance(found, dict) and found else None


def _word(document: Mapping[str, Any], key: str) -> str | None:
    value = document.get(key)
    # Cut, as it is shown in messages and may be as long as its author likes.
    return value.removeprefix("torch.")[:80] if isinstance(value, str) else None
