"""Pydantic's validators of our dataclasses, each made once in a process."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import TypeAdapter

T = TypeVar("T")

_made: dict[type[Any], TypeAdapter[Any]] = {}


def adapter(of: type[T]) -> TypeAdapter[T]:
    """The validator of a dataclass; making one takes 3 to 9 ms of CPU, and a release asks dozens of times."""
    if of not in _made:
        _made[of] = TypeAdapter(of)
    return _made[of]
