"""The form of a suspended run: no process waits, and days may pass until somebody fills it in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Generic, TypeVar
from uuid import UUID

import httpx
from prefect import runtime
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun
from prefect.context import FlowRunContext
from prefect.exceptions import PrefectHTTPStatusError
from prefect.flow_runs import suspend_flow_run
from prefect.input import RunInput
from prefect.input.run_input import keyset_from_base_key
from pydantic import ValidationError

from blocks.errors import PrefectUnreachable
from blocks.strict_json import loads
from flows.runtime.tasks import call, step
from flows.text.markdown import Markdown

F = TypeVar("F", bound=RunInput)


#: Longest text that is looked into, in characters: a form whose every field is full has a fifth of it.
_LONGEST = 64 << 10

#: Inputs that are asked for at a time, and pages that are looked through for the one that was asked for: others may lie beside it.
_PAGE, _PAGES = 50, 200

#: What Prefect's server answers when it is busy or restarts.
_PASSING = frozenset({408, 429, *range(500, 600)})


@dataclass(frozen=True, kw_only=True)
class Given(Generic[F]):
    """What was given to a round of a gate.

    Attributes:
        at: When Prefect's server took it.
        answer: The form, filled in; none if it is not one.
        problem: Why it is not one.
        claimed: Who it says gave it, as far as it says so; of an answer that is none only.
        sender: Who Prefect says put it there; empty for an answer to the form.
    """

    at: datetime
    answer: F | None
    problem: str = ""
    claimed: str = ""
    sender: str = ""


@dataclass(frozen=True, kw_only=True)
class Kept:
    """An input as Prefect keeps it: since when, its text, and who sent it."""

    at: datetime
    value: str
    sender: str


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
    """What the round was given, as it is kept by Prefect's server, whoever put it there; none if nothing.

    Raises:
        PrefectUnreachable: Prefect's API did not answer.
    """
    kept = await call(kept_input, UUID(str(runtime.flow_run.id)), keyset_from_base_key(f"suspended-{key}")["response"])
    return None if kept is None else read_answer(form, kept)


def read_answer(form: type[F], kept: Kept) -> Given[F]:
    """The form that was filled in, or why it is none; whatever was written."""
    value: object = None
    try:
        value = loads(kept.value, most=_LONGEST)
        return Given(at=kept.at, answer=form.model_validate(value), sender=kept.sender)
    except ValidationError as exc:
        place = exc.errors(include_url=False)[0]["loc"]
        # By the names of the form's own fields alone: others are the words of whoever wrote it.
        what = str(place[0]) if place and place[0] in form.model_fields else "it has not the form's fields"
    except ValueError:
        what = "it is not JSON"
    claimed = value.get("approver", value.get("actor")) if isinstance(value, dict) else None
    return Given(
        at=kept.at,
        answer=None,
        problem=f"the form was not filled in right ({what})",
        claimed=claimed[:100] if isinstance(claimed, str) else "",
        sender=kept.sender,
    )


async def was_opened(key: str) -> bool:
    """Whether the run was ever suspended for this round, whether or not its form was kept: Prefect lets nobody suspend under one key twice.

    Prefect forgets that it was when the run is retried (*Retry* in the UI); the form is kept over that.
    """
    context = FlowRunContext.get()
    policy = context.flow_run.empirical_policy if context is not None and context.flow_run is not None else None
    if policy is not None and key in (policy.pause_keys or ()):
        return True
    schema = keyset_from_base_key(f"suspended-{key}")["schema"]
    return await call(kept_input, UUID(str(runtime.flow_run.id)), schema) is not None


def has_form(client: SyncPrefectClient, run: FlowRun) -> bool:
    """Whether a suspended run can be answered: that it has the form that it waits for. One that waits for none can be."""
    keys = run.state.state_details.run_input_keyset if run.state is not None else None
    # Prefect keeps it in two writes: without the second, people would be asked without being told what.
    return keys is None or all(has_input(client, run.id, keys[kind]) for kind in ("schema", "description"))


def has_input(client: SyncPrefectClient, run_id: UUID, key: str) -> bool:
    """Whether Prefect keeps an input of the run under exactly this key."""
    return _value(client, run_id, key) is not None


@contextmanager
def patient_with_prefect() -> Iterator[None]:
    """Have what Prefect cannot answer now be asked for again, by whoever repeats what is transient.

    Raises:
        PrefectUnreachable: Its API cannot be reached, or is busy.
    """
    try:
        yield
    except httpx.TransportError as exc:
        raise PrefectUnreachable(f"Prefect's API did not answer ({type(exc).__name__}).") from exc
    except PrefectHTTPStatusError as exc:
        if exc.response.status_code not in _PASSING:
            raise
        raise PrefectUnreachable(f"Prefect's API answered HTTP {exc.response.status_code}.") from exc


@step
def kept_input(run_id: UUID, key: str) -> Kept | None:
    """What Prefect keeps of the run under exactly this key, and since when; none if nothing.

    Raises:
        PrefectUnreachable: Prefect's API did not answer.
    """
    with patient_with_prefect(), get_client(sync_client=True) as client:
        value = _value(client, run_id, key)
        if value is None:
            return None
        # When it came is told only with all that begins with its key, and whoever may write to Prefect may put much there.
        others: set[str] = set()
        for _ in range(_PAGES):
            page = client.filter_flow_run_input(flow_run_id=run_id, key_prefix=key, limit=_PAGE, exclude_keys=others)
            for item in page:
                if item.key == key and item.created is not None:
                    return Kept(at=item.created, value=item.value, sender=(item.sender or "")[:100])
            if len(page) < _PAGE:
                break
            others |= {item.key for item in page}
    # It is there and counts. Now is when it was found: a code of before may be stale by now, and that is on whoever hid it.
    return Kept(at=datetime.now(UTC), value=value, sender="")


def _value(client: SyncPrefectClient, run_id: UUID, key: str) -> str | None:
    try:
        return client.read_flow_run_input(run_id, key)
    except PrefectHTTPStatusError as exc:
        if exc.response.status_code == 404:
            return None
        raise
