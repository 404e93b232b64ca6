"""Models that keep a latent instead of keys and values (MLA): DeepSeek and its like, compressed and indexed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from flows.fit.configuration import Configuration
from flows.fit.errors import Unknown, Unreadable
from flows.fit.kinds import layer_count
from flows.fit.layers import Attention, Cache, Latent, Packed
from flows.fit.plain import plain

#: Families whose attention vLLM runs on the latent (`is_deepseek_mla`, `vllm/transformers_utils/model_arch_config_convertor.py`, 0.32.0);
#: `sarvam_mla` builds it itself (`sarvam.py`); `youtu` comes by `transformers` (`models/transformers/base.py`).
#: Others with a `kv_lora_rank` keep whole heads.
_ON_LATENT = frozenset({
    "axk1", "bailing_hybrid", "deepseek_v2", "deepseek_v3", "deepseek_v32", "deepseek_v4", "glm4_moe_lite", "glm_moe_dsa", "hy_v4",
    "kimi_k2", "kimi_linear", "longcat_flash", "pangu_ultra_moe", "sarvam_mla", "youtu",
})  # fmt: skip

#: Numbers that share a scale in the index of sparse attention; a scale has four bytes (`Indexer`, `deepseek_v2.py`).
_INDEX_GROUP = 128

#: What HY-V4 calls a layer with sparse attention (`_SPARSE_LAYER_TYPES`, `vllm/models/hy_v4/nvidia/attention.py`, 0.32.0).
_SPARSE = frozenset({"sparse_attention", "sparse", "indexed_attention", "deepseek_sparse_attention"})

#: Bytes of a row of DeepSeek-V4: 448 without RoPE, 128 with, 8 of scales (`vllm/models/deepseek_v4/attention.py`, 0.32.0).
_V4_ROW = 584

#: Tokens of DeepSeek-V4's blocks: of its latents, its windows, and its compressors by what they compress (`deepseek_v4/compressor.py`).
_V4_BLOCK, _V4_WINDOW_BLOCK, _V4_STATE_BLOCKS = 256, 64, {4: 4, 128: 8}


def on_latent(text: Configuration) -> bool:
    """Whether vLLM runs the model's attention on the latent."""
    if text.model_type == "deepseek_v4":
        return True
    return text.model_type in _ON_LATENT and text.number("kv_lora_rank") is not None


def size(text: Configuration) -> int:
    """Numbers of a token's latent: the compressed part and the one with RoPE; DeepSeek-V4 calls it a head."""
    if text.model_type == "deepseek_v4":
        return text.need("head_dim")
    return text.need("kv_lora_rank") + (text.number("qk_rope_head_dim") or 0)


def kernel_block(text: Configuration, caches: Sequence[Cache]) -> int | None:
    """Tokens of a block that the kernels want, on a GPU of Hopper's: 256 of DeepSeek-V4's, 128 of MiniMax-M3's, 64 of other sparse ones."""
    if text.model_type == "deepseek_v4":
        return _V4_BLOCK
    if any(isinstance(cache, Latent) and cache.index for cache in caches):
        return 64 if on_latent(text) else 128
    return None


def index_bytes(text: Configuration) -> int:
    """Bytes of a token in the index of sparse attention: a byte a number, and a scale for each 128 of them."""
    numbers = text.number("index_head_dim") or 128
    return numbers + numbers // _INDEX_GROUP * 4


def _indexed(text: Configuration, count: int) -> list[bool]:
    """Which layers have an index of their own, others using that of a layer before (`index_topk_freq`, `deepseek_v2.py`)."""
    if text.number("index_topk") is None:
        return [False] * count
    pattern, every = text.word("index_topk_pattern"), text.number("index_topk_freq") or 1
    offset = text.number("index_skip_topk_offset") or 2
    if pattern:
        return [index >= len(pattern) or pattern[index] != "S" for index in range(count)]
    return [max(index - offset + 1, 0) % every == 0 for index in range(count)]


