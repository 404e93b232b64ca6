"""What the registry knows of runs: what they never ended, which were overtaken, and who holds what."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from blocks.facts.kinds import SETTLING, STEPS, EventKind
from blocks.registry import Failure, RegistryClient

if TYPE_CHECKING:
    from conftest import Releases


def orphaned_runs(client: RegistryClient) -> list[str | None]:
    return [event.run_id for event in client.runs.orphaned()]


def clean(client: RegistryClient, kind: str, run: str, begun: int) -> None:
    client.events.add(kind, model="tiny", environment="production", run_id=run, detail={"begun": begun})


def test_what_a_run_began_is_unfinished_until_it_is_ready_or_failed(client: RegistryClient, releases: Releases) -> None:
    releases.release("a1", "r1")
    releases.begin("b1", "r2")
    assert orphaned_runs(client) == ["r2"]
    releases.fail("b1", "r2", cluster_changed=False)
    assert orphaned_runs(client) == []

    # begun again by the same run, as after a retry
    releases.begin("b1", "r2")
    releases.begin("c1", "r3")
    assert orphaned_runs(client) == ["r2", "r3"]
    releases.ready("c1", "r3")
    assert orphaned_runs(client) == ["r2"]


def test_what_failed_on_the_cluster_is_unfinished_until_it_is_put_right(client: RegistryClient, releases: Releases) -> None:
    releases.release("a1", "r1")
    releases.begin("b1", "r2")
    releases.fail("b1", "r2")
    (begun,) = client.runs.orphaned()
    assert (begun.run_id, begun.detail["failed"], begun.detail["replaces"]) == ("r2", True, releases.fingerprint("a1"))

    # the run goes back: that is what is unfinished then
    releases.begin("a1", "r2")
    (back,) = client.runs.orphaned()
    assert (back.fingerprint, back.detail["failed"]) == (releases.fingerprint("a1"), False)
    releases.ready("a1", "r2")
    assert orphaned_runs(client) == []
    # or it says that it leaves things as they are
    releases.begin("c1", "r3")
    releases.fail("c1", "r3")
    assert orphaned_runs(client) == ["r3"]
    client.events.add("kept", model="tiny", environment="production", run_id="r3")
    assert orphaned_runs(client) == []


def test_what_a_clean_up_began_is_unfinished_until_it_is_done(client: RegistryClient, releases: Releases) -> None:
    releases.begin("a1", "r1")
    (begun,) = client.runs.orphaned()
    clean(client, "cleaning_up", "r1", begun.id)
    releases.fail("a1", "r1")  # killed after this, the rest of the clean-up is still to be done
    assert orphaned_runs(client) == ["r1"]

    clean(client, "cleaned_up", "r1", begun.id)
    assert orphaned_runs(client) == []
    # somebody retries the run: what it begins then is another matter
    releases.begin("a1", "r1")
    assert orphaned_runs(client) == ["r1"]


def test_what_is_unfinished_is_found_however_much_was_begun_since(
    client: RegistryClient, releases: Releases, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("blocks.registry.run_record._LATEST", 1)
    # given one place where a run ended nothing, one where it failed, and one where it was lost on its way back
    begun, failed, going_back = (replace(releases, model=model) for model in ("begun", "failed", "going-back"))
    begun.begin("a1", "r1")
    failed.begin("a1", "r2")
    failed.fail("a1", "r2")
    going_back.release("a1", "r0")
    going_back.begin("b1", "r3")
    going_back.fail("b1", "r3")
    going_back.begin("a1", "r3")
    # and more releases since than are looked through
    for candidate in ("a1", "b1", "c1"):
        releases.release(candidate, f"later-{candidate}")

    assert orphaned_runs(client) == ["r1", "r2", "r3"]

    begun.ready("a1", "r1")
    client.events.add("kept", model="failed", environment="production", run_id="r2")
    going_back.ready("a1", "r3")
    assert orphaned_runs(client) == []


def test_a_run_is_overtaken_by_one_that_begins_after_its_own_last_deed(client: RegistryClient, releases: Releases) -> None:
    long_ago = datetime.now(UTC) - timedelta(days=1)
    releases.begin("a1", "r1")
    assert client.runs.overtaken([("r1", "tiny", long_ago)]) == {}

    releases.begin("b1", "r2")
    releases.begin("c1", "r3")
    runs = [("r1", "tiny", long_ago), ("r2", "tiny", long_ago), ("r3", "tiny", long_ago), ("r4", "nano", long_ago)]
    assert client.runs.overtaken(runs) == {"r1": "r3", "r2": "r3"}
    # one that never came so far as to record anything counts from its beginning
    assert client.runs.overtaken([("r0", "tiny", long_ago), ("r9", "tiny", datetime.now(UTC))]) == {"r0": "r3"}
    # that it was taken up again is no deed of its own
    client.events.add("picked_up", model="tiny", run_id="r1", detail={"state": "s1"})
    assert client.runs.overtaken(runs[:1]) == {"r1": "r3"}
    assert [event.detail["state"] for event in client.runs.events(["r1", "r2"], ["picked_up"])] == ["s1"]


def test_whose_a_document_is_is_said_by_the_first_event_of_its_run_that_names_it(client: RegistryClient) -> None:
    for environment, detail in (
        ("staging", {"evidence_sha256": "a"}),
        ("staging", {"page_sha256": "b"}),
        ("production", {"evidence_sha256": "a"}),
    ):
        client.events.add("verified", model="tiny", environment=environment, run_id="r1", detail=detail)

    named = [client.runs.naming(run, sha256) for run, sha256 in (("r1", "a"), ("r1", "b"), ("r1", "c"), ("r2", "a"))]

    assert [event and event.environment for event in named] == ["staging", "staging", None, None]
    assert [event.environment for event in client.runs.events(["r1", "r2"])] == ["staging", "staging", "production"]


def test_only_held_locks_are_listed(client: RegistryClient) -> None:
    client.locks.free(client.locks.take("tiny", "staging", "r1"))
    client.locks.take("tiny", "production", "r2")

    (lock,) = client.locks.held()

    assert (lock.run_id, lock.environment) == ("r2", "production")
    assert 0 <= lock.silent_seconds < 30


def test_the_last_scrub_of_each_node_counts(client: RegistryClient) -> None:
    for node, corrupt in (("gpu-1", 2), ("gpu-2", 0), ("gpu-1", 0), ("gpu-2", 1)):
        client.events.add("scrubbed", environment="staging", detail={"node": node, "corrupt": corrupt, "snapshots": []})

    assert [(event.detail["node"], event.detail["corrupt"]) for event in client.events.last_scrubs()] == [("gpu-1", 0), ("gpu-2", 1)]


@dataclass(frozen=True)
class Told:
    """An event of `tiny` in production; by default of the run and the candidate that a test is about."""

    kind: EventKind
    fingerprint: str = "new"
    run: str = "mine"
    detail: dict[str, Any] = field(default_factory=dict)
    environment: str = "production"


BEGUN = Told(EventKind.DEPLOYING, detail={"replaces": "old"})
FAILED = Told(EventKind.FAILED, detail={"reason": "RolloutStalled: no", "error": "RolloutStalled", "deployed": True})
BACK = (Told(EventKind.DEPLOYING, "old", detail={"replaces": "new"}), Told(EventKind.READY, "old"))


def tell(client: RegistryClient, *events: Told) -> None:
    for each in events:
        place = {"model": "tiny", "environment": each.environment, "fingerprint": each.fingerprint, "run_id": each.run}
        client.events.add(each.kind, **place, detail=each.detail, key=str(uuid.uuid4()))


def unsettled(client: RegistryClient, fingerprint: str = "new", run: str = "mine") -> Failure | None:
    return client.runs.unsettled_failure(run, "tiny", "production", fingerprint)


def settled(client: RegistryClient, fingerprint: str = "new", run: str = "mine") -> Failure | None:
    return client.runs.settled_failure(run, "tiny", "production", fingerprint)


def test_a_failure_after_the_cluster_was_told_is_owed_a_way_back(client: RegistryClient) -> None:
    tell(client, Told(EventKind.READY, "old", "another"), BEGUN, Told(EventKind.VERIFIED), FAILED)

    assert unsettled(client) == Failure(reason="RolloutStalled: no", error="RolloutStalled", replaces="old")
    assert settled(client) is None


def test_a_run_that_was_killed_on_the_way_back_goes_on(client: RegistryClient) -> None:
    tell(client, BEGUN, FAILED, *BACK)

    assert unsettled(client) is not None
    assert settled(client) is None


@pytest.mark.parametrize("kind", SETTLING)
def test_what_was_settled_is_not_settled_twice(client: RegistryClient, kind: EventKind) -> None:
    tell(client, BEGUN, FAILED, Told(kind, "old"))

    assert unsettled(client) is None
    assert settled(client) is not None


def test_a_run_that_is_lost_after_it_settled_its_failure_has_only_to_end(client: RegistryClient) -> None:
    tell(client, BEGUN, FAILED, *BACK, Told(EventKind.ROLLED_BACK, "old"))

    assert settled(client) == Failure(reason="RolloutStalled: no", error="RolloutStalled", replaces=None)
    assert settled(client, "other") is None
    assert settled(client, run="another") is None
    tell(client, Told(EventKind.READY, "other", "another"))
    assert settled(client) is not None, "what others do is nothing to it"
    tell(client, BEGUN)
    assert settled(client) is None, "it began anew"


@pytest.mark.parametrize("kind", STEPS)
def test_what_another_run_has_done_since_is_not_undone(client: RegistryClient, kind: EventKind) -> None:
    tell(client, BEGUN, FAILED, Told(kind, "other", "another", environment="staging"), Told(EventKind.VERIFIED, "other", "another"))
    assert unsettled(client) is not None

    tell(client, Told(kind, "other", "another"))

    assert unsettled(client) is None


@pytest.mark.parametrize(
    "events",
    [
        [],
        [BEGUN],
        [BEGUN, Told(EventKind.FAILED, detail={"reason": "no", "deployed": False})],
        [BEGUN, Told(EventKind.READY)],
        [Told(EventKind.DEPLOYING, "old"), Told(EventKind.FAILED, "old", detail={"reason": "no", "deployed": True})],
        [BEGUN, FAILED, Told(EventKind.ROLLED_BACK, "old"), BEGUN],
    ],
    ids=["nothing", "begun", "not deployed", "ready", "another candidate", "begun anew"],
)
def test_nothing_is_owed_where_nothing_failed_or_nothing_was_touched(client: RegistryClient, events: list[Told]) -> None:
    tell(client, *events)

    assert unsettled(client) is None


def test_a_failure_that_an_older_version_recorded_names_no_kind_of_its_own(client: RegistryClient) -> None:
    tell(client, BEGUN, Told(EventKind.FAILED, detail={"reason": "RolloutStalled: no", "deployed": True}))

    assert unsettled(client) == Failure(reason="RolloutStalled: no", error=None, replaces="old")
