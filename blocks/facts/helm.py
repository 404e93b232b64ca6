"""What Helm says of a release."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


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
        values: The values that it was given, without nulls, which Helm does not keep.
    """

    release: str
    revision: int
    status: str
    fingerprint: str | None
    strategy: str | None
    replicas: int | None
    values_sha256: str
    updated_at: datetime
    values: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Both mappings as one, key by key in depth; `above` wins, and lists are replaced whole."""
    result = dict(below)
    for key, value in above.items():
        under = result.get(key)
        result[key] = merged(under, value) if isinstance(under, Mapping) and isinstance(value, Mapping) else value
    return result


#: Statuses of revisions that were in place once: what they rendered was accepted by the cluster.
WERE_IN_PLACE = ("deployed", "superseded")


def carried_before(revisions: Iterable[HelmRevision], fingerprint: str) -> HelmRevision | None:
    """The newest of the revisions (newest first) that carried the candidate of this fingerprint and was in place; none if none is kept."""
    return next((each for each in revisions if each.fingerprint == fingerprint and each.status in WERE_IN_PLACE), None)
