"""Reads JSON as the database holds it."""

from __future__ import annotations

import json
from typing import Any

#: Digits of an integer that is read as one.
_LONGEST_INTEGER = 400


def read(text: str | bytes) -> Any:
    """The document that the text is; an integer of very many digits is told in words.

    Raises:
        ValueError: It is no JSON.
    """
    return json.loads(text, parse_int=_integer)


def _integer(digits: str) -> int | str:
    # jsonb holds numbers of any length. Python refuses to read those of more than 4300 digits, and one event would stop whoever reads all.
    return int(digits) if len(digits) <= _LONGEST_INTEGER else f"an integer of {len(digits)} digits"
