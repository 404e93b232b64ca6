"""What is approved, who may approve it, and whether enough people have. No I/O: events in, decisions out."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from blocks.facts.kinds import EventKind
from blocks.facts.registry import Event
from flows.candidate.changes import Change
from flows.spec import ApprovalPolicy, Approver, Approvers, Candidate, Environment
from flows.spec.approval import plain_name

#: An emergency approval passes a freeze, and always needs two people.
EMERGENCY_APPROVALS = 2

Choice = Literal["approve", "reject", "approve-emergency"]


@dataclass(frozen=True, kw_only=True)
class ApprovalEvidence:
    """What the approvers decide on, beside the candidate itself.

    Attributes:
        sha256: Hash of the document that is kept in the registry.
        current: The candidate that serves now; none if none does.
        changes: What the new one changes.
    """

    sha256: str
    current: str | None
    changes: tuple[Change, ...]


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What an approval is bound to. If any of it changes, the approval is void.

    Attributes:
        environment: Where the candidate is to be deployed.
        fingerprint: The candidate.
        evidence_sha256: The evidence that the approvers are shown.
        policy_sha256: The environment's approval policy.
        requester: Who asked for the release.
    """

    environment: str
    fingerprint: str
    evidence_sha256: str
    policy_sha256: str
    requester: str

    @property
    def sha256(self) -> str:
        """One hash for all of it."""
        return _digest(asdict(self))

    @property
    def gate(self) -> str:
        """The gate's name in the run."""
        return f"{self.environment}-{self.sha256[:16]}"


def subject_of(candidate: Candidate, environment: Environment, evidence_sha256: str, requester: str) -> Subject:
    """What approving this candidate for this environment means."""
    return Subject(
        environment=environment.name,
        fingerprint=candidate.fingerprint,
        evidence_sha256=evidence_sha256,
        policy_sha256=_digest(asdict(environment.approval)),
        requester=requester,
    )


@dataclass(frozen=True, kw_only=True)
class Tally:
    """Where a gate stands.

    Attributes:
        approvals: The approvals that count now, oldest first.
        needed: How many it takes.
        emergency: Whether all that count were given as an emergency.
        rejection: The answer that rejected; none if nobody did.
    """

    approvals: tuple[Event, ...]
    needed: int
    emergency: bool
    rejection: Event | None

    @property
    def granted(self) -> bool:
        """Whether enough people have approved and nobody rejected."""
        return self.rejection is None and len(self.approvals) >= self.needed


def tally(answers: Sequence[Event], policy: ApprovalPolicy, now: datetime) -> Tally:
    """Count the answers of one gate.

    An approval holds for `approval_hours`; of one person only the latest counts. As soon as one that counts was given as an
    emergency, two people are needed, and the freeze is passed only if all of the counted ones were.
    """
    # One no is enough, whatever others said, and it does not expire.
    rejection = next((answer for answer in answers if answer.kind == EventKind.REJECTED), None)
    latest: dict[str | None, Event] = {}
    for answer in sorted(answers, key=lambda answer: answer.occurred_at):
        if answer.kind == EventKind.APPROVED and now <= answer.occurred_at + timedelta(hours=policy.approval_hours):
            latest[answer.actor] = answer
    counted = tuple(sorted(latest.values(), key=lambda answer: answer.occurred_at))
    emergencies = [answer for answer in counted if answer.detail.get("emergency")]
    return Tally(
        approvals=counted,
        needed=max(policy.approvals, EMERGENCY_APPROVALS if emergencies else 1),
        emergency=bool(counted) and len(emergencies) == len(counted),
        rejection=rejection,
    )


def why_not(
    name: str, choice: Choice, reason: str, environment: Environment, approvers: Approvers, requester: str, approvals: Sequence[Event]
) -> str | None:
    """Why this person's answer cannot be accepted, whatever the code; none if it depends on the code alone."""
    if (refusal := _no_say(name, environment, approvers)) is not None:
        return refusal
    # Before the requester is asked for: everybody who may approve may stop a release, their own, too.
    if choice == "reject":
        return None if reason.strip() else "a rejection needs a reason"
    if (refusal := no_right(name, environment, approvers, requester)) is not None:
        return refusal
    # An approval of the other kind is taken, and replaces the first: so a plain one becomes an emergency.
    if any(answer.actor == name and bool(answer.detail.get("emergency")) == (choice == "approve-emergency") for answer in approvals):
        return f"{name} has approved already; another approver is needed"
    if choice == "approve-emergency" and not reason.strip():
        return "an emergency approval needs a reason"
    return None


