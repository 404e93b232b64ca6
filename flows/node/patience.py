"""How long trouble on the network is put up with: so many attempts, so much time, with growing and jittered pauses."""

from __future__ import annotations

import random
import threading
import time

from blocks.errors import HubUnreachable, PipelineError
from flows.node.policy import Patience

#: Longest pause that a server may ask for: one window of the hub's limits, which is of five minutes (`RateLimit-Policy: ...;w=300`).
LONGEST_WINDOW_SECONDS = 330.0

#: Longest pause between two attempts, in seconds, where the server does not ask for a longer one.
LONGEST_PAUSE_SECONDS = 30.0


class Trouble(Exception):
    """An attempt that failed and may be repeated.

    Args:
        sentence: What happened, without any address that holds a signature.
        retry_after_seconds: How long the server asks to wait.
        stale: Whether the link should be asked for anew.
        kind: What it becomes if it does not pass.
    """

    def __init__(
        self, sentence: str, *, retry_after_seconds: float | None = None, stale: bool = False, kind: type[PipelineError] = HubUnreachable
    ) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.retry_after_seconds = retry_after_seconds
        self.stale = stale
        self.kind = kind


class Stopped(Exception):
    """Somebody else has failed, and there is no use in going on."""


class Trial:
    """One stretch's attempts.

    Args:
        patience: Its budget.
        what: What is tried, as the message calls it.
        stop: Ends the waiting early.
    """

    def __init__(self, patience: Patience, what: str, stop: threading.Event) -> None:
        self._patience = patience
        self._what = what
        self._stop = stop
        self._failures = 0
        self._since = 0.0
        self._granted = 0.0

    def progress(self) -> None:
        """Something came: what failed before no longer counts."""
        self._failures = 0

    def failed(self, trouble: Trouble) -> None:
        """Wait until the next attempt.

        Raises:
            PipelineError: The budget is used up.
            Stopped: Somebody else has failed meanwhile.
        """
        now = time.monotonic()
        if self._failures == 0:
            self._since, self._granted = now, 0.0
        if self._waits_for_window(trouble.retry_after_seconds, now):
            return
        self._failures += 1
        spent = now - self._since - self._granted
        # Jittered: connections that broke together, on many nodes, must not come back together.
        pause = min(LONGEST_PAUSE_SECONDS, self._patience.back_off_seconds * 2 ** (self._failures - 1)) * random.uniform(0.5, 1)  # noqa: S311
        if trouble.retry_after_seconds is not None:
            pause = max(pause, trouble.retry_after_seconds)
        if self._failures >= self._patience.attempts:
            raise trouble.kind(f"{self._what}: {trouble.sentence}, {self._failures} times within {spent:.0f} s.") from trouble
        # Not slept out first: what the pause would end with is known now.
        if spent + pause > self._patience.budget_seconds:
            raise trouble.kind(
                f"{self._what}: {trouble.sentence}; the next attempt in {pause:.0f} s would come after the "
                f"{self._patience.budget_seconds:.0f} s that are allowed for it."
            ) from trouble
        if self._stop.wait(pause):
            raise Stopped

    def _waits_for_window(self, asked: float | None, now: float) -> bool:
        """Wait as long as the server asks, if that is a window of its limits and there is time: it counts as no failure of its own."""
        if asked is None or asked > LONGEST_WINDOW_SECONDS or now + asked > self._patience.until:
            return False
        # Jittered upwards: before the window opens there is no use in asking, and not all nodes shall come in its first moment.
        pause = asked * random.uniform(1, 1.1)  # noqa: S311
        self._granted += pause
        if self._stop.wait(pause):
            raise Stopped
        return True
