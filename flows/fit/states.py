"""Bytes of the states of Mamba, linear attention and short convolutions on one GPU.

By `MambaStateShapeCalculator` and `MambaStateDtypeCalculator` (`vllm/model_executor/layers/mamba/mamba_utils.py`, vLLM 0.32.0).
"""

from __future__ import annotations

from flows.fit.layers import State
from flows.fit.settings import Settings

_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}


def state_bytes(state: State, dtype: str, settings: Settings) -> int:
    """Bytes of one state of one layer: the last inputs of the convolution, and the recurrent part.

    Args:
        state: The layer's.
        dtype: The engine's type.
        settings: How many GPUs share it, and the types asked for it.
    """
    parallel = settings.tensor_parallel
    convolution = _BYTES[settings.state_dtype if settings.state_dtype != "auto" else dtype]
    asked = settings.recurrent_dtype if settings.recurrent_dtype != "auto" else state.precision
    recurrent = _BYTES.get(asked, convolution)
    inputs = state.kernel - 1 + settings.guessed_tokens
    if state.kind == "mamba1":  # knows no guessing
        return state.inner // parallel * ((state.kernel - 1) * convolution + state.state * recurrent)
    if state.kind == "mamba2":
        # Groups that cannot be divided are copied for each GPU.
        groups = state.groups if state.groups % parallel == 0 else parallel
        width = state.inner + 2 * groups * state.state
        return width // parallel * inputs * convolution + state.heads // parallel * state.head * state.state * recurrent
    if state.kind in ("delta", "kda"):
        width = 2 * state.groups * state.state + state.heads * state.head
        return width // parallel * inputs * convolution + state.heads // parallel * state.head * state.state * recurrent
    if state.kind == "lightning":
        return state.heads // parallel * state.head * state.head * convolution
    return state.inner // parallel * (state.kernel - 1) * convolution
