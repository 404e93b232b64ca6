"""From what layers keep to the pages that vLLM allocates for them: blocks of tokens, and bytes of a block.

The rules are those of vLLM 0.32.0: `vllm/v1/kv_cache_interface.py` (pages), `vllm/platforms/interface.py` (blocks, and their alignment with
states), `vllm/model_executor/layers/attention/` (which spec a layer has), `vllm/v1/attention/backends/` (what kernels want).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from flows.fit.formats import Format, cache_format
from flows.fit.layers import Attention, Cache, Cross, Latent, Packed, Shape, State
from flows.fit.settings import Settings
from flows.fit.states import state_bytes

#: Tokens of a block, where neither the kernels nor the user want others (`CacheConfig.DEFAULT_BLOCK_SIZE`).
BLOCK = 16

#: Tokens of a block of FlashMLA, which reads latents of 8 bits, and of UltraQuant's kernels.
_SPARSE_BLOCK = 64

#: Heads of which Hopper's kernels read 8 bits by blocks of so many tokens (`_get_sm90_fa4_fp8_kv_block_size`,
#: `vllm/v1/attention/backends/flash_attn.py`): Gemma 4's.
_WIDE_HEAD, _WIDE_BLOCK = 512, 64

#: What the kernels' rows of DeepSeek-V4 are aligned to (`sparse_swa.py`, `deepseek_v4/attention.py`).
_PACKED_ALIGNMENT = 576


@dataclass(frozen=True, slots=True)
class Spec:
    """What one cache of one layer takes: vLLM's `KVCacheSpec`.

    Attributes:
        kind: `full`, `latent`, `window`, `latent window`, `chunk`, `state` or `cross`.
        block: Tokens of a block.
        page: Bytes of a block.
        layout: What must be the same for layers to share a group, beside the page: heads, sizes, type.
        keeps: Tokens that a window or a chunk keeps.
        states: Blocks that a request takes whatever its length.
        bare: Bytes of a block before it was padded.
    """

    kind: str
    block: int
    page: int
    layout: tuple[object, ...] = ()
    keeps: int = 0
    states: int = 0
    bare: int = 0

    @property
    def full(self) -> bool:
        """Whether it keeps everything, as keys and values or as a latent."""
        return self.kind in ("full", "latent")

    def blocks(self, tokens: int, in_flight: int, encoder_tokens: int) -> int:
        """Blocks that a request of so many tokens takes.

        By `max_memory_usage_bytes` and `max_admission_blocks_per_request` of each spec: a window of w tokens keeps `w - 1` of them and
        those
        in flight, and may begin in the middle of a block; a chunk keeps itself and those in flight.
        """
        if self.kind == "state":
            return self.states
        if self.kind == "cross":
            return -(-encoder_tokens // self.block)
        if self.kind in ("window", "latent window"):
            return -(-min(self.keeps - 1 + in_flight, tokens) // self.block) + 1
        if self.kind == "chunk":
            return -(-min(self.keeps + in_flight, tokens) // self.block)
        return -(-tokens // self.block)


@dataclass(frozen=True, slots=True)
class _Blocks:
    """How blocks were aligned.

    Attributes:
        tokens: Tokens of a block.
        padded: The page that states are padded to; none if they are not.
        shared: The page that windows are padded to, where some caches are wider than others; none if none are.
    """

    tokens: int
    padded: int | None = None
    shared: int | None = None


def specs(shape: Shape, settings: Settings) -> list[list[Spec]]:
    """The specs of each layer, in order; those of layers that guess ahead come last.

    Raises:
        ValueError: The type of the KV cache cannot be had for this model; the message says why.
    """
    layers = [list(caches) for caches in shape.layers]
    if settings.guessing == "mtp" and shape.guessing:
        layers += [_guessing_layer(shape)] * shape.guessing
    asked = settings.kv_cache_dtype if settings.kv_cache_dtype != "auto" else shape.cache
    skipped = _skipped(shape, settings, asked)
    fmt, plain = cache_format(asked, _dtype(shape, settings)), cache_format("auto", _dtype(shape, settings))
    blocks = _blocks(shape, settings, fmt, plain, skipped)
    found: list[list[Spec]] = []
    for index, caches in enumerate(layers):
        windowed = any(isinstance(cache, Attention) and cache.window is not None for cache in caches)
        skip = str(index) in skipped or (windowed and "sliding_window" in skipped)
        found.append([_spec(cache, shape, settings, blocks, plain if skip else fmt) for cache in caches])
    return found


def _dtype(shape: Shape, settings: Settings) -> str:
    """The engine's type: `auto` serves models of 32 bits in 16 (`_resolve_auto_dtype`, `vllm/config/model.py`)."""
    named = settings.dtype if settings.dtype != "auto" else shape.dtype
    if named in ("float16", "half"):
        return "float16"
    return "float32" if settings.dtype in ("float32", "float") else "bfloat16"


