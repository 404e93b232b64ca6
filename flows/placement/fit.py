"""Whether a model's weights and KV cache fit the GPUs, by arithmetic on what was read of it; vLLM's own profiling has the last word.

One GPU of `tensor_parallel_size` holds its share of the weights, and the KV cache of `concurrency` requests of `max_model_len` tokens:

    memory · gpu_memory_utilization  ≥  weights / tensor_parallel_size  +  RESERVE  +  KV cache

An attention layer keeps `2 · KV heads · head dimension` numbers of each token (keys and values), a layer of latent attention (MLA) its
compressed latent and the RoPE part of the key; so Llama-3.1-8B takes 2·32·8·128·2 = 131,072 bytes a token in 16 bits, and DeepSeek-V3
61·(512+64)·2 = 70,272. The sources are vLLM's `kv_cache_interface` (what a layer keeps; a window keeps `window - 1` tokens and one batch of
new ones) and `kv_cache_utils` (layers of several kinds are grouped, and groups are filled up to the same size).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from blocks.facts.model import AttentionLayers, ModelFacts
from flows.spec import EngineSettings
from flows.text import GIB

#: Bytes of a GPU that go neither to weights nor to KV cache: CUDA's context, activations of a batch, captured graphs. An estimate;
#: vLLM measures it when it starts.
RESERVE_BYTES = 2 * GIB

#: Tokens that vLLM allocates together.
BLOCK = 16

#: vLLM's largest default of `--max-num-batched-tokens` (8,192 on GPUs with 70 GB or more; 2,048 on others).
BATCHED_TOKENS = 8192

#: Bytes of one number of each of vLLM's types. `auto` serves models of 32 bits in 16.
_ENGINE_BYTES = {"auto": 2, "bfloat16": 2, "float16": 2, "float32": 4}

#: Stored types that vLLM casts to the engine's type when it loads them.
_CAST = ("F64", "F32", "F16", "BF16")

#: Linear attention keeps its state in 32 bits at the most.
_STATE_BYTES = 4

#: Where the search for the largest context ends: no memory holds more tokens of any model.
_LONGEST = 2**31


@dataclass(frozen=True, kw_only=True)
class Fit:
    """How memory adds up on one GPU, in bytes.

    Attributes:
        gpu_bytes: What the GPU has.
        usable_bytes: What vLLM may take of it.
        weights_bytes: The GPU's share of the weights.
        kv_bytes: KV cache of `concurrency` requests of `max_model_len` tokens.
        max_model_len: The context that was asked for, in tokens.
        concurrency: The requests that were asked for.
        largest_context: The longest context for that many requests: whole blocks of tokens, or the model's own limit. 0 if none.
    """

    gpu_bytes: int
    usable_bytes: int
    weights_bytes: int
    kv_bytes: int
    max_model_len: int
    concurrency: int
    largest_context: int

    @property
    def needed_bytes(self) -> int:
        """What all of it takes."""
        return self.weights_bytes + RESERVE_BYTES + self.kv_bytes

    @property
    def fits(self) -> bool:
        """Whether it is there."""
        return self.needed_bytes <= self.usable_bytes


def judge_fit(about: ModelFacts, engine: EngineSettings, concurrency: int, gpu_bytes: int, token_bytes: int | None = None) -> Fit:
    """Add up the memory of one GPU.

    Args:
        about: The model.
        engine: How it is to be served.
        concurrency: Requests of full length that must fit at once.
        gpu_bytes: Memory of one GPU.
        token_bytes: KV cache of one token on each GPU, where the model's configuration does not tell it.
    """

    def kv(tokens: int) -> int:
        return concurrency * (tokens * token_bytes if token_bytes is not None else request_bytes(about, engine, tokens))

    usable = math.floor(gpu_bytes * engine.gpu_memory_utilization)
    weights = math.ceil(loaded_bytes(about, engine) / engine.tensor_parallel_size)
    room = usable - weights - RESERVE_BYTES
    return Fit(
        gpu_bytes=gpu_bytes,
        usable_bytes=usable,
        weights_bytes=weights,
        kv_bytes=kv(engine.max_model_len),
        max_model_len=engine.max_model_len,
        concurrency=concurrency,
        largest_context=min(_most(lambda blocks: kv(blocks * BLOCK) <= room) * BLOCK, about.config.max_context or _LONGEST),
    )


def enough_parallel(about: ModelFacts, engine: EngineSettings, concurrency: int, gpu_bytes: int, token_bytes: int | None) -> int | None:
    """The smallest tensor parallelism (a power of two up to 16) with which it would fit; none if there is none."""
    for parallel in (1, 2, 4, 8, 16):
        if parallel > engine.tensor_parallel_size and divides(about, parallel):
            wider = replace(engine, tensor_parallel_size=parallel)
            if judge_fit(about, wider, concurrency, gpu_bytes, token_bytes).fits:
                return parallel
    return None


def divides(about: ModelFacts, parallel: int) -> bool:
    """Whether the model's heads can be shared evenly between so many GPUs, KV heads possibly as copies."""
    heads = about.config.attention_heads
    evenly = all(group.heads % parallel == 0 or parallel % group.heads == 0 for group in about.config.attention)
    return evenly and (heads is None or heads % parallel == 0)


