"""The types that a checkpoint was published in, and the one that it asks for its KV cache."""

from __future__ import annotations

from typing import Any

from flows.fit.configuration import Configuration

#: ModelOpt's names of KV caches → vLLM's (`MODELOPT_TO_VLLM_KV_CACHE_DTYPE_MAP`, `vllm/utils/torch_utils.py`, 0.32.0).
_MODELOPT = {"fp8": "fp8_e4m3", "nvfp4": "nvfp4"}


def published_type(outer: Configuration, text: Configuration) -> str:
    """The type of the weights as the file says; empty if it does not (`get_torch_dtype`, `model_arch_config_convertor.py`, 0.32.0)."""
    for where in (outer, text, outer.inner("vision_config") if isinstance(outer.value("vision_config"), dict) else None):
        if where is not None and (found := where.word("dtype") or where.word("torch_dtype")):
            return found.removeprefix("torch.")
    return ""


def quantisation(outer: Configuration, text: Configuration) -> dict[str, Any]:
    """What the file says of quantised weights; empty if they are not."""
    for where in (outer, text):
        for key in ("quantization_config", "compression_config"):
            found = where.said.get(key)
            if isinstance(found, dict) and found:
                return found
    return {}


def cache_type(outer: Configuration, text: Configuration, *, latent: bool) -> str:
    """The type of KV cache that the checkpoint asks for, `auto` if it asks for none.

    By `get_kv_cache_quant_algo_string` (`vllm/utils/torch_utils.py`, 0.32.0) for ModelOpt's checkpoints, and `Attention.__init__`
    (`layers/attention/attention.py`) for compressed-tensors', whose `kv_cache_scheme` means 8 bits; `MLAAttention`
    (`layers/attention/mla_attention.py`) does not read it.
    """
    found = quantisation(outer, text)
    method = str(found.get("quant_method", "")).lower().replace("_", "-")
    inner = found.get("quantization")
    nested: dict[str, Any] = inner if isinstance(inner, dict) else {}
    producer = found.get("producer")
    modelopt = method.startswith("modelopt") or (isinstance(producer, dict) and producer.get("name") == "modelopt")
    if modelopt:
        asked = next(
            (place[key] for key in ("kv_cache_scheme", "kv_cache_quant_algo") for place in (nested, found) if place.get(key)),
            None,
        )
        if isinstance(asked, dict):
            bits, floating = asked.get("num_bits"), asked.get("type") == "float"
            asked = "fp8" if bits == 8 and floating and asked.get("dynamic") is False else "nvfp4" if bits == 4 and floating else None
        return _MODELOPT.get(str(asked).lower(), "auto")
    if not latent and method == "compressed-tensors" and isinstance(found.get("kv_cache_scheme"), dict) and found["kv_cache_scheme"]:
        return "fp8"
    return "auto"
