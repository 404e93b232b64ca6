"""The form of a suspended run: no process waits, and days may pass until somebody fills it in."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar
from uuid import UUID

from prefect import runtime
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun
from prefect.context import FlowRunContext
from prefect.exceptions import PrefectHTTPStatusError
from prefect.flow_runs import suspend_flow_run
from prefect.input import RunInput
from prefect.input.run_input import keyset_from_base_key
from pydantic import ValidationError

from flows.text.markdown import Markdown

F = TypeVar("F", bound=RunInput)


@dataclass(frozen=True, kw_only=True)
class Given(Generic[F]):
    """What was given to a round of a gate.

    Attributes:
        at: When Prefect's server took it.
        answer: The form, filled in; none if it is not one.
        problem: Why it is not one.
    """

    at: datetime
    answer: F | None
    problem: str = ""


async def ask(form: type[RunInput], key: str, description: Markdown) -> None:
    """Suspend the run until its form is filled in. To be called in a flow, outside of tasks and transactions.

    Prefect keeps the form after it has suspended the run, and deletes what was kept under the round's name before: a run that is killed in
    between waits for an answer that nobody can give, until the sweep wakes it (`has_form`) and it asks anew in a round of its own.

    Args:
        form: What is to be filled in.
        key: The round's name in the run.
        description: The page above the form.
    """
    await suspend_flow_run(wait_for_input=form.with_initial_data(description=str(description)), key=key)  # type: ignore[misc]


async def given_to(form: type[F], key: str) -> Given[F] | None:
    """What the round was given, as it is kept by Prefect's server, whoever put it there; none if nothing."""
    found = await _inputs(keyset_from_base_key(f"suspended-{key}")["response"])
    if found is None:
        return None
    at, value = found
    try:
        return Given(at=at, answer=form.model_validate(json.loads(value)))
    except (ValidationError, ValueError) as exc:
        first = exc.errors()[0] if isinstance(exc, ValidationError) else None
        field = ".".join(str(part) for part in first["loc"]) if first else ""
        return Given(at=at, answer=None, problem=f"the form was not filled in right ({field or 'it is not JSON'})")


async def was_opened(key: str) -> bool:
    """Whether the run was ever suspended for this round, whether or not its form was kept: Prefect lets nobody suspend under one key twice.

    Prefect forgets that it was when the run is retried (*Retry* in the UI); the form is kept over that.
    """
    context = FlowRunContext.get()
    policy = context.flow_run.empirical_policy if context is not None and context.flow_run is not None else None
    if policy is not None and key in (policy.pause_keys or ()):
        return True
    return await _inputs(keyset_from_base_key(f"suspended-{key}")["schema"]) is not None


def has_form(client: SyncPrefectClient, run: FlowRun) -> bool:
    """Whether a suspended run can be answered: that it has the form that it waits for. One that waits for none can be."""
    keys = run.state.state_details.run_input_keyset if run.state is not None else None
    # Prefect keeps it in two writes: without the second, people would be asked without being told what.
    return keys is None or all(has_input(client, run.id, keys[kind]) for kind in ("schema", "description"))


def has_input(client: SyncPrefectClient, run_id: UUID, key: str) -> bool:
    """Whether Prefect keeps an input of the run under exactly this key."""
    try:
        client.read_flow_run_input(run_id, key)
    except PrefectHTTPStatusError as exc:
        if exc.response.status_code == 404:
            return False
        raise
    return True


async def _inputs(key: str) -> tuple[datetime, str] | None:
    async with get_client() as client:
        # `read_flow_run_input` gives the value alone, and not when it was given. By prefix, as there is no filter by the key.
        found = await client.filter_flow_run_input(flow_run_id=runtime.flow_run.id, key_prefix=key, limit=1, exclude_keys=set())
    for item in found:
        if item.key == key and item.created is not None:
            return item.created, item.value
    return None