def loaded_bytes(about: ModelFacts, engine: EngineSettings) -> int:
    """Bytes of all weights as vLLM holds them: floating-point tensors in the engine's type, quantised ones as they are stored."""
    if about.config.quantisation is not None:
        return about.weights_bytes
    cast = sum(count for dtype, count in about.stored.items() if dtype in _CAST)
    # The last two characters of these types are their bits: BF16, F32.
    stored = sum(count * int(dtype[-2:]) // 8 for dtype, count in about.stored.items() if dtype in _CAST)
    return about.weights_bytes - stored + cast * _ENGINE_BYTES[engine.dtype]


def token_bytes(about: ModelFacts, engine: EngineSettings) -> int:
    """Bytes of KV cache that one more token takes over all GPUs, once it is longer than every window."""
    return sum(group.layers * group.values for group in _layers(about, engine) if group.window is None) * _kv_number_bytes(engine)


def request_bytes(about: ModelFacts, engine: EngineSettings, tokens: int) -> int:
    """Bytes of KV cache that a request of so many tokens takes on each GPU."""
    groups, parallel = _layers(about, engine), engine.tensor_parallel_size
    size = _kv_number_bytes(engine)
    if engine.speculative is not None:  # vLLM sets places aside for the tokens that are guessed
        tokens += engine.speculative.tokens
    batched = argument(engine.extra_args, "max-num-batched-tokens")
    batch = int(batched) if batched is not None and batched.isdecimal() else BATCHED_TOKENS
    total = math.ceil(about.config.state_values * _STATE_BYTES / parallel)
    for group, layers in zip(groups, _filled(groups), strict=True):
        # Heads that are fewer than GPUs are copied.
        share = group.values // group.heads * math.ceil(group.heads / parallel)
        total += layers * share * size * _kept_tokens(tokens, group.window, batch)
    return total


def argument(arguments: Sequence[str], name: str) -> str | None:
    """The value of an argument of `vllm serve`, as vLLM would read it: the last one counts, `_` is `-`."""
    found = None
    for index, given in enumerate(arguments):
        key, equals, value = given.partition("=")
        if key.replace("_", "-") == f"--{name}":
            found = value if equals else next(iter(arguments[index + 1 : index + 2]), None)
    return found


def _layers(about: ModelFacts, engine: EngineSettings) -> tuple[AttentionLayers, ...]:
    """The layers that keep something, with those that guess ahead if they are asked to; vLLM groups these with the others of their kind."""
    groups = list(about.config.attention)
    if engine.speculative is None or engine.speculative.method != "mtp" or not groups:
        return tuple(groups)
    place = next((index for index, group in enumerate(groups) if group.window is None), 0)
    groups[place] = replace(groups[place], layers=groups[place].layers + about.config.guessing_layers)
    return tuple(groups)


def _kv_number_bytes(engine: EngineSettings) -> int:
    kind = argument(engine.extra_args, "kv-cache-dtype") or "auto"
    return 1 if kind.startswith("fp8") else _ENGINE_BYTES.get(kind, 2) if kind != "auto" else _ENGINE_BYTES[engine.dtype]


def _kept_tokens(tokens: int, window: int | None, batch: int) -> int:
    if window is None or tokens <= window - 1 + batch:
        return math.ceil(tokens / BLOCK) * BLOCK + (0 if window is None else BLOCK)
    return (math.ceil((window - 1 + batch) / BLOCK) + 1) * BLOCK  # a window may begin in the middle of a block


def _filled(groups: Sequence[AttentionLayers]) -> list[int]:
    """Layers of each group with those that vLLM adds so that groups of one size can share memory."""
    counts = [group.layers for group in groups]
    if not counts:
        return []
    size = max(counts) if max(counts) < 1.25 * min(counts) else min(counts)
    return [math.ceil(count / size) * size for count in counts]


def _most(fits: Callable[[int], bool]) -> int:
    """The largest number of blocks that fits; `fits` says yes up to some number and no from there on."""
    low, high = 0, _LONGEST // BLOCK
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low
