"""Pages of a long list: each names where the next one begins, in a word that only we read."""

from __future__ import annotations

import base64
import json
from typing import Annotated, Generic, TypeVar

from fastapi import Query
from pydantic import BaseModel, Field

from flows.console.edge.problems import ProblemError

Item = TypeVar("Item")
Place = TypeVar("Place", str, int)

Cursor = Annotated[str, Query(max_length=400, description="Where the page begins: `next` of the one before.")]
Limit = Annotated[int, Query(ge=1, le=200, description="How many at most.")]


class Page(BaseModel, Generic[Item]):
    """A part of a list."""

    items: list[Item]
    next: str | None = Field(default=None, description="The `cursor` of the next page; not there on the last one.")


def word(place: str | int | None) -> str | None:
    """The word for a place; none for none."""
    return None if place is None else base64.urlsafe_b64encode(json.dumps(place).encode()).decode().rstrip("=")


def place(given: str, kind: type[Place]) -> Place | None:
    """The place that a cursor is the word for; none for the beginning.

    Raises:
        ProblemError: It is none of ours (422).
    """
    if not given:
        return None
    try:
        found = json.loads(base64.b64decode(given + "=" * (-len(given) % 4), altchars=b"-_", validate=True))
    except ValueError:
        found = None
    if type(found) is not kind or (isinstance(found, int) and not 0 <= found < 1 << 53):
        raise ProblemError(422, "invalid-request", "cursor: it must be the `next` of the page before.")
    return found
