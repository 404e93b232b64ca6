"""How long a hub or its CDN asks to wait, by the headers of its answer; shared with the program on the nodes, and light."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Protocol

#: One limit of the `RateLimit` header (draft-ietf-httpapi-ratelimit-headers-09), as the hub sends it: `"api";r=0;t=110`.
_REMAINING = re.compile(r";\s*r=(\d{1,18})(?=[;,\s]|$)")
_RESET = re.compile(r";\s*t=(\d{1,18})(?=[;,\s]|$)")


class Headers(Protocol):
    """An answer's headers, as each HTTP client has them: found by name in any case."""

    def get(self, name: str, /) -> str | None:
        """What the header of that name says; none if there is none."""


def stated_wait(headers: Headers) -> float | None:
    """Seconds until another request may be sent; none if the answer does not say, or less than a second. The caller has the deadline.

    `Retry-After: 0`, or a date that is over, is no pause to be made: whoever obeyed it would ask without end and without a breath.

    Args:
        headers: The answer's.
    """
    said = [_window(headers.get("RateLimit")), _retry_after(headers.get("Retry-After"))]
    return max((wait for wait in said if wait is not None and wait >= 1), default=None)


def _window(value: str | None) -> float | None:
    """Seconds until the windows that are used up open again."""
    waits = []
    for limit in (value or "")[:1000].split(","):
        reset, remaining = _RESET.search(limit), _REMAINING.search(limit)
        if reset and not (remaining and int(remaining[1])):
            # A second more: the hub counts in whole ones.
            waits.append(float(reset[1]) + 1)
    return max(waits, default=None)


def _retry_after(value: str | None) -> float | None:
    """What `Retry-After` says: a number of seconds, or a date."""
    if value is None:
        return None
    if re.fullmatch(r"\d{1,18}(\.\d{1,9})?", value.strip()):
        return float(value)
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    # TypeError: a date in the zone -0000 is read without a zone.
    except (TypeError, ValueError, OverflowError):
        return None
