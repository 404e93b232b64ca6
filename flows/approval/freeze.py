"""Whether an environment is frozen at a moment, and until when."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from cronsim import CronSim

from flows.spec import Freeze

#: More than clocks are ever set back by.
_ASIDE = timedelta(hours=3)


def frozen_until(freezes: Sequence[Freeze], now: datetime) -> tuple[datetime, str] | None:
    """When the freeze that holds now ends (UTC), with its reason; none if there is none. Of several, the last end counts."""
    ends = [(end, freeze.reason) for freeze in freezes if (end := _end(freeze, now)) > now]
    return max(ends, key=lambda end: end[0]) if ends else None


def _end(freeze: Freeze, now: datetime) -> datetime:
    """The end of the freeze's last beginning up to now."""
    zone = ZoneInfo(freeze.timezone)
    # Backwards, cronsim loses itself in the hour that autumn repeats; forwards it does not. So: back to before any such hour, then on.
    begins = next(CronSim(freeze.begins, (now - _ASIDE).astimezone(zone).replace(second=0, microsecond=0), reverse=True))
    for later in CronSim(freeze.begins, begins):
        if later.astimezone(UTC) > now:
            break
        begins = later
    # Added in UTC, so that its hours are hours also where clocks change meanwhile.
    return begins.astimezone(UTC) + timedelta(hours=freeze.hours)
