"""What people decide on and by: the form of a suspended release, and the page above it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType

from prefect.input import RunInput
from pydantic import Field, SecretStr

from blocks.facts.kinds import EventKind
from blocks.facts.registry import Event
from flows.approval.freeze import frozen_until
from flows.approval.rules import ApprovalEvidence, Tally
from flows.canary.asked import StepAsked
from flows.candidate.changes import Change
from flows.candidate.page import candidate_rows
from flows.spec import Candidate, Environment
from flows.text.markdown import Markdown, code, heads, joined, md, page, row
from flows.verification.evidence import VerifiedEvidence
from flows.verification.summary import verdict_rows

#: Changes that the page names: a repository may change thousands of files at once.
MOST_CHANGES = 100


class Decision(StrEnum):
    """What a release manager may decide."""

    APPROVE = "approve"
    REJECT = "reject"
    EMERGENCY = "approve-emergency"


class Approval(RunInput):
    """The form that a release manager fills in to resume a suspended production release."""

    # No validators: Prefect checks by JSON Schema alone, and wakes the run with every answer that satisfies it.
    # Positions, because on PostgreSQL the schema is JSONB, which orders keys by their length.
    decision: Decision = Field(
        description="Approve to deploy to the environment, or reject to end the release. An emergency approval passes a freeze; "
        "two approvers must give it, and it is recorded as such.",
        json_schema_extra={"position": 0},
    )
    approver: str = Field(
        min_length=2, max_length=100, description="Who decides: a name of deployments/approvers.yaml.", json_schema_extra={"position": 1}
    )
    # Masked in the UI, but kept in clear by Prefect's server: so it must be something that works once.
    code: SecretStr = Field(
        max_length=20, description="The six digits that the approver's authenticator shows now.", json_schema_extra={"position": 2}
    )
    reason: str = Field(
        default="", max_length=2000, description="Why; a rejection and an emergency need one.", json_schema_extra={"position": 3}
    )


def approval_page(
    candidate: Candidate,
    environment: Environment,
    decided_on: ApprovalEvidence,
    proofs: Mapping[str, VerifiedEvidence],
    requester: str,
    deadline: datetime,
) -> Markdown:
    """What a release manager reads above the form: what is to be approved, what it changes, what was found so far."""
    current = decided_on.current
    replaces = md("candidate {}", code(current[:12])) if current else md("nothing; it is the first release there")
    return page(
        md("## Release {} to {}?", candidate.model, environment.name),
        md(""),
        *candidate_rows(candidate),
        row(f"replaces in {environment.name}", replaces),
        row("asked for by", requester or "nobody in particular"),
        row("evidence", code(decided_on.sha256[:16])),
        row("waits until", f"{deadline:%Y-%m-%d %H:%M} UTC"),
        md(""),
        *_changes(decided_on.changes),
        *verdict_rows(proofs),
        md(""),
        md("Resuming with *approve* deploys this candidate; with *reject* it ends the release."),
    )


def step_page(
    candidate: Candidate, environment: Environment, decided_on: ApprovalEvidence, step: StepAsked, requester: str, deadline: datetime
) -> Markdown:
    """What a release manager reads above the form before a step of a canary: which share it is to get, and what was seen by now."""
    takes_over = step.number == step.of - 1
    return page(
        md("## {}: {} for the canary in {}?", candidate.model, "everything" if takes_over else f"{step.weight} %", environment.name),
        md(""),
        *candidate_rows(candidate),
        row("step", step.told),
        row("its share while it waits", f"{step.now} %"),
        row(f"serves in {environment.name}", code((decided_on.current or "")[:12])),
        row("asked for by", requester or "nobody in particular"),
        row("evidence", code(decided_on.sha256[:16])),
        row("waits until", f"{deadline:%Y-%m-%d %H:%M} UTC"),
        md(""),
        step.page,
        md(""),
        md("It keeps its share while it waits, and nobody judges it meanwhile."),
        md("Resuming with *approve* goes on with the step; *reject* ends the canary, and what serves gets all requests again."),
    )


def _changes(found: Sequence[Change]) -> list[Markdown]:
    if not found:
        return []
    rows = [row(change.what, change.now, change.new) for change in found[:MOST_CHANGES]]
    more = [row(f"{len(found) - MOST_CHANGES:,} more", "", "")] if len(found) > MOST_CHANGES else []
    return [heads("what changes", "now", "then"), *rows, *more, md("")]


def so_far(
    answers: Sequence[Event], seen: Tally, environment: Environment, now: datetime, lost: Mapping[str, str] = MappingProxyType({})
) -> Markdown:
    """What has been answered, for the next who reads the form; `lost` are approvers whose approval does not count any longer, and why."""
    lines = [
        md(
            "> {} approved at {:%Y-%m-%d %H:%M} UTC{}{}",
            answer.actor,
            answer.occurred_at,
            md(" as an emergency") if answer.detail.get("emergency") else "",
            md(": {}", answer.detail["reason"]) if answer.detail.get("reason") else "",
        )
        for answer in seen.approvals
    ]
    if seen.approvals and not seen.granted:
        lines.append(md("> {} of {} approvals; another approver is needed.", len(seen.approvals), seen.needed))
    lines += [md("> An approval does not count any longer: {}.", why) for why in lost.values()]
    frozen = frozen_until(environment.approval.freezes, now)
    if frozen is not None:
        until, reason = frozen
        lines.append(
            md(
                "> {} is frozen until {:%Y-%m-%d %H:%M} UTC{}: an approved release waits until then, unless two approvers decide "
                "*approve-emergency*.",
                environment.name,
                until,
                md(" ({})", reason) if reason else "",
            )
        )
    refused = [answer for answer in answers if answer.kind == EventKind.APPROVAL_REFUSED]
    if refused and answers[-1] is refused[-1]:
        lines.append(md("> The last answer was not accepted: {}.", refused[-1].detail.get("why")))
    return joined("", [md("\n\n{}", line) for line in lines])