def _guessing_layer(shape: Shape) -> list[Cache]:
    """A layer that guesses ahead keeps what the last layer with full attention keeps."""
    for caches in reversed(shape.layers):
        if any(isinstance(cache, (Attention, Latent)) and cache.window is None for cache in caches):
            return list(caches)
    return list(shape.layers[-1]) if shape.layers else []


def _skipped(shape: Shape, settings: Settings, asked: str) -> frozenset[str]:
    """Layers whose cache stays in the engine's type.

    TurboQuant and UltraQuant leave the first and the last two layers alone, but for hybrids (`get_boundary_skip_layers`,
    `vllm/model_executor/layers/quantization/turboquant/config.py`).
    """
    skipped = set(settings.skip_layers)
    if asked.startswith(("turboquant", "ultraquant")) and not shape.hybrid:
        layers = len(shape.layers)
        edge = min(2, layers // 2)
        skipped |= {str(index) for index in (*range(edge), *range(layers - edge, layers))}
    return frozenset(skipped)


def _blocks(shape: Shape, settings: Settings, fmt: Format, plain: Format, skipped: frozenset[str]) -> _Blocks:
    """Tokens of a block.

    By `update_block_size_for_backend` (`vllm/platforms/interface.py`, 0.32.0). Where attention and states are mixed, pages have one size:
    attention's block grows until it holds a state, and the state is padded to it (`_align_hybrid_block_size`). Where some layers' caches
    stay wide, blocks grow until a narrow page holds a wide one (`_align_heterogeneous_kv_block_size`).
    """
    flat = [cache for caches in shape.layers for cache in caches]
    tokens, smallest = settings.block_size or BLOCK, BLOCK
    if settings.block_size is None:
        if shape.kernel_block is not None:
            tokens = smallest = shape.kernel_block
        elif shape.latent and fmt.quantised:
            tokens = smallest = _SPARSE_BLOCK
        elif fmt.name in ("fp8", "fp8_e4m3") and any(isinstance(cache, Attention) and cache.key == _WIDE_HEAD for cache in flat):
            tokens = smallest = _WIDE_BLOCK
        elif fmt.name == "ultraquant_4bit":
            tokens = _SPARSE_BLOCK
    heads = _heads(shape.heads, settings)
    token = shape.head * fmt.bytes if shape.latent else heads * fmt.head_bytes(shape.head, shape.head)
    wide = heads * plain.head_bytes(shape.head, shape.head)
    padded = shared = None
    if shape.hybrid and token:
        aligning = math.lcm(token, wide) if skipped and fmt.name.startswith(("turboquant", "ultraquant")) else token
        state = max(state_bytes(cache, _dtype(shape, settings), settings) for cache in flat if isinstance(cache, State))
        unit = max(smallest, tokens, 128 if shape.latent else 0)
        aligned = unit * -(-state // (unit * aligning))
        tokens = max(tokens, smallest * -(-aligned // smallest))
        padded = tokens * aligning if state else None
    # vLLM asks the first layer's kernels for the narrow page, and these are not those that pack.
    narrow = heads * 2 * shape.head * fmt.bytes if fmt.name.startswith(("turboquant", "ultraquant")) else token
    if skipped and wide > narrow > 0 and not shape.latent:
        tokens = max(tokens, tokens * -(-max(wide * BLOCK, padded or 0) // (tokens * narrow)))
        shared = tokens * narrow
        padded = shared if padded is not None else None
    return _Blocks(tokens, padded, shared)


def _heads(heads: int, settings: Settings) -> int:
    """Heads on one GPU: divided, and copied where they cannot be (`ModelConfig.get_num_kv_heads`)."""
    return max(1, heads // settings.tensor_parallel)


def _spec(cache: Cache, shape: Shape, settings: Settings, blocks: _Blocks, fmt: Format) -> Spec:
    if isinstance(cache, State):
        return _state(cache, shape, settings, blocks)
    if isinstance(cache, Packed):
        rows = max(1, cache.block // cache.tokens)
        page = -(-rows * cache.row // _PACKED_ALIGNMENT) * _PACKED_ALIGNMENT
        kind = "latent" if cache.window is None else "latent window"
        return Spec(kind, cache.block, page, (cache.row, cache.tokens), keeps=cache.window or 0, bare=page)
    if isinstance(cache, Latent):
        row = cache.size if cache.index else fmt.latent_bytes(cache.size, sparse=cache.sparse)
        page = blocks.tokens * row
        kind = "latent" if cache.window is None else "latent window"
        return Spec(kind, blocks.tokens, page, (row, cache.index), keeps=cache.window or 0, bare=page)
    if isinstance(cache, Cross):
        heads = _heads(cache.heads, settings)
        page = blocks.tokens * heads * fmt.head_bytes(cache.size, cache.size)
        return Spec("cross", blocks.tokens, page, (heads, cache.size), bare=page)
    heads = _heads(cache.heads, settings)
    token = heads * fmt.head_bytes(cache.key, cache.value)
    layout = (heads, cache.key, cache.value, fmt.name, cache.apart)
    kind, keeps = ("window", cache.window) if cache.window is not None else ("chunk", cache.chunk) if cache.chunk else ("full", 0)
    if kind == "window" and blocks.shared is not None and blocks.shared >= BLOCK * token:
        # As many whole kernel blocks as the shared page holds; see `_largest_kernel_block_within` (`layers/attention/attention.py`).
        fitting = blocks.shared // token // BLOCK * BLOCK
        return Spec(kind, fitting, blocks.shared, layout, keeps=keeps, bare=fitting * token)
    page = blocks.tokens * token
    return Spec(kind, blocks.tokens, page, layout, keeps=keeps, bare=page)


def _state(cache: State, shape: Shape, settings: Settings, blocks: _Blocks) -> Spec:
    """A state, by `MambaSpec.max_memory_usage_bytes`: two states a request where prefixes are cached (and one more where the layer sets one
    aside while it reads a prompt), one otherwise. Models of states alone cache no prefixes unless they are told to
    (`is_prefix_caching_supported`, `vllm/config/model.py`; `MambaModelConfig`, `vllm/model_executor/models/config.py`)."""
    dtype = _dtype(shape, settings)
    size = state_bytes(cache, dtype, settings)
    aligned = settings.prefix_caching if settings.prefix_caching is not None else not shape.states_only
    states = (2 + cache.checkpoints if aligned else 1) + settings.guessed_tokens
    page = blocks.padded if blocks.padded is not None else size
    return Spec("state", blocks.tokens, page, (size, cache.checkpoints), states=states, bare=size)


def with_page(spec: Spec, page: int) -> Spec:
    """The spec with its page padded, or its block grown if the page divides it."""
    if page % spec.page == 0 and spec.kind != "state":
        return replace(spec, block=spec.block * (page // spec.page), page=page, bare=spec.bare * (page // spec.page))
    return replace(spec, page=page)
