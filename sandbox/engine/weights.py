"""Tensors between safetensors bytes and float32 arrays; float32, float16 and bfloat16 are understood."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors

from sandbox.engine.network import Floats

Bits = npt.NDArray[np.uint16]


def pack(tensors: Mapping[str, Floats], dtype: str) -> bytes:
    """Return the tensors as a safetensors file.

    Args:
        tensors: Name to values.
        dtype: `float32` or `bfloat16`, by name as `config.json` has it.
    """
    arrays = {name: np.ascontiguousarray(values, "<f4") for name, values in tensors.items()}
    # The serializer takes addresses, so these arrays must live until it is done.
    stored = {name: _bfloat16_bits(values) if dtype == "bfloat16" else values for name, values in arrays.items()}
    specifications = {
        name: safetensors.TensorSpec(dtype=dtype, shape=values.shape, data_ptr=values.ctypes.data, data_len=values.nbytes)
        for name, values in stored.items()
    }
    return bytes(safetensors.serialize(specifications, {"format": "pt"}))


def unpack(content: bytes) -> dict[str, Floats]:
    """Return the tensors of a safetensors file as float32.

    Raises:
        safetensors.SafetensorError: The bytes are no safetensors file.
        ValueError: A tensor has a type that is not understood.
    """
    # The library ships no types for this one function.
    deserialize: Callable[[bytes], list[tuple[str, dict[str, Any]]]] = safetensors.deserialize
    tensors = {}
    for name, entry in deserialize(content):
        tensors[name] = _floats(bytes(entry["data"]), str(entry["dtype"]), name).reshape(entry["shape"])
    return tensors


def rounded(values: Floats) -> Floats:
    """Return the values as bfloat16 would hold them."""
    return _from_bits(_bfloat16_bits(np.ascontiguousarray(values, "<f4")))


def _bfloat16_bits(values: Floats) -> Bits:
    bits = values.view("<u4")
    # Round to nearest, ties to even, as hardware does it.
    rounded_bits: Bits = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")
    return rounded_bits


def _from_bits(bits: Bits) -> Floats:
    return (bits.astype("<u4") << 16).view("<f4")


def _floats(raw: bytes, dtype: str, name: str) -> Floats:
    if dtype == "F32":
        return np.frombuffer(raw, "<f4")
    if dtype == "F16":
        return np.frombuffer(raw, "<f2").astype("<f4")
    if dtype == "BF16":
        return _from_bits(np.frombuffer(raw, "<u2"))
    raise ValueError(f"tensor {name} has the unsupported type {dtype}")
