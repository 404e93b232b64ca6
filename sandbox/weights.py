"""Which requests a canary gets, and which it is sent a copy of, as docs/router.md says: pure, and the same in every router."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping
from typing import Literal

#: What is drawn for: who answers, or whether the canary is sent a copy. Two draws, so that one says nothing about the other.
Purpose = Literal["weight", "shadow"]

#: A point is one of so many.
_POINTS = 1 << 64

#: Where requests end that an engine answers from what is in them alone, and that may therefore be made twice.
_ANSWERED_ALIKE = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings")


def session_key(headers: Mapping[str, str], body: Mapping[str, object]) -> str | None:
    """What keeps a conversation with one candidate; None where the request names nothing.

    The first that is a text and not empty: the header `x-session-id`, then `user`, then `safety_identifier` of the body. Not
    `prompt_cache_key`: an application may send one with everything that it asks.

    Args:
        headers: Of the request, by lower-case names.
        body: The request's JSON object.
    """
    for given in (headers.get("x-session-id"), body.get("user"), body.get("safety_identifier")):
        if isinstance(given, str) and given:
            return given
    return None


def point(purpose: Purpose, canary: str, key: str | None) -> int:
    """The point at which the key lies, from 0 to 2^64 - 1: as a number, the first eight bytes of SHA-256 of `purpose:canary:key` in UTF-8.

    A point at random without a key. Who lies below a weight lies below every higher one.

    Args:
        purpose: What is drawn for.
        canary: Fingerprint of the canary's candidate, so that it is not the same people who try each canary.
        key: Of the conversation.
    """
    if key is None:
        return random.getrandbits(64)
    # Half a surrogate pair, which JSON can name and UTF-8 cannot hold, becomes a question mark.
    text = f"{purpose}:{canary}:{key}".encode("utf-8", "replace")
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "big")


def lies_below(place: int, percent: int) -> bool:
    """Whether a point lies in the lowest `percent` of all: none do at 0, all at 100. In whole numbers, so that every language agrees."""
    return place * 100 < percent * _POINTS


def may_be_copied(path: str, body: Mapping[str, object]) -> bool:
    """Whether a request may be sent to a second engine: it asks for an answer, and leaves nothing behind that a copy would leave twice."""
    return path in _ANSWERED_ALIKE and not body.get("store")