def no_right(name: str, environment: Environment, approvers: Approvers, requester: str) -> str | None:
    """Why this person may not approve a release for that requester there; none if they may.

    Asked when an answer is judged, and of each approval that was given again whenever it is counted: rights may be lost in between.
    """
    refusal = _no_say(name, environment, approvers)
    if refusal is not None:
        return refusal
    approver = approvers.find(name)
    if approver is not None and is_requester(approver, requester) and not environment.approval.requester_may_approve:
        return f"{name} asked for this release, and {environment.name} does not let the requester approve"
    return None


def _no_say(name: str, environment: Environment, approvers: Approvers) -> str | None:
    policy = environment.approval
    approver = approvers.find(name)
    if approver is None:
        return f"{name!r} is not an approver of deployments/approvers.yaml"
    if environment.name not in approver.environments:
        return f"{name} may not approve for {environment.name}"
    if not set(approver.roles) & set(policy.roles):
        return f"{name} has none of the roles that {environment.name} asks for ({', '.join(policy.roles)})"
    return None


@dataclass(frozen=True, kw_only=True)
class Standing:
    """Where a gate stands by the rights of this moment.

    Attributes:
        tally: What counts.
        lost: Whose approval would count but for a right that they do not have (any longer), and which.
    """

    tally: Tally
    lost: Mapping[str, str]


def standing(answers: Sequence[Event], environment: Environment, approvers: Approvers, requester: str, now: datetime) -> Standing:
    """Count the answers of one gate, without the approvals of those who may not give them (any longer).

    The one rule for whether a gate is open: when it is decided, and again right before something touches the environment.

    Args:
        answers: All that was answered.
        environment: With the policy that is in force now.
        approvers: Who may approve now.
        requester: Who asked for the release.
        now: When.
    """
    given = tally(answers, environment.approval, now).approvals
    lost = {str(a.actor): why for a in given if (why := no_right(str(a.actor), environment, approvers, requester)) is not None}
    left = [answer for answer in answers if answer.kind != EventKind.APPROVED or answer.actor not in lost]
    return Standing(tally=tally(left, environment.approval, now), lost=lost)


def why_shut(seen: Standing, frozen: tuple[datetime, str] | None) -> str | None:
    """Why a gate is not open; none if it is.

    Args:
        seen: Where it stands.
        frozen: Until when the environment is frozen and why; none if it is not.
    """
    counted = seen.tally
    if counted.rejection is not None:
        return f"{counted.rejection.actor} rejected it: {counted.rejection.detail.get('reason')}"
    if not counted.granted:
        whose = "".join(f"; {why}" for why in seen.lost.values())
        return f"{len(counted.approvals)} of {counted.needed} approvals count{whose}"
    if frozen is not None and not counted.emergency:
        return f"it is frozen until {frozen[0]:%Y-%m-%d %H:%M} UTC" + (f" ({frozen[1]})" if frozen[1] else "")
    return None


def changed(before: Subject, now: Subject) -> str | None:
    """What of that which was approved is another now; none if nothing is."""
    words = {
        "environment": "the environment",
        "fingerprint": "the candidate",
        "evidence_sha256": "the evidence, or what serves there",
        "policy_sha256": "the approval policy",
        "requester": "who asked for it",
    }
    found = [word for name, word in words.items() if getattr(before, name) != getattr(now, name)]
    return " and ".join(found) or None


@dataclass(frozen=True, kw_only=True)
class AnswerCount:
    """How many answers a gate was given, and what of them was no answer.

    Attributes:
        given: All of them.
        refused: Those that were not accepted.
        malformed: Those of them that were no filled-in form.
        problems: What was wrong with these, and how often.
    """

    given: int
    refused: int
    malformed: int
    problems: Mapping[str, int]


def count_answers(answers: Sequence[Event]) -> AnswerCount:
    """Count all that a gate was given, for the record."""
    problems = Counter(str(answer.detail["malformed"]) for answer in answers if answer.detail.get("malformed"))
    return AnswerCount(
        given=len(answers),
        refused=sum(answer.kind == EventKind.APPROVAL_REFUSED for answer in answers),
        malformed=problems.total(),
        problems=dict(problems),
    )


def is_requester(approver: Approver, requester: str) -> bool:
    """Whether the approver is who asked for the release, under any of the approver's names."""
    return approver.is_called(requester)


def requester_refusal(requester: str, environments: Sequence[Environment]) -> str | None:
    """Why a release must say who asks for it; none if it does or need not."""
    strict = [e.name for e in environments if e.asks_people and not e.approval.requester_may_approve]
    if strict and not plain_name(requester):
        return f"requester: say who asks for this release; {strict[0]} does not let the requester approve it."
    return None


def expires_at(opened_at: datetime, policy: ApprovalPolicy) -> datetime:
    """When a request that was opened then has waited long enough."""
    return opened_at + timedelta(hours=policy.request_hours)


def _digest(document: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()).hexdigest()
