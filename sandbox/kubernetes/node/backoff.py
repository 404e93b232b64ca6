"""How long a container waits before it runs again, by the rules of the kubelet's back-off (`client-go/util/flowcontrol`, 1.36). Pure.

A wait counts from the end of the last run that was *known to have ended* when the restart was due: of a container that crashes that is the
run that just ended, of one that a probe has killed it is the run before. So what is killed by a probe starts again at once as long as
it ran for longer than the current wait.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass
class BackOff:
    """The waits of one container.

    Attributes:
        first_seconds: The first wait.
        most_seconds: The longest.
    """

    first_seconds: float
    most_seconds: float
    _seconds: float = 0.0
    _updated: datetime | None = None

    def left_seconds(self, ended: datetime, now: datetime) -> float:
        """How long it still has to wait after that end; 0 if not at all."""
        if self._updated is None or self._is_over(ended):
            return 0.0
        return max(0.0, self._seconds - (now - ended).total_seconds())

    @property
    def seconds(self) -> float:
        """The current wait."""
        return self._seconds

    def next(self, ended: datetime, now: datetime) -> None:
        """It runs again: the next wait is twice as long, or the first one after a long time without trouble."""
        fresh = self._updated is None or self._is_over(ended)
        self._seconds = self.first_seconds if fresh else min(self._seconds * 2, self.most_seconds)
        self._updated = now

    def _is_over(self, ended: datetime) -> bool:
        return self._updated is not None and (ended - self._updated).total_seconds() > 2 * self.most_seconds
