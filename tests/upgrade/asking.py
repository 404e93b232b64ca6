"""A flow that asks people by Slipway's own form, and ends with what it was given."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from flows.approval.form import Approval
from flows.runtime.forms import ask, given_to, was_opened
from flows.text.markdown import md

KEY = "approval-production-1"


@flow(name="asking", persist_result=True)
async def asking() -> State[Any]:
    """Wait for an answer; what the gate does in each of its rounds."""
    if not await was_opened(KEY):
        await ask(Approval, KEY, md("Release it?"))
    given = await given_to(Approval, KEY)
    assert given is not None
    assert given.answer is not None, given.problem
    return Completed(message=f"{given.answer.approver} decided {given.answer.decision.value}: {given.answer.reason}")
