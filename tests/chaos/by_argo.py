"""The same situations where Argo CD delivers: what is killed is the way over Git, and what is wrong is Git or Argo CD."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from prefect.client.schemas.objects import FlowRun

from flows.release import release
from tests.chaos.facts import Intended
from tests.chaos.faults import SHORT
from tests.chaos.points import Happening, Point, points_of
from tests.chaos.scenarios import Back, Failing, Gate, Over, Scenario

Begun = tuple[FlowRun, Intended, tuple[str, ...]]

#: How long Argo CD does nothing, or its operations do not end: longer than the flow waits until it asks again.
ARGO_SECONDS = 12.0


class ByArgo(Over):
    """A release over one that serves."""

    name = "argo release"

    def prepare(self) -> None:
        """See `Scenario`."""
        self.lane.follow(self.environment)
        super().prepare()

    def begin(self) -> Begun:
        """See `Scenario`."""
        run, intended, commits = super().begin()
        return run, replace(intended, commits=("promote",)), commits

    def record(self, run: FlowRun) -> list[Point]:
        """What takes the place of Helm."""
        return recorded(self, run, "require_application", "commit", "sync")

    def happen(self, what: Happening) -> Callable[[], None]:
        """See `Scenario`."""
        if what.to != "another push":
            return super().happen(what)
        assert self.lane.followed is not None
        followed = self.lane.followed
        return lambda: followed.commit({"README.md": f"After {followed.head}.\n"}) and None


class BackByArgo(Back):
    """A rollback."""

    name = "argo rollback"

    def prepare(self) -> None:
        """See `Scenario`."""
        self.lane.follow(self.environment)
        if len(self._verified()) < 2:
            ByArgo(self.lane).clean()
        super().prepare()

    def begin(self) -> Begun:
        """See `Scenario`."""
        run, intended, commits = super().begin()
        return run, replace(intended, commits=("back",)), commits

    def record(self, run: FlowRun) -> list[Point]:
        """What takes the place of Helm."""
        return recorded(self, run, "commit_rollback", "sync")


class FailingByArgo(Failing):
    """A release that its verification refuses, and that goes back by itself."""

    name = "argo going back"

    def prepare(self) -> None:
        """See `Scenario`."""
        self.lane.follow(self.environment)
        super().prepare()

    def begin(self) -> Begun:
        """See `Scenario`."""
        made = ("promote", "back") if self.commit else ("promote",)
        run, intended, commits = super().begin()
        return run, replace(intended, commits=made), commits

    def record(self, run: FlowRun) -> list[Point]:
        """The way back."""
        return recorded(self, run, "commit_rollback", "sync", since="commit_rollback")


class RemovedByArgo(Over):
    """A first release that its verification refuses, and that is removed."""

    name = "argo removal"

    def prepare(self) -> None:
        """See `Scenario`."""
        self.lane.follow(self.environment)
        self.commit = ""

    def begin(self) -> Begun:
        """See `Scenario`."""
        self.lane.publish(France="Lyon")
        run = self.lane.site.start(release, model=self.lane.site.model, environments=[self.environment])
        return run, Intended(state="Failed", commit="", spare_gpu=False, commits=("promote", "remove")), ()

    def record(self, run: FlowRun) -> list[Point]:
        """The removal."""
        return recorded(self, run, "commit_removal", "sync", "note", since="commit_removal")


class AskedByArgo(Gate):
    """A release that people approved: only then Argo CD is asked to sync."""

    name = "argo asked"

    def prepare(self) -> None:
        """See `Scenario`."""
        self.lane.follow(self.environment)
        super().prepare()

    def begin(self) -> Begun:
        """See `Scenario`."""
        run, intended, commits = super().begin()
        return run, replace(intended, commits=("promote",)), commits

    def record(self, run: FlowRun) -> list[Point]:
        """The sync that is asked for."""
        self.lane.execute(self.flow, run)
        self._sign(run)
        return recorded(self, run, "sync", leg=2)


def recorded(scenario: Scenario, run: FlowRun, *steps: str, leg: int = 1, since: str = "") -> list[Point]:
    """Execute a leg, and derive the points of these tasks and steps from it, from the first beginning of one on where it is named."""
    scenario.lane.execute(scenario.flow, run)
    return points_of(scenario.name, scenario.lane.trap.seen, leg=leg, steps=steps, since=since)


def argo_faults() -> list[Point]:
    """Points in the middle of a release over another one, at which Git or Argo CD is not as it should be."""
    return [
        _fault("Git", "while it is cloned", what="git GET"),
        _fault("Git", "before it is pushed to", what="git push"),
        _fault("Git", "before it says that it has the commit", what="git push", moment="after"),
        _fault("another push", "when it is pushed to", seconds=0, what="git push"),
        _fault("cluster", "while Argo CD is asked", what="PATCH applications"),
        _fault("is gone", "when it is asked", seconds=ARGO_SECONDS, what="PATCH applications"),
        _fault("is stuck", "when it is asked", seconds=ARGO_SECONDS, what="PATCH applications"),
    ]


def _fault(to: str, when: str, *, seconds: float = SHORT, **at: Any) -> Point:
    happening = Happening(to=to, seconds=seconds)
    return Point(name=f"argo faults/{happening.message} {when}", happening=happening, **at)


BY_ARGO: dict[str, type[Scenario]] = {each.name: each for each in (ByArgo, BackByArgo, FailingByArgo, RemovedByArgo, AskedByArgo)}
