"""Releases as the registry sees them."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import psycopg
import pytest

from blocks.errors import RegistryRejected
from blocks.registry import EntryKey, RegistryClient
from tests.support.candidates import register
from tests.support.waiting import HANGS_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Releases


def test_a_release_becomes_the_route(releases: Releases, client: RegistryClient) -> None:
    begun = releases.begin("a1", "run-1")
    assert (begun.status, begun.helm_revision, begun.verified_at) == ("deploying", None, None)
    assert client.route("tiny").endpoint is None

    before = datetime.now(UTC)
    ready = releases.ready("a1", "run-1", helm_revision=7)

    assert (ready.status, ready.helm_revision, ready.fingerprint) == ("ready", 7, releases.fingerprint("a1"))
    assert ready.verified_at is not None
    assert ready.verified_at.utcoffset() == timedelta(0)
    assert before - timedelta(seconds=5) < ready.verified_at < datetime.now(UTC) + timedelta(seconds=5)
    assert client.route("tiny").endpoint == "tiny-production.models.svc.cluster.local:8000"
    assert client.route("tiny", "staging").endpoint is None
    assert client.current("tiny", "production") == ready
    assert releases.kinds() == ["deploying", "ready"]


def test_what_argo_cd_delivered_names_its_commit_and_no_helm_revision(releases: Releases, client: RegistryClient) -> None:
    releases.release("a1", "run-1", helm_revision=7)
    releases.begin("b1", "run-2")
    evidence = client.evidence.save("verdict", {"outcome": "passed"})
    place = {"model": "tiny", "environment": "production", "fingerprint": releases.fingerprint("b1"), "run_id": "run-2"}

    with pytest.raises(RegistryRejected, match="slipway_entry_git_commit"):
        client.lifecycle.mark_ready(**place, git_commit="main", evidence_sha256=evidence)
    ready = client.lifecycle.mark_ready(**place, git_commit="c" * 40, evidence_sha256=evidence)

    assert (ready.helm_revision, ready.git_commit) == (None, "c" * 40)
    assert client.current("tiny", "production") == ready
    # and it can be gone back to, as what Helm delivered can
    assert releases.previous() == "a1"
    releases.release("a1", "run-3", helm_revision=8)
    found = client.previous("tiny", "production")
    assert found is not None
    assert (found.helm_revision, found.event.detail["git_commit"]) == (None, "c" * 40)


def test_the_routers_plain_query_works(releases: Releases, sql: psycopg.Connection) -> None:
    releases.release("a1", "run-1")
    releases.begin("b1", "run-2")

    found = sql.execute("SELECT * FROM model_registry_entries WHERE deployment_status = 'ready' AND model_name = 'tiny'").fetchall()

    assert len(found) == 1


def test_the_next_release_supersedes(releases: Releases, client: RegistryClient) -> None:
    releases.release("a1", "run-1")
    releases.begin("b1", "run-2")
    assert releases.statuses() == {"a": "ready", "b": "deploying"}

    releases.ready("b1", "run-2")

    assert releases.statuses() == {"a": "disabled", "b": "ready"}
    (old,) = client.entries("tiny", "production", "disabled")
    assert old.status_reason == f"superseded by {releases.fingerprint('b1')[:12]}"
    superseded = next(event for event in client.events.latest() if event.kind == "superseded")
    assert superseded.fingerprint == releases.fingerprint("a1")


def test_new_arguments_on_the_same_commit_leave_the_row_until_they_are_verified(releases: Releases) -> None:
    releases.release("a1", "run-1", helm_revision=1)

    begun = releases.begin("a2", "run-2")
    assert (begun.status, begun.fingerprint, begun.helm_revision) == ("ready", releases.fingerprint("a1"), 1)

    ready = releases.ready("a2", "run-2", helm_revision=2)
    assert (ready.status, ready.fingerprint, ready.helm_revision) == ("ready", releases.fingerprint("a2"), 2)
    assert releases.previous() == "a1"


def test_environments_models_and_organisations_do_not_touch_each_other(releases: Releases, client: RegistryClient) -> None:
    releases.release("a1", "run-1")
    staging = replace(releases, environment="staging")
    staging.release("a1", "run-1")
    staging.release("b1", "run-2")
    staging.begin("c1", "run-3")
    staging.fail("c1", "run-3")

    evidence = client.evidence.save("verdict", {"outcome": "passed"})
    theirs = {"model": "tiny", "environment": "production", "fingerprint": releases.fingerprint("b1"), "run_id": "run-4"}
    client.lifecycle.begin(**theirs, hub_revision="b" * 40, namespace="other", endpoint="other:8000", organisation="slipway-demo")
    client.lifecycle.mark_ready(**theirs, helm_revision=1, evidence_sha256=evidence, organisation="slipway-demo")

    assert releases.current() == "a1"
    assert releases.previous() is None
    other = client.current("tiny", "production", organisation="slipway-demo")
    assert other is not None
    assert (other.namespace, other.status) == ("other", "ready")


@pytest.mark.parametrize("cluster_changed", [True, False])
def test_a_failed_release_degrades_what_it_replaced_only_if_it_touched_the_cluster(
    releases: Releases, client: RegistryClient, cluster_changed: bool
) -> None:
    releases.release("a1", "run-1")
    releases.begin("b1", "run-2")

    failed = releases.fail("b1", "run-2", cluster_changed=cluster_changed)

    assert failed is not None
    assert (failed.status, failed.status_reason) == ("failed", "P95 was 412 ms, allowed are 300 ms")
    assert releases.statuses() == {"a": "degraded" if cluster_changed else "ready", "b": "failed"}
    assert (client.route("tiny").endpoint is None) == cluster_changed
    # After a change nobody serves, and what was displaced is where a rollback goes.
    assert (releases.current(), releases.previous()) == ((None, "a1") if cluster_changed else ("a1", None))


def test_a_failure_on_the_serving_commit_degrades_its_row(releases: Releases) -> None:
    releases.release("a1", "run-1")
    releases.begin("a2", "run-2")

    entry = releases.fail("a2", "run-2")

    assert entry is not None
    assert (entry.status, entry.fingerprint) == ("degraded", releases.fingerprint("a1"))
    assert (releases.current(), releases.previous()) == (None, "a1")


def test_a_run_refused_before_it_began_leaves_what_serves(releases: Releases) -> None:
    releases.release("a1", "run-1")

    releases.fail("a1", "run-2", cluster_changed=False)

    assert releases.statuses() == {"a": "ready"}
    assert releases.kinds() == ["deploying", "ready", "failed"]


def test_rolling_back_after_a_failure_and_forward_again(releases: Releases) -> None:
    releases.release("a1", "run-1", helm_revision=1)
    releases.release("b1", "run-2", helm_revision=2)
    releases.begin("c1", "run-3")
    releases.fail("c1", "run-3")
    assert (releases.current(), releases.previous()) == (None, "b1")

    assert releases.release("b1", "run-4", helm_revision=4).status == "ready"

    assert releases.statuses() == {"a": "disabled", "b": "ready", "c": "failed"}
    assert (releases.current(), releases.previous()) == ("b1", "a1")
    releases.release("a1", "run-5", helm_revision=5)
    assert (releases.current(), releases.previous()) == ("a1", "b1")


def test_previous_says_where_it_was_verified(releases: Releases, client: RegistryClient) -> None:
    releases.release("a1", "run-1", helm_revision=3)
    releases.release("b1", "run-2", helm_revision=4)

    found = client.previous("tiny", "production")

    assert found is not None
    fingerprint, helm_revision, event = found
    assert (fingerprint, helm_revision, event.kind, event.run_id) == (releases.fingerprint("a1"), 3, "ready", "run-1")


def test_what_was_found_bad_is_no_way_back(releases: Releases) -> None:
    releases.release("a1", "run-1")
    releases.release("b1", "run-2")
    releases.degrade("b1")
    releases.release("c1", "run-3")

    assert releases.previous() == "a1"


def test_what_neither_serves_nor_is_a_way_back_is_not_kept(releases: Releases, client: RegistryClient) -> None:
    for candidate in ("a1", "a2", "b1", "b2"):
        releases.release(candidate, f"run-{candidate}")
    assert releases.kept() == {"b1", "b2"}

    # what is failing still runs, and what took its place on the cluster did not last: both ways back stay
    releases.begin("a2", "run-again")
    assert releases.kept() == {"b1", "b2", "a2"}
    releases.fail("a2", "run-again")
    assert (releases.current(), releases.previous(), releases.kept()) == (None, "b2", {"b1", "b2"})

    # of every model in every environment, and what a person took out
    elsewhere = replace(releases, environment="staging")
    elsewhere.release("a2", "run-elsewhere")
    assert releases.kept() == {"b1", "b2", "a2"}
    client.switch.disable("tiny", "staging", reason="maintenance", actor="ops")
    assert releases.kept() == {"b1", "b2", "a2"}


def test_what_recovered_is_a_way_back(releases: Releases) -> None:
    releases.release("a1", "run-1")
    releases.release("b1", "run-2")
    releases.degrade("b1")
    releases.recover("b1")
    releases.release("c1", "run-3")

    assert releases.previous() == "b1"


def test_a_refused_plan_is_no_verdict_on_what_was_verified(releases: Releases) -> None:
    releases.release("a1", "run-1")
    releases.release("b1", "run-2")
    releases.begin("a1", "run-3")
    releases.fail("a1", "run-3", cluster_changed=False)

    assert releases.previous() == "a1"


def test_degraded_and_recovered(releases: Releases, client: RegistryClient) -> None:
    releases.release("a1", "run-1")

    degraded = releases.degrade("a1")
    assert degraded is not None
    assert (degraded.status, degraded.status_reason) == ("degraded", "answers are wrong")
    assert client.route("tiny").endpoint is None
    # It is bad, but it still is what answers there.
    assert releases.current() == "a1"

    recovered = releases.recover("a1")
    assert recovered is not None
    assert (recovered.status, recovered.status_reason) == ("ready", None)
    assert client.route("tiny").endpoint is not None
    assert releases.kinds() == ["deploying", "ready", "degraded", "recovered"]


def test_what_lost_its_endpoint_comes_back_by_a_release_only(releases: Releases) -> None:
    releases.release("a1", "run-1")
    releases.begin("b1", "run-2")
    releases.fail("b1", "run-2")

    # Something answers there, but it is what the failed release left.
    assert releases.recover("a1") is None
    assert (releases.statuses()["a"], releases.current()) == ("degraded", None)

    releases.release("a1", "run-3")
    assert (releases.statuses()["a"], releases.current()) == ("ready", "a1")


def test_a_late_verdict_on_what_serves_no_more_changes_nothing(releases: Releases) -> None:
    releases.release("a1", "run-1")
    releases.release("b1", "run-2")

    assert releases.degrade("a1") is None
    assert releases.recover("a1") is None
    assert releases.statuses() == {"a": "disabled", "b": "ready"}


def test_ready_needs_a_run_that_began(releases: Releases) -> None:
    releases.release("a1", "run-1")

    with pytest.raises(RegistryRejected, match="run-2 did not begin"):
        releases.ready("a1", "run-2")


def test_ready_after_failed_needs_a_new_beginning(releases: Releases) -> None:
    releases.begin("a1", "run-1")
    releases.fail("a1", "run-1")
    with pytest.raises(RegistryRejected, match="run-1 has failed"):
        releases.ready("a1", "run-1")

    assert releases.begin("a1", "run-1").status == "deploying"
    assert releases.ready("a1", "run-1").status == "ready"


def test_ready_is_refused_when_another_candidate_took_the_endpoint(releases: Releases) -> None:
    releases.begin("a1", "run-1")
    releases.release("b1", "run-2")

    with pytest.raises(RegistryRejected, match="run-2"):
        releases.ready("a1", "run-1")
    assert releases.statuses() == {"a": "deploying", "b": "ready"}


def test_ready_is_refused_when_the_entry_deploys_another_candidate(releases: Releases) -> None:
    releases.begin("a1", "run-1")
    releases.begin("a2", "run-2")

    with pytest.raises(RegistryRejected, match="deploying"):
        releases.ready("a1", "run-1")
    assert releases.ready("a2", "run-2").fingerprint == releases.fingerprint("a2")


def test_ready_needs_saved_evidence(releases: Releases, client: RegistryClient) -> None:
    releases.begin("a1", "run-1")

    with pytest.raises(RegistryRejected, match="save it first"):
        client.lifecycle.mark_ready(
            model="tiny",
            environment="production",
            fingerprint=releases.fingerprint("a1"),
            helm_revision=1,
            evidence_sha256="0" * 64,
            run_id="run-1",
        )
    assert releases.statuses() == {"a": "deploying"}


def test_begin_refuses_an_unregistered_candidate_and_a_wrong_revision_or_model(client: RegistryClient) -> None:
    fingerprint = register(client)
    good = {"model": "tiny", "hub_revision": "a" * 40, "environment": "staging", "namespace": "n", "endpoint": "e", "run_id": "r"}

    with pytest.raises(RegistryRejected, match="not registered"):
        client.lifecycle.begin(**good, fingerprint="e" * 64)
    with pytest.raises(RegistryRejected, match="hub revision"):
        client.lifecycle.begin(**good | {"hub_revision": "b" * 40}, fingerprint=fingerprint)
    with pytest.raises(RegistryRejected, match="one of tiny, not of other"):
        client.lifecycle.begin(**good | {"model": "other"}, fingerprint=fingerprint)
    assert client.entries() == []
    assert client.events.latest() == []


def test_many_entries_are_checked_at_once_and_time_does_not_go_back(releases: Releases, client: RegistryClient) -> None:
    releases.release("a1", "run-1")
    releases.begin("b1", "run-2")
    keys = [entry.key for entry in client.entries()]
    noon = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)

    assert client.health.mark_checked(keys, noon) == 2
    client.health.mark_checked(keys, noon - timedelta(minutes=5))
    gone = EntryKey(model="gone", hub_revision="a" * 40, environment="production")
    assert client.health.mark_checked([gone], noon) == 0
    assert client.health.mark_checked([], noon) == 0

    assert [entry.last_health_check_at for entry in client.entries()] == [noon, noon]


def test_two_releases_that_end_at_once_leave_one_ready(releases: Releases, client: RegistryClient) -> None:
    candidates = ["a1", "b1", "c1"]
    for candidate in candidates:
        releases.begin(candidate, f"run-{candidate}")
    refused: list[RegistryRejected] = []
    start = threading.Barrier(len(candidates))

    def end(candidate: str) -> None:
        start.wait(HANGS_SECONDS)
        try:
            releases.ready(candidate, f"run-{candidate}")
        except RegistryRejected as error:
            refused.append(error)

    threads = [threading.Thread(target=end, args=(candidate,)) for candidate in candidates]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(HANGS_SECONDS)

    assert len(refused) == 2
    assert sorted(releases.statuses().values()) == ["deploying", "deploying", "ready"]
    assert releases.kinds().count("ready") == 1


def test_a_release_that_ends_while_another_is_ending_waits_for_its_turn(
    releases: Releases, dsn: str, wait_until: Callable[[Callable[[], bool]], None], waiting: Callable[[], int]
) -> None:
    for candidate in ("a1", "b1"):
        releases.begin(candidate, f"run-{candidate}")
    refused: list[RegistryRejected] = []

    def end(candidate: str) -> None:
        try:
            releases.ready(candidate, f"run-{candidate}")
        except RegistryRejected as error:
            refused.append(error)

    first, second = (threading.Thread(target=end, args=(candidate,)) for candidate in ("a1", "b1"))
    with psycopg.connect(dsn) as holder:
        # The first has looked and is about to write its row; the second's row is free.
        holder.execute("SELECT FROM model_registry_entries WHERE hub_revision = %s FOR UPDATE", ("a" * 40,))
        first.start()
        wait_until(lambda: waiting() == 1)
        second.start()
        wait_until(lambda: waiting() == 2 or not second.is_alive())
    first.join(HANGS_SECONDS)
    second.join(HANGS_SECONDS)

    assert releases.statuses() == {"a": "ready", "b": "deploying"}
    assert len(refused) == 1


def test_the_callers_time_is_kept(releases: Releases, client: RegistryClient) -> None:
    then = datetime(2026, 5, 17, 8, 30, tzinfo=UTC)
    releases.release("a1", "run-1")

    client.lifecycle.mark_degraded(model="tiny", environment="production", fingerprint=releases.fingerprint("a1"), reason="slow", at=then)

    (event, *_) = client.events.latest(limit=1)
    assert (event.kind, event.occurred_at) == ("degraded", then)


def test_a_candidate_that_lost_its_endpoint_again_comes_back_by_the_same_run(releases: Releases) -> None:
    # given a run that failed, went back, and failed with its candidate once more
    releases.begin("a1", "first")
    releases.ready("a1", "first")
    for _ in range(2):
        releases.begin("b1", "second")
        releases.fail("b1", "second")
        assert releases.statuses() == {"a": "degraded", "b": "failed"}

        releases.begin("a1", "second")
        releases.ready("a1", "second")

        assert releases.statuses() == {"a": "ready", "b": "failed"}
