"""Finds runs whose process is gone, and has Prefect take them up again. Each write looks first, and is made to one state only."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Literal
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterEndTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.events.filters import EventFilter, EventResourceFilter
from prefect.states import AwaitingRetry, Cancelled, Crashed

from blocks.facts.kinds import BEGINNINGS, EventKind
from blocks.registry import Registry
from flows.recovery.stalled import Past, SeenRun, StallLimits, is_stalled, why_abandoned
from flows.runtime.client import CHANGING, all_runs
from flows.runtime.notices import tell
from flows.runtime.tasks import step

#: A run that crashed longer ago is nobody's any more: the world has moved on, and a person decides.
LOOK_BACK = timedelta(days=1)

_PHASES: dict[StateType, Literal["pending", "running", "cancelling", "crashed"]] = {
    StateType.PENDING: "pending",
    StateType.RUNNING: "running",
    StateType.CANCELLING: "cancelling",
    StateType.CRASHED: "crashed",
}


@step
def runs_to_look_at(registry: Registry, models: Collection[str], work_pool: str | None, patience: StallLimits) -> list[SeenRun]:
    """This registry's runs that change an environment and are under way or crashed of late.

    Another registry's runs may be on the same Prefect, of a model of the same name. A run is this one's if it is on record here, which is
    the first thing that it does where it changes anything. One that has not come so far is if it is of one of these models, and on this
    work pool: each registry has one of its own (docs/operations.md).

    Two requests to Prefect (more from 200 runs on) and two to the registry, and one more for each run that seems silent by all of them.
    """
    now = datetime.now(UTC)
    with get_client(sync_client=True) as prefect, registry.client() as client:
        locks = {lock.run_id: lock.silent_seconds for lock in client.locks.held()}
        found = [
            *all_runs(prefect, CHANGING, FlowRunFilter(state=_any_of(StateType.PENDING, StateType.RUNNING, StateType.CANCELLING))),
            *all_runs(
                prefect, CHANGING, FlowRunFilter(state=_any_of(StateType.CRASHED), end_time=FlowRunFilterEndTime(after_=now - LOOK_BACK))
            ),
        ]
        begun = client.runs.events([str(run.id) for run in found], [*BEGINNINGS, EventKind.REHEARSING])
        recorded = {event.run_id for event in begun} | locks.keys()
        ours = [
            run
            for run in found
            # A rehearsal names no model; until it is on record, it has touched nothing, and another one comes next week.
            if str(run.id) in recorded or (run.work_pool_name == work_pool and run.parameters.get("model") in models)
        ]
        seen = [_seen(run, run.state, locks, now) for run in ours if run.state is not None]
        return [
            replace(run, sign_of_life=max(run.sign_of_life, _last_event(prefect, run.run_id)))
            if run.phase != "crashed" and is_stalled(run, patience, now)
            else run
            for run in seen
        ]


@step
def recall_pasts(registry: Registry, runs: Sequence[SeenRun]) -> dict[str, Past]:
    """What the registry knows of these runs, by their ids."""
    run_ids = [run.run_id for run in runs]
    with registry.client() as client:
        events = client.runs.events(run_ids, [EventKind.PICKED_UP, EventKind.ABANDONED])
        # A rehearsal looks by itself, model by model, whether anybody went on meanwhile.
        overtaken = client.runs.overtaken([(run.run_id, run.model, run.began) for run in runs if run.model])
    return {
        run_id: Past(
            crashes=frozenset(
                str(event.detail["state"]) for event in events if event.run_id == run_id and event.kind == EventKind.PICKED_UP
            ),
            abandoned=any(event.run_id == run_id and event.kind == EventKind.ABANDONED for event in events),
            overtaken_by=overtaken.get(run_id),
        )
        for run_id in run_ids
    }


@step
def end_stalled(run: SeenRun, step: Literal["crashed", "cancelled"]) -> bool:
    """Say to Prefect that the run is over, if it is still what was seen; whether it was."""
    silent = f"It gave no sign of life for {(datetime.now(UTC) - run.sign_of_life).total_seconds():.0f} s."
    return _move(run, Crashed(message=silent) if step == "crashed" else Cancelled(message=f"{silent} Nobody was left to end it."))


@step
def resume_run(registry: Registry, run: SeenRun, past: Past) -> bool:
    """Have Prefect start the very same run again, which carries on where it was; whether it was still crashed.

    It is counted in the registry first: killed in between, the next look finds it counted and goes on.
    """
    with registry.client() as client:
        client.events.add(
            EventKind.PICKED_UP,
            model=run.model or None,
            run_id=run.run_id,
            detail={"state": run.state_id, "time": len(past.crashes | {run.state_id})},
            key=f"picked-up/{run.run_id}/{run.state_id}",
        )
    # What *Retry* in the UI sets: the same run with the same id, by which the registry knows what it did.
    return _move(run, AwaitingRetry(message="Its process was lost; it carries on where it was."))


@step
def abandon(registry: Registry, run: SeenRun, past: Past) -> None:
    """Record that the run is not taken up again and why, and tell it to whoever listens."""
    why = why_abandoned(past)
    # Told before it is recorded: killed in between, it is told twice rather than never.
    said = {"model": run.model, "name": run.name, "run": run.run_id, "why": why}
    tell("slipway.run.abandoned", said, about=f"slipway.run.{run.run_id}", name=run.name)
    with registry.client() as client:
        client.events.add(
            EventKind.ABANDONED, model=run.model or None, run_id=run.run_id, detail={"why": why}, key=f"abandoned/{run.run_id}"
        )


def _any_of(*types: StateType) -> FlowRunFilterState:
    return FlowRunFilterState(type=FlowRunFilterStateType(any_=list(types)))


def _seen(run: FlowRun, state: State, locks: dict[str | None, float], now: datetime) -> SeenRun:
    heartbeat = now - timedelta(seconds=locks[str(run.id)]) if str(run.id) in locks else state.timestamp
    return SeenRun(
        run_id=str(run.id),
        name=run.name,
        model=str(run.parameters.get("model", "")),
        phase=_PHASES[state.type],
        state_id=str(state.id),
        began=run.start_time or run.expected_start_time or run.created or state.timestamp,
        sign_of_life=max(state.timestamp, heartbeat),
    )


def _last_event(prefect: SyncPrefectClient, run_id: str) -> datetime:
    """When Prefect last heard of the run: its process tells every heartbeat, and each step's state."""
    wanted = EventFilter(resource=EventResourceFilter(id=[f"prefect.flow-run.{run_id}"]))
    found = prefect.read_events(wanted, limit=1).events
    return found[0].occurred if found else datetime.min.replace(tzinfo=UTC)


def _move(run: SeenRun, state: State) -> bool:
    """Set the run's state, unless it has another one by now than was seen."""
    with get_client(sync_client=True) as prefect:
        now = prefect.read_flow_run(UUID(run.run_id)).state
        if now is None or str(now.id) != run.state_id:
            return False
        return prefect.set_flow_run_state(UUID(run.run_id), state).status.value == "ACCEPT"
