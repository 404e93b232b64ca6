"""JSON objects that strangers wrote."""

from __future__ import annotations

import json
from typing import Any

from blocks.errors import HubRejected


def read_json_object(content: bytes, name: str, *, once: bool = False) -> dict[str, Any]:
    """The JSON object that a file holds.

    Args:
        content: The file.
        name: What to call it in errors.
        once: Whether a key may be there once only, where others that read it may take another value than we do.

    Raises:
        HubRejected: It holds something else.
    """
    try:
        document = json.loads(content, object_pairs_hook=_once if once else None)
    except _Twice as exc:
        raise HubRejected(f"{name} has the key {exc.key[:80]!r} twice in one object: use another revision.") from exc
    # RecursionError: brackets that are nested a thousand deep are JSON, too.
    except (ValueError, RecursionError) as exc:
        raise HubRejected(f"{name} is not JSON: use another revision.") from exc
    if not isinstance(document, dict):
        raise HubRejected(f"{name} holds no JSON object: use another revision.")
    return document


class _Twice(Exception):
    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for key, value in pairs:
        if key in made:
            raise _Twice(key)
        made[key] = value
    return made
