"""The longest context that a model may be served with: vLLM's own rule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flows.fit.configuration import Configuration
from flows.fit.errors import Unreadable

#: Keys under which configurations keep it; the smallest counts (`derive_max_model_len_and_key`, `model_arch_config_convertor.py`, 0.32.0).
_KEYS = (
    "max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "model_max_length", "max_target_positions",
    "max_sequence_length",
    "max_seq_length", "seq_len",
)  # fmt: skip

#: Ways of rotating whose factor `max_position_embeddings` already holds; YaRN's too, since 0.32.
_HELD = ("su", "longrope", "llama3", "yarn", "deepseek_yarn", "deepseek_llama_scaling")

#: What vLLM assumes where a file says nothing.
ASSUMED = 2048


def longest_context(document: Mapping[str, Any]) -> int | None:
    """Tokens that the model may be served with at the most; none if the file says nothing.

    By `_get_and_verify_max_len` (`vllm/config/model.py`, 0.32.0): the smallest key, times the factor of RoPE scaling where the key does not
    hold it. `VLLM_ALLOW_LONG_MAX_MODEL_LEN` lifts it.

    Raises:
        Unreadable: A key says nonsense.
    """
    outer = Configuration(document)
    text = outer.text()
    said = [number for key in _KEYS if (number := text.number(key)) is not None]
    longest = text.number("model_max_length") or min(said, default=None)
    if longest is None:
        return None
    if "gemma3" not in (outer.model_type or text.model_type):
        longest = int(longest * _factor(text))
    return max(longest, outer.number("model_max_length") or 0)


def default_context(document: Mapping[str, Any]) -> int:
    """The context that vLLM serves without `--max-model-len`: the longest, but that of before `longrope` where that scales it."""
    outer = Configuration(document)
    text = outer.text()
    longest = longest_context(document) or ASSUMED
    if any(ways.word("rope_type") == "longrope" or ways.word("type") == "longrope" for ways in _scalings(text)):
        return outer.number("original_max_position_embeddings") or longest
    return longest


def _scalings(text: Configuration) -> list[Configuration]:
    for key in ("rope_parameters", "rope_scaling"):
        if isinstance(text.value(key), dict) and (found := text.inner(key)) is not None:
            nested = [inner for name in found.said if isinstance(found.said[name], dict) and (inner := found.inner(name)) is not None]
            return nested or [found]
    return []


def _factor(text: Configuration) -> float:
    factor = 1.0
    for ways in _scalings(text):
        kind = ways.word("rope_type") or ways.word("type") or "default"
        value = ways.value("factor")
        if kind in _HELD or value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= 100_000:
            raise Unreadable(f"{ways.inside}factor of RoPE must be a number above 0 and at most 100,000.")
        factor = float(value)
    return factor
