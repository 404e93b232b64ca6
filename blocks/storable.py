"""What others wrote, in the way in which PostgreSQL can keep it: what is recorded can be recorded.

PostgreSQL's text holds no NUL, UTF-8 no half of a surrogate pair, and JSON neither NaN nor infinity.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import cast

from blocks.wording import without_secrets

#: Deeper documents are cut: Python's JSON writer would end in a RecursionError.
_DEEPEST = 100

#: Integers beyond are written as text: Python refuses to write down one of more than 4300 digits, and no float holds them.
_LARGEST_BITS = 1024


def storable_text(text: str) -> str:
    """The text without what no text of a database holds: NUL becomes its picture (U+2400), half a surrogate pair a question mark."""
    if text.isascii() and "\0" not in text:
        return text
    return text.replace("\0", "\u2400").encode("utf-8", "replace").decode("utf-8")


def storable(value: object, deep: int = _DEEPEST) -> object:
    """The JSON-able value with all texts storable, and numbers that JSON lacks as text; what is no JSON stays, to be refused elsewhere."""
    if isinstance(value, str):
        return storable_text(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, int):
        return value if value.bit_length() <= _LARGEST_BITS else f"an integer of {value.bit_length()} bits"
    if isinstance(value, (dict, list, tuple)) and deep == 0:
        return "nested too deeply"
    if isinstance(value, dict):
        return {storable_text(key) if isinstance(key, str) else key: storable(inner, deep - 1) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [storable(inner, deep - 1) for inner in value]
    return value


def storable_document(document: Mapping[str, object]) -> dict[str, object]:
    """The same of an event's facts, without the secrets that they quote: the record is kept for ever, and read by many."""
    return cast("dict[str, object]", _without_secrets(storable(dict(document))))


def _without_secrets(value: object) -> object:
    if isinstance(value, str):
        return without_secrets(value)
    if isinstance(value, dict):
        return {key: _without_secrets(inner) for key, inner in value.items()}
    return [_without_secrets(inner) for inner in value] if isinstance(value, list) else value
