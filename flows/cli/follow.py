"""Shows a flow run's steps while it runs: a live table on a terminal, a line a step elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from uuid import UUID

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from flows.runtime import client

#: Between two looks at the run, in seconds.
PAUSE = 0.5

#: How long the last steps may take to show that they have ended, in seconds: events tell it, a moment after the run's own state.
LAST_STEPS = 5.0

_UNDER_WAY = ("Running", "Pending")
_STYLES = {"Completed": "green", "Cached": "green", "Failed": "red", "Crashed": "red", "Errored": "red", "Running": "cyan"}


class Follower:
    """Shows one run; it may be asked again after the run was resumed, and then shows only what is new.

    Args:
        run_id: The run.
        console: Where to show it.
    """

    def __init__(self, run_id: UUID, console: Console) -> None:
        self._run_id = run_id
        self._console = console
        self._told: set[tuple[str, str]] = set()

    def until(self, enough: Callable[[client.Progress], bool]) -> client.Progress:
        """Show the run's steps until it has come far enough; the run as it is then."""
        if not self._console.is_terminal:
            return self._look(enough, self._print)
        with Live(console=self._console, refresh_per_second=4) as live:
            seen = self._look(enough, lambda now: live.update(_table(now, self._told)))
        self._told.update(_finished(seen))
        return seen

    def _look(self, enough: Callable[[client.Progress], bool], show: Callable[[client.Progress], None]) -> client.Progress:
        deadline: float | None = None
        while True:
            seen = client.progress(self._run_id)
            show(seen)
            if enough(seen):
                deadline = deadline or time.monotonic() + LAST_STEPS
                if time.monotonic() > deadline or not any(step.state in _UNDER_WAY for step in seen.steps):
                    return seen
            time.sleep(PAUSE)

    def _print(self, seen: client.Progress) -> None:
        for step in seen.steps:
            if step.state not in _UNDER_WAY and (step.name, step.state) not in self._told:
                self._console.print(f"{step.state:<10} {step.seconds:6.1f} s  {step.name}")
        self._told.update(_finished(seen))


def stopped(seen: client.Progress) -> bool:
    """Whether the run has ended or waits for a person."""
    return seen.final or seen.suspended


def _finished(seen: client.Progress) -> set[tuple[str, str]]:
    return {(step.name, step.state) for step in seen.steps if step.state not in _UNDER_WAY}


def _table(seen: client.Progress, told: set[tuple[str, str]]) -> Table:
    table = Table(title=f"{seen.name}: {seen.state}", title_justify="left", show_edge=False)
    table.add_column("step")
    table.add_column("state")
    table.add_column("seconds", justify="right")
    for step in seen.steps:
        if (step.name, step.state) not in told:
            style = _STYLES.get(step.state, "yellow")
            table.add_row(step.name, Text(step.state, style), f"{step.seconds:.1f}")
    return table
