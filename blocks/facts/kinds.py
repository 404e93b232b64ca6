"""The kinds of events that the registry keeps, and the groups of them that mean something together.

A kind is a word in people's databases: it is never renamed, and one that is no longer written stays here for as long as old events hold it.
`docs/registry.md` says what is recorded when.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class EventKind(StrEnum):
    """What an event says that happened. In the registry it is plain text, as a newer version may have written kinds of its own."""

    # A candidate in an environment, by the run that brings it there.
    DEPLOYING = "deploying"  #: a run begins to bring the candidate there
    READY = "ready"  #: the run verified it there, and it is routed
    FAILED = "failed"  #: the run gave it up there, and why
    SUPERSEDED = "superseded"  #: it served until another candidate became ready
    DISPLACED = "displaced"  #: it lost its endpoint to a candidate that was deployed over it and failed
    VERIFIED = "verified"  #: it was measured there, whatever the verdict; names the evidence
    TIMED = "timed"  #: how long each phase of its release took

    # What serves, as it goes on.
    DEGRADED = "degraded"  #: it was found bad, by a verification or by health checks
    RECOVERED = "recovered"  #: it was found good again, by a verification (names the evidence) or by health checks
    REVALIDATED = "revalidated"  #: it passed the nightly verification, as it had before
    DRIFTED = "drifted"  #: Git, Argo CD or the cluster is not as it was recorded
    DISABLED = "disabled"  #: a person took the model out
    ENABLED = "enabled"  #: a person put the model back
    SCRUBBED = "scrubbed"  #: the weights on a node were hashed again; of no model

    # A candidate that gets a share of the requests beside the one that serves (docs/canary.md).
    CANARY_BEGUN = "canary_begun"  #: it comes up beside what serves; the steps that are planned
    CANARY_SHIFTED = "canary_shifted"  #: it gets another share of the requests, or of copies of them
    CANARY_MOVED = "canary_moved"  #: another phase of it: running, held, taking_over, warm
    CANARY_WISHED = "canary_wished"  #: a person wants it promoted, aborted, held or resumed
    CANARY_ENDED = "canary_ended"  #: it is over: how, and why

    # What became of an environment after a failure.
    ROLLED_BACK = "rolled_back"  #: it serves an earlier candidate again: who wanted that, why, and how long it took
    ROLLBACK_FAILED = "rollback_failed"  #: going back failed, too
    ROLLBACK_DECLINED = "rollback_declined"  #: a person left it as it is
    REMOVED = "removed"  #: nothing served there before: what failed is gone
    KEPT = "kept"  #: what failed was left for inspection

    # What was put right before a delivery.
    HELM_STUCK = "helm_stuck"  #: an operation of Helm was found that nobody will end
    HELM_UNSTUCK = "helm_unstuck"  #: it was ended or taken back
    FIELDS_TAKEN_BACK = "fields_taken_back"  #: somebody had changed the release's objects beside Helm

    # A run whose process is gone.
    PICKED_UP = "picked_up"  #: it was taken up again where it was
    ABANDONED = "abandoned"  #: it is not taken up again; people were told
    CLEANING_UP = "cleaning_up"  #: what is to be done about what it began
    CLEANED_UP = "cleaned_up"  #: that was done, and this is left

    # Rehearsals of going back.
    REHEARSING = "rehearsing"  #: a run begins, with these models
    REHEARSED = "rehearsed"  #: a model went back and forward again, and how long each took

    # The record itself (docs/registry.md).
    SEALED = "sealed"  #: the ends of all chains that went on since the last seal; of no model
    ARCHIVED = "archived"  #: events went to a file: how many, and its SHA-256; of no model

    # Approvals (docs/approvals.md).
    APPROVAL_REQUESTED = "approval_requested"  #: people are asked; names the evidence that they decide on
    APPROVED = "approved"  #: one approver said yes
    REJECTED = "rejected"  #: one approver said no, which ends it
    APPROVAL_REFUSED = "approval_refused"  #: an answer was not accepted, and why
    APPROVAL_FROZEN = "approval_frozen"  #: enough have approved, and a freeze is in the way
    APPROVAL_GRANTED = "approval_granted"  #: the run may go on: who let it
    APPROVAL_LAPSED = "approval_lapsed"  #: what was approved does not hold (any longer): who lost which right, or what changed
    APPROVAL_EXPIRED = "approval_expired"  #: nobody decided in time
    APPROVAL_VOID = "approval_void"  #: nobody can answer any longer, or no answer could be accepted
    APPROVER_ENROLLED = "approver_enrolled"  #: somebody got an authenticator, or another one

    # Who may ask the console (docs/console.md).
    TOKEN_CREATED = "token_created"  # noqa: S105  #: somebody, or a machine, got a token: what it may; never the token
    TOKEN_REVOKED = "token_revoked"  # noqa: S105  #: it was taken out of use


#: What a run itself says of its candidate in an environment. The latest of them is how far it has come there.
STEPS = (EventKind.DEPLOYING, EventKind.READY, EventKind.FAILED)

#: The first that a run says of a candidate that it takes into its hands.
BEGINNINGS = (EventKind.APPROVAL_REQUESTED, EventKind.DEPLOYING)

#: By any of them a run's failure is settled: the environment was put right, or somebody knows that it was not.
SETTLING = (
    EventKind.ROLLED_BACK,
    EventKind.ROLLBACK_FAILED,
    EventKind.ROLLBACK_DECLINED,
    EventKind.REMOVED,
    EventKind.KEPT,
    EventKind.CLEANED_UP,
)

#: A verification was passed, where the event names its evidence: health checks that are good again are no verification.
PASSED = (EventKind.READY, EventKind.RECOVERED, EventKind.REVALIDATED)

#: What was found of a candidate: whether it is good. (So does a failure that reached the cluster: it is bad.)
JUDGED = (EventKind.READY, EventKind.DEGRADED, EventKind.RECOVERED)

#: Those of `JUDGED` that say that it is.
GOOD = (EventKind.READY, EventKind.RECOVERED)

#: Whether a candidate holds the endpoint: it does unless the latest of them is `displaced`.
HOLDING = (*JUDGED, EventKind.DISPLACED)

#: What others do about a run; it is no deed of the run's own.
ABOUT_RUNS = (EventKind.PICKED_UP, EventKind.ABANDONED, EventKind.CLEANING_UP, EventKind.CLEANED_UP)

#: By any of them a request for approval is closed.
CLOSING = (EventKind.APPROVAL_GRANTED, EventKind.REJECTED, EventKind.APPROVAL_EXPIRED, EventKind.APPROVAL_VOID)

#: What is said again and again of what goes on, and of which the latest alone is asked for: older ones may go to a file.
REPEATED = (EventKind.DEGRADED, EventKind.RECOVERED, EventKind.REVALIDATED, EventKind.SCRUBBED)

#: The groups that statements of the registry ask for, by the names of their parameters.
GROUPS: Mapping[str, list[EventKind]] = {
    "beginnings": list(BEGINNINGS),
    "steps": list(STEPS),
    "settling": list(SETTLING),
    "passed": list(PASSED),
    "judged": list(JUDGED),
    "good": list(GOOD),
    "holding": list(HOLDING),
    "about_runs": list(ABOUT_RUNS),
    "closing": list(CLOSING),
    "repeated": list(REPEATED),
}
