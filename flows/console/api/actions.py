"""What the API has Slipway do. Each answers 202 with the run, or with what was done."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Response
from pydantic import BaseModel, Field

from flows.console.access.who import SignedIn, SignedInFirst
from flows.console.actions import answers, runs, switch
from flows.console.actions.once import Done
from flows.console.api.inputs import (
    Answer,
    EnvironmentPath,
    IdempotencyKey,
    ModelPath,
    PlanAsked,
    ReleaseAsked,
    RollbackAsked,
    RunId,
    Switched,
)
from flows.console.edge.problems import documented
from flows.console.services import Services, services

router = APIRouter(route_class=SignedInFirst, responses=documented(400, 409, 413), tags=["actions"])

Asked = Annotated[Services, Depends(services)]


class RunStarted(BaseModel):
    """The run that was started, resumed or cancelled."""

    run: str = Field(description="Its id, also in Prefect.")
    name: str
    href: str = Field(description="Where it is read.")
    events: str = Field(description="Where it is followed, as server-sent events.")


class PlaceChanged(BaseModel):
    """A model in an environment, after it was taken out or put back."""

    model: str
    environment: str
    status: str | None = Field(description="Of the entry that holds the endpoint; none if a failed release took it meanwhile.")
    candidate: str | None


def _run(done: Done, response: Response) -> RunStarted:
    started = RunStarted.model_validate(done.body)
    response.headers["Location"] = started.href
    _told_again(done, response)
    return started


def _told_again(done: Done, response: Response) -> None:
    if done.again:
        response.headers["Idempotent-Replayed"] = "true"


@router.post("/releases", status_code=202, summary="Release a model's hub revision.")
def release(asked: ReleaseAsked, caller: SignedIn, key: IdempotencyKey, at: Asked, response: Response) -> RunStarted:
    """Through all environments, or those that are named; an operator of the model in each of them may."""
    given = {"model": asked.model, "revision": asked.revision, "environments": asked.environments, "keep_failed": asked.keep_failed}
    return _run(runs.release(at, caller, key, **given), response)  # type: ignore[arg-type]


@router.post("/plans", status_code=202, summary="Show what a release would do.")
def plan(asked: PlanAsked, caller: SignedIn, key: IdempotencyKey, at: Asked, response: Response) -> RunStarted:
    """Touches nothing; what speaks against a release is in the run."""
    return _run(runs.plan(at, caller, key, model=asked.model, revision=asked.revision, environments=asked.environments), response)


@router.post("/rollbacks", status_code=202, summary="Take an environment back to a candidate that was verified there before.")
def roll_back(asked: RollbackAsked, caller: SignedIn, key: IdempotencyKey, at: Asked, response: Response) -> RunStarted:
    """An operator of the model in the environment may."""
    done = runs.roll_back(at, caller, key, model=asked.model, environment=asked.environment, reason=asked.reason, to=asked.to)
    return _run(done, response)


@router.post("/releases/{run}/cancel", status_code=202, summary="Cancel a run.")
def cancel(run: RunId, caller: SignedIn, key: IdempotencyKey, at: Asked, response: Response) -> RunStarted:
    """What it had begun is cleaned up. An operator of the model in each of its environments may."""
    return _run(runs.cancel(at, caller, key, run), response)


@router.post("/approvals/{run}", status_code=202, summary="Answer a request for approval.")
def answer(run: RunId, asked: Answer, caller: SignedIn, key: IdempotencyKey, at: Asked, response: Response) -> RunStarted:
    """As the approver that you are. The run wakes up and checks the code: whether it was accepted is in the request, if it still waits."""
    code = asked.code.get_secret_value()
    done = answers.answer(at, caller, key, run, gate=asked.gate, decision=asked.decision, code=code, reason=asked.reason)
    return _run(done, response)


@router.post("/models/{model}/environments/{environment}/disable", status_code=202, summary="Take a model out of routing.")
def disable(
    model: ModelPath, environment: EnvironmentPath, asked: Switched, caller: SignedIn, key: IdempotencyKey, at: Asked, response: Response
) -> PlaceChanged:
    """Until it is enabled, whatever is released meanwhile; routers answer 503 with the reason."""
    done = switch.disable(at, caller, key, model=model, environment=environment, reason=asked.reason)
    _told_again(done, response)
    return PlaceChanged.model_validate(done.body)


@router.post("/models/{model}/environments/{environment}/enable", status_code=202, summary="Put a model back into routing.")
def enable(
    model: ModelPath, environment: EnvironmentPath, asked: Switched, caller: SignedIn, key: IdempotencyKey, at: Asked, response: Response
) -> PlaceChanged:
    """If its endpoint answers."""
    done = switch.enable(at, caller, key, model=model, environment=environment, reason=asked.reason)
    _told_again(done, response)
    return PlaceChanged.model_validate(done.body)
