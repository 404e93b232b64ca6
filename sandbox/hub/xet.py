"""The hub's content-addressed store (xet), as `hf_xet` 1.8 asks it: which pieces a file is made of, and the pieces.

A file is cut into chunks of 64 KiB, and a thousand of them make an xorb, uncompressed. The hashes are made up, which it does not notice.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import time
from collections.abc import Callable
from typing import Any

from sandbox.hub.replies import HubRequest, Reply, json_reply
from sandbox.hub.repositories import StoredFile

_CHUNK_BYTES = 1 << 16
_CHUNKS = 1000
_XORB_BYTES = _CHUNKS * _CHUNK_BYTES

#: In front of each chunk: version, stored length, compression (none), length.
_HEADER_BYTES = 8

#: How long a read token holds, in seconds.
_TOKEN_SECONDS = 900


class Xet:
    """Answers requests to the store.

    Args:
        url: Its own address.
        find: The file of a SHA-256; none if there is none.
    """

    def __init__(self, url: str, find: Callable[[str], StoredFile | None]) -> None:
        self._url = url
        self._find = find
        self._token = secrets.token_hex(16)

    def read_token(self) -> Reply:
        """What the hub says to those who may read: where the store is, and with which token."""
        until = str(int(time.time()) + _TOKEN_SECONDS)
        headers = {"x-xet-cas-url": self._url, "x-xet-access-token": self._token, "x-xet-token-expiration": until}
        reply = json_reply({"casUrl": self._url, "accessToken": self._token, "exp": int(until)})
        return Reply(headers={**reply.headers, **headers}, body=reply.body)

    def answer(self, request: HubRequest) -> Reply:
        """Answer one request. Pieces are had by their address alone, as it is signed on the real store."""
        match request.segments:
            case ["v1", "reconstructions", name]:
                if request.headers.get("authorization") != f"Bearer {self._token}":
                    return Reply(status=401)
                file = self._find(name)
                return Reply(status=404) if file is None else _reconstruction(self._url, file, request.headers.get("range"))
            case ["xorbs", sha256, number] if number.isdecimal():
                file = self._find(sha256)
                return Reply(status=404) if file is None else _piece(file, int(number), request.headers.get("range", ""))
        # Also for `/v2/reconstructions`, upon which the client asks the older way.
        return Reply(status=404)


def _reconstruction(url: str, file: StoredFile, wanted: str | None) -> Reply:
    """The pieces of the file, or of the part that a range asks for."""
    found = re.fullmatch(r"bytes=(\d+)-(\d*)", wanted or "bytes=0-")
    if found is None or int(found[1]) >= max(1, file.size_bytes):
        return Reply(status=416)
    begin, last = int(found[1]), min(int(found[2] or file.size_bytes), file.size_bytes - 1)
    terms: list[dict[str, Any]] = []
    pieces: dict[str, list[dict[str, Any]]] = {}
    skipped = 0
    for number in range(begin // _XORB_BYTES, last // _XORB_BYTES + 1):
        base = number * _XORB_BYTES
        first = max(0, begin - base) // _CHUNK_BYTES
        end = min(_CHUNKS, -(-(last + 1 - base) // _CHUNK_BYTES))
        length = min(base + end * _CHUNK_BYTES, file.size_bytes) - base - first * _CHUNK_BYTES
        if not terms:
            skipped = begin - base - first * _CHUNK_BYTES
        name = hashlib.sha256(f"{file.sha256} {number}".encode()).hexdigest()
        span = {"start": first, "end": end}
        terms.append({"hash": name, "unpacked_length": length, "range": span})
        stored = first * (_CHUNK_BYTES + _HEADER_BYTES)
        stretch = {"start": stored, "end": stored + length + (end - first) * _HEADER_BYTES - 1}
        pieces[name] = [{"range": span, "url": f"{url}/xorbs/{file.sha256}/{number}", "url_range": stretch}]
    document = {"offset_into_first_range": skipped, "terms": terms, "fetch_info": pieces}
    return Reply(headers={"content-type": "application/json"}, body=json.dumps(document).encode())


def _piece(file: StoredFile, number: int, wanted: str) -> Reply:
    """A stretch of an xorb: of each chunk its header and its bytes, one behind the other."""
    length = min(_XORB_BYTES, file.size_bytes - number * _XORB_BYTES)
    stored = length + -(-length // _CHUNK_BYTES) * _HEADER_BYTES
    found = re.fullmatch(r"bytes=(\d+)-(\d+)", wanted)
    begin, last = (int(found[1]), min(int(found[2]), stored - 1)) if found else (0, stored - 1)
    first = begin // (_CHUNK_BYTES + _HEADER_BYTES)
    content = bytearray()
    with file.content.open("rb") as stream:
        stream.seek(number * _XORB_BYTES + first * _CHUNK_BYTES)
        while first * (_CHUNK_BYTES + _HEADER_BYTES) + len(content) <= last:
            chunk = stream.read(min(_CHUNK_BYTES, (number + 1) * _XORB_BYTES - stream.tell()))
            size = len(chunk).to_bytes(3, "little")
            content += b"\0" + size + b"\0" + size + chunk
    skipped = begin - first * (_CHUNK_BYTES + _HEADER_BYTES)
    headers = {"content-range": f"bytes {begin}-{last}/{stored}"} if found else {}
    return Reply(status=206 if found else 200, headers=headers, body=bytes(content[skipped : skipped + last - begin + 1]))
