"""Shows a flow run's steps while it runs: a live table on a terminal, a line a step elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from uuid import UUID

from rich.console import Console
from rich.live import Live
from rich.table import Table

from flows import runs

#: Between two looks at the run, in seconds.
PAUSE = 0.5

_STYLES = {"Completed": "green", "Cached": "green", "Failed": "red", "Crashed": "red", "Errored": "red", "Running": "cyan"}


def follow(run_id: UUID, console: Console, until: Callable[[runs.Progress], bool]) -> runs.Progress:
    """Show the run's steps until `until` says that it has come far enough; the run as it is then."""
    if console.is_terminal:
        with Live(console=console, refresh_per_second=4) as live:
            while True:
                seen = runs.progress(run_id)
                live.update(_table(seen))
                if until(seen):
                    return seen
                time.sleep(PAUSE)
    told: set[tuple[str, str]] = set()
    while True:
        seen = runs.progress(run_id)
        for step in seen.steps:
            if step.state not in ("Running", "Pending") and (step.name, step.state) not in told:
                told.add((step.name, step.state))
                console.print(f"{step.state:<10} {step.seconds:6.1f} s  {step.name}", highlight=False)
        if until(seen):
            return seen
        time.sleep(PAUSE)


def stopped(seen: runs.Progress) -> bool:
    """Whether the run has ended or waits for a person."""
    return seen.final or seen.suspended


def _table(seen: runs.Progress) -> Table:
    table = Table(title=f"{seen.name}: {seen.state}", title_justify="left", show_edge=False)
    table.add_column("step")
    table.add_column("state")
    table.add_column("seconds", justify="right")
    for step in seen.steps:
        style = _STYLES.get(step.state, "yellow")
        table.add_row(step.name, f"[{style}]{step.state}[/]", f"{step.seconds:.1f}")
    return table
