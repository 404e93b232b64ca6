"""What forms do: each is checked as the API's body is, done by the same action, and leads to what came of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends
from fastapi.responses import RedirectResponse
from pydantic import BaseModel, ValidationError

from flows.console.access.own_pages import form_fields
from flows.console.access.who import SignedIn, SignedInFirst
from flows.console.actions import answers, runs, switch
from flows.console.actions.once import Done
from flows.console.api.inputs import Answer, EnvironmentPath, ModelPath, PlanAsked, ReleaseAsked, RollbackAsked, RunId, Switched
from flows.console.edge.problems import ProblemError
from flows.console.pages.render import part
from flows.console.services import Services, services

router = APIRouter(route_class=SignedInFirst, include_in_schema=False)

Asked = TypeVar("Asked", bound=BaseModel)
Fields = Annotated[dict[str, str], Depends(form_fields)]
At = Annotated[Services, Depends(services)]

#: The keys of the console's own forms (`render.new_key`).
_KEY = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

#: What a box of an environment is called in a form: a form's names are there once.
_ENVIRONMENT = "in-"


@router.post("/release")
def release(fields: Fields, caller: SignedIn, at: At) -> RedirectResponse:
    """Begin a release, or only plan it."""
    chosen = [name.removeprefix(_ENVIRONMENT) for name in fields if name.startswith(_ENVIRONMENT)]
    wanted = {"model": fields.get("model", ""), "revision": fields.get("revision", ""), "environments": chosen}
    if fields.get("what") == "plan":
        plan = _read(PlanAsked, wanted)
        return _to_run(runs.plan(at, caller, _key(fields), model=plan.model, revision=plan.revision, environments=plan.environments))
    asked = _read(ReleaseAsked, {**wanted, "keep_failed": "keep_failed" in fields})
    return _to_run(
        runs.release(
            at,
            caller,
            _key(fields),
            model=asked.model,
            revision=asked.revision,
            environments=asked.environments,
            keep_failed=asked.keep_failed,
        )
    )


@router.post("/runs/{run}/cancel")
def cancel(run: RunId, fields: Fields, caller: SignedIn, at: At) -> RedirectResponse:
    """Cancel a run."""
    return _to_run(runs.cancel(at, caller, _key(fields), run))


@router.post("/approvals/{run}")
def answer(run: RunId, fields: Fields, caller: SignedIn, at: At) -> RedirectResponse:
    """Answer a request for approval; what came of it is on the run's page."""
    asked = _read(Answer, {name: fields.get(name, "") for name in ("decision", "gate", "code", "reason")})
    code = asked.code.get_secret_value()
    return _to_run(answers.answer(at, caller, _key(fields), run, gate=asked.gate, decision=asked.decision, code=code, reason=asked.reason))


@router.post("/models/{model}/{environment}/rollback")
def roll_back(model: ModelPath, environment: EnvironmentPath, fields: Fields, caller: SignedIn, at: At) -> RedirectResponse:
    """Take an environment back."""
    wanted = {"model": model, "environment": environment, "reason": fields.get("reason", ""), "to": fields.get("to") or None}
    asked = _read(RollbackAsked, wanted)
    return _to_run(runs.roll_back(at, caller, _key(fields), model=model, environment=environment, reason=asked.reason, to=asked.to))


@router.post("/models/{model}/{environment}/disable")
def disable(model: ModelPath, environment: EnvironmentPath, fields: Fields, caller: SignedIn, at: At) -> RedirectResponse:
    """Take a model out."""
    asked = _read(Switched, {"reason": fields.get("reason", "")})
    switch.disable(at, caller, _key(fields), model=model, environment=environment, reason=asked.reason)
    return _to(f"/models/{part(model)}")


@router.post("/models/{model}/{environment}/enable")
def enable(model: ModelPath, environment: EnvironmentPath, fields: Fields, caller: SignedIn, at: At) -> RedirectResponse:
    """Put a model back."""
    asked = _read(Switched, {"reason": fields.get("reason", "")})
    switch.enable(at, caller, _key(fields), model=model, environment=environment, reason=asked.reason)
    return _to(f"/models/{part(model)}")


def _read(shape: type[Asked], fields: Mapping[str, Any]) -> Asked:
    """The fields as the API's body of that shape.

    Raises:
        ProblemError: One is not as it must be (422); what was given is not said, as it may be a code.
    """
    try:
        return shape.model_validate(fields)
    except ValidationError as exc:
        first = exc.errors(include_input=False, include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ProblemError(422, "invalid-request", f"The form is not as it must be: {where}: {first['msg']}.") from None


def _key(fields: Mapping[str, str]) -> str:
    """What makes handing a form in twice harmless."""
    key = fields.get("key", "")
    if not _KEY.fullmatch(key):
        raise ProblemError(422, "invalid-request", "The form has no key: load the page again.")
    return key


def _to_run(done: Done) -> RedirectResponse:
    return _to(f"/runs/{part(str(done.body['run']))}")


def _to(address: str) -> RedirectResponse:
    # 303: the browser reads what is there, and loading it again hands nothing in again.
    return RedirectResponse(address, status_code=303)
