"""The form of a suspended run: no process waits, and days may pass until somebody fills it in."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar
from uuid import UUID

from prefect import runtime
from prefect.client.orchestration import get_client
from prefect.flow_runs import suspend_flow_run
from prefect.input import RunInput
from prefect.input.run_input import Keyset, keyset_from_base_key
from pydantic import ValidationError


class Form(RunInput):
    """A form that is kept once: saving it again changes nothing."""

    @classmethod
    async def asave(cls, keyset: Keyset, flow_run_id: UUID | None = None) -> None:
        """Keep the form, unless it is kept already."""
        if await _inputs(keyset["description"]) is None:
            await super().asave(keyset, flow_run_id)


F = TypeVar("F", bound=Form)


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


async def ask(form: type[Form], key: str, description: str) -> None:
    """Suspend the run until its form is filled in. To be called in a flow, outside of tasks and transactions.

    A run that was suspended under this key before and was resumed since goes on at once.

    Args:
        form: What is to be filled in.
        key: The round's name in the run.
        description: Markdown above the form.
    """
    shown = form.with_initial_data(description=description)
    # Prefect suspends the run and keeps its form then: a run that is killed in between would wait for an answer that nobody can give.
    await shown.asave(keyset_from_base_key(f"suspended-{key}"))
    await suspend_flow_run(wait_for_input=shown, key=key)  # type: ignore[misc]


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
    """Whether the round's form was ever shown."""
    return await _inputs(keyset_from_base_key(f"suspended-{key}")["schema"]) is not None


async def _inputs(key: str) -> tuple[datetime, str] | None:
    async with get_client() as client:
        found = await client.filter_flow_run_input(flow_run_id=runtime.flow_run.id, key_prefix=key, limit=1, exclude_keys=set())
    for item in found:
        if item.key == key and item.created is not None:
            return item.created, item.value
    return None
