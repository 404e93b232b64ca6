"""How a flow ends: our errors become a state with one clear sentence, told apart as failed (our no) and errored (a technical fault)."""

from __future__ import annotations

from typing import Any

from prefect.client.schemas.objects import State, StateType

from blocks.errors import EndpointRejected, PipelineError
from flows.errors import Refusal, VerificationFailed, VerificationInconclusive
from flows.plan.verdict import Outcome, Verdict

FAILED = "Failed"
ERRORED = "Errored"


def ended(exc: PipelineError) -> State[Any]:
    """The final state of a run that this error ended."""
    return State(type=StateType.FAILED, name=FAILED if isinstance(exc, Refusal) else ERRORED, message=exc.message)


_NOT_PASSED: dict[Outcome, type[PipelineError]] = {
    "failed": VerificationFailed,
    "inconclusive": VerificationInconclusive,
    "errored": EndpointRejected,
}


def not_passed(verdict: Verdict, where: str) -> PipelineError:
    """The error that a verdict other than `passed` becomes."""
    return _NOT_PASSED[verdict.outcome](f"{where}: verification {verdict.sentence}.")
