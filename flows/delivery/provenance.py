"""On which grounds a candidate goes to an environment, or leaves it: what Git and Argo CD are told."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, kw_only=True)
class GivenApproval:
    """That somebody approved.

    Attributes:
        approver: Who, proven by a one-time code.
        at: When.
        emergency: Whether it was given as an emergency.
    """

    approver: str
    at: datetime
    emergency: bool = False


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Why a candidate is committed.

    Attributes:
        run_id: The flow run that commits.
        requester: Who asked for it; empty where nobody is known.
        evidence_sha256: The evidence of the environment before, or the one that was approved; none for a first environment.
        approvals: Who approved it.
        reason: Why an environment goes back; empty for a release.
    """

    run_id: str
    requester: str = ""
    evidence_sha256: str | None = None
    approvals: tuple[GivenApproval, ...] = ()
    reason: str = ""
