"""Whether vLLM can load the weights at all: how they are quantised, and whether tensor parallelism divides them.

The rules are vLLM 0.32.0's own, of `model_executor/layers`: `linear.py` and `fused_moe` (every share is whole),
`quantization/utils/fp8_utils.py` (`validate_fp8_block_shape`, `validate_fp8_block_shape_moe`), `quantization/auto_awq.py`, `auto_gptq.py`,
`moe_wna16.py` and `compressed_tensors` (groups do not straddle GPUs), and `ModelConfig._verify_quantization` in `config/model.py`. FP8
blocks of experts that do not divide are refused, although vLLM splits them where it finds a kernel for that (`refine_fp8_moe_block_shape`):
whether it does depends on the GPU. Whoever wrote the configuration is not trusted: what is no number counts as not said.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flows.fit.model import ConfiguredModel

#: Methods that vLLM knows (`QuantizationMethods` in `quantization/__init__.py`), and names that it takes for one of them.
_METHODS = frozenset({
    "awq", "auto-awq", "awq-marlin", "gptq", "auto-gptq", "gptq-marlin", "marlin", "moe-wna16", "fp8", "fp8-per-tensor", "fp8-per-block",
    "fp8-per-channel", "fbgemm-fp8", "deepseek-v4-fp8", "fp-quant", "mxfp4", "gpt-oss-mxfp4", "mxfp8", "nvfp4-per-token", "modelopt",
    "modelopt-fp4", "modelopt-mxfp8", "modelopt-mixed", "compressed-tensors", "experts-int8", "int8-per-channel-weight-only", "quark",
    "torchao", "inc", "auto-round", "humming", "online",
})  # fmt: skip

#: Those that need an argument, since vLLM is about to drop them (`DEPRECATED_QUANTIZATION_METHODS`).
_DEPRECATED = ("fbgemm-fp8", "fp-quant")

#: Keys of the number of experts, as `transformers` has them.
_EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts", "num_routed_experts")

#: The smallest group into which vLLM splits those of experts (`moe_wna16.py`), and blocks of them (`refine_fp8_moe_block_shape`).
_SMALLEST = 32

_MOST = 2**40

#: Tokens that attention's kernels read at a time.
_KERNEL_TOKENS = 16


@dataclass(frozen=True, kw_only=True)
class Shards:
    """How the weights are shared out.

    Attributes:
        tensor_parallel: GPUs that share each layer.
        pipeline_parallel: Groups of GPUs that share the layers.
        copies: Engines and groups of GPUs beside these: the product of data and prefill context parallelism. They share experts, too
            (`FusedMoEParallelConfig.make` in `fused_moe/config.py`).
        expert_parallel: Whether experts stay whole.
        quantization: What the engine is told of quantisation; empty if nothing.
        deprecated: Whether it may load what it is about to drop.
        block_size: Tokens that are allocated together; none lets the attention kernels choose.
        hybrid_manager: Whether layers of several kinds are kept apart; without, all must be of one kind.
    """

    tensor_parallel: int
    pipeline_parallel: int = 1
    copies: int = 1
    expert_parallel: bool = False
    quantization: str = ""
    deprecated: bool = False
    block_size: int | None = None
    hybrid_manager: bool = True


@dataclass(frozen=True, kw_only=True)
class _Rows:
    """What a layer multiplies by, which is divided between GPUs.

    Attributes:
        what: Its name, for people.
        number: How many rows there are.
        modules: Its modules, by which a checkpoint leaves it unquantised.
        experts: Whether experts have it.
    """

    what: str
    number: int
    modules: tuple[str, ...]
    experts: bool = False


def cannot_load(configuration: Mapping[str, Any], shards: Shards) -> str | None:
    """Why vLLM could not load the weights; none if nothing is known to stand in its way.

    Args:
        configuration: The model's `config.json`.
        shards: How they are to be shared out.
    """
    quantised = _quantised(configuration)
    return _method(quantised, shards) or _act_order(quantised) or _uneven(configuration, quantised, shards) or _apart(configuration, shards)


def loads(configuration: Mapping[str, Any], shards: Shards) -> bool:
    """Whether nothing is known to stand in the way of loading them."""
    return cannot_load(configuration, shards) is None


def _method(quantised: Mapping[str, Any], shards: Shards) -> str | None:
    stored = str(quantised.get("quant_method") or "").lower().replace("_", "-")
    asked = shards.quantization.lower().replace("_", "-")
    if asked == "fp8" and not quantised:
        return "vLLM 0.32 no longer quantises weights to fp8 by that name while it loads them: set engine.quantization to fp8_per_tensor"
    for method in filter(None, (stored, asked)):
        if method not in _METHODS:
            return f"vLLM 0.32 cannot load weights that are quantised by {method[:40]!r}: use another checkpoint of the model"
        if method in _DEPRECATED and not shards.deprecated:
            return f"vLLM 0.32 loads weights that are quantised by {method!r} only with --allow-deprecated-quantization"
    return None


def _act_order(quantised: Mapping[str, Any]) -> str | None:
    if str(quantised.get("quant_method")).lower() != "gptq":
        return None
    dynamic = quantised.get("dynamic")
    rules = [rule for name, rule in dynamic.items() if not str(name).startswith("-:")] if isinstance(dynamic, Mapping) else []
    for rule in ({}, *(rule for rule in rules if isinstance(rule, Mapping))):
        said = {**quantised, **rule}
        # With one group a channel the order changes nothing.
        if said.get("desc_act") is True and said.get("group_size") != -1:
            return (
                "vLLM 0.32 no longer loads GPTQ weights in the order of activations (desc_act: true): use a checkpoint with desc_act: false"
            )
    return None


def _uneven(configuration: Mapping[str, Any], quantised: Mapping[str, Any], shards: Shards) -> str | None:
    text = _text(configuration)
    layers = _number(text, "num_hidden_layers", "n_layer", "n_layers", "num_layers")
    if layers is not None and layers < shards.pipeline_parallel:
        return f"its {layers} layers cannot be shared between {shards.pipeline_parallel} groups of GPUs (--pipeline-parallel-size)"
    if shards.expert_parallel and not _number(text, *_EXPERTS):
        return "it has no experts that GPUs could share (--enable-expert-parallel)"
    unit, refinable, what = _unit(quantised)
    for rows in _rows(text):
        if rows.experts and shards.expert_parallel:
            continue
        parallel = shards.tensor_parallel * (shards.copies if rows.experts else 1)
        if rows.number % parallel:
            return f"the {rows.number:,} rows of {rows.what} cannot be shared evenly between {parallel} GPUs"
        share = rows.number // parallel
        if unit <= 1 or share % unit == 0 or _left_out(quantised, rows.modules):
            continue
        if rows.experts and (refinable or parallel == 1) and math.gcd(unit, share, _number(text, "hidden_size") or unit) >= _SMALLEST:
            continue
        if parallel == 1 and not rows.experts:  # one GPU has the last, shorter block as well
            continue
        whole = " (--enable-expert-parallel would leave experts whole)" if rows.experts else ""
        return f"the {rows.number:,} rows of {rows.what} make {share:,} for each of {parallel} GPU(s), no whole {what} of {unit}{whole}"
    return None


def _apart(configuration: Mapping[str, Any], shards: Shards) -> str | None:
    """Why its layers' caches cannot be kept as they are to be.

    By `unify_hybrid_kv_cache_specs` (`v1/core/kv_cache_utils.py`): windows beside full attention become full, states do not. Attention's
    kernels take blocks of multiples of 16 tokens (`get_supported_kernel_block_sizes` in `v1/attention/backends`).
    """
    odd = shards.block_size is not None and shards.block_size % _KERNEL_TOKENS != 0
    if shards.hybrid_manager and not odd:
        return None
    shape = ConfiguredModel(dict(configuration)).shape
    if odd and (shape is None or not shape.states_only):
        return f"attention takes blocks of {_KERNEL_TOKENS} tokens and multiples, and --block-size is {shards.block_size}"
    if not shards.hybrid_manager and shape is not None and shape.hybrid:
        return "it has states beside attention, which must be kept apart: leave --disable-hybrid-kv-cache-manager out"
    return None


def _rows(text: Mapping[str, Any]) -> Iterator[_Rows]:
    """What row-parallel layers divide: the inputs of attention's output, and of each second projection."""
    heads = _number(text, "num_attention_heads", "n_head", "n_heads")
    hidden = _number(text, "hidden_size", "n_embd", "d_model")
    head = _number(text, "v_head_dim") or _number(text, "head_dim") or (hidden // heads if hidden and heads else None)
    if heads and head:
        yield _Rows(what="its attention's output", number=heads * head, modules=("o_proj", "attn", "attention"))
    experts = _number(text, *_EXPERTS)
    plain, own = _number(text, "intermediate_size", "n_inner", "ffn_dim"), _number(text, "moe_intermediate_size", "expert_ffn_hidden_size")
    if plain and (experts is None or experts == 1 or (own is not None and _has_plain_layers(text))):
        yield _Rows(what="its MLP's down projection", number=plain, modules=("down_proj", "mlp", "w2"))
    if experts and experts > 1 and (own or plain):
        yield _Rows(
            what="its experts' down projection", number=own or plain or 0, modules=("experts", "mlp", "block_sparse_moe"), experts=True
        )
        shared = _number(text, "shared_expert_intermediate_size") or (_number(text, "n_shared_experts") or 0) * (own or 0)
        if shared:
            yield _Rows(what="its shared experts' down projection", number=shared, modules=("shared_expert", "mlp"))


def _has_plain_layers(text: Mapping[str, Any]) -> bool:
    return bool(_number(text, "first_k_dense_replace") or text.get("mlp_only_layers") or (_number(text, "decoder_sparse_step") or 1) > 1)


def _unit(quantised: Mapping[str, Any]) -> tuple[int, bool, str]:
    """Rows that share a scale, whether vLLM splits them for experts, and what they are called; 1 if none do."""
    method = str(quantised.get("quant_method") or "").lower().replace("_", "-")
    if method in ("gptq", "awq", "auto-round", "inc", "auto-gptq", "auto-awq"):
        return _positive(quantised.get("group_size")), True, f"groups ({method})"
    if method == "compressed-tensors":
        return max((_of_scheme(group) for group in _groups(quantised)), default=1), False, f"groups or blocks ({method})"
    if method == "fp8":
        return _block(quantised.get("weight_block_size")), False, "quantisation blocks (fp8)"
    return 1, False, ""


def _groups(quantised: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    found = quantised.get("config_groups")
    for group in list(found.values())[:100] if isinstance(found, Mapping) else ():
        weights = group.get("weights") if isinstance(group, Mapping) else None
        if isinstance(weights, Mapping):
            yield weights


def _of_scheme(weights: Mapping[str, Any]) -> int:
    strategy = weights.get("strategy")
    if strategy == "block":
        return _block(weights.get("block_structure"))
    return _positive(weights.get("group_size")) if strategy in ("group", "tensor_group") else 1


def _block(sizes: object) -> int:
    return _positive(sizes[1]) if isinstance(sizes, Sequence) and not isinstance(sizes, str) and len(sizes) == 2 else 1


def _left_out(quantised: Mapping[str, Any], modules: Sequence[str]) -> bool:
    """Whether the checkpoint leaves (some of) these modules as they were: then nothing is known of them here.

    By the last part of each name or pattern: `model.layers.0.mlp.gate` is a router, and no MLP.
    """
    lists = [quantised.get(key) for key in ("modules_to_not_convert", "ignored_layers", "ignore")]
    names = [str(name) for found in lists if isinstance(found, list) for name in found]
    last = [re.split(r"[.\\/*:]+", name.rstrip("$*.\\"))[-1] for name in names]
    # A pattern of several projections may be of these, too.
    return any(part.endswith(")_proj") or any(module in part for module in modules) for part in last)


def _quantised(configuration: Mapping[str, Any]) -> Mapping[str, Any]:
    for where in (configuration, _text(configuration)):
        for key in ("quantization_config", "compression_config"):
            found = where.get(key)
            if isinstance(found, Mapping) and found:
                return found
    return {}


def _text(configuration: Mapping[str, Any]) -> Mapping[str, Any]:
    """The language model's part of a configuration that has more than that."""
    for key in ("text_config", "llm_config", "language_config"):
        inner = configuration.get(key)
        if isinstance(inner, Mapping) and inner:
            return {**configuration, **inner}
    thinker = configuration.get("thinker_config")
    return _text(thinker) if isinstance(thinker, Mapping) else configuration


def _number(text: Mapping[str, Any], *keys: str) -> int | None:
    # Not isinstance: `true` is an int to Python.
    return next((value for value in map(text.get, keys) if type(value) is int and 0 < value < _MOST), None)


def _positive(value: object) -> int:
    return value if isinstance(value, int) and 0 < value < _MOST else 1
