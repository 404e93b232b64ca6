"""What becomes of an environment after a failure: the one decision, whoever asks (the run, a run that is resumed, the clean-up)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from flows.spec import FailurePolicy

#: `nothing`: what served there still does. `roll_back`: what served before serves again. `ask`: the same, if a person says so.
#: `remove`: nothing ever served there, so what failed goes. `keep`: it stays as it is, and a person decides.
Step = Literal["nothing", "roll_back", "ask", "remove", "keep"]


@dataclass(frozen=True, kw_only=True)
class Aftermath:
    """What is known when a candidate failed, or when its run ended before it could say so.

    Attributes:
        candidate: Fingerprint of what the run was bringing there.
        replaces: Fingerprint of what held the endpoint when it began that; none if nothing did.
        deployed: Whether the cluster was told to run the candidate: Helm's newest revision carries it, or Git says it.
        rolling_back: Whether the run had failed there with another candidate, and was on its way back to this one.
        verified_before: Whether a candidate is known that was verified there and whose last verdict was good.
    """

    candidate: str
    replaces: str | None
    deployed: bool
    rolling_back: bool = False
    verified_before: bool = False


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What becomes of the environment.

    Attributes:
        step: What is to be done.
        to: Fingerprint of the candidate that it goes back to, where it does or a person may say so.
    """

    step: Step
    to: str | None = None


def after_failure(seen: Aftermath, policy: FailurePolicy, *, keep: bool = False) -> Decision:
    """Decide what becomes of the environment.

    What held the endpoint comes back whatever its last verdict was: nothing else is known to have served, and only a verification makes
    it ready again.

    Args:
        seen: What is known.
        policy: What the environment wants after a failure.
        keep: Whether whoever asked for the release wants to look at what failed; only where nothing served before.
    """
    if seen.rolling_back:
        # What it was bringing is the old candidate already: the way is the same, only further on.
        serves_again = seen.deployed and seen.replaces == seen.candidate
        return Decision(step="nothing") if serves_again else Decision(step="roll_back", to=seen.candidate)
    # Told nothing, or told again what serves already: there is nothing to go back from.
    if not seen.deployed or seen.replaces == seen.candidate:
        return Decision(step="nothing")
    if seen.replaces is not None:
        return Decision(step="roll_back" if policy.go_back == "automatic" else "ask", to=seen.replaces)
    # After a failed release over it nothing is current, but what was verified before can still be gone back to, faster than released anew.
    if keep or policy.first == "keep" or seen.verified_before:
        return Decision(step="keep")
    return Decision(step="remove")
