"""A canary whose run is gone, wherever it was: the old one serves everything or the new one does, and nothing else is there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

import pytest
from pydantic import SecretStr

from blocks.registry import Registry
from flows.delivery.deliver import BackEnd
from flows.delivery.engines import Engines, engines_of, taken_over, with_beside, without
from flows.delivery.provenance import Provenance
from flows.recovery.orphans import CANCELLED, EndedRun, Leaves, what_leaves
from flows.recovery.tasks.cleanup import Begun, end_canary
from flows.recovery.tasks.warm import open_canaries, put_away

if TYPE_CHECKING:
    from conftest import Releases

PLACE: dict[str, Any] = {"model": "tiny", "environment": "production"}
LATER = datetime.now(UTC) + timedelta(days=365)


@dataclass
class Release:
    """What carries both candidates, by the values that it would have."""

    values: dict[str, Any]
    changes: list[Engines] = field(default_factory=list)

    def engines(self) -> Engines:
        return engines_of(self.values)

    def leave(self, model: str, fingerprint: str, provenance: Provenance) -> None:
        assert provenance.reason
        after = without(self.values, fingerprint)
        if after is not None:
            self.values = after
            self.changes.append(engines_of(after))


def values(fingerprint: str) -> dict[str, Any]:
    return {"fullname": "tiny", "candidate": {"fingerprint": fingerprint}}


@dataclass
class Place:
    """Where `a1` serves and run-2 brings `b1`."""

    releases: Releases
    release: Release

    @classmethod
    def of(cls, releases: Releases) -> Place:
        releases.release("a1", "run-1")
        return cls(releases=releases, release=Release(values(releases.fingerprint("a1"))))

    def begin(self) -> None:
        self.releases.begin("b1", "run-2")
        pair = {"stable": self.releases.fingerprint("a1"), "canary": self.releases.fingerprint("b1")}
        self.releases.client.canaries.begin(**PLACE, **pair, endpoint="tiny-canary:8000", steps=[], run_id="run-2")

    def come(self) -> None:
        self.begin()
        self.release.values = with_beside(self.release.values, values(self.releases.fingerprint("b1")), {})

    def get(self, weight: int) -> None:
        self.come()
        self.change(phase="running", weight=weight, shadow=10)

    def hold(self) -> None:
        self.get(25)
        self.change(phase="held")

    def begin_to_take_over(self) -> None:
        self.get(25)
        self.change(phase="taking_over", weight=100, shadow=0)

    def take_over(self) -> None:
        self.begin_to_take_over()
        self.release.values = taken_over(self.release.values, values(self.releases.fingerprint("b1")), {})

    def withdraw(self) -> None:
        self.get(25)
        self.change(weight=0, shadow=0)

    def change(self, **changes: Any) -> None:
        self.releases.client.canaries.change(**PLACE, run_id="run-2", **changes)


POINTS: dict[str, Callable[[Place], None]] = {
    "begun": Place.begin,
    "beside": Place.come,
    "running": lambda place: place.get(25),
    "held": Place.hold,
    "about to take over": Place.begin_to_take_over,
    "taken over, not recorded": Place.take_over,
    "withdrawn": Place.withdraw,
}


@pytest.mark.parametrize("point", POINTS)
def test_a_run_that_died_before_its_record_leaves_what_served(releases: Releases, point: str) -> None:
    place = Place.of(releases)
    POINTS[point](place)
    a1, b1 = releases.fingerprint("a1"), releases.fingerprint("b1")
    lock = releases.client.locks.take("tiny", "production", "run-2")
    begun = Begun(event_id=1, run_id="run-2", model="tiny", fingerprint=b1, replaces=a1)

    for _ in range(2):  # killed and called again
        end_canary(releases.client, lock, cast("BackEnd", place.release), begun, CANCELLED)

    assert (place.release.engines().serving, place.release.engines().beside) == (a1, None)
    assert place.release.engines().slot == "a"
    assert len(place.release.changes) <= 1
    ended = releases.client.canaries.get("tiny", "production")
    assert ended is not None
    assert (ended.phase, ended.outcome, ended.weight, ended.shadow) == ("ended", "cancelled", 0, 0)
    route = releases.client.route("tiny")
    assert (route.weight, route.canary_endpoint) == (100, None)


def over(registry: Registry, now: datetime, run: EndedRun | None = None) -> list[Leaves]:
    """What the sweep finds."""
    found = [what_leaves(canary, serving, run, now) for canary, serving in open_canaries(registry)]
    return [leaves for leaves in found if leaves is not None]


@pytest.mark.parametrize("point", POINTS)
def test_the_sweep_ends_what_a_run_that_recorded_its_failure_could_not_take_away(releases: Releases, dsn: str, point: str) -> None:
    place = Place.of(releases)
    POINTS[point](place)
    releases.client.lifecycle.mark_failed(
        **PLACE, fingerprint=releases.fingerprint("b1"), reason="no", run_id="run-2", cluster_changed=False, deployed=True
    )
    registry, failed = Registry(dsn=SecretStr(dsn)), EndedRun(state="Failed", final=True, crashed=False, abandoned=False)
    lock = releases.client.locks.take("tiny", "production", "sweep-1")

    (left,) = over(registry, LATER, failed)
    assert put_away(registry, cast("BackEnd", place.release), left, lock, "sweep-1")

    assert place.release.engines() == Engines(serving=releases.fingerprint("a1"))
    ended = releases.client.canaries.get("tiny", "production")
    assert ended is not None
    assert (ended.phase, ended.outcome, ended.weight, ended.shadow) == ("ended", "abandoned", 0, 0)
    assert over(registry, LATER, failed) == []
    # another one may begin at once
    releases.client.locks.free(lock)
    place.release = Release(values(releases.fingerprint("a1")))
    place.begin()


@pytest.mark.parametrize("phase", ["taking_over", "warm"])
def test_a_run_that_died_after_its_record_leaves_the_new_one(releases: Releases, dsn: str, phase: str) -> None:
    place = Place.of(releases)
    place.take_over()
    registry = Registry(dsn=SecretStr(dsn))
    assert over(registry, LATER) == []  # not recorded: that is the clean-up's
    releases.ready("b1", "run-2", helm_revision=3)
    if phase == "warm":
        place.change(phase="warm", until=datetime.now(UTC) + timedelta(minutes=30))
        assert over(registry, datetime.now(UTC)) == []  # it is kept for a while
    lock = releases.client.locks.take("tiny", "production", "sweep-1")

    (canary,) = over(registry, LATER)
    assert put_away(registry, cast("BackEnd", place.release), canary, lock, "sweep-1")
    assert not put_away(registry, cast("BackEnd", place.release), canary, lock, "sweep-1")

    assert place.release.engines() == Engines(serving=releases.fingerprint("b1"), slot="b")
    ended = releases.client.canaries.get("tiny", "production")
    assert ended is not None
    assert (ended.phase, ended.outcome) == ("ended", "promoted")
    assert over(registry, LATER) == []
