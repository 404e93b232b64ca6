"""Which tensors a model's files of weights hold: by their headers, and by the index that says where each is. No weights are fetched."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from blocks.errors import HubRejected
from blocks.hub.json_objects import read_json_object
from blocks.hub.reads import HubReader
from blocks.hub.safetensors import PREFIX_BYTES, Header, header_length, read_header

#: Files that are read at the same time, and files of weights that a model may have; the largest known have fewer than 200.
AT_ONCE = 8
_MOST_SHARDS = 1000

#: What is read of a file of weights at first. Nearly all headers fit in, and most save a second request.
_FIRST_BYTES = 64 * 2**10

#: The most that an index, and the headers of one model together, may have. Those of the largest models have some ten megabytes.
_MOST_INDEX_BYTES = 64 * 2**20
_MOST_HEADERS_BYTES = 256 * 2**20


def read_index(reader: HubReader, path: str) -> dict[str, str]:
    """Where each tensor of the model is: its name → the name of the file, beside the index.

    Raises:
        HubRejected: It is no index, or not the one that the listing names.
        HubUnreachable: The hub or its CDN did not answer.
    """
    shown = reader.named(path)
    # A tensor that is there twice would be looked for in one file by us, and in another by whoever takes the first.
    document = read_json_object(reader.whole(path, _MOST_INDEX_BYTES, "an index"), shown, once=True)
    places = document.get("weight_map")
    if not isinstance(places, dict) or not places:
        raise HubRejected(
            f"{shown} has no weight_map, or an empty one: it must say for each tensor which file holds it. Use another revision."
        )
    wrong = next((tensor for tensor, name in places.items() if not isinstance(name, str) or not name or not name.isprintable()), None)
    if wrong is not None:
        raise HubRejected(f"{shown} names no file for tensor {wrong[:80]!r}: use another revision.")
    return places


def read_headers(reader: HubReader, weights: Sequence[str]) -> dict[str, Header]:
    """What each file of weights holds.

    Args:
        reader: Reads the commit's files.
        weights: The files, safetensors.

    Raises:
        HubRejected: One is no safetensors file, there are too many, or two of them hold the same tensor.
        HubUnreachable: The hub or its CDN did not answer.
    """
    if len(weights) > _MOST_SHARDS:
        raise HubRejected(f"{reader.repository} has {len(weights)} files of weights; {_MOST_SHARDS} is the most that are looked into.")
    read = _Headers(reader)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        headers = dict(zip(weights, pool.map(read.header, weights), strict=True))
    holders: dict[str, str] = {}
    for path, header in headers.items():
        for tensor in header.tensors:
            if (other := holders.setdefault(tensor, path)) != path:
                raise HubRejected(
                    f"{reader.repository} holds tensor {tensor[:80]!r} twice, in {other} and in {path}: one would take the other's place. "
                    "Use another revision."
                )
    return headers


def require_indexed(reader: HubReader, index: Mapping[str, str], headers: Mapping[str, Header]) -> None:
    """Require that each tensor of the index is in the file that the index names for it.

    Args:
        reader: The commit, for messages.
        index: Tensor → file, both files' names without their folder.
        headers: What the files hold, by path.

    Raises:
        HubRejected: One is not.
    """
    held = {path.rpartition("/")[2]: frozenset(header.tensors) for path, header in headers.items()}
    lost = [(tensor, name) for tensor, name in index.items() if tensor not in held.get(name, ())]
    if lost:
        more = f", and {len(lost) - 1:,} more" if len(lost) > 1 else ""
        raise HubRejected(
            f"{reader.repository} lacks tensor {lost[0][0][:80]!r}, which its index has in {lost[0][1][:80]}{more}: it is not the whole "
            "model. "
            "Use another revision."
        )


def stored(headers: Mapping[str, Header]) -> dict[str, int]:
    """How many numbers of each type all files hold."""
    return dict(sum((Counter(header.stored) for header in headers.values()), Counter[str]()))


class _Headers:
    """Reads headers, and stops where all of them together are longer than any model's."""

    def __init__(self, reader: HubReader) -> None:
        self._reader = reader
        self._left = _MOST_HEADERS_BYTES
        self._counting = threading.Lock()

    def header(self, path: str) -> Header:
        file, shown = self._reader.file(path), self._reader.named(path)
        if file is None:
            raise HubRejected(f"{shown} is not among its files: use another revision.")
        first = self._reader.read(path, 0, min(_FIRST_BYTES, file.size_bytes))
        end = PREFIX_BYTES + header_length(first, file.size_bytes, shown)
        with self._counting:
            self._left -= end
            if self._left < 0:
                raise HubRejected(
                    f"The headers of {self._reader.repository}'s weights have more than {_MOST_HEADERS_BYTES:,} bytes; no model has so "
                    "many tensors."
                )
        header = first[:end] if end <= len(first) else first + self._reader.read(path, len(first), end)
        return read_header(header[PREFIX_BYTES:], file.size_bytes, shown)
