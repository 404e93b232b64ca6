"""Whether an environment is frozen at a moment, and until when."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from cronsim import CronSim

from flows.spec import Freeze


def frozen_until(freezes: Sequence[Freeze], now: datetime) -> tuple[datetime, str] | None:
    """When the freeze that holds now ends (UTC), with its reason; none if there is none. Of several, the last end counts."""
    ends = [(end, freeze.reason) for freeze in freezes if (end := _end(freeze, now)) > now]
    return max(ends, key=lambda end: end[0]) if ends else None


def _end(freeze: Freeze, now: datetime) -> datetime:
    """The end of the freeze's last beginning up to now."""
    local = now.astimezone(ZoneInfo(freeze.timezone))
    # Backwards from the next minute: a freeze that begins this very minute has begun.
    begins = next(CronSim(freeze.begins, local.replace(second=0, microsecond=0) + timedelta(minutes=1), reverse=True))
    return begins.astimezone(UTC) + timedelta(hours=freeze.hours)
