"""Finds the run that waits for a person, by id or by name, without importing Prefect."""

from __future__ import annotations

from uuid import UUID

from flows.errors import SpecInvalid
from flows.runtime.prefect_api import PrefectApi


def waiting_run(api: PrefectApi, run: str) -> UUID:
    """The id of a run that waits, given by id or by name.

    Raises:
        SpecInvalid: There is no such run, or more than one, or it does not wait.
    """
    try:
        run_id = UUID(run)
    except ValueError:
        return _named(api, run)
    found = api.get(f"/flow_runs/{run_id}")
    if found is None:
        raise SpecInvalid(f"Prefect has no run {run_id}.")
    require_waiting(str(found["name"]), found["state_type"], found["state_name"])
    return run_id


def _named(api: PrefectApi, name: str) -> UUID:
    waiting = api.filtered("flow_runs", flow_runs={"state": {"name": {"any_": ["Suspended"]}}})
    named = [str(run["id"]) for run in waiting if run["name"] == name]
    if len(named) == 1:
        return UUID(named[0])
    if named:
        raise SpecInvalid(f"{len(named)} runs called {name!r} wait: give the id of one ({', '.join(named)}).")
    names = ", ".join(repr(run["name"]) for run in waiting) or "none"
    raise SpecInvalid(f"No run {name!r} waits for approval. Waiting: {names}.")


def require_waiting(name: str, state_type: str | None, state: str | None) -> None:
    """Refuse a run that does not wait.

    Args:
        name: The run's name.
        state_type: The type of its state, in Prefect's words.
        state: The name of its state.

    Raises:
        SpecInvalid: It does not.
    """
    if state_type != "PAUSED":
        raise SpecInvalid(f"Run {name!r} does not wait for approval; it is {state}.")
