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


def plain(text: str) -> str:
    """The text as every part of the record can hold it.

    Answers may hold anything, but PostgreSQL's text holds no NUL, and UTF-8 no half of a surrogate pair.
    """
    return text.replace("\0", "\u2400").encode("utf-8", "replace").decode("utf-8")
