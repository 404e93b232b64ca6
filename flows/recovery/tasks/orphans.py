"""Looks at what runs began and have not ended, and at what became of those runs."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import State, StateType

from blocks.facts.kinds import EventKind
from blocks.registry import Event, Registry, RegistryClient
from flows.recovery.orphans import EndedRun
from flows.runtime.forms import patient_with_prefect
from flows.runtime.tasks import step

#: Runs that are asked for at a time: as many as Prefect gives in one answer.
_PAGE = 200


@step
def orphaned_runs(registry: Registry) -> list[Event]:
    """What runs began and recorded no end of; those that are under way are among it."""
    with registry.client() as client:
        return client.runs.orphaned()


@step
def ended_runs(registry: Registry, run_ids: Sequence[str]) -> dict[str, EndedRun]:
    """What became of each of the runs, by its id: one request for 200 of them."""
    with registry.client() as client:
        return run_states(client, run_ids)


def run_states(client: RegistryClient, run_ids: Sequence[str]) -> dict[str, EndedRun]:
    """The same, of a registry that is open."""
    abandoned = {event.run_id for event in client.runs.events(run_ids, [EventKind.ABANDONED])}
    found: dict[str, State[object] | None] = {}
    with get_client(sync_client=True) as prefect:
        known = [UUID(run_id) for run_id in run_ids if _is_id(run_id)]
        for start in range(0, len(known), _PAGE):
            wanted = FlowRunFilter(id=FlowRunFilterId(any_=known[start : start + _PAGE]))
            found |= {str(run.id): run.state for run in prefect.read_flow_runs(flow_run_filter=wanted, limit=_PAGE)}
    return {
        run_id: EndedRun(
            state=(state.name or state.type.value) if (state := found.get(run_id)) is not None else "",
            final=state is not None and state.is_final(),
            crashed=state is not None and state.is_crashed(),
            abandoned=run_id in abandoned,
        )
        for run_id in run_ids
    }


def _is_id(run_id: str) -> bool:
    try:
        UUID(run_id)
    except ValueError:
        return False
    return True


@step
def had_ended(run_id: str) -> bool:
    """Whether the run has told Prefect an end of its own; one that crashed, or whose process was lost without a word, has not."""
    with patient_with_prefect(), get_client(sync_client=True) as client:
        # All of its states, as a run that was taken up again no longer shows the one that it ended in.
        states = client.read_flow_run_states(UUID(run_id))
    ends = [state for state in sorted(states, key=lambda state: state.timestamp) if state.is_final()]
    return bool(ends) and ends[-1].type != StateType.CRASHED
