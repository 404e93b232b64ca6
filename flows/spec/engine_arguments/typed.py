"""What the arguments ask of the engine, as far as a plan reckons with it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from flows.errors import SpecInvalid
from flows.spec.engine_arguments.read import Given, parse_json, read_arguments, whole_number

T = TypeVar("T")

#: No argument counts more of anything.
_MOST = 2**40

#: Arguments whose numbers may have a suffix (`human_readable_int_args` in `engine/arg_utils.py`).
_WITH_SUFFIX = ("--max-model-len", "--max-num-batched-tokens", "--kv-cache-memory-bytes")

#: Numbers in JSON that have a suffix, outside of texts: vLLM expands them (`_expand_json_human_readable_numbers` in `engine/arg_utils.py`).
_TEXTS = re.compile(r'("(?:[^"\\]|\\.)*")')
_SUFFIXED = re.compile(r"\b\d+(?:\.\d+)?[kKmMgGtT]\b", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class EngineArguments:
    """What the arguments say; none is what vLLM decides by itself where they say nothing.

    Attributes:
        tensor_parallel_size: GPUs that share each layer.
        pipeline_parallel_size: Groups of GPUs that share the layers.
        prefill_context_parallel_size: Groups of GPUs that share a prompt.
        decode_context_parallel_size: GPUs, of those that share a layer, that share the KV cache's tokens.
        data_parallel_size: Copies of the engine behind one port.
        expert_parallel: Whether whole experts are shared between GPUs.
        max_model_len: Context window in tokens.
        gpu_memory_utilization: Share of GPU memory that vLLM may take, 0 to 1.
        kv_cache_memory_bytes: The KV cache's size on each GPU, instead of that share.
        dtype: The type that weights are served in.
        quantization: How weights are quantised.
        kv_cache_dtype: The type that the KV cache is kept in; `auto` is that of the weights.
        kv_cache_dtype_skip_layers: Layers, or kinds of them, that keep `auto`.
        block_size: Tokens that are allocated together.
        max_num_batched_tokens: Tokens that are calculated at a time.
        max_num_seqs: Requests that are calculated at a time.
        async_scheduling: Whether a batch is planned while the one before runs.
        hybrid_kv_cache_manager: Whether layers with windows keep their windows only.
        prefix_caching: Whether beginnings that requests share are kept.
        chunked_prefill: Whether a prompt may be calculated in parts.
        sliding_window: Whether windows are kept at all.
        kv_sharing_fast_prefill: Whether layers that share another's cache are skipped in prefill.
        cp_kv_cache_interleave_size: Tokens that lie together where tokens are shared between GPUs.
        mamba_cache_dtype: The type of the convolution's state of linear layers.
        mamba_ssm_cache_dtype: The type of their recurrent state.
        mamba_block_size: Tokens after which a state is kept.
        mamba_cache_mode: Which states are kept for shared beginnings.
        language_model_only: Whether encoders of pictures and sounds are left out.
        enforce_eager: Whether no graphs are captured.
        cpu_offload_gib: GiB of weights of each GPU that lie in the host's memory.
        kv_offloading_gib: GiB of the host's memory for KV cache.
        hf_overrides: What takes the place of `config.json`'s keys.
        speculative: How tokens are guessed ahead, as vLLM's `speculative_config`.
        attention_config: vLLM's `attention_config`.
        performance_mode: What vLLM's defaults are chosen for: `throughput` doubles those of a batch.
        deprecated_quantization: Whether weights may be quantised in a way that vLLM is about to drop.
    """

    tensor_parallel_size: int | None = None
    pipeline_parallel_size: int = 1
    prefill_context_parallel_size: int = 1
    decode_context_parallel_size: int = 1
    data_parallel_size: int = 1
    expert_parallel: bool = False
    max_model_len: int | None = None
    gpu_memory_utilization: float | None = None
    kv_cache_memory_bytes: int | None = None
    dtype: str | None = None
    quantization: str | None = None
    kv_cache_dtype: str = "auto"
    kv_cache_dtype_skip_layers: tuple[str, ...] = ()
    block_size: int | None = None
    max_num_batched_tokens: int | None = None
    max_num_seqs: int | None = None
    async_scheduling: bool | None = None
    hybrid_kv_cache_manager: bool | None = None
    prefix_caching: bool | None = None
    chunked_prefill: bool | None = None
    sliding_window: bool = True
    kv_sharing_fast_prefill: bool = False
    cp_kv_cache_interleave_size: int = 1
    mamba_cache_dtype: str = "auto"
    mamba_ssm_cache_dtype: str = "auto"
    mamba_block_size: int | None = None
    mamba_cache_mode: str | None = None
    language_model_only: bool = False
    enforce_eager: bool = False
    cpu_offload_gib: float = 0.0
    kv_offloading_gib: float = 0.0
    hf_overrides: Mapping[str, Any] = field(default_factory=dict)
    speculative: Mapping[str, Any] | None = None
    attention_config: Mapping[str, Any] = field(default_factory=dict)
    performance_mode: str = "balanced"
    deprecated_quantization: bool = False

    @classmethod
    def read(cls, arguments: Sequence[str]) -> EngineArguments:
        """Read the arguments.

        Raises:
            SpecInvalid: vLLM would not start with them; the sentence names the one.
        """
        return cls.of(read_arguments(arguments))

    @classmethod
    def of(cls, given: Mapping[str, Given]) -> EngineArguments:
        """What the arguments that were read say. Errors as of `read`."""
        disabled = _switch(given, "--disable-hybrid-kv-cache-manager")
        length = _text(given, "--max-model-len")
        return cls(
            tensor_parallel_size=_count(given, "--tensor-parallel-size"),
            pipeline_parallel_size=_count(given, "--pipeline-parallel-size") or 1,
            prefill_context_parallel_size=_count(given, "--prefill-context-parallel-size") or 1,
            decode_context_parallel_size=_count(given, "--decode-context-parallel-size") or 1,
            data_parallel_size=_count(given, "--data-parallel-size") or 1,
            expert_parallel=_switch(given, "--enable-expert-parallel") or False,
            # -1 and auto: the longest that memory allows.
            max_model_len=None if length in ("-1", "auto") else _count(given, "--max-model-len"),
            gpu_memory_utilization=_share(given, "--gpu-memory-utilization"),
            kv_cache_memory_bytes=_count(given, "--kv-cache-memory-bytes"),
            dtype=_text(given, "--dtype"),
            quantization=_text(given, "--quantization"),
            kv_cache_dtype=_text(given, "--kv-cache-dtype") or "auto",
            kv_cache_dtype_skip_layers=_texts(given, "--kv-cache-dtype-skip-layers"),
            block_size=_count(given, "--block-size"),
            max_num_batched_tokens=_count(given, "--max-num-batched-tokens"),
            max_num_seqs=_count(given, "--max-num-seqs"),
            async_scheduling=_switch(given, "--async-scheduling"),
            hybrid_kv_cache_manager=None if disabled is None else not disabled,
            prefix_caching=_switch(given, "--enable-prefix-caching"),
            chunked_prefill=_switch(given, "--enable-chunked-prefill"),
            sliding_window=not _switch(given, "--disable-sliding-window"),
            kv_sharing_fast_prefill=_switch(given, "--kv-sharing-fast-prefill") or False,
            cp_kv_cache_interleave_size=_count(given, "--cp-kv-cache-interleave-size")
            or _count(given, "--dcp-kv-cache-interleave-size")
            or 1,
            mamba_cache_dtype=_text(given, "--mamba-cache-dtype") or "auto",
            mamba_ssm_cache_dtype=_text(given, "--mamba-ssm-cache-dtype") or "auto",
            mamba_block_size=_count(given, "--mamba-block-size"),
            mamba_cache_mode=_text(given, "--mamba-cache-mode"),
            language_model_only=_switch(given, "--language-model-only") or False,
            enforce_eager=_switch(given, "--enforce-eager") or False,
            cpu_offload_gib=_gib(given, "--cpu-offload-gb"),
            kv_offloading_gib=_gib(given, "--kv-offloading-size"),
            hf_overrides=object_of(given, "--hf-overrides") or {},
            speculative=_speculative(given),
            attention_config=object_of(given, "--attention-config") or {},
            performance_mode=_text(given, "--performance-mode") or "balanced",
            deprecated_quantization=_switch(given, "--allow-deprecated-quantization") or False,
        )

    def gpus(self, tensor_parallel_size: int) -> int:
        """GPUs of one replica: vLLM starts a process for each (`ParallelConfig.world_size_across_dp` in `config/parallel.py`)."""
        return tensor_parallel_size * self.pipeline_parallel_size * self.prefill_context_parallel_size * self.data_parallel_size


def object_of(given: Mapping[str, Given], name: str) -> Mapping[str, Any] | None:
    """The JSON object that an argument holds, whether as a whole or by keys; none without the argument.

    Raises:
        SpecInvalid: It holds something else.
    """
    if name not in given:
        return None
    value = json_of(given[name])
    if not isinstance(value, Mapping):
        raise SpecInvalid(f"{name} must be a JSON object.")
    return value


def json_of(given: Given) -> Any:
    """The JSON that an argument holds, as vLLM reads it.

    Raises:
        SpecInvalid: It holds something else.
    """
    if not isinstance(given.value, str):
        return given.value
    # Numbers with a suffix are vLLM's own, and no JSON.
    parts = _TEXTS.split(given.value)
    parts[::2] = [_SUFFIXED.sub(lambda found: str(_expanded(found[0])), part) for part in parts[::2]]
    try:
        return parse_json("".join(parts))
    except ValueError as exc:
        raise SpecInvalid(f"{given.name} must be JSON.") from exc


def _expanded(text: str) -> int | str:
    try:
        return whole_number(text)
    except ValueError:
        return text


def _speculative(given: Mapping[str, Given]) -> Mapping[str, Any] | None:
    """`--speculative-config`, and the three short forms of its keys."""
    whole = dict(object_of(given, "--speculative-config") or {})
    for name, key in (("--spec-method", "method"), ("--spec-model", "model")):
        if name in given:
            whole[key] = _text(given, name)
    if "--spec-tokens" in given:
        whole["num_speculative_tokens"] = _count(given, "--spec-tokens")
    return whole or None


def _switch(given: Mapping[str, Given], name: str) -> bool | None:
    return None if name not in given else given[name].value is True


def _text(given: Mapping[str, Given], name: str) -> str | None:
    if name not in given:
        return None
    value = given[name].value
    if not isinstance(value, str):
        raise SpecInvalid(f"{name} takes one value and no keys.")
    # What an optional argument takes for "not given" (`optional_type` in `engine/arg_utils.py`).
    return None if value in ("", "None") else value


def _texts(given: Mapping[str, Given], name: str) -> tuple[str, ...]:
    value = given[name].value if name in given else ()
    return value if isinstance(value, tuple) else ()


def _count(given: Mapping[str, Given], name: str) -> int | None:
    found = _read(given, name, whole_number if name in _WITH_SUFFIX else int, "a whole number, 1 or more")
    if found is not None and not 1 <= found <= _MOST:
        raise SpecInvalid(f"{name} must be a whole number, 1 or more.")
    return found


def _share(given: Mapping[str, Given], name: str) -> float | None:
    found = _read(given, name, float, "a number above 0, up to 1")
    if found is not None and not 0 < found <= 1:
        raise SpecInvalid(f"{name} must be a number above 0, up to 1.")
    return found


def _gib(given: Mapping[str, Given], name: str) -> float:
    found = _read(given, name, float, "a number of GiB, 0 or more")
    if found is not None and not 0 <= found <= _MOST:
        raise SpecInvalid(f"{name} must be a number of GiB, 0 or more.")
    return found or 0.0


def _read(given: Mapping[str, Given], name: str, read: Callable[[str], T], what: str) -> T | None:
    text = _text(given, name)
    if text is None:
        return None
    try:
        return read(text)
    except (ValueError, OverflowError) as exc:
        raise SpecInvalid(f"{name} must be {what}.") from exc
