"""The sweep itself is killed: while it has a run taken up again that died, and while it cleans up after one that was cancelled."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace
from typing import ClassVar

import psycopg
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterIdempotencyKey
from prefect.client.schemas.objects import FlowRun
from prefect.states import Cancelling

from flows.recovery.tasks.cleanup import ROLLBACK
from flows.rollback import rollback
from flows.sweep import sweep
from tests.chaos.facts import Intended
from tests.chaos.lane import Lane
from tests.chaos.points import Point, points_of
from tests.chaos.scenarios import Over

#: Where the release is lost that the sweep looks after: Helm has begun to change the cluster.
LOST = Point(name="lost", what="helm PATCH deployments")


class _Swept(Over):
    """A release over one that serves is lost; what follows is the sweep's."""

    steps: ClassVar[tuple[str, ...]]

    def record(self, run: FlowRun) -> list[Point]:
        """The sweep's own points."""
        self.lose(run)
        self.lane.execute(sweep.name, self._one())
        points = points_of(self.name, self.lane.trap.seen, steps=self.steps)
        self.finish(run)
        return points

    def drive(self, run: FlowRun, point: Point | None) -> bool:
        """See `Scenario`. The sweep after the one that is killed has to do: nobody else looks after the run."""
        self.lose(run)
        reached = self.leg(self._one(), point, sweep.name)
        if point is not None:
            self._two_minutes_pass()
            self.leg(self._one(), None, sweep.name)
        self.finish(run)
        return reached

    def lose(self, run: FlowRun) -> None:
        """Kill the release."""
        if not self.leg(run, LOST):
            raise RuntimeError("the release did not come to where it was to be lost")

    def _two_minutes_pass(self) -> None:
        """Sweeps are so far apart: by the next one nobody holds what a dead one held."""
        with psycopg.connect(self.lane.site.database) as connection:
            connection.execute("UPDATE slipway_locks SET heartbeat_at = heartbeat_at - interval '2 minutes'")

    def _one(self) -> FlowRun:
        """A sweep that takes for dead what is not busy right now."""
        return self.lane.site.start(sweep, silent_seconds=0, pending_seconds=0)

    @abstractmethod
    def finish(self, run: FlowRun) -> None:
        """Execute what the sweep has asked Prefect to start; nothing else."""


class TakenUp(_Swept):
    """The release carries on where it was, and is counted once."""

    name = "taking up"
    steps = ("end_stalled", "resume_run", "ended_runs")

    def begin(self) -> tuple[FlowRun, Intended, tuple[str, ...]]:
        """See `Scenario`."""
        run, intended, commits = super().begin()
        return run, replace(intended, taken_up=1), commits

    def finish(self, run: FlowRun) -> None:
        """See `_Swept`."""
        if self.lane.state(run).name == "AwaitingRetry":
            self.leg(run, None)


class CleanedUp(_Swept):
    """The release was cancelled while nobody watched over it: what served before serves again, by one rollback."""

    name = "cleaning up"
    steps = ("end_stalled", "clean_up")

    def __init__(self, lane: Lane) -> None:
        rollback.to_deployment(ROLLBACK.partition("/")[2]).apply()  # type: ignore[union-attr]  # the one that the sweep asks for by its name
        super().__init__(lane)

    def prepare(self) -> None:
        """See `Scenario`."""
        self.commit = Over(self.lane).commit

    def begin(self) -> tuple[FlowRun, Intended, tuple[str, ...]]:
        """See `Scenario`."""
        run, _, commits = super().begin()
        return run, Intended(state="Cancelled", commit=self.commit, spare_gpu=False), commits

    def after(self, intended: Intended) -> None:
        """See `Scenario`."""

    def lose(self, run: FlowRun) -> None:
        """See `_Swept`."""
        super().lose(run)
        self.lane.site.client.set_flow_run_state(run.id, Cancelling(), force=True)  # as the UI does

    def finish(self, run: FlowRun) -> None:
        """See `_Swept`."""
        (begun,) = (event.id for event in self.lane.site.events(run) if event.kind == "deploying")
        wanted = FlowRunFilter(idempotency_key=FlowRunFilterIdempotencyKey(any_=[f"clean-up/{run.id}/{begun}"]))
        for back in self.lane.site.client.read_flow_runs(flow_run_filter=wanted):
            self.legs += self.lane.pick_up(rollback.name, back)


SWEPT = {each.name: each for each in (TakenUp, CleanedUp)}
