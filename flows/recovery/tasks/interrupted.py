"""Whether a run that begins (again) was interrupted, or had ended and was retried by somebody."""

from __future__ import annotations

from uuid import UUID

from prefect import task
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import StateType

from flows.runtime.tasks import OBSERVES


@task(task_run_name="look how the run ended before", **OBSERVES)
def had_ended(run_id: str) -> bool:
    """Whether the run has told Prefect an end of its own; one that crashed, or whose process was lost without a word, has not."""
    with get_client(sync_client=True) as client:
        states = client.read_flow_run_states(UUID(run_id))
    ends = [state for state in sorted(states, key=lambda state: state.timestamp) if state.is_final()]
    return bool(ends) and ends[-1].type != StateType.CRASHED
