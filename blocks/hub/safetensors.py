"""The header of a safetensors file: which tensors it holds, without reading one. Whoever wrote the file is not trusted."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from blocks.errors import HubRejected
from blocks.hub.json_objects import read_json_object

#: Bytes in front of the header that hold its length, little-endian.
PREFIX_BYTES = 8

#: Longest header that is read. Real ones have tens of kilobytes; the hub's own client stops at the same length.
MAX_HEADER_BYTES = 25_000_000

#: Bits of one number of each type of the format (safetensors 0.8).
BITS: Mapping[str, int] = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
    "U16": 16, "I16": 16, "F16": 16, "BF16": 16, "U32": 32, "I32": 32, "F32": 32,
    "U64": 64, "I64": 64, "F64": 64, "C64": 64,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Header:
    """What a file of weights holds.

    Attributes:
        stored: How many numbers of each type.
        tensors: The names of its tensors.
        data_bytes: The bytes of all tensors.
    """

    stored: Mapping[str, int]
    tensors: tuple[str, ...]
    data_bytes: int


def header_length(prefix: bytes, file_bytes: int, name: str) -> int:
    """How long the header of the file is, by its first eight bytes.

    Args:
        prefix: The file's first bytes.
        file_bytes: The file's size.
        name: What to call it in errors.

    Raises:
        HubRejected: It cannot be that long.
    """
    length = int.from_bytes(prefix[:PREFIX_BYTES], "little")
    if len(prefix) < PREFIX_BYTES or not 0 < length <= min(MAX_HEADER_BYTES, file_bytes - PREFIX_BYTES):
        raise _wrong(name, f"states a header of {length:,} bytes in {file_bytes:,}" if len(prefix) >= PREFIX_BYTES else "ends at once")
    return length


def read_header(header: bytes, file_bytes: int, name: str) -> Header:
    """What the file holds, by its header.

    Args:
        header: The header, without the length in front of it.
        file_bytes: The file's size.
        name: What to call it in errors.

    Raises:
        HubRejected: It is not a safetensors header, or not the one of a file of this size: tensors overlap, leave gaps, lie
            outside, have a name twice, or do not have the bytes that their shape and type take.
    """
    try:
        document = read_json_object(header, "it", once=True)
    except HubRejected as exc:
        raise _wrong(name, f"has a header that cannot be read ({exc.message.partition(':')[0]})") from exc
    document.pop("__metadata__", None)
    counts: Counter[str] = Counter()
    places: list[tuple[int, int]] = []
    for tensor, entry in document.items():
        dtype, numbers, begin, end = _tensor(entry, name, tensor)
        counts[dtype] += numbers
        places.append((begin, end))
    reached = 0
    for begin, end in sorted(places):
        # The format forbids holes, in which a file of another kind could hide.
        if begin != reached:
            raise _wrong(name, f"has tensors that overlap or leave a gap at byte {min(begin, reached):,}")
        reached = end
    if PREFIX_BYTES + len(header) + reached != file_bytes:
        raise _wrong(name, f"describes {reached:,} bytes of tensors, but holds {file_bytes - PREFIX_BYTES - len(header):,}")
    return Header(stored=dict(counts), tensors=tuple(document), data_bytes=reached)


def _tensor(entry: Any, name: str, tensor: str) -> tuple[str, int, int, int]:
    wrong = _wrong(name, f"describes tensor {tensor[:80]!r} wrongly")
    if not isinstance(entry, dict):
        raise wrong
    dtype, shape, offsets = entry.get("dtype"), _naturals(entry.get("shape")), _naturals(entry.get("data_offsets"))
    if not isinstance(dtype, str) or dtype not in BITS or shape is None or offsets is None or len(offsets) != 2:
        raise wrong
    numbers = math.prod(shape)
    # Numbers of less than a byte are packed.
    if offsets[1] - offsets[0] != -(-numbers * BITS[dtype] // 8):
        raise wrong
    return dtype, numbers, offsets[0], offsets[1]


def _naturals(value: Any) -> list[int] | None:
    # Shapes of more than 16 dimensions are jokes, and products of huge numbers cost time.
    if not isinstance(value, list) or len(value) > 16 or not all(type(item) is int and 0 <= item < 2**60 for item in value):
        return None
    return value


def _wrong(name: str, what: str) -> HubRejected:
    return HubRejected(f"{name} {what}: it is not a whole safetensors file; use another revision.")
