"""What is looked at: an address for each page. What a caller may not see is answered as what is not there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import HTMLResponse

from blocks.registry.overview import FleetPlace
from flows.console.access.caller import Caller
from flows.console.access.who import SignedIn
from flows.console.edge.problems import not_found
from flows.console.pages.plots import plots_of
from flows.console.pages.render import page, part, query, shown_json
from flows.console.reads.fleet import Wanted
from flows.console.reads.history import CandidateLine
from flows.console.reads.record import RecordFilter
from flows.console.reads.release import ReleaseView
from flows.console.reads.site import Reads, reads
from flows.console.services import Services, services
from flows.verification.evidence import Evidence
from flows.verification.page import evidence_body

router = APIRouter(include_in_schema=False)

Site = Annotated[Reads, Depends(reads)]
Text = Annotated[str, Query(max_length=100)]
#: Ids of events are PostgreSQL's bigint.
EventId = Annotated[int, Query(ge=0, lt=1 << 63)]


@router.get("/")
def fleet(request: Request, caller: SignedIn, site: Site, search: Text = "", status: Wanted = "", after: Text = "") -> HTMLResponse:
    """Models by environments."""
    found = site.fleet(caller.sees, who=caller.grants, search=search, status=status, after=after)
    values = {"fleet": found, "search": search, "status": status, "after": after, "operates": operates(caller)}
    return page(request, caller, "fleet.html.jinja", values, here="Fleet")


@router.get("/models/{model}")
def model(request: Request, caller: SignedIn, site: Site, model: str) -> HTMLResponse:
    """A model's history."""
    history = site.model(caller.sees, model)
    if history is None:
        raise not_found("model")

    def targets(place: FleetPlace) -> Sequence[CandidateLine]:
        """The candidates that were ready in the place and do not serve there now."""
        return [
            each
            for each in history.lines
            if each.fingerprint != place.fingerprint
            and any(stay.environment == place.environment and stay.state in ("ready", "superseded", "disabled") for stay in each.stays)
        ]

    operated = any(caller.may("operator", model, name) for name in site.environments())
    values = {"history": history, "plots": plots_of(history), "targets": targets, "operates": operated}
    return page(request, caller, "model.html.jinja", values, here="Fleet")


@router.get("/runs")
def runs(
    request: Request, caller: SignedIn, site: Site, flow: Text = "", offset: Annotated[int, Query(ge=0, le=1_000_000)] = 0
) -> HTMLResponse:
    """Runs, the latest first."""
    found = site.runs(caller.sees, offset=offset, flow=flow)
    values = {"page": found, "flow": flow, "offset": offset, "operates": operates(caller)}
    return page(request, caller, "runs.html.jinja", values, here="Runs")


@router.get("/runs/{run_id}")
def run(request: Request, caller: SignedIn, site: Site, run_id: str) -> HTMLResponse:
    """A run as the pipeline that it is."""
    return page(request, caller, "run.html.jinja", _run(caller, site, run_id), here="Runs")


@router.get("/runs/{run_id}/live")
def live(request: Request, caller: SignedIn, site: Site, run_id: str) -> HTMLResponse:
    """The part of its page that changes as the run goes on."""
    return page(request, caller, "run_live.html.jinja", _run(caller, site, run_id))


def _run(caller: Caller, site: Reads, run_id: str) -> dict[str, Any]:
    view = site.release(caller.sees, run_id)
    if view is None:
        raise not_found("run")
    return {"view": view, "cancels": _operates(caller, view), "events": f"/api/v1/releases/{part(run_id)}/events"}


def _operates(caller: Caller, view: ReleaseView) -> bool:
    """Whether the caller may stop the run: who may change all that it changes."""
    places = {lane.environment for lane in view.lanes} or set(view.run.environments)
    return bool(places) and all(caller.may("operator", view.run.model, name) for name in places)


