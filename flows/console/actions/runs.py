"""Starting flow runs: release, plan, rollback; and cancelling them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from flows.console.access.caller import Caller
from flows.console.access.who import require
from flows.console.actions.once import Done, once
from flows.console.edge.problems import ProblemError, not_found
from flows.console.reads.runs import Run, read_run
from flows.console.services import Services
from flows.errors import SpecInvalid
from flows.spec.types import EnvironmentName

#: Flows whose runs people may cancel here.
CANCELLABLE = ("release", "rollback", "rehearse", "plan")


def release(
    services: Services, caller: Caller, key: str, *, model: str, revision: str, environments: Sequence[str], keep_failed: bool
) -> Done:
    """Release the model's hub revision; its requester is the caller, whom nobody can name otherwise.

    Raises:
        ProblemError: The caller may not, in one of the environments.
        SpecInvalid: There is no such model or environment.
    """
    _require_everywhere(services, caller, model, environments)
    parameters = {
        "model": model,
        "revision": revision,
        "environments": list(environments),
        "requester": caller.name,
        "keep_failed": keep_failed,
    }
    return _start(services, caller, key, "release", parameters)


def plan(services: Services, caller: Caller, key: str, *, model: str, revision: str, environments: Sequence[str]) -> Done:
    """Show what a release would do; errors as of `release`."""
    _require_everywhere(services, caller, model, environments)
    return _start(services, caller, key, "plan", {"model": model, "revision": revision, "environments": list(environments)})


def roll_back(services: Services, caller: Caller, key: str, *, model: str, environment: str, reason: str, to: str | None) -> Done:
    """Take the environment back; errors as of `release`."""
    require(caller, "operator", model, environment)
    require_known(services, "environment", environment)
    services.deployments.environment(environment)
    parameters = {"model": model, "environment": environment, "reason": reason, "actor": caller.name, "to": to}
    return _start(services, caller, key, "rollback", parameters)


def cancel(services: Services, caller: Caller, key: str, run_id: str) -> Done:
    """Cancel a run, as Prefect's UI does: what it had begun is cleaned up.

    Raises:
        ProblemError: There is none that the caller may see, they may not, or it has ended.
    """
    run = read_run(services.prefect, run_id)
    if run is None or run.flow not in CANCELLABLE or not _touches(services, run):
        raise not_found("run")
    for environment in _touches(services, run):
        require(caller, "operator", run.model, environment)

    def act(_: str) -> Mapping[str, object]:
        if run.final:
            raise ProblemError(409, "not-now", f"The run has ended: it is {run.state}.")
        body = {"state": {"type": "CANCELLING", "name": "Cancelling", "message": f"Cancelled by {caller.name}."}, "force": False}
        told = services.prefect.post(f"/flow_runs/{run.run_id}/set_state", body)
        # Prefect answers 200 where it refuses, too. REJECT is how it says that a suspended run is cancelled at once.
        if told is None or told.get("status") not in ("ACCEPT", "REJECT"):
            raise ProblemError(409, "not-now", "Prefect does not cancel the run: it has just ended.")
        return about(run.run_id, run.name)

    return once(services.registry, caller, key, {"cancel": run_id}, act)


def about(run_id: str, name: str) -> dict[str, object]:
    """A run, as it is answered."""
    return {"run": run_id, "name": name, "href": f"/api/v1/releases/{run_id}", "events": f"/api/v1/releases/{run_id}/events"}


def _start(services: Services, caller: Caller, key: str, flow: str, parameters: dict[str, Any]) -> Done:
    def act(prefect_key: str) -> Mapping[str, object]:
        found = services.prefect.get(f"/deployments/name/{flow}/{flow}")
        if found is None:
            raise SpecInvalid(f"Prefect has no deployment '{flow}/{flow}': run `prefect --no-prompt deploy --all` in the checkout.")
        body = {"parameters": parameters, "idempotency_key": prefect_key, "enforce_parameter_schema": True}
        run = services.prefect.post(f"/deployments/{found['id']}/create_flow_run", body)
        if run is None:
            raise ProblemError(503, "not-now", "The Prefect deployment was just replaced: try again.", {"Retry-After": "2"})
        return about(str(run["id"]), str(run["name"]))

    return once(services.registry, caller, key, {flow: parameters}, act)


def _require_everywhere(services: Services, caller: Caller, model: str, environments: Sequence[EnvironmentName]) -> None:
    """Refuse who may not in one of the environments; of none named, all are meant."""
    known = [environment.name for environment in services.deployments.environments()]
    for environment in environments or known or [""]:  # where none is known, only who may everywhere
        require(caller, "operator", model, environment)
    # Only now: who may not release a model need not know whether there is one.
    for environment in environments:
        require_known(services, "environment", environment)
        services.deployments.environment(environment)
    require_known(services, "model", model)
    services.deployments.model(model)


def require_known(services: Services, kind: Literal["model", "environment"], name: str) -> None:
    """Refuse what `deployments/` does not name, without naming what it does: not all of that is for the caller to know.

    Raises:
        ProblemError: It does not (422).
    """
    if name not in services.deployments.names(f"{kind}s"):
        raise ProblemError(422, "refused", f"There is no {kind} {name!r}: deployments/{kind}s/{name}.yaml does not exist.")


def _touches(services: Services, run: Run) -> tuple[str, ...]:
    """The environments that a run may touch; of a release that names none, all of them."""
    return run.environments or tuple(environment.name for environment in services.deployments.environments())
