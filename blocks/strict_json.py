"""JSON that strangers wrote: as the standard has it, bounded in size and depth, and with numbers that can be calculated with."""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

#: No document that is read here is as large; what asks for one says its own limit.
MOST_CHARACTERS = 32 << 20

#: Deeper than any answer of an engine, or any form, is nested.
DEEPEST = 64

#: Every integer of 64 bits, signed or not. Beyond, a division may overflow, and Python refuses to write some of them down.
LARGEST_INTEGER = 2**64 - 1

#: Integers up to here are the same as floats, so that no sum or difference of counts is rounded.
LARGEST_COUNT = 2**53


class NumberUnusable(ValueError):
    """A number that cannot be calculated with: NaN, infinity, or one beyond every float or 64-bit integer."""


def loads(text: str | bytes, *, most: int = MOST_CHARACTERS) -> Any:
    """Read a document.

    Args:
        text: The document; bytes are UTF-8.
        most: The most characters, or bytes, that it may have.

    Raises:
        NumberUnusable: It holds a number that cannot be calculated with.
        ValueError: It is no JSON, too long, or nested too deeply.
    """
    if len(text) > most:
        raise ValueError(f"longer than {most} characters")
    if isinstance(text, bytes):
        text = text.decode("utf-8")
    try:
        value = json.loads(text, parse_constant=_constant, parse_float=_float, parse_int=_integer)
    except RecursionError as exc:
        raise ValueError(_TOO_DEEP) from exc
    # Whoever has fewer brackets than that cannot be deeper, which is nearly everybody.
    if text.count("[") + text.count("{") > DEEPEST and _deeper(value):
        raise ValueError(_TOO_DEEP)
    return value


def whole(value: object) -> int:
    """A count: an integer from 0 to 2**53.

    Raises:
        NumberUnusable: It is something else.
    """
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= LARGEST_COUNT:
        raise NumberUnusable(f"{_shown(value)} is no count")
    return value


def finite(value: object) -> float:
    """A number as a float.

    Raises:
        NumberUnusable: It is none, or not finite.
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if math.isfinite(number):
            return number
    raise NumberUnusable(f"{_shown(value)} is no finite number")


def amount(value: object) -> float | None:
    """A number that may be shown and added up: finite, and not below zero; none of anything else."""
    try:
        number = finite(value)
    except NumberUnusable:
        return None
    return number if number >= 0 else None


_TOO_DEEP = f"nested more than {DEEPEST} deep"


def _constant(name: str) -> NoReturn:
    raise NumberUnusable(f"{name} is no number of JSON")


def _float(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise NumberUnusable(f"{_short(digits)} is beyond every float")
    return number


def _integer(digits: str) -> int:
    # By its length first: what has a million digits is not even read.
    if len(digits.lstrip("-")) > len(str(LARGEST_INTEGER)) or abs(int(digits)) > LARGEST_INTEGER:
        raise NumberUnusable(f"{_short(digits)} is beyond every integer of 64 bits")
    return int(digits)


def _deeper(value: object) -> bool:
    """Whether lists and objects are nested deeper than they may be; by levels, as a recursion could end in a RecursionError itself."""
    level = [value] if isinstance(value, (dict, list)) else []
    for _ in range(DEEPEST):
        inside = [inner for each in level for inner in (each.values() if isinstance(each, dict) else each)]
        level = [each for each in inside if isinstance(each, (dict, list))]
        if not level:
            return False
    return True


def _short(digits: str) -> str:
    return digits if len(digits) <= 24 else f"{digits[:12]}… ({len(digits)} digits)"


def _shown(value: object) -> str:
    if isinstance(value, int) and value.bit_length() > 128:
        return f"an integer of {value.bit_length()} bits"
    return _short(str(value)) if isinstance(value, (int, float)) else type(value).__name__
