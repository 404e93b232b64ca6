"""Answering a request for approval: the form of the suspended run, filled in by who is signed in."""

from __future__ import annotations

from collections.abc import Mapping

from flows.approval.rules import Choice, why_not
from flows.console.access.caller import Caller
from flows.console.actions.once import Done, once
from flows.console.actions.runs import about, require_known
from flows.console.edge.problems import ProblemError, not_found
from flows.console.reads.requests import Waiting, read_waiting
from flows.console.services import Services
from flows.spec import Approver


def approver_of(services: Services, caller: Caller) -> Approver | None:
    """Who of `deployments/approvers.yaml` the caller is, under any of their names; none if nobody."""
    return services.deployments.approvers().signed_in(caller.name)


def answer(services: Services, caller: Caller, key: str, run_id: str, *, gate: str, decision: Choice, code: str, reason: str) -> Done:
    """Answer the form as the approver that the caller is; nobody answers in another's name, whatever code they have.

    The code is checked by the run, which wakes up, uses it up and records what came of it: that the form was taken is no approval. What can
    be told before is told here, and no code is spent.

    Args:
        services: Where it waits.
        caller: Who answers.
        key: Chosen by who asks.
        run_id: The suspended run.
        gate: What was shown when they decided; if something else waits by now, the answer is for nothing that there is.
        decision: What they decide.
        code: What their authenticator shows.
        reason: Why.

    Raises:
        ProblemError: It does not wait, something else does, the caller may not, or the form refuses the answer.
    """
    request = {"answer": run_id, "gate": gate, "decision": decision, "reason": reason}  # without the code, which is a secret for a minute

    def act(_: str) -> Mapping[str, object]:
        waiting = _waiting(services, caller, run_id, gate)
        approver = approver_of(services, caller)
        if approver is None:
            raise ProblemError(403, "not-allowed", f"{caller.name} is no approver of deployments/approvers.yaml, nor an alias of one.")
        require_known(services, "environment", waiting.environment)
        environment, approvers = services.deployments.environment(waiting.environment), services.deployments.approvers()
        why = why_not(approver.name, decision, reason, environment, approvers, waiting.requester, waiting.approvals)
        if why is not None:
            raise ProblemError(403, "not-allowed", f"The answer cannot be accepted: {why}.")
        run = _form(services, run_id, waiting)
        form = {"decision": decision, "approver": approver.name, "code": code, "reason": reason}
        told = services.prefect.post(f"/flow_runs/{run_id}/resume", {"run_input": form})
        # Prefect answers 200 where it refuses, too; its words may quote the form.
        if told is None or told.get("status") != "ACCEPT":
            raise ProblemError(409, "not-now", "The form did not take the answer: somebody else has just answered. Look again.")
        return about(run_id, str(run["name"]))

    return once(services.registry, caller, key, request, act)


def _waiting(services: Services, caller: Caller, run_id: str, gate: str) -> Waiting:
    found = read_waiting(services.registry, services.deployments, caller.sees, services.now(), run_id=run_id)
    if not found:
        raise not_found("run that waits for approval")
    waiting = next((each for each in found if each.gate == gate), None)
    if waiting is None:
        raise ProblemError(409, "another-question", "What waits is not what you were shown: look again before you decide.")
    return waiting


def _form(services: Services, run_id: str, waiting: Waiting) -> Mapping[str, object]:
    """The run as Prefect has it, if the form that it waits for is the gate's: a run may ask other things, too."""
    run: dict[str, object] = services.prefect.get(f"/flow_runs/{run_id}") or {}
    state = run.get("state")
    details = state.get("state_details") if isinstance(state, dict) else None
    keys = details.get("run_input_keyset") if isinstance(details, dict) else None
    key = str(keys.get("response")) if isinstance(keys, dict) else ""
    if run.get("state_type") != "PAUSED" or not key.startswith(f"suspended-{waiting.gate}-"):
        raise ProblemError(409, "not-now", "The run is just being suspended or woken: try again in a moment.", {"Retry-After": "2"})
    return run
