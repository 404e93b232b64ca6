"""A rehearsal: an environment goes back and forward again, and is killed on either way."""

from __future__ import annotations

from prefect.client.schemas.objects import FlowRun

from flows.rehearse import rehearse
from tests.chaos.facts import Intended
from tests.chaos.points import Point, points_of
from tests.chaos.scenarios import Back


class Rehearsed(Back):
    """A rehearsal between two candidates; it ends where it began."""

    name = "rehearsal"
    flow = "rehearse"

    def begin(self) -> tuple[FlowRun, Intended, tuple[str, ...]]:
        """See `Scenario`."""
        commit, fingerprint = self.now
        run = self.lane.site.start(rehearse, environment=self.environment, models=[self.lane.site.model])
        return run, Intended(commit=commit, fingerprint=fingerprint, ready=2), (commit, self.other[0])

    def after(self, intended: Intended) -> None:
        """See `Scenario`."""

    def record(self, run: FlowRun) -> list[Point]:
        """What a rollback does not have: how it knows what it rehearses with, its second way, and its own record."""
        self.lane.execute(self.flow, run)
        assert self.lane.leg is not None
        boundaries, noted = self.lane.leg.boundaries, self.lane.trap.noted
        back = next(place for place, each in enumerate(noted) if each.what == "COMMIT ready_entry")
        forward = points_of(
            f"{self.name}/forward", noted[back:], boundaries, tasks=("roll_back_release", "record_ready", "record_rehearsed")
        )
        return [
            *points_of(self.name, noted, boundaries, tasks=("choose_rehearsal",)),
            # A task that ran on the way back is not killed when it begins: that would be the earlier one.
            *(point for point in forward if point.group and (point.die is None or point.die.endswith(" record_rehearsed"))),
        ]
