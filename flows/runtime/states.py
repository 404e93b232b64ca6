"""How a flow ends: an error of ours becomes a state with one clear sentence: failed (our no), errored (a fault) or inconclusive."""

from __future__ import annotations

from typing import Any

from prefect.client.schemas.objects import State, StateType

from blocks.errors import PipelineError
from flows.errors import CanaryInconclusive, Refusal, VerificationInconclusive

#: The names of the states that a run ends in without having done its work.
FAILED = "Failed"
ERRORED = "Errored"
INCONCLUSIVE = "Inconclusive"


def ended(exc: PipelineError) -> State[Any]:
    """The final state of a run that this error ended."""
    # One type for all three names: Prefect has none for a technical fault, nor for a verdict that could not be reached.
    return State(type=StateType.FAILED, name=state_name(exc), message=exc.message)


def overtakes(run_id: str) -> State[Any]:
    """The final state of a run that found another one at the same work, and left it to that."""
    # Completed, since what it was to do is being done.
    return State(type=StateType.COMPLETED, name="Skipped", message=f"Run {run_id} is at it; this one leaves it to that.")


def state_name(exc: PipelineError) -> str:
    """Our no, a technical fault, or a verification or a canary that could not tell."""
    if isinstance(exc, (VerificationInconclusive, CanaryInconclusive)):
        return INCONCLUSIVE
    return FAILED if isinstance(exc, Refusal) else ERRORED