def latents(text: Configuration) -> list[tuple[Cache, ...]]:
    """A latent in each layer, and an index beside it where attention is sparse (`deepseek_v2.py`, `vllm/models/deepseek_v32/`)."""
    if not on_latent(text):
        return plain(text)
    count = layer_count(text)
    sparse = text.number("index_topk") is not None
    latent, index = Latent(size(text), sparse=sparse), Latent(index_bytes(text), index=True)
    return [(latent, index) if has else (latent,) for has in _indexed(text, count)]


def named(text: Configuration) -> list[tuple[Cache, ...]]:
    """HY-V4: attention is sparse where `layer_types` says so, and `indexer_types` names the layers with an index of their own
    (`vllm/models/hy_v4/nvidia/attention.py`; `vllm/transformers_utils/configs/hy_v4.py` fills it in)."""
    count, kinds = layer_count(text), text.words("layer_types") or []
    indexes = text.words("indexer_types") or ["full" if index % 4 == 1 or not index else "shared" for index in range(count)]
    if len(indexes) < count:
        raise Unreadable(f"indexer_types names {len(indexes)} layers of {count}.")
    index = Latent(index_bytes(text), index=True)
    found: list[tuple[Cache, ...]] = []
    for layer in range(count):
        sparse = layer < len(kinds) and kinds[layer] in _SPARSE
        latent = Latent(size(text), sparse=sparse)
        found.append((latent, index) if sparse and indexes[layer] != "shared" else (latent,))
    return found


def twice(text: Configuration) -> list[tuple[Cache, ...]]:
    """LongCat-Flash: two attentions a layer, and `num_layers` counts the layers (`longcat_flash.py`)."""
    count = text.need("num_layers", "num_hidden_layers")
    if count > 10_000:
        raise Unreadable(f"num_layers is {count:,}; no model has more than 10,000.")
    return [(Latent(size(text)),) * 2] * count


def whole_heads(text: Configuration) -> list[tuple[Cache, ...]]:
    """MiniCPM3 and its like: a latent that is written out to heads before it is kept (`minicpm3.py`)."""
    if text.number("kv_lora_rank") is None:
        return plain(text)
    head = text.need("qk_nope_head_dim") + text.need("qk_rope_head_dim")
    return [(Attention(text.need("num_attention_heads"), head, head),)] * layer_count(text)


def compressed(text: Configuration) -> list[tuple[Cache, ...]]:
    """DeepSeek-V4: a window in each layer; where the layer compresses, a latent for each 4 or 128 tokens with the compressor's own
    window, and beside the former an index with a compressor of its own (`vllm/models/deepseek_v4/`)."""
    count, head = layer_count(text), size(text)
    if head != 512:
        raise Unknown(f"head_dim {head} is not what DeepSeek-V4's kernels take", ("head_dim",))
    ratios = text.numbers("compress_ratios")
    if ratios is None or len(ratios) < count:
        raise Unreadable("compress_ratios must name a ratio for each layer.")
    window = Packed(_V4_ROW, _V4_WINDOW_BLOCK, window=text.need("sliding_window"))
    index_head = text.number("index_head_dim") or 128
    found: list[tuple[Cache, ...]] = []
    for ratio in ratios[:count]:
        if ratio <= 1:
            found.append((window,))
            continue
        if ratio not in _V4_STATE_BLOCKS:
            raise Unknown(f"compress_ratios has {ratio}, which is not known here", ("compress_ratios",))
        overlap = 2 if ratio == 4 else 1
        state = Packed(8 * overlap * head, _V4_STATE_BLOCKS[ratio], window=overlap * ratio)
        caches: tuple[Cache, ...] = (window, state, Packed(_V4_ROW, _V4_BLOCK, ratio))
        if ratio == 4:
            index = Packed(index_bytes(text), _V4_BLOCK, ratio)
            caches += (Packed(8 * overlap * index_head, _V4_STATE_BLOCKS[ratio], window=overlap * ratio), index)
        found.append(caches)
    return found


FAMILIES: Mapping[str, Callable[[Configuration], list[tuple[Cache, ...]]]] = {
    **dict.fromkeys(_ON_LATENT - {"bailing_hybrid", "hy_v4", "kimi_linear"}, latents),
    "deepseek_v4": compressed,
    "hy_v4": named,
    "longcat_flash": twice,
    "minicpm3": whole_heads,
}
