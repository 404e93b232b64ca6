"""What becomes of an environment in which a candidate failed: back to what served there, or away with what failed."""

from __future__ import annotations

from typing import Literal

from flows.record.history import Failure
from flows.spec import FailurePolicy

#: What is done: go back, ask a person whether to, remove what failed, or leave it for inspection.
Step = Literal["return", "ask", "remove", "keep"]


def next_step(failure: Failure, fingerprint: str, policy: FailurePolicy, *, keep: bool) -> Step:
    """What to do after the failure.

    Args:
        failure: What happened.
        fingerprint: The candidate that failed.
        policy: What the environment says.
        keep: Whether whoever asked for the release wants to look at what failed; only where nothing served before.
    """
    if failure.replaces == fingerprint:
        return "keep"  # what failed is what served: there is nothing else to go back to
    if failure.replaces is not None:
        return "return" if policy.go_back == "automatic" else "ask"
    return "keep" if keep or policy.first == "keep" else "remove"
