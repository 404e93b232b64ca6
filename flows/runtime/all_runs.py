"""Reads runs from Prefect, however many there are: one answer has 200 of them at most."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowFilter, FlowFilterName, FlowRunFilter
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.sorting import FlowRunSort

#: As many as Prefect gives in one answer (its `PREFECT_API_DEFAULT_LIMIT`).
PAGE = 200


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
