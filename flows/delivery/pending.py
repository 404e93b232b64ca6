"""What to do about a Helm operation that was killed: Helm refuses every later one until somebody clears what it left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from blocks.errors import HelmBusy, HelmStuck
from blocks.facts import HelmRevision
from blocks.facts.helm import WERE_IN_PLACE

#: Statuses of an operation that has not ended.
_UNDER_WAY = ("pending-install", "pending-upgrade", "pending-rollback", "uninstalling")


@dataclass(frozen=True, kw_only=True)
class Repair:
    """How a stuck release is made usable again.

    Attributes:
        kind: `finish` what was begun, go back (`return`) to the last revision that was in place, or `remove` what was made of it.
        revision: The Helm revision to put in place; none for `remove`.
        was: The revision that is stuck.
    """

    kind: Literal["finish", "return", "remove"]
    revision: int | None
    was: HelmRevision

    @property
    def message(self) -> str:
        """What is done, for people."""
        what = {
            "finish": f"what it had begun is finished from its own record (Helm revision {self.revision})",
            "return": f"Helm revision {self.revision}, the last one that was in place, is put back",
            "remove": "what it made is removed",
        }[self.kind]
        return f"Helm release {self.was.release} was {self.was.status} since {self.was.updated_at:%Y-%m-%d %H:%M:%S %Z}: {what}"


def is_under_way(revision: HelmRevision | None) -> bool:
    """Whether Helm's record says that an operation has not ended."""
    return revision is not None and revision.status in _UNDER_WAY


def require_idle(newest: HelmRevision | None, now: datetime, dead_after_seconds: float) -> None:
    """Go on only if no operation is under way. To be asked by the run that holds the lock, so that no other run of ours is at it.

    Raises:
        HelmBusy: One is, and it may still be alive.
        HelmStuck: One is that began so long ago that it was killed.
    """
    if newest is None or not is_under_way(newest):
        return
    age = (now - newest.updated_at).total_seconds()
    what = f"Helm release {newest.release} is {newest.status} for {age:.0f} s (Helm revision {newest.revision})"
    # None of ours waits for pods; an upgrade of three objects took 0.4 s on a real cluster (Helm 4.1.4).
    if age < dead_after_seconds:
        raise HelmBusy(f"{what}: another operation is under way; after {dead_after_seconds:.0f} s it is taken for dead.")
    raise HelmStuck(f"{what}: the operation was killed.", status=newest.status, revision=newest.revision)


def choose_repair(revisions: Sequence[HelmRevision], wanted: str | None) -> Repair | None:
    """How to make the release usable, with as little change to what runs as there can be; none if nothing is stuck.

    What was begun with the wanted candidate is finished: its record holds everything that was to be applied, and pods that were made
    already stay. Anything else is taken back.

    Args:
        revisions: The kept revisions, newest first.
        wanted: Fingerprint of the candidate that the release is to carry next; none if it is to go.
    """
    newest = revisions[0] if revisions else None
    if newest is None or not is_under_way(newest):
        return None
    if newest.status != "uninstalling" and wanted is not None and newest.fingerprint == wanted:
        return Repair(kind="finish", revision=newest.revision, was=newest)
    in_place = [each.revision for each in revisions if each.status in WERE_IN_PLACE]
    if newest.status == "uninstalling" or not in_place:
        return Repair(kind="remove", revision=None, was=newest)
    return Repair(kind="return", revision=in_place[0], was=newest)
