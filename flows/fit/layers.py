"""What the layers of a model keep of a request, before any setting is applied: plain data, and no arithmetic here.

The names are those of vLLM's specs (`vllm/v1/kv_cache_interface.py`, 0.32.0): full attention, a sliding window, a chunk, a latent (MLA), a
state (Mamba, linear attention, short convolutions), and the encoder's keys and values of cross attention.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Attention:
    """Keys and values by head.

    Attributes:
        heads: KV heads of the layer in the whole model; tensor parallelism divides them, and copies what it cannot divide.
        key: Numbers of a head's key.
        value: Numbers of a head's value.
        window: How many tokens the layer looks back; none for all of them.
        chunk: Length of the pieces within which the layer looks (Llama 4); none for none.
        apart: What else tells it from other layers that keep the same (a sink of learned keys).
    """

    heads: int
    key: int
    value: int
    window: int | None = None
    chunk: int | None = None
    apart: str = ""


@dataclass(frozen=True, slots=True)
class Latent:
    """One vector for all heads (MLA), which every GPU keeps whole.

    Attributes:
        size: Numbers of the vector.
        window: How many tokens the layer looks back; none for all of them.
        sparse: Whether an index chooses what is looked at, so that vLLM takes its sparse kernels.
        index: Whether this is that index: bytes, whatever the type of the KV cache is.
    """

    size: int
    window: int | None = None
    sparse: bool = False
    index: bool = False


@dataclass(frozen=True, slots=True)
class Packed:
    """Rows of bytes whose layout the kernels of DeepSeek-V4 dictate.

    Attributes:
        row: Bytes of one row.
        block: Tokens of a block.
        tokens: Tokens that one row stands for.
        window: How many tokens the layer looks back; none for all of them.
    """

    row: int
    block: int
    tokens: int = 1
    window: int | None = None


@dataclass(frozen=True, slots=True)
class State:
    """A state that does not grow with the request.

    Attributes:
        kind: `mamba1`, `mamba2`, `delta` (gated delta net), `kda`, `lightning`, `convolution`: how the numbers are counted.
        inner: Width that the convolution and the state share (Mamba), or the value heads' total width.
        heads: Heads of the state.
        head: Numbers of a head.
        state: Numbers that a head keeps for each of its own; the key heads' size in linear attention.
        groups: Groups of Mamba 2; the key heads of linear attention.
        kernel: Length of the convolution.
        precision: Type of the recurrent part: `float32`, or empty for that of the convolution.
        checkpoints: States more than vLLM keeps while it reads a prompt, with prefix caching.
    """

    kind: str
    inner: int
    heads: int = 1
    head: int = 1
    state: int = 1
    groups: int = 1
    kernel: int = 1
    precision: str = ""
    checkpoints: int = 0


@dataclass(frozen=True, slots=True)
class Cross:
    """Keys and values of an encoder's output, which a request keeps beside its own.

    Attributes:
        heads: KV heads.
        size: Numbers of a head.
    """

    heads: int
    size: int


Cache = Attention | Latent | Packed | State | Cross


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A model as far as its memory goes.

    Attributes:
        layers: For each layer in order, the caches that it keeps; a layer without any keeps nothing.
        heads: KV heads as vLLM's configuration counts them; what aligns blocks with states goes by these.
        head: Head size as vLLM's configuration counts it.
        attention_heads: Query heads; none if they are not stated.
        latent: Whether vLLM runs the model's attention on the latent.
        dtype: The type that the weights were published in; empty if it is not stated.
        cache: The type that the checkpoint asks for its KV cache; `auto` if it asks for none.
        states_only: Whether no layer has attention.
        encoder: Whether an encoder comes first, so that prompts are read whole.
        kernel_block: Tokens of a block that the kernels want; none where they take any.
        packed: Whether one block holds all layers (DeepSeek-V4), so that pages need not have one size.
        guessing: Layers beyond those that guess tokens ahead (multi-token prediction).
    """

    layers: tuple[tuple[Cache, ...], ...]
    heads: int
    head: int
    attention_heads: int | None
    latent: bool = False
    dtype: str = ""
    cache: str = "auto"
    states_only: bool = False
    encoder: bool = False
    kernel_block: int | None = None
    packed: bool = False
    guessing: int = 0

    @property
    def hybrid(self) -> bool:
        """Whether attention and states are mixed."""
        return not self.states_only and any(isinstance(cache, State) for caches in self.layers for cache in caches)

    @property
    def kv_heads(self) -> frozenset[int]:
        """The numbers of KV heads that its layers have; latents have none that could be shared."""
        return frozenset(cache.heads for caches in self.layers for cache in caches if isinstance(cache, Attention))
