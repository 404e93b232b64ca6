"""What Helm says of a release."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, kw_only=True)
class HelmRevision:
    """One line of `helm history`, and what its values say.

    Attributes:
        release: The Helm release.
        revision: Its number.
        status: In Helm's words: deployed, superseded, failed, uninstalled, pending-install, pending-upgrade, pending-rollback, …
        fingerprint: The candidate that it carries.
        strategy: How its pods replace others.
        replicas: Pods that it asks for; none if it does not say.
        values_sha256: What tells its values from others.
        updated_at: When the operation began, by the clock of the machine where `helm` ran.
    """

    release: str
    revision: int
    status: str
    fingerprint: str | None
    strategy: str | None
    replicas: int | None
    values_sha256: str
    updated_at: datetime
