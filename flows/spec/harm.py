"""How much worse a candidate may be than what serves before a canary calls it harm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from flows.spec.types import STRICT

#: A share of requests, in addition to what serves; 0.01 is one percentage point.
More = Annotated[float, Field(gt=0, lt=1)]
#: A time or a length as a multiple of what serves.
Times = Annotated[float, Field(gt=1, le=8)]


@dataclass(frozen=True, kw_only=True)
class HarmSizes:
    """The sizes of harm. Half of one, and evidence that it is no chance, ends a canary; that none of them is left possible lets it go on.

    Attributes:
        errors: More requests than of what serves that end in an error, as a share of all.
        refused: The same, of those that the engine's queue refuses.
        aborted: The same, of those that clients break off.
        unfinished: The same, of answers that end otherwise than by themselves (at the limit of their length, by repetition).
        latency: Times until the first token, between tokens, and end to end, as a multiple.
        output: How many times longer or shorter answers are.
    """

    __pydantic_config__ = STRICT

    errors: More = 0.01
    refused: More = 0.01
    aborted: More = 0.02
    unfinished: More = 0.1
    latency: Times = 1.2
    output: Times = 1.5
