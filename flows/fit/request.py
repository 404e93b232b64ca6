"""What one request takes of a GPU, and the block that vLLM holds back: the numbers of its check at the start."""

from __future__ import annotations

from dataclasses import dataclass

from flows.fit.groups import Pool, pool, stages
from flows.fit.layers import Shape
from flows.fit.settings import Settings
from flows.fit.specs import specs


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What requests take of each GPU of a tensor-parallel group.

    Attributes:
        block_bytes: Bytes of a block of the pool, over all pipeline stages; the null block is one.
        stage_bytes: Bytes of a block of the pool in the pipeline stage that holds most.
        pool: The groups of layers.
        in_flight: Tokens that are scheduled and not yet settled.
        encoder_tokens: Tokens of an encoder's output.
    """

    block_bytes: int
    stage_bytes: int
    pool: Pool
    in_flight: int
    encoder_tokens: int

    def blocks(self, tokens: int) -> int:
        """Blocks of a request of so many tokens."""
        return self.pool.blocks(tokens, self.in_flight, self.encoder_tokens)

    def request_bytes(self, tokens: int) -> int:
        """Bytes of a request of so many tokens, over all pipeline stages (`_max_memory_usage_bytes_from_groups`, vLLM 0.32.0)."""
        return self.block_bytes * self.blocks(tokens)

    @property
    def token_bytes(self) -> int:
        """Bytes that a token more takes, once a request is longer than every window, over all pipeline stages."""
        return sum(self.block_bytes // group.token_blocks for group in self.pool.groups if group.token_blocks)

    def gpu_bytes(self, tokens: int, requests: int = 1) -> int:
        """Bytes that so many requests take of the GPU that holds most, with the null block (`get_kv_cache_configs`, vLLM 0.32.0)."""
        return self.stage_bytes * (requests * self.blocks(tokens) + 1) if self.pool.groups else 0


def cost(shape: Shape, settings: Settings, max_model_len: int, gpu_bytes: int | None = None, gpu: str = "") -> Cost:
    """What requests of this model take.

    Args:
        shape: The model.
        settings: How it is served.
        max_model_len: The context that it is served with: prompts are read whole for encoders, and where they are not
            cut into chunks (`_set_default_max_num_seqs_and_batched_tokens_args`, `vllm/engine/arg_utils.py`, 0.32.0).
        gpu_bytes: The GPU's memory, which the default of the batch goes by.
        gpu: The GPU's name.
    """
    batch = settings.batch(gpu_bytes, gpu)
    if (shape.encoder or not settings.chunked_prefill) and settings.batched_tokens is None:
        batch = max(batch, max_model_len)
    found = specs(shape, settings)
    groups = pool(found, hybrid_manager=settings.hybrid_manager, packed=shape.packed)
    parts = stages(len(shape.layers), settings.pipeline_parallel)
    if settings.pipeline_parallel > 1 and len(found) > len(shape.layers):
        parts[-1] = range(parts[-1].start, len(found))  # what guesses ahead is in the last stage
    whole = groups.block_bytes()
    return Cost(
        block_bytes=whole,
        stage_bytes=whole if settings.pipeline_parallel == 1 else max(groups.block_bytes(part) for part in parts),
        pool=groups,
        in_flight=settings.in_flight(batch),
        encoder_tokens=batch if shape.encoder else 0,
    )
