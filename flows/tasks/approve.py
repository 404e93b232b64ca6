"""Pauses the run until a person has decided. The run is suspended: no process waits, and days may pass."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

from prefect.flow_runs import suspend_flow_run
from prefect.input import RunInput
from prefect.input.actions import aread_flow_run_input
from prefect.input.run_input import keyset_from_base_key
from pydantic import Field, ValidationError

from flows.errors import ApprovalDenied

#: Forms that one gate opens at most: a bad answer opens the next one.
MAX_ROUNDS = 50


class Decision(StrEnum):
    """What a release manager may decide."""

    APPROVE = "approve"
    REJECT = "reject"


class Approval(RunInput):
    """The form that a release manager fills in to resume a suspended production release."""

    decision: Decision = Field(
        description="Approve to deploy to the environment, or reject to end the release.", json_schema_extra={"position": 0}
    )
    approver: str = Field(min_length=2, max_length=100, description="Who decides.", json_schema_extra={"position": 1})
    reason: str = Field(default="", max_length=2000, description="Why; a rejection needs one.", json_schema_extra={"position": 2})


async def approval(name: str, description: str, refuse: Callable[[Approval], str | None]) -> Approval:
    """The decision of the gate `name`; suspends the run until there is one.

    To be called in a flow, outside of tasks and transactions. The gate goes by rounds: an answer that cannot be accepted
    opens the next form with the reason in its text, and a round whose form was opened but never answered (a run that was
    retried, or woken without input) is void. A gate that has its answer does not ask again.

    Args:
        name: The gate's name in the run, lower-case letters, digits and hyphens; what is approved should be part of it.
        description: Markdown above the form: what is to be approved.
        refuse: Why an answer cannot be accepted; none when it can.

    Raises:
        ApprovalDenied: No acceptable answer after 50 rounds.
    """
    why = ""
    for number in range(1, MAX_ROUNDS + 1):
        key = f"{name}-{number}"
        kept = keyset_from_base_key(f"suspended-{key}")
        given = await aread_flow_run_input(kept["response"])
        if given is None:
            if await aread_flow_run_input(kept["schema"]) is not None:
                continue
            form = Approval.with_initial_data(description=description + why)
            answer = await suspend_flow_run(wait_for_input=form, key=key)  # type: ignore[misc]
            given = answer.model_dump(mode="json")
        try:
            decided = Approval(**given)
        except ValidationError as exc:
            why = _round(number, str(exc.errors()[0]["msg"]))
            continue
        refusal = refuse(decided)
        if refusal is None:
            return decided
        why = _round(number, refusal)
    raise ApprovalDenied(f"The gate {name} got no acceptable answer in {MAX_ROUNDS} rounds; start a new release.")


def _round(number: int, reason: str) -> str:
    return f"\n\n> Answer {number} was not accepted: {reason}"


def needs_reason(answer: Approval) -> str | None:
    """A rejection must say why."""
    if answer.decision is Decision.REJECT and not answer.reason.strip():
        return "a rejection needs a reason."
    return None
