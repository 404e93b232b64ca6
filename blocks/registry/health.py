"""What health checks leave behind: when each entry was last looked at, and how its last checks were."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from blocks.facts.registry import Checked, EntryKey
from blocks.registry.session import Session


@dataclass(frozen=True, kw_only=True)
class Health:
    """How one health check was.

    Attributes:
        key: Whose.
        fingerprint: The candidate that the entry held when it was looked at.
        good: Whether it answered as it should.
    """

    key: EntryKey
    fingerprint: str | None
    good: bool


class HealthRecord:
    """Remembers health checks."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def mark_checked(self, keys: Iterable[EntryKey], at: datetime) -> int:
        """Write when the health of these entries was last looked at, in one statement; return how many there are. Time never goes back."""
        return self._session.change("check_entries", {**_columns(list(keys)), "at": at})

    def record(self, checks: Sequence[Health], at: datetime) -> list[Checked]:
        """Remember a round of checks in one statement, and return the entries with their last checks.

        It waits for nobody: entries that are being changed, or that hold another candidate by now, are left out. Time never goes back.
        """
        columns = {
            **_columns([check.key for check in checks]),
            "fingerprints": [check.fingerprint for check in checks],
            "good": [check.good for check in checks],
        }
        return self._session.rows("record_health", Checked, {**columns, "at": at})


def _columns(keys: Sequence[EntryKey]) -> dict[str, object]:
    return {
        "organisations": [key.organisation for key in keys],
        "models": [key.model for key in keys],
        "hub_revisions": [key.hub_revision for key in keys],
        "environments": [key.environment for key in keys],
    }
