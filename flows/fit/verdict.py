"""Whether a model fits: what one GPU holds beside what vLLM may take of it. vLLM's own profiling has the last word.

    memory · gpu_memory_utilization  ≥  weights + RESERVE_BYTES + KV cache

The KV cache is that of `concurrency` requests of full length, and of the null block.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from flows.fit.model import ConfiguredModel
from flows.fit.request import Cost, cost
from flows.fit.settings import Settings
from flows.text import GIB

#: Bytes of a GPU that go neither to weights nor to KV cache: CUDA's context, activations of a batch, captured graphs. An estimate;
#: vLLM measures it when it starts.
RESERVE_BYTES = 2 * GIB

#: Where the search for the largest context ends: no memory holds more tokens of any model.
UNBOUNDED = 2**31

#: Contexts that are told apart in the search for the largest one, in tokens: vLLM's smallest block.
STEP = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Stated:
    """What people state of the KV cache where the configuration does not tell it: bytes on each GPU.

    Attributes:
        per_token: Of one token.
        per_request: Of one request, however long it is: its states and windows.
    """

    per_token: int = 0
    per_request: int = 0

    def request_bytes(self, tokens: int) -> int:
        """Bytes of a request of so many tokens."""
        return self.per_request + tokens * self.per_token


@dataclass(frozen=True, kw_only=True)
class Fit:
    """How memory adds up on one GPU, in bytes.

    Attributes:
        gpu_bytes: What the GPU has.
        usable_bytes: What vLLM may take of it.
        weights_bytes: What the weights take of it, with what vLLM allocates beside them.
        kv_bytes: KV cache of `concurrency` requests of `max_model_len` tokens, and the null block.
        max_model_len: The context that was asked for, in tokens.
        concurrency: The requests that were asked for.
        largest_context: The longest context for that many requests: whole blocks of 16 tokens, or the model's own limit. 0 if none.
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


def kv_bytes(
    model: ConfiguredModel, settings: Settings, gpu_bytes: int | None, stated: Stated | None = None, gpu: str = ""
) -> Callable[[int, int], int]:
    """What so many requests of so many tokens take of a GPU, with the null block: a function of tokens and requests.

    Raises:
        Unreadable: It cannot be told, and nothing is stated.
    """
    if stated is not None:
        return lambda tokens, requests: requests * stated.request_bytes(tokens)
    shape = model.known_shape()
    known: Cost = cost(shape, settings, settings.max_model_len or model.default_context(), gpu_bytes, gpu)
    return known.gpu_bytes


def judge(
    model: ConfiguredModel,
    settings: Settings,
    *,
    max_model_len: int,
    concurrency: int,
    gpu_bytes: int,
    weights_bytes: int,
    stated: Stated | None = None,
    gpu: str = "",
) -> Fit:
    """Add up the memory of one GPU.

    Args:
        model: What was read of it.
        settings: How it is to be served.
        max_model_len: The context, in tokens.
        concurrency: Requests of full length that must fit at once.
        gpu_bytes: Memory of one GPU.
        weights_bytes: What the weights take of one GPU.
        stated: What its KV cache takes, where the configuration does not tell it.
        gpu: The GPU's name, which vLLM's default of a batch goes by.

    Raises:
        Unreadable: What its KV cache takes cannot be told, and is not stated.
    """
    usable = math.floor(gpu_bytes * settings.gpu_memory_utilization)
    if settings.kv_memory_bytes is not None:  # the share counts no more (`determine_available_memory`, `vllm/v1/worker/gpu_worker.py`)
        usable = min(gpu_bytes, weights_bytes + RESERVE_BYTES + settings.kv_memory_bytes)
    taken = kv_bytes(model, replace(settings, max_model_len=max_model_len), gpu_bytes, stated, gpu)
    room = usable - weights_bytes - RESERVE_BYTES
    longest = None if settings.allow_long else model.longest_context()
    return Fit(
        gpu_bytes=gpu_bytes,
        usable_bytes=usable,
        weights_bytes=weights_bytes,
        kv_bytes=taken(max_model_len, concurrency),
        max_model_len=max_model_len,
        concurrency=concurrency,
        largest_context=min(_most(lambda steps: taken(steps * STEP, concurrency) <= room) * STEP, longest or UNBOUNDED),
    )


def _most(fits: Callable[[int], bool]) -> int:
    """The largest number of steps that fits; `fits` says yes up to some number and no from there on."""
    low, high = 0, UNBOUNDED // STEP
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low
