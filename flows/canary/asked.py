"""What people are asked before a step of a canary, and whether a step was begun."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from blocks.facts.canary import Canary
from flows.text.markdown import Markdown


@dataclass(frozen=True, kw_only=True)
class StepAsked:
    """The step that people must agree to. Whatever of it is another makes it another question.

    Attributes:
        number: Which, from 0.
        of: How many steps there are.
        weight: The share that the canary gets with it, in per cent.
        now: Its share while it waits.
        began_at: When the canary began: an answer is for no later one.
        verdict: What the judge has said by now, as the registry keeps it; empty before it has seen anything.
        page: The same for people.
    """

    number: int
    of: int
    weight: int
    now: int
    began_at: datetime
    verdict: Mapping[str, object]
    page: Markdown

    def document(self) -> dict[str, object]:
        """What of it is part of the evidence that an approval is bound to."""
        return {
            "step": self.number,
            "steps": self.of,
            "weight": self.weight,
            "now": self.now,
            "began_at": self.began_at.isoformat(),
            "verdict": dict(self.verdict),
        }

    @property
    def told(self) -> str:
        """The step in words, such as `step 2 of 3 (25 % of the requests)`."""
        return f"step {self.number + 1} of {self.of} ({self.weight} % of the requests)"


#: Has people agree to a step: ends the run's process until they did, and raises if they did not.
Ask = Callable[[StepAsked], Awaitable[None]]


def is_begun(canary: Canary, number: int, weight: int) -> bool:
    """Whether the canary has the share of this step or of a later one; one that waits before a step has that of the step before."""
    if canary.phase == "taking_over" or canary.step > number:
        return True
    # With a share of 0 it is sent copies: what is sent nothing was not begun.
    routed = canary.phase in ("running", "held") and canary.weight + canary.shadow > 0
    return routed and (canary.step, canary.weight) == (number, weight)