@router.get("/approvals")
def approvals(request: Request, caller: SignedIn, site: Site) -> HTMLResponse:
    """What waits for people."""
    return page(request, caller, "approvals.html.jinja", {"waiting": site.waiting(caller.sees)}, here="Approvals")


@router.get("/approvals/{run_id}")
def approval(request: Request, caller: SignedIn, site: Site, run_id: str) -> HTMLResponse:
    """What one release would change, its evidence, and beside it the form."""
    waiting = site.waiting(caller.sees, run_id=run_id)
    if not waiting:
        raise not_found("request for approval")
    (first, *_) = waiting
    values = {"w": first, "may_not": site.may_not_approve(first, caller.name), "decides": caller.how != "token"}
    return page(request, caller, "approval.html.jinja", values, here="Approvals")


@router.get("/nodes")
def nodes(request: Request, caller: SignedIn, site: Site) -> HTMLResponse:
    """The nodes, their snapshots and their last scrub."""
    return page(request, caller, "nodes.html.jinja", {"view": site.nodes(caller.sees)}, here="Nodes")


@router.get("/record")
def record(
    request: Request,
    caller: SignedIn,
    site: Site,
    model: Text = "",
    environment: Text = "",
    kind: Text = "",
    actor: Text = "",
    run: Text = "",
    fingerprint: Text = "",
    before: EventId = 0,
) -> HTMLResponse:
    """What happened, the latest first."""
    wanted = RecordFilter(model=model, environment=environment, kind=kind, actor=actor, run_id=run, fingerprint=fingerprint)
    asked = {"model": model, "environment": environment, "kind": kind, "actor": actor, "run": run, "fingerprint": fingerprint}
    found = site.record(caller.sees, wanted, before=before or None)
    values = {"page": found, "wanted": asked, "query": query(**asked), "before": before}
    return page(request, caller, "record.html.jinja", values, here="Record")


@router.get("/record/{event_id}")
def event(request: Request, caller: SignedIn, site: Site, event_id: int) -> HTMLResponse:
    """An event and its proof."""
    found = site.event(caller.sees, event_id) if 0 < event_id < 1 << 63 else None
    if found is None:
        raise not_found("event")
    text, _ = shown_json(found.event.detail)
    return page(request, caller, "event.html.jinja", {"found": found, "e": found.event, "detail": text}, here="Record")


@router.get("/evidence/{sha256}")
def evidence(request: Request, caller: SignedIn, site: Site, sha256: str) -> HTMLResponse:
    """A document of evidence: a verification as people read it, anything else as it is kept."""
    if not 8 <= len(sha256) <= 64 or not set(sha256) <= set("0123456789abcdef"):
        raise not_found("evidence")
    found = site.evidence(caller.sees, sha256)
    if found is None:
        raise not_found("evidence")
    stored = found.stored
    values: dict[str, Any] = {"sha256": stored.sha256, "kind": stored.kind, "model": found.model, "body": "", "text": "", "cut": False}
    try:
        values["body"] = evidence_body(Evidence.from_document(stored.document), stored.sha256)
    except ValueError:  # of another kind, or of another version of Slipway
        values["text"], values["cut"] = shown_json(stored.document)
    return page(request, caller, "evidence.html.jinja", values)


@router.get("/release")
def start(
    request: Request, caller: SignedIn, site: Site, asked: Annotated[Services, Depends(services)], model: Text = "", revision: Text = "main"
) -> HTMLResponse:
    """The form by which a release is begun."""
    environments = site.environments()
    models = [name for name in asked.deployments.names("models") if any(caller.may("operator", name, each) for each in environments)]
    own = [name for name in environments if any(caller.may("operator", each, name) for each in models)]
    values = {"models": models, "environments": own, "model": model, "revision": revision}
    return page(request, caller, "start.html.jinja", values, here="Runs")


def operates(caller: Caller) -> bool:
    """Whether the caller may start anything at all."""
    return any(grant.role != "viewer" for grant in caller.grants)
