"""What is going on while a point is reached: a release over another one, a first release, a rollback, an approval."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

from prefect.client.schemas.objects import FlowRun

from flows.approval.totp import new_secret
from flows.release import release
from flows.rollback import rollback
from flows.runtime.forms import has_form
from flows.sweep import sweep
from tests.chaos.facts import Intended
from tests.chaos.invariants import broken
from tests.chaos.lane import Lane
from tests.chaos.points import Happening, Point, points_of
from tests.chaos.traffic import Traffic
from tests.chaos.trap import Begun, Snare

#: Values of the sites' environments: one second for routers to forget a pod.
VALUES = {"replicas": 1, "preStopSleepSeconds": 1}

#: How long a run is suspended without its form until the sweep wakes it, in seconds: that of another lane may only be about to be kept.
FORM_SECONDS = 5.0

#: A spare GPU is there: the new pod comes first.
ROLLOUT = {"strategy": "surge"}

#: The least that a verification may be: what it measures is not what is tested here.
LATENCY = {"p50_seconds": 2.0, "p95_seconds": 5.0, "samples": 20, "max_samples": 20, "warmup": 1, "concurrency": [1]}
CHECKS = [
    {
        "name": "capital-of-france",
        "kind": "completion",
        "prompt": "The capital of France is",
        "max_tokens": 8,
        "expect": {"contains": "Paris"},
    },
    {"name": "unknown-model", "kind": "unknown-model"},
]


@dataclass(frozen=True, kw_only=True)
class Result:
    """What became of a point.

    Attributes:
        point: Its name.
        outcome: How the run ended, after how many legs.
        invariants: Those that do not hold, each with what was seen.
        seconds: How long it took.
    """

    point: str
    outcome: str
    invariants: dict[str, str]
    seconds: float


class Scenario(ABC):
    """A lane in the situation that a point needs; after each point that left everything in order it is there again.

    Args:
        lane: The lane.
    """

    name: ClassVar[str]
    environment: ClassVar[str] = "development"
    rollout: ClassVar[dict[str, Any]] = ROLLOUT
    flow: ClassVar[str] = "release"

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        lane.site.edit("checks/smoke.yaml", checks=CHECKS)
        lane.site.edit(f"environments/{self.environment}.yaml", values=VALUES, rollout=self.rollout, latency=LATENCY)
        self.router = lane.router(self.environment)
        self.legs = 0
        self.last: tuple[FlowRun, Intended] | None = None
        self.prepare()

    @abstractmethod
    def prepare(self) -> None:
        """Bring the site into the situation."""

    @abstractmethod
    def begin(self) -> tuple[FlowRun, Intended, tuple[str, ...]]:
        """Make a run; what it is to end in; the hub revisions that may answer meanwhile."""

    @abstractmethod
    def after(self, intended: Intended) -> None:
        """The point left everything in order: what is now so."""

    def points(self) -> list[Point]:
        """Execute an undisturbed run, and derive the points from it."""
        run, intended, commits = self.begin()
        with self.lane.traffic(self.router, *commits) as traffic:
            found = self.record(run)
        self._require(run, intended, traffic)
        return found

    def record(self, run: FlowRun) -> list[Point]:
        """Execute the run, and derive the points from each leg."""
        self.lane.execute(self.flow, run)
        return points_of(self.name, self.lane.trap.seen)

    def clean(self) -> None:
        """Execute an undisturbed run."""
        run, intended, commits = self.begin()
        with self.lane.traffic(self.router, *commits) as traffic:
            self.drive(run, None)
        self._require(run, intended, traffic)

    def _require(self, run: FlowRun, intended: Intended, traffic: Traffic) -> None:
        wrong = broken(self.lane.look(self.environment, run, traffic), intended)
        if wrong:
            raise RuntimeError(f"a run of {self.name} that nobody disturbed left: {wrong}")
        self.after(intended)

    def try_out(self, point: Point) -> Result:
        """Kill a run at the point, pick it up as the sweep does, and judge what is left."""
        begin = time.monotonic()
        run, intended, commits = self.begin()
        if point.happening is not None and point.happening.to == "node agent":
            intended = replace(intended, spare_gpu=False)  # what served ran on that node, too
        self.legs, self.last = 0, (run, intended)
        with self.lane.traffic(self.router, *commits) as traffic:
            reached = self.drive(run, point)
        self.lane.machines.wait()
        if point.happening is not None and point.happening.to == "clock":
            reached = reached and self.lane.clock.has_been(point.happening.seconds)
            self.lane.clock.set(0)
        seen = self.lane.look(self.environment, run, traffic)
        invariants = broken(seen, intended)
        if not reached:
            invariants["point_reached"] = "the run did not come to this point"
        if not invariants:
            self.after(intended)
        outcome = f"{seen.state} after {self.legs} legs"
        return Result(point=point.name, outcome=outcome, invariants=invariants, seconds=time.monotonic() - begin)

    def drive(self, run: FlowRun, point: Point | None) -> bool:
        """Execute the run to its end, killing it at the point; whether the point was reached."""
        reached = self.leg(run, point)
        self.pick_up(run)
        return reached

    def leg(self, run: FlowRun, point: Point | None, flow: str = "") -> bool:
        """Execute one leg, of another flow if one is named; whether it was killed at the point, if there is one."""
        self.legs += 1
        snare = None
        if point is not None and point.die is None:
            snare = Snare(
                what=point.what,
                number=point.number,
                moment=point.moment,
                task=point.task,
                spring=self.lane.kill(group=point.group) if point.happening is None else self.happen(point.happening),
                lets_go=not point.group or point.happening is not None,
            )
        self.lane.execute(flow or self.flow, run, snare=snare, die=point.die if point else None)
        if point is None or snare is not None:
            return point is None or self.lane.trap.sprung
        assert self.lane.leg is not None
        return self.lane.leg.boundary == point.die

    def happen(self, what: Happening) -> Callable[[], None]:
        """What makes it happen."""
        if what.to == "clock":
            return partial(self.lane.clock.set, what.seconds)
        return partial(self.lane.machines.happen, what, self.lane.proxies)

    def pick_up(self, run: FlowRun) -> None:
        """Have the run go on as often as its process is gone."""
        self.legs += self.lane.pick_up(self.flow, run)


class Over(Scenario):
    """A release over one that serves."""

    name = "release"

    def prepare(self) -> None:
        """See `Scenario`."""
        self.commit = ""
        self.clean()

    def begin(self) -> tuple[FlowRun, Intended, tuple[str, ...]]:
        """See `Scenario`."""
        before, commit = self.commit, self.lane.publish()
        run = self.lane.site.start(release, model=self.lane.site.model, environments=[self.environment])
        return run, Intended(commit=commit, spare_gpu=bool(before)), tuple(each for each in (before, commit) if each)

    def after(self, intended: Intended) -> None:
        """See `Scenario`."""
        self.commit = intended.commit


class First(Over):
    """A first release: nothing serves, and no Helm release is there."""

    name = "install"

    def prepare(self) -> None:
        """See `Scenario`."""
        self.commit = ""

    def record(self, run: FlowRun) -> list[Point]:
        """Helm's part alone: the rest is as in a release over another one."""
        self.lane.execute(self.flow, run)
        writes = ("helm PATCH services", "helm PATCH deployments", "helm PUT release record")
        return points_of(self.name, self.lane.trap.seen, only=writes)


