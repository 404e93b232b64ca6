"""A measurement: one attempt at a check, and how it came out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Outcome = Literal["passed", "failed", "inconclusive", "errored"]


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One attempt at a check: what was expected, what was seen, how it came out.

    Attributes:
        name: The check's name.
        outcome: How it came out.
        expected: What was missed; of one that passed, all that was looked for.
        seen: What was seen instead.
        seconds: How long the answer took; none where that is not what was asked.
        kind: The kind of check, by the suite's word, or the part of verification that it belongs to.
    """

    name: str
    outcome: Outcome
    expected: str
    seen: str
    seconds: float | None = None
    kind: str = ""


def judged(name: str, kind: str, passed: bool, *, expected: str, seen: str) -> Measurement:
    """A measurement that passed or failed."""
    return Measurement(name=name, kind=kind, outcome="passed" if passed else "failed", expected=expected, seen=seen)
