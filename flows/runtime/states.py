"""How a flow ends: an error of ours becomes a state with one clear sentence: failed (our no), errored (a fault) or inconclusive."""

from __future__ import annotations

from typing import Any

from prefect.client.schemas.objects import State, StateType

import blocks.errors
import flows.errors
from blocks.errors import EndpointRejected, PipelineError
from flows.errors import Refusal, VerificationFailed, VerificationInconclusive
from flows.verification.evidence import Proof
from flows.verification.measurement import Outcome

#: The names of the states that a run ends in without having done its work.
FAILED = "Failed"
ERRORED = "Errored"
INCONCLUSIVE = "Inconclusive"


def ended(exc: PipelineError) -> State[Any]:
    """The final state of a run that this error ended."""
    return State(type=StateType.FAILED, name=state_name(exc), message=exc.message)


def state_name(exc: PipelineError) -> str:
    """Our no, a technical fault, or a verification that could not tell."""
    if isinstance(exc, VerificationInconclusive):
        return INCONCLUSIVE
    return FAILED if isinstance(exc, Refusal) else ERRORED


def recalled(reason: str) -> PipelineError:
    """The error that the registry keeps as `Kind: sentence`, for a run that was interrupted after it."""
    name, _, message = reason.partition(": ")
    kind = getattr(flows.errors, name, None) or getattr(blocks.errors, name, None)
    return kind(message) if isinstance(kind, type) and issubclass(kind, PipelineError) else PipelineError(reason)


_NOT_PASSED: dict[Outcome, type[PipelineError]] = {
    "failed": VerificationFailed,
    "inconclusive": VerificationInconclusive,
    "errored": EndpointRejected,
}


def require_passed(proof: Proof, where: str) -> None:
    """Go on only with a verdict that passed.

    Raises:
        VerificationFailed: The checks said no.
        VerificationInconclusive: They could not tell.
        EndpointRejected: Something could not be measured.
    """
    verdict = proof.verdict
    if verdict.outcome != "passed":
        message = f"{where}: verification {verdict.sentence} (evidence {proof.kept.sha256[:12]})."
        raise _NOT_PASSED[verdict.outcome](message, evidence_sha256=proof.kept.sha256)