class Canary(Over):
    """A release over one that serves, beside it first: two shares for a second each, whatever is to be told of so little."""

    name = "canary"
    rollout: ClassVar[dict[str, Any]] = {
        "strategy": "canary",
        "steps": [{"weight": 25, "minutes": 0.02}, {"weight": 75, "minutes": 0.02}, {"weight": 100}],
        "inconclusive": "go_on",
    }


class Back(Scenario):
    """A rollback between two candidates, there and back again."""

    name = "rollback"
    flow = "rollback"

    def prepare(self) -> None:
        """See `Scenario`."""
        if len(self._verified()) < 2:
            over = Over(self.lane)
            over.clean()
        self.now, self.other = self._verified()[-1], self._verified()[-2]

    def _verified(self) -> list[tuple[str, str]]:
        """Hub revision and fingerprint of what was verified here, the oldest first."""
        with self.lane.site.registry() as registry:
            entries = [entry for entry in registry.entries(model=self.lane.site.model) if entry.environment == self.environment]
        dated = sorted(
            (entry.verified_at, entry.hub_revision, str(entry.fingerprint)) for entry in entries if entry.verified_at is not None
        )
        return [(commit, fingerprint) for _, commit, fingerprint in dated]

    def begin(self) -> tuple[FlowRun, Intended, tuple[str, ...]]:
        """See `Scenario`."""
        commit, fingerprint = self.other
        who = {"reason": "answers are cut off", "actor": "on-call", "to": fingerprint}
        run = self.lane.site.start(rollback, model=self.lane.site.model, environment=self.environment, **who)
        return run, Intended(commit=commit, fingerprint=fingerprint), (commit, self.now[0])

    def after(self, intended: Intended) -> None:
        """See `Scenario`."""
        self.now, self.other = self.other, self.now

    def record(self, run: FlowRun) -> list[Point]:
        """The parts that a release does not have; prefetch and the lock are the same."""
        self.lane.execute(self.flow, run)
        steps = ("plan_rollback", "roll_back_release", "record_ready", "record_rolled_back")
        points = points_of(self.name, self.lane.trap.seen, steps=steps)
        return [point for point in points if point.group or point.what == "helm PATCH deployments"]


