"""What the API lets see: the reads, as JSON."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Path, Query
from pydantic import BaseModel, Field

from blocks.facts.registry import Entry, Status
from flows.candidate.changes import Change, differences
from flows.console.access.who import SignedIn
from flows.console.api.inputs import ModelPath, RunId
from flows.console.api.pages import Cursor, Limit, Page, place, word
from flows.console.api.tagged import UNCHANGED, Tagged
from flows.console.edge.problems import not_found
from flows.console.reads.fleet import FleetRow, Wanted
from flows.console.reads.history import ModelHistory
from flows.console.reads.nodes import NodesView
from flows.console.reads.release import ReleaseView
from flows.console.reads.requests import Waiting
from flows.console.reads.routes import RouteRow
from flows.console.reads.runs import Run
from flows.console.reads.site import Reads, reads
from flows.console.services import Services, services
from flows.spec import Candidate

router = APIRouter(route_class=Tagged, responses=UNCHANGED, tags=["reads"])

Asked = Annotated[Services, Depends(services)]
Read = Annotated[Reads, Depends(reads)]
Fingerprint = Annotated[str, Path(pattern=r"^[0-9a-f]{64}$", description="The candidate's fingerprint.")]
Sha256 = Annotated[str, Path(pattern=r"^[0-9a-f]{8,64}$", description="The document's SHA-256, or its first digits.")]
#: What is empty does not filter.
Text = Annotated[str, Query(max_length=200)]


class EnvironmentSummary(BaseModel):
    """An environment and who must agree before a candidate enters it."""

    name: str
    after: str | None = Field(description="The environment that a candidate must have passed before.")
    namespace: str
    delivery: str
    approval_required: bool
    approvals: int
    approver_roles: list[str]


class CandidateSeen(BaseModel):
    """A candidate, and what it changes against another."""

    fingerprint: str
    candidate: Candidate
    against: str | None
    changes: list[Change]


class ApprovalSeen(BaseModel):
    """A request for approval, with whether you may answer it."""

    request: Waiting
    you_may_not: str | None = Field(description="Why you may not approve it; none if you may.")


@router.get("/environments", summary="The environments, in the order of promotion.")
def environments(caller: SignedIn, at: Asked) -> list[EnvironmentSummary]:
    """Those that any of your grants is for."""
    seen = [each for each in at.deployments.environments() if any(grant.covers_environment(each.name) for grant in caller.grants)]
    return [
        EnvironmentSummary(
            name=each.name,
            after=each.after,
            namespace=each.namespace,
            delivery=each.delivery,
            approval_required=each.approval.required,
            approvals=each.approval.approvals,
            approver_roles=list(each.approval.roles),
        )
        for each in seen
    ]


@router.get("/models", summary="Models by environments.")
def models(
    caller: SignedIn,
    read: Read,
    search: Text = "",
    status: Annotated[Wanted, Query()] = "",
    cursor: Cursor = "",
    limit: Limit = 50,
) -> Page[FleetRow]:
    """What serves where, by the registry; as it was two seconds ago at the most."""
    page = read.fleet(caller.sees, search=search, status=status, after=place(cursor, str) or "", limit=limit)
    return Page(items=list(page.rows), next=word(page.after))


@router.get("/models/{model}", summary="A model's history.")
def model(model: ModelPath, caller: SignedIn, read: Read) -> ModelHistory:
    """Its candidates with what each changed, where they have been, and what was measured."""
    found = read.model(caller.sees, model)
    if found is None:
        raise not_found("model")
    return found


@router.get("/candidates/{fingerprint}", summary="A candidate, and what it changes.")
def candidate(
    fingerprint: Fingerprint, caller: SignedIn, at: Asked, against: Annotated[str, Query(pattern=r"^([0-9a-f]{64})?$")] = ""
) -> CandidateSeen:
    """Against another one of the same model, if that is named."""
    found, other = _candidate(at, caller, fingerprint), _candidate(at, caller, against) if against else None
    if other is not None and other.model != found.model:
        raise not_found("candidate of this model")
    changes = list(differences(other, found)) if other is not None else []
    return CandidateSeen(fingerprint=fingerprint, candidate=found, against=against or None, changes=changes)


def _candidate(at: Services, caller: SignedIn, fingerprint: str) -> Candidate:
    document = at.registry.candidates.get(fingerprint)
    try:
        found = Candidate.from_document(document) if document is not None else None
    except ValueError:
        found = None
    # Where it has been says who may see it; one that was never anywhere is for who may see the model everywhere.
    stays = {event.environment or "" for event in at.registry.overview.record(fingerprint=fingerprint, limit=200)}
    if found is None or not any(caller.sees(found.model, each) for each in stays or {""}):
        raise not_found("candidate")
    return found


@router.get("/entries", summary="Entries: candidates in environments with their status.")
def entries(
    caller: SignedIn,
    at: Asked,
    model: Text = "",
    environment: Text = "",
    status: Annotated[Status | Literal[""], Query()] = "",
    cursor: Cursor = "",
    limit: Limit = 100,
) -> Page[Entry]:
    """All that the registry has, superseded ones, too."""
    found = at.registry.entries(model or None, environment or None, status or None)
    seen = [entry for entry in found if caller.sees(entry.model, entry.environment)]
    begin = place(cursor, int) or 0
    more = begin + limit < len(seen)
    return Page(items=seen[begin : begin + limit], next=word(begin + limit if more else None))


@router.get("/routes", summary="Where requests go, and why not.")
def routes(caller: SignedIn, read: Read, environment: Text = "") -> list[RouteRow]:
    """What a router reads."""
    return read.routes(caller.sees, environment=environment)


@router.get("/releases", summary="Runs, the latest first.")
def releases(caller: SignedIn, read: Read, flow: Text = "", cursor: Cursor = "", limit: Limit = 30) -> Page[Run]:
    """Releases, rollbacks, rehearsals, plans and revalidations, or those of one flow."""
    page = read.runs(caller.sees, offset=place(cursor, int) or 0, limit=limit, flow=flow)
    return Page(items=list(page.runs), next=word(page.next_offset))


@router.get("/releases/{run}", summary="A run as the pipeline that it is.")
def one_release(run: RunId, caller: SignedIn, read: Read) -> ReleaseView:
    """Its steps by environment, what it measured, why it does not go on, and what it says."""
    found = read.release(caller.sees, run)
    if found is None:
        raise not_found("run")
    return found


@router.get("/approvals", summary="What waits for people, the longest first.")
def approvals(caller: SignedIn, read: Read) -> list[ApprovalSeen]:
    """Each with what it would change, the evidence, and who has answered."""
    return [ApprovalSeen(request=each, you_may_not=read.may_not_approve(each, caller.name)) for each in read.waiting(caller.sees)]


@router.get("/approvals/{run}", summary="What a run waits for.")
def approval(run: RunId, caller: SignedIn, read: Read) -> list[ApprovalSeen]:
    """Its requests; none if it waits for none."""
    found = read.waiting(caller.sees, run_id=run)
    return [ApprovalSeen(request=each, you_may_not=read.may_not_approve(each, caller.name)) for each in found]


@router.get("/nodes", summary="Nodes: GPUs, disks, snapshots, the last scrub.")
def nodes(caller: SignedIn, read: Read) -> NodesView:
    """Those of environments that you may see whatever the model; a cluster that does not answer is said to be unknown."""
    return read.nodes(caller.sees)
