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
        seen, steps = self.lane.trap.seen, ("record_ready", "plan_rollback", "roll_back_release", "record_rehearsed")
        forward = points_of(f"{self.name}/forward", seen, since="COMMIT ready_entry", steps=steps)
        return [*points_of(self.name, seen, steps=("models_to_rehearse",)), *(point for point in forward if point.group)]
