"""What a browser keeps for the console: sealed, so that it can be neither read nor made elsewhere, and not older than it may be."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

#: Most characters of a cookie's value, so that browsers keep it (RFC 6265, 6.1: at least 4,096 bytes with its name and attributes).
LARGEST = 3_800


class TooLarge(ValueError):
    """What a browser was to keep is more than it would."""


class Seal:
    """Seals what a browser keeps. Replicas share the keys and nothing else.

    Args:
        keys: Fernet's; the first seals.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        self._all = MultiFernet([Fernet(key) for key in keys])

    def close(self, purpose: str, document: Mapping[str, Any]) -> str:
        """The document as a cookie's value, for one purpose alone.

        Raises:
            TooLarge: No browser would keep it.
        """
        value = self._all.encrypt(json.dumps({"for": purpose, **document}, separators=(",", ":")).encode()).decode()
        if len(value) > LARGEST:
            raise TooLarge(purpose)
        return value

    def open(self, purpose: str, value: str | None, seconds: float) -> dict[str, Any] | None:
        """The document; none if it was not sealed here, is for something else, or is older than so many seconds."""
        if not value or len(value) > LARGEST:
            return None
        try:
            document = json.loads(self._all.decrypt(value.encode(), ttl=int(seconds)))
        except (InvalidToken, ValueError):
            return None
        return document if isinstance(document, dict) and document.pop("for", None) == purpose else None
