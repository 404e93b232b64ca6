"""The engine's arguments as memory is reckoned by them, and as they share weights out. Light, as `slipway fit` waits for it."""

from __future__ import annotations

from dataclasses import replace

from flows.fit.settings import Settings
from flows.placement.loading import Shards
from flows.spec.engine_arguments import EngineArguments


def memory_settings(arguments: EngineArguments, beside: Settings) -> Settings:
    """The settings with what the engine's arguments say in place of what stands beside them."""
    ahead = arguments.speculative or {}
    tokens = ahead.get("num_speculative_tokens")
    return replace(
        beside,
        max_model_len=arguments.max_model_len or beside.max_model_len,
        tensor_parallel=arguments.tensor_parallel_size or beside.tensor_parallel,
        pipeline_parallel=arguments.pipeline_parallel_size,
        dtype=arguments.dtype or beside.dtype,
        kv_cache_dtype=arguments.kv_cache_dtype,
        skip_layers=arguments.kv_cache_dtype_skip_layers,
        block_size=arguments.block_size,
        # Without windows every layer counts in full, as it does without the manager of several kinds.
        hybrid_manager=arguments.hybrid_kv_cache_manager is not False and arguments.sliding_window,
        asynchronous=arguments.async_scheduling is not False,
        batched_tokens=arguments.max_num_batched_tokens,
        chunked_prefill=arguments.chunked_prefill is not False,
        throughput=arguments.performance_mode == "throughput",
        prefix_caching=arguments.prefix_caching,
        state_dtype=arguments.mamba_cache_dtype,
        recurrent_dtype=arguments.mamba_ssm_cache_dtype,
        guessed_tokens=tokens if isinstance(tokens, int) and not isinstance(tokens, bool) else beside.guessed_tokens,
        guessing=str(ahead.get("method") or beside.guessing),
        kv_memory_bytes=arguments.kv_cache_memory_bytes,
        gpu_memory_utilization=arguments.gpu_memory_utilization or beside.gpu_memory_utilization,
    )


def shards_by(arguments: EngineArguments, tensor_parallel: int, quantization: str) -> Shards:
    """How the engine's arguments share the weights out, beside what else it is told."""
    return Shards(
        tensor_parallel=tensor_parallel,
        pipeline_parallel=arguments.pipeline_parallel_size,
        copies=arguments.data_parallel_size * arguments.prefill_context_parallel_size,
        expert_parallel=arguments.expert_parallel,
        quantization=quantization,
        deprecated=arguments.deprecated_quantization,
        block_size=arguments.block_size,
        hybrid_manager=arguments.hybrid_kv_cache_manager is not False,
    )
