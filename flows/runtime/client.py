"""Starting, following and resuming flow runs from outside: what the command line does with Prefect."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    ArtifactFilterKey,
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterId,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.sorting import ArtifactSort, FlowRunSort, TaskRunSort
from prefect.context import FlowRunContext
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.settings import get_current_settings

from flows.errors import SpecInvalid
from flows.runtime.prefect_api import PAGE, detail
from flows.runtime.waiting import require_waiting

#: The flows that change an environment: their runs may wait for a form, and are taken up again when they die.
CHANGING = ("release", "rollback", "rehearse")


@dataclass(frozen=True, kw_only=True)
class TaskStep:
    """A task run of a flow run: its name, its state's name, and how long it took so far in seconds."""

    name: str
    state: str
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where a flow run stands."""

    run_id: UUID
    name: str
    state: str
    message: str
    final: bool
    suspended: bool
    succeeded: bool
    steps: tuple[TaskStep, ...]


def api_url() -> str:
    """The Prefect API that the settings name.

    Raises:
        SpecInvalid: They name none. (Prefect would start a server of its own for the one command.)
    """
    url = os.environ.get("PREFECT_API_URL") or get_current_settings().api.url
    if not url:
        raise SpecInvalid("No Prefect server is set: set PREFECT_API_URL, for example to http://127.0.0.1:4200/api.")
    return url


@contextmanager
def prefect_client() -> Iterator[SyncPrefectClient]:
    """A client of the Prefect API whose errors are sentences.

    Raises:
        SpecInvalid: The API cannot be reached, or refuses.
    """
    url = api_url()
    try:
        with get_client(sync_client=True) as client:
            yield client
    except PrefectHTTPStatusError as exc:
        raise SpecInvalid(f"The Prefect API at {url} refused: HTTP {exc.response.status_code}: {detail(exc.response.text)}.") from exc
    except httpx.HTTPError as exc:
        raise SpecInvalid(f"The Prefect API at {url} cannot be reached: start the server, or set PREFECT_API_URL to it.") from exc


def start(deployment: str, parameters: dict[str, Any]) -> UUID:
    """Start a run of the Prefect deployment `flow/name` and return its id.

    Raises:
        SpecInvalid: There is no such deployment, or it refuses the parameters.
    """
    with prefect_client() as client:
        try:
            found = client.read_deployment_by_name(deployment)
        except ObjectNotFound as exc:
            raise SpecInvalid(f"Prefect has no deployment {deployment!r}: run `prefect --no-prompt deploy --all` in the checkout.") from exc
        return client.create_flow_run_from_deployment(found.id, parameters=parameters).id


def progress(run_id: UUID) -> Progress:
    """Where the run stands now."""
    with prefect_client() as client:
        run = _read(client, run_id)
        tasks = client.read_task_runs(
            flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run_id])), sort=TaskRunSort.EXPECTED_START_TIME_ASC, limit=200
        )
    now = datetime.now(UTC)
    begun = [task for task in tasks if task.start_time is not None]
    steps = tuple(
        TaskStep(
            name=task.name,
            state=task.state_name or "",
            seconds=((task.end_time or now) - task.start_time).total_seconds(),  # type: ignore[operator]  # they have begun
        )
        for task in sorted(begun, key=lambda task: task.start_time or now)
    )
    state = run.state
    return Progress(
        run_id=run.id,
        name=run.name,
        state=run.state_name or "Pending",
        message=(state.message or "") if state else "",
        final=state is not None and state.is_final(),
        suspended=state is not None and state.type == StateType.PAUSED,
        succeeded=state is not None and state.is_completed(),
        steps=steps,
    )


def artifact(run_id: UUID, key: str) -> Any:
    """What the run published under the key: markdown as text, a table as its rows; none if it published nothing.

    An artifact that was published again is the newest.
    """
    wanted = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run_id]), key=ArtifactFilterKey(any_=[key]))
    with prefect_client() as client:
        found = client.read_artifacts(artifact_filter=wanted, sort=ArtifactSort.CREATED_DESC, limit=1)
    if not found:
        return None
    return json.loads(str(found[0].data)) if found[0].type == "table" else found[0].data


def resume(run_id: UUID, answer: dict[str, Any]) -> None:
    """Answer the form of a suspended run, as the Prefect UI does.

    Raises:
        SpecInvalid: The run does not wait, or the form refuses the answer.
    """
    with prefect_client() as client:
        run = _read(client, run_id)
        require_waiting(run.name, run.state.type.value if run.state else None, run.state_name)
        result = client.resume_flow_run(run_id, run_input=answer)
    # Prefect answers HTTP 200 where it refuses, too (REJECT, ABORT).
    if result.status.value != "ACCEPT":
        raise SpecInvalid(f"The form of run {run.name!r} refused the answer: {getattr(result.details, 'reason', result.status.value)}")


def run_page(run_id: UUID) -> str:
    """The run's page in the Prefect UI; a user and password of the API's address are no part of it."""
    found = urlsplit(get_current_settings().ui_url or api_url().removesuffix("/api"))
    ui = found._replace(netloc=found.netloc.rpartition("@")[2]).geturl()
    # This opens the first of Prefect's two UIs, which has *Resume* on the page; the second has it in a menu only.
    return f"{ui}/runs/flow-run/{run_id}"


def _read(client: SyncPrefectClient, run_id: UUID) -> FlowRun:
    try:
        return client.read_flow_run(run_id)
    except ObjectNotFound as exc:
        raise SpecInvalid(f"Prefect has no run {run_id}.") from exc


def own_work_pool() -> str | None:
    """The work pool of the run that this is called in; none outside of a run, or where it was started by hand."""
    context = FlowRunContext.get()
    return context.flow_run.work_pool_name if context is not None and context.flow_run is not None else None


def all_runs(prefect: SyncPrefectClient, flows: Sequence[str], wanted: FlowRunFilter, *, page: int = PAGE) -> list[FlowRun]:
    """The runs of the flows that are wanted, those that began first at the front.

    Args:
        prefect: Where they are.
        flows: The flows' names.
        wanted: Which of their runs.
        page: How many to ask for at a time.
    """
    of_these = FlowFilter(name=FlowFilterName(any_=list(flows)))
    found: dict[UUID, FlowRun] = {}  # a run that comes or goes between two answers may be in both
    offset = 0
    while True:
        some = prefect.read_flow_runs(
            flow_filter=of_these, flow_run_filter=wanted, sort=FlowRunSort.START_TIME_ASC, limit=page, offset=offset
        )
        found |= {run.id: run for run in some}
        offset += len(some)
        if len(some) < page:
            return list(found.values())
