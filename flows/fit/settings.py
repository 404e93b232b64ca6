"""How vLLM is started, as far as it decides about memory: plain data with vLLM 0.32's defaults."""

from __future__ import annotations

from dataclasses import dataclass

from flows.text import GIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings of `vllm serve`.

    Attributes:
        max_model_len: Context in tokens; none takes the model's own, as vLLM does.
        tensor_parallel: GPUs that share each layer.
        pipeline_parallel: Stages that share the layers.
        dtype: `--dtype`.
        kv_cache_dtype: `--kv-cache-dtype`.
        skip_layers: `--kv-cache-dtype-skip-layers`: layers' numbers or `sliding_window`.
        block_size: `--block-size`; none lets the attention kernels choose.
        hybrid_manager: False with `--disable-hybrid-kv-cache-manager`: every layer counts in full.
        asynchronous: False with `--no-async-scheduling`.
        batched_tokens: `--max-num-batched-tokens`; none takes the default by the GPU.
        chunked_prefill: False with `--no-enable-chunked-prefill`: a batch holds a whole prompt.
        throughput: Whether `--performance-mode throughput` doubles that default.
        prefix_caching: `--enable-prefix-caching`, or its opposite; none leaves it to the model: only states alone go without.
        state_dtype: `--mamba-cache-dtype`.
        recurrent_dtype: `--mamba-ssm-cache-dtype`.
        guessed_tokens: Tokens guessed ahead at a time; 0 for none.
        guessing: How: vLLM's name of the method.
        gpu_memory_utilization: Share of the GPU's memory that vLLM may take.
        kv_memory_bytes: `--kv-cache-memory-bytes`: what the KV cache gets in place of the rest of that share; none for the rest.
        allow_long: `VLLM_ALLOW_LONG_MAX_MODEL_LEN`.
        chunked_hybrid: `VLLM_ALLOW_CHUNKED_LOCAL_ATTN_WITH_HYBRID_KV_CACHE`, which is on by default.
    """

    max_model_len: int | None = None
    tensor_parallel: int = 1
    pipeline_parallel: int = 1
    dtype: str = "auto"
    kv_cache_dtype: str = "auto"
    skip_layers: tuple[str, ...] = ()
    block_size: int | None = None
    hybrid_manager: bool = True
    asynchronous: bool = True
    batched_tokens: int | None = None
    chunked_prefill: bool = True
    throughput: bool = False
    prefix_caching: bool | None = None
    state_dtype: str = "auto"
    recurrent_dtype: str = "auto"
    guessed_tokens: int = 0
    guessing: str = ""
    gpu_memory_utilization: float = 0.9
    kv_memory_bytes: int | None = None
    allow_long: bool = False
    chunked_hybrid: bool = True

    def batch(self, gpu_bytes: int | None, gpu: str = "") -> int:
        """Tokens of one step.

        By `EngineArgs.get_batch_defaults` and `_set_default_max_num_seqs_and_batched_tokens_args` (`vllm/engine/arg_utils.py`, 0.32.0) for
        the API server: 16,384 from 160 GiB, 8,192 from 70 GiB but for A100s, 2,048 else.

        Args:
            gpu_bytes: The GPU's memory; none if it is not known, and then one of 70 GiB is meant.
            gpu: Its name.
        """
        if self.batched_tokens is not None:
            return self.batched_tokens
        memory = 80 * GIB if gpu_bytes is None else gpu_bytes
        tokens = 16_384 if memory >= 160 * GIB else 8_192 if memory >= 70 * GIB and "a100" not in gpu.lower() else 2_048
        return tokens * 2 if self.throughput else tokens

    def in_flight(self, batch: int) -> int:
        """Tokens that are scheduled and not yet settled.

        By `VllmConfig.max_concurrent_batches` (`vllm/config/vllm.py`, 0.32.0): a batch for each pipeline stage, and one more where the next
        is scheduled while one runs; guessing by n-grams ends that.
        """
        overlapping = self.asynchronous and self.guessing not in ("ngram", "suffix", "medusa", "mlp_speculator")
        return batch * (self.pipeline_parallel + (1 if overlapping else 0))
