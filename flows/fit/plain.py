"""Keys and values by head in every layer, some of them with a window or in chunks: what most models keep."""

from __future__ import annotations

from flows.fit.configuration import Configuration
from flows.fit.heads import head_size, kv_heads
from flows.fit.kinds import CHUNK, FULL, WINDOW, kinds, layer_count
from flows.fit.layers import Attention, Cache
from flows.fit.understood import refuse_unknown_keys


def plain(text: Configuration) -> list[tuple[Cache, ...]]:
    """Keys and values by head in every layer, some of them with a window or in chunks
    (`vllm/model_executor/layers/attention/attention.py`).

    Raises:
        Unknown: The file says something that may mean that layers differ.
    """
    refuse_unknown_keys(text)
    heads, size = kv_heads(text), head_size(text)
    if heads is None or size is None:
        text.need("num_hidden_layers")
        text.need("num_attention_heads")
        text.need("hidden_size")
    found: list[tuple[Cache, ...]] = []
    overrides = _by_layer(text)
    window, chunk = text.number("sliding_window"), text.number("attention_chunk_size")
    for index, kind in enumerate(kinds(text)):
        own = overrides.get(index)
        layer_heads = (own and own.number("num_key_value_heads")) or heads or 0
        layer_size = (own and own.number("head_dim")) or size or 0
        found.append((
            Attention(
                layer_heads,
                layer_size,
                layer_size,
                window=window if kind == WINDOW else None,
                chunk=chunk if kind == CHUNK else None,
            ),
        ) if kind in (FULL, WINDOW, CHUNK) else ())  # fmt: skip
    return found


def _by_layer(text: Configuration) -> dict[int, Configuration]:
    """What single layers have of their own (`per_layer_config`, which `transformers` 5 writes)."""
    own = text.inner("per_layer_config")
    if own is None:
        return {}
    count = layer_count(text)
    return {int(key): layer for key in own.said if key.isdecimal() and int(key[:9]) < count and (layer := own.inner(key)) is not None}
