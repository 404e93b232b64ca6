"""What the weights take on one GPU: as vLLM holds them, and what it allocates beside them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flows.fit.configuration import Configuration
from flows.fit.errors import Unreadable
from flows.fit.heads import head_size
from flows.fit.latents import on_latent
from flows.fit.precision import quantisation
from flows.fit.settings import Settings

#: Stored types that vLLM casts to the engine's type when it loads them.
_CAST = ("F64", "F32", "F16", "BF16")

#: What vocabularies are padded to a multiple of (`DEFAULT_VOCAB_PADDING_SIZE`, `vllm/model_executor/layers/vocab_parallel_embedding.py`).
_VOCABULARY = 64

#: What the kernels of MXFP4 on Hopper pad experts to: their inner size, and the model's
#: (`mxfp4_round_up_hidden_size_and_intermediate_size`,
#: `vllm/model_executor/layers/fused_moe/oracle/mxfp4.py`, 0.32.0).
_MXFP4_INNER, _MXFP4_HIDDEN = 128, 256

#: Families without tables of RoPE: positions are learned, or added to the scores, or there are none.
_WITHOUT_ROPE = frozenset({
    "bloom", "falcon_mamba", "gpt2", "gpt_bigcode", "jamba", "mamba", "mamba2", "mpt", "nemotron_h", "opt", "whisper",
})  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """The weights as they lie in their files.

    Attributes:
        numbers: Type of the stored numbers, in safetensors' names (`BF16`, `F8_E4M3`, …) → how many there are.
        size_bytes: Bytes of all tensors.
    """

    numbers: Mapping[str, int]
    size_bytes: int


def loaded_bytes(stored: Stored, document: Mapping[str, Any], settings: Settings) -> int:
    """Bytes of all weights as vLLM holds them: floating-point tensors in the engine's type, quantised ones as they are stored."""
    outer = Configuration(document)
    if quantisation(outer, outer.text()):
        return stored.size_bytes
    wide = 4 if settings.dtype in ("float32", "float") else 2
    cast = sum(count for dtype, count in stored.numbers.items() if dtype in _CAST)
    # The last two characters of these types are their bits: BF16, F32.
    as_stored = sum(count * int(dtype[-2:]) // 8 for dtype, count in stored.numbers.items() if dtype in _CAST)
    return stored.size_bytes - as_stored + cast * wide


def gpu_weights_bytes(stored: Stored, document: Mapping[str, Any], settings: Settings) -> int:
    """Bytes on the GPU that holds most: its share of the weights, its tables of RoPE, and what is padded."""
    outer = Configuration(document)
    text = outer.text()
    shared = settings.tensor_parallel * settings.pipeline_parallel
    share = math.ceil((loaded_bytes(stored, document, settings) + _padded(stored, outer, text, settings)) / shared)
    return share + rope_bytes(text, 4 if settings.dtype in ("float32", "float") else 2)


def _padded(stored: Stored, outer: Configuration, text: Configuration, settings: Settings) -> int:
    """Bytes that padding adds over all GPUs."""
    hidden, words = text.number("hidden_size"), text.number("vocab_size")
    added = 0
    if hidden is not None and words is not None:
        unit = _VOCABULARY * settings.tensor_parallel
        tied = text.value("tie_word_embeddings") if text.value("tie_word_embeddings") is not None else outer.value("tie_word_embeddings")
        added += (-words % unit) * hidden * 2 * (1 if tied else 2)
    mxfp4 = quantisation(outer, text).get("quant_method") == "mxfp4"
    if mxfp4 and hidden is not None and (inner := text.number("moe_intermediate_size", "intermediate_size")) is not None:
        rank = math.ceil(inner / settings.tensor_parallel)
        grown = _up(rank, _MXFP4_INNER) * settings.tensor_parallel / inner * _up(hidden, _MXFP4_HIDDEN) / hidden
        added += math.ceil(stored.numbers.get("U8", 0) * (grown - 1))
    return added


def _up(number: int, unit: int) -> int:
    return math.ceil(number / unit) * unit


def rope_bytes(text: Configuration, number_bytes: int) -> int:
    """Bytes of the tables of RoPE, which every GPU has whole: one for each way of rotating.

    By the classes of `vllm/model_executor/layers/rotary_embedding/` (0.32.0): a table has a row of the rotated size for each position;
    `linear` has factor times the positions, YaRN factor times the original ones, `longrope` the original ones and the long ones.
    """
    positions = text.number("max_position_embeddings", "n_positions", "max_seq_len", "seq_length")
    size = text.number("qk_rope_head_dim") if on_latent(text) or text.number("kv_lora_rank") else head_size(text)
    if positions is None or size is None or text.model_type in _WITHOUT_ROPE or text.flag("alibi"):
        return 0
    total = 0
    for place, ways in _ways(text):
        wide = (text.number("global_head_dim") or 512) if place == "full_attention" and text.model_type.startswith("gemma4") else size
        rotated = (
            wide if ways.word("rope_type") == "proportional" else int(wide * _share(text, ways, latent=bool(text.number("kv_lora_rank"))))
        )
        total += _rows(ways, positions) * rotated * number_bytes
    return total


def _ways(text: Configuration) -> list[tuple[str, Configuration]]:
    """The ways of rotating: for kinds of layers each its own, or one for all."""
    for key in ("rope_parameters", "rope_scaling"):
        found = text.inner(key) if isinstance(text.value(key), dict) else None
        if found is None:
            continue
        nested = [(name, inner) for name in found.said if isinstance(found.said[name], dict) and (inner := found.inner(name)) is not None]
        if nested and len(nested) <= 8:
            return nested
        local = [("", Configuration({}))] if text.model_type.startswith("gemma3") else []
        return [("", found), *local]
    return [("", Configuration({}))] * (2 if text.model_type.startswith("gemma3") else 1)


def _share(text: Configuration, ways: Configuration, *, latent: bool) -> float:
    """Which part of a head is rotated."""
    if latent:
        return 1.0
    for where in (ways, text):
        for key in ("partial_rotary_factor", "rotary_pct"):
            value = where.value(key)
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                if not 0 < value <= 1:
                    raise Unreadable(f"{where.inside}{key} is {value}; it must be above 0 and at most 1.")
                return float(value)
    rotated, size = text.number("rotary_dim"), head_size(text)
    return min(1.0, rotated / size) if rotated is not None and size is not None else 1.0


def _rows(ways: Configuration, positions: int) -> int:
    kind = ways.word("rope_type") or ways.word("type")
    factor, original = ways.value("factor"), ways.number("original_max_position_embeddings")
    if isinstance(factor, bool) or not isinstance(factor, (int, float)) or not 1 <= factor <= 100_000:
        factor = 1
    if kind == "linear":
        return int(positions * factor)
    if kind in ("yarn", "deepseek_yarn", "deepseek_llama_scaling"):
        return int((original or positions) * factor)
    return positions + (original or 0) if kind in ("longrope", "su") else positions