class Failing(Over):
    """A release that its verification refuses, and that goes back by itself. Until it is back nothing is routed, rather than wrongly."""

    name = "going back"

    def begin(self) -> tuple[FlowRun, Intended, tuple[str, ...]]:
        """See `Scenario`."""
        if not self.commit:
            return super().begin()
        commit = self.lane.publish(France="Lyon")
        run = self.lane.site.start(release, model=self.lane.site.model, environments=[self.environment])
        return run, Intended(state="Failed", commit=self.commit, spare_gpu=False), (self.commit, commit)

    def record(self, run: FlowRun) -> list[Point]:
        """What comes after the verdict: until then it is a release like others."""
        self.lane.execute(self.flow, run)
        begun = [each.step for each in self.lane.trap.seen if isinstance(each, Begun)]
        refused = begun.index("record_failed")
        points = points_of(self.name, self.lane.trap.seen, steps=sorted({*begun[refused:]} - {*begun[:refused]}))
        return [point for point in points if point.group]


class Gate(Scenario):
    """A release that people must approve: the first leg ends with the form, the second begins with the answer."""

    name = "approval"
    environment = "production"

    def prepare(self) -> None:
        """See `Scenario`."""
        self.lane.site.only_production()
        self.commit, self.asked, self.signed = "", 0, False
        self.clean()

    def begin(self) -> tuple[FlowRun, Intended, tuple[str, ...]]:
        """See `Scenario`."""
        before, commit = self.commit, self.lane.publish()
        self._new_approver()
        run = self.lane.site.start(release, model=self.lane.site.model, environments=[self.environment])
        intended = Intended(commit=commit, approvals=1, spare_gpu=bool(before))
        return run, intended, tuple(each for each in (before, commit) if each)

    def after(self, intended: Intended) -> None:
        """See `Scenario`."""
        self.commit = intended.commit

    def record(self, run: FlowRun) -> list[Point]:
        """What the gate adds to a release."""
        steps = {1: ("gather_evidence", "open_gate", "gate_events"), 2: ("", "record_answer", "end_gate", "approve")}
        found: list[Point] = []
        for leg, name in (1, "asked"), (2, "answered"):
            self.lane.execute(self.flow, run)
            found += points_of(f"{self.name}/{name}", self.lane.trap.seen, leg=leg, steps=steps[leg])
            if leg == 1:
                self._sign(run)
        return found

    def drive(self, run: FlowRun, point: Point | None) -> bool:
        """See `Scenario`. People answer once, when they are asked first; a run that asks again has lost the answer."""
        reached = point is None
        for leg in (1, 2):
            here = point if point is not None and point.leg == leg else None
            reached = self.leg(run, here) if here is not None else self.leg(run, None) and reached
            self.pick_up(run)
            if leg == 1 and not self._has_form(run):
                self._ask_anew(run)
            if leg == 1 and self.lane.state(run).is_paused() and self._has_form(run):
                if point is not None and point.leg == 0 and point.happening is not None:
                    self.happen(point.happening)()
                    self.lane.machines.wait()
                    reached = True
                self._sign(run)
        return reached

    def _has_form(self, run: FlowRun) -> bool:
        return has_form(self.lane.site.client, self.lane.site.client.read_flow_run(run.id))

    def _ask_anew(self, run: FlowRun) -> None:
        """What the sweep does for a run that was killed before its form was kept."""
        time.sleep(FORM_SECONDS)
        self.leg(self.lane.site.start(sweep, form_seconds=FORM_SECONDS), None, sweep.name)
        self.pick_up(run)

    def _sign(self, run: FlowRun) -> None:
        said = self.lane.site.sign(run, self.approver)
        if said != "ACCEPT":
            raise RuntimeError(f"the form refused the answer: {said}")

    def _new_approver(self) -> None:
        """A code works once: each run is approved by somebody else."""
        import yaml

        site = self.lane.site
        self.asked += 1
        self.approver = f"chaos{self.asked}"
        name = f"{self.approver}-{site.name}"
        site.secrets[name] = new_secret()
        path = site.deployments / "approvers.yaml"
        document: dict[str, Any] = yaml.safe_load(path.read_text())
        document["approvers"].append({"name": name, "roles": ["release-manager"], "environments": ["production"]})
        path.write_text(yaml.safe_dump(document))


SCENARIOS: dict[str, type[Scenario]] = {each.name: each for each in (Over, First, Canary, Back, Failing, Gate)}
