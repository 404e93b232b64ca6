"""Which candidate an environment goes back to."""

from __future__ import annotations

from collections.abc import Collection

from flows.errors import NothingToRollBackTo

#: What going back may take from its first change to a verified candidate, in seconds.
TARGET_SECONDS = 300.0

#: Characters of a fingerprint that name a candidate: 48 bits, what people read elsewhere.
SHORTEST_PREFIX = 12


def choose_target(model: str, environment: str, *, verified: Collection[str], previous: str | None, to: str | None) -> str:
    """The fingerprint to go back to.

    Args:
        model: The model, for the message.
        environment: The environment, for the message.
        verified: Fingerprints of all candidates that were ever verified there.
        previous: The last verified one before the current; none if there is none.
        to: What was asked for: the beginning of a fingerprint; none asks for the previous one.

    Raises:
        NothingToRollBackTo: There is no such candidate, or more than one.
    """
    if to is None:
        if previous is None:
            raise NothingToRollBackTo(f"{model} in {environment} cannot be rolled back: no earlier verified candidate is known.")
        return previous
    found = {fingerprint for fingerprint in verified if fingerprint.startswith(to)}
    if len(to) < SHORTEST_PREFIX or len(found) != 1:
        raise NothingToRollBackTo(
            f"{model} in {environment} cannot be rolled back: no single candidate {to!r} was verified there "
            f"(give {SHORTEST_PREFIX} characters or more of its fingerprint)."
        )
    return found.pop()
