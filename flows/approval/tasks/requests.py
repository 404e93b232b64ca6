"""Looks after runs that wait for people: Prefect ends no suspended run by itself, and a cancelled one tells nobody."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
from prefect.client.schemas.objects import StateType
from prefect.exceptions import ObjectNotFound
from prefect.states import Scheduled

from blocks.facts.kinds import BEGINNINGS, EventKind
from blocks.registry import Canary, Gate, OpenRequest, Registry
from flows.approval.expiry import WaitingRun
from flows.runtime.client import CHANGING, all_runs
from flows.runtime.forms import has_form, has_input
from flows.runtime.tasks import step


@step
def open_requests(registry: Registry) -> tuple[OpenRequest, ...]:
    """The requests for approval that wait, oldest first."""
    with registry.client() as client:
        return tuple(client.approvals.open_requests())


@step
def waiting_run(run_id: str) -> WaitingRun | None:
    """The run as Prefect shows it; none if Prefect does not know it (any longer)."""
    with get_client(sync_client=True) as client:
        try:
            run = client.read_flow_run(UUID(run_id))
        except (ObjectNotFound, ValueError):
            return None
        state = run.state
        if state is None:
            return None
        suspended = state.type == StateType.PAUSED
        keys = state.state_details.run_input_keyset or {}
        return WaitingRun(
            state=state.name or state.type.value,
            final=state.is_final(),
            suspended=suspended,
            since=state.timestamp,
            # An answer may be put there by Prefect's API without a resume, and then wakes nobody.
            answered=suspended and "response" in keys and has_input(client, run.id, keys["response"]),
        )


@step
def formless_runs(registry: Registry, seconds: float) -> list[str]:
    """Ids of this registry's runs that have been suspended this long, and have no form that anybody could fill in.

    Their process was killed after it had suspended the run, and before it had kept the form.
    """
    # Prefect suspends first and keeps the form a moment later, so a young one may yet get it.
    until = datetime.now(UTC) - timedelta(seconds=seconds)
    suspended = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.PAUSED])))
    with get_client(sync_client=True) as prefect, registry.client() as client:
        found = all_runs(prefect, CHANGING, suspended)
        waiting = {str(run.id): run for run in found if run.state is not None and run.state.timestamp < until}
        # Another registry's runs may be on the same Prefect. Before a run asks people anything, it has one of these on record.
        ours = {event.run_id for event in client.runs.events(waiting, BEGINNINGS)}
        return [run_id for run_id, run in waiting.items() if run_id in ours and not has_form(prefect, run)]


@step
def unwanted(registry: Registry) -> list[Canary]:
    """The canaries that wait and that somebody wants ended."""
    with registry.client() as client:
        return [canary for canary in client.canaries.open() if canary.phase == "held" and canary.wish == "abort"]


@step
def wake(run_id: str) -> None:
    """Schedule the suspended run, without an answer: its flow looks at the record and goes on, asks again, or ends."""
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(UUID(run_id), Scheduled(message="Woken to look at its gate"), force=True)


@step
def close_request(registry: Registry, request: OpenRequest, why: str) -> None:
    """Record that the request is void."""
    gate = Gate(
        run_id=request.run_id or "",
        name=str(request.detail["gate"]),
        model=request.model or "",
        environment=request.environment or "",
        fingerprint=request.fingerprint or "",
    )
    with registry.client() as client:
        client.approvals.mark(gate, EventKind.APPROVAL_VOID, {"why": why})
