"""A safetensors header is read as the library writes it; one that lies is one clear sentence."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from blocks.errors import HubRejected
from blocks.hub.safetensors import MAX_HEADER_BYTES, PREFIX_BYTES, header_length, read_header
from sandbox import models

NAME = "model.safetensors of o/n"


def read(content: bytes) -> dict[str, int]:
    length = header_length(content[:PREFIX_BYTES], len(content), NAME)
    return dict(read_header(content[PREFIX_BYTES : PREFIX_BYTES + length], len(content), NAME).stored)


def file(header: bytes, data_bytes: int, *, length: int | None = None) -> bytes:
    return (len(header) if length is None else length).to_bytes(8, "little") + header + b"\0" * data_bytes


def tensor(dtype: Any = "F32", shape: Any = (2, 3), begin: Any = 0, end: Any = 24) -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape) if isinstance(shape, tuple) else shape, "data_offsets": [begin, end]}


@pytest.mark.parametrize(("dtype", "stored", "size"), [("float32", "F32", 4), ("bfloat16", "BF16", 2)])
def test_a_real_file_is_counted(dtype: str, stored: str, size: int) -> None:
    content = models.make_model(dtype=dtype)["model.safetensors"]
    length = header_length(content[:PREFIX_BYTES], len(content), NAME)

    assert read(content) == {stored: (len(content) - PREFIX_BYTES - length) // size}


def test_types_are_counted_apart_and_packed_ones_by_their_bits() -> None:
    header = json.dumps({"__metadata__": {"format": "pt"}, "a": tensor(), "b": tensor("F4", (5,), 24, 27), "c": tensor("U8", (0,), 27, 27)})

    assert read(file(header.encode(), 27)) == {"F32": 6, "F4": 5, "U8": 0}


@pytest.mark.parametrize(
    "entries",
    [
        {"a": tensor(end=28)},
        {"a": tensor(begin=-24, end=0)},
        {"a": tensor(begin=4, end=28)},
        {"a": tensor(), "b": tensor(begin=12, end=36)},
        {"a": tensor(), "b": tensor()},
        {"a": tensor(), "b": tensor(begin=100, end=124)},
        {"a": tensor(dtype="F128")},
        {"a": tensor(dtype=["F32"])},
        {"a": tensor(shape=(-2, -3))},
        {"a": tensor(shape=(2.0, 3))},
        {"a": tensor(shape=(True, 6))},
        {"a": tensor(shape="23")},
        {"a": tensor(shape=tuple([2**59] * 16))},
        {"a": tensor(shape=tuple([1] * 1000))},
        {"a": {**tensor(), "data_offsets": [0]}},
        {"a": {**tensor(), "data_offsets": None}},
        {"a": "a tensor"},
        {"a": {}},
    ],
    ids=lambda entries: json.dumps(entries)[:60],
)
def test_a_header_that_does_not_add_up_is_refused(entries: dict[str, Any]) -> None:
    with pytest.raises(HubRejected, match=r"^model\.safetensors of o/n .*it is not a whole safetensors file") as caught:
        read(file(json.dumps(entries).encode(), 24))

    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    "header", [b"not JSON", b"[]", b"null", b"{}", b"\xff\xfe", b'{"a": ' * 20_000], ids=lambda header: repr(header[:12])
)
def test_a_header_of_another_kind_is_refused(header: bytes) -> None:
    with pytest.raises(HubRejected):
        read(file(header, 24))


@pytest.mark.parametrize("length", [0, 23, 2**63, 2**64 - 1, MAX_HEADER_BYTES + 1])
def test_a_length_that_cannot_be_is_refused_before_anything_is_read(length: int) -> None:
    with pytest.raises(HubRejected, match=r"states a header of [\d,]+ bytes in 30"):
        header_length(file(b"{}", 20, length=length), 30, NAME)


def test_a_longer_header_than_any_real_one_is_not_read_whatever_the_file_has() -> None:
    with pytest.raises(HubRejected):
        header_length((MAX_HEADER_BYTES + 1).to_bytes(8, "little"), 2**40, NAME)


@given(content=st.binary(max_size=200))
@example(content=b"")
@example(content=b"\x02\0\0\0\0\0\0\0{}")
def test_no_bytes_break_the_reader(content: bytes) -> None:
    said, counts = NAME, {}
    try:
        counts = read(content)
    except HubRejected as exc:
        said = exc.message
    assert said.startswith(NAME)
    assert all(count >= 0 for count in counts.values())


@given(
    entries=st.dictionaries(
        st.text(max_size=8),
        st.fixed_dictionaries(
            {},
            optional={
                "dtype": st.sampled_from(["F32", "BF16", "I8", "F4", "X"]) | st.none(),
                "shape": st.lists(st.integers(-2, 8), max_size=3) | st.integers(),
                "data_offsets": st.lists(st.integers(-8, 64), max_size=3) | st.text(max_size=3),
            },
        ),
        max_size=4,
    ),
    data_bytes=st.integers(0, 64),
)
def test_what_is_accepted_adds_up(entries: dict[str, Any], data_bytes: int) -> None:
    try:
        counts = read(file(json.dumps(entries).encode(), data_bytes))
    except HubRejected:
        return
    bits = {"F32": 32, "BF16": 16, "I8": 8, "F4": 4}
    exact = sum(count * bits[dtype] for dtype, count in counts.items()) / 8
    assert exact <= data_bytes <= exact + len(entries)  # a tensor of half bytes ends at a whole one
