"""Values that look like a secret, in what is about to be written where many can read it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from blocks.secret_shapes import looks_secret


def secret_in(values: Any, place: str = "") -> tuple[str, str] | None:
    """Where in the values something looks like a secret, and what it is; none if nothing does."""
    if isinstance(values, str):
        what = looks_secret(values)
        return (place, what) if what else None
    if isinstance(values, Mapping):
        if what := next((what for key in values if (what := looks_secret(str(key)))), None):
            return (f"a key of {place or 'the values'}", what)
        parts = [(f"{place}.{key}".lstrip("."), below) for key, below in values.items()]
    elif isinstance(values, Sequence):
        parts = [(f"{place}[{number}]", below) for number, below in enumerate(values)]
    else:
        return None
    return next((found for where, below in parts if (found := secret_in(below, where)) is not None), None)
