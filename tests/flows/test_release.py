"""A release through a real Prefect server, Helm, hub client and PostgreSQL, on the sandbox's cluster."""

from __future__ import annotations

from pathlib import Path

import pytest
from prefect.states import Scheduled
from pydantic import SecretStr

from blocks.cluster import Cluster
from blocks.registry import Registry
from flows.release import release
from sandbox import models
from tests.flows.conftest import Site


def test_a_release_stops_for_approval_and_goes_on_in_another_process(site: Site) -> None:
    # given a release of all environments
    run = site.start(release, model=site.model)

    # when it runs, then it waits before production, with what is to be approved in the form's text
    waiting = site.leg(release, run)
    assert waiting.name == "Suspended"
    assert site.statuses() == {"development": "ready", "staging": "ready"}
    assert site.model in site.form(run)
    assert "| staging | passed |" in site.form(run)
    before = site.steps(run)
    # and it holds no lock meanwhile
    with site.registry() as registry:
        for environment in ("staging", "production"):
            lock = registry.locks.take(site.model, environment, "another run")
            assert lock.run_id == "another run"
            registry.locks.free(lock)

    # when a release manager approves
    assert site.sign(run) == "ACCEPT"
    ended = site.leg(release, run)

    # then production serves the very candidate that was verified in staging
    assert ended.is_completed(), ended.message
    assert site.statuses() == {"development": "ready", "staging": "ready", "production": "ready"}
    with site.registry() as registry:
        fingerprints = {entry.fingerprint for entry in registry.entries(model=site.model)}
        kinds = [(event.kind, event.environment, event.actor) for event in reversed(registry.events.latest(run_id=str(run.id)))]
        timed = {event.environment: event.detail for event in registry.events.latest(run_id=str(run.id)) if event.kind == "timed"}
    assert len(fingerprints) == 1
    assert isinstance(timed["development"]["prefetch_bytes"], int)
    assert kinds == [
        ("deploying", "development", None),
        ("verified", "development", None),
        ("ready", "development", None),
        ("timed", "development", None),
        ("deploying", "staging", None),
        ("verified", "staging", None),
        ("ready", "staging", None),
        ("timed", "staging", None),
        ("approval_requested", "production", None),
        ("approved", "production", site.approver("ada")),
        ("approval_granted", "production", None),
        ("deploying", "production", None),
        ("verified", "production", None),
        ("ready", "production", None),
        ("timed", "production", None),
    ]
    # and what was finished before the wait was not done again
    after = site.steps(run)
    assert {name for name in before if name.startswith(("prefetch", "deploy", "rollout", "verify", "record"))} <= set(after)
    with site.registry() as registry:
        assert sum(event.kind == "ready" and event.environment == "staging" for event in registry.events.latest(model=site.model)) == 1
    # and the router's endpoint answers
    assert site.ask("The capital of France is", "production") == " Paris."


def test_the_same_revision_again_changes_nothing_and_a_new_one_takes_its_place(site: Site) -> None:
    assert site.release().is_completed()
    site.world.hub.requests.clear()
    before = {pod.name for pod in site.pods()}

    assert site.release().is_completed()

    assert {pod.name for pod in site.pods()} == before
    # the nodes had the snapshot: the hub was asked for names and for one header of 64 KiB at the most, but for no weights
    assert site.world.hub.requests.bytes_sent("cdn") <= 65536

    site.publish(seed=1)
    assert site.release().is_completed()

    with site.registry() as registry:
        entries = registry.entries(model=site.model)
        current = registry.current(site.model, "development")
    assert sorted(entry.status for entry in entries) == ["disabled", "ready"]
    old = next(entry for entry in entries if entry.status == "disabled")
    assert current is not None
    assert current.fingerprint is not None
    assert old.status_reason == f"superseded by {current.fingerprint[:12]}"


def test_a_retry_after_a_failed_verification_measures_anew(site: Site) -> None:
    # given a release that failed by a limit nothing can meet
    limits = site.environment("development")["latency"]
    site.edit("environments/development.yaml", latency={**limits, "p50_seconds": 1e-6, "max_samples": 40})
    run = site.start(release, model=site.model, environments=["development"])
    assert site.leg(release, run).name == "Failed"

    # when the limit is mended and the run is retried, as the Retry button does
    site.edit("environments/development.yaml", latency=limits)
    site.client.set_flow_run_state(run.id, Scheduled(name="AwaitingRetry"), force=True)
    ended = site.leg(release, run)

    # then what was found before is not taken for what is so now
    assert ended.is_completed(), ended.message
    assert site.statuses() == {"development": "ready"}


def test_a_crash_while_loading_is_diagnosed(site: Site) -> None:
    site.world.engine_faults.set(site.model, crash_on_load="torch.OutOfMemoryError: CUDA out of memory")

    run = site.start(release, model=site.model, environments=["development"])
    ended = site.leg(release, run)

    # the run's message says what the engine said, and what to do
    assert ended.name == "Errored"
    assert ended.message is not None
    assert "stalled (gpu-out-of-memory)" in ended.message
    assert "CUDA out of memory" in ended.message
    assert "max_model_len" in ended.message
    # the registry keeps it as evidence
    assert site.statuses() == {"development": "failed"}
    with site.registry() as registry:
        event = next(event for event in registry.events.latest(run_id=str(run.id)) if event.kind == "failed")
        evidence = registry.evidence.get(str(event.detail["evidence_sha256"]))
    assert evidence is not None
    assert evidence["diagnosis"]["category"] == "gpu-out-of-memory"  # type: ignore[index]
    # and the run shows it
    assert "## " + site.model + " in development: gpu-out-of-memory" in site.shown(run)[f"{site.model}-release-diagnosis"]


def test_staging_takes_only_what_development_verified(refusing_site: Site) -> None:
    ended = refusing_site.release("staging")

    assert ended.name == "Failed"
    assert ended.message is not None
    assert "nothing is verified in development" in ended.message
    assert refusing_site.statuses() == {}


@pytest.mark.parametrize(
    ("parameters", "state", "says"),
    [
        ({"model": "nope"}, "Failed", "There is no model 'nope': deployments/models/nope.yaml does not exist."),
        ({"revision": "no-such-branch"}, "Errored", "has no revision 'no-such-branch'"),
        ({"environments": ["mars"]}, "Failed", "There is no environment 'mars'"),
    ],
    ids=["model", "revision", "environment"],
)
def test_what_does_not_exist_is_named(refusing_site: Site, parameters: dict[str, object], state: str, says: str) -> None:
    ended = refusing_site.run(release, **{"model": refusing_site.model, **parameters})

    assert ended.name == state
    assert ended.message is not None
    assert says in ended.message
    assert "\n" not in ended.message
    assert refusing_site.statuses() == {}


def test_a_gated_repository_without_a_token_is_explained(refusing_site: Site) -> None:
    refusing_site.world.hub.add(refusing_site.repository, models.make_model(), gated="manual")

    ended = refusing_site.release()

    assert ended.name == "Errored"
    assert ended.message is not None
    assert "is gated and no token is set" in ended.message


def test_pickled_weights_are_refused_before_anything_is_touched(refusing_site: Site) -> None:
    refusing_site.publish(pickle_beside=True)

    ended = refusing_site.release()

    assert ended.name == "Failed"
    assert ended.message is not None
    assert "pytorch_model.bin" in ended.message
    assert refusing_site.statuses() == {}


def test_a_block_that_was_never_saved_is_named(refusing_site: Site) -> None:
    refusing_site.edit("environments/development.yaml", blocks="nowhere")

    ended = refusing_site.release()

    assert ended.name == "Failed"
    assert ended.message is not None
    assert "Prefect has no block slipway-cluster/nowhere" in ended.message


def test_a_system_that_cannot_be_reached_is_named_and_no_password_is(site: Site, tmp_path: Path) -> None:
    # given a cluster that is nowhere
    nowhere = tmp_path / "kubeconfig"
    text = site.world.cluster.kubeconfig.read_text()
    nowhere.write_text(text.replace(site.world.cluster.url, "https://127.0.0.1:9"))
    Cluster(kubeconfig=nowhere).save(site.blocks, overwrite=True)
    ended = site.release()
    assert ended.name == "Errored"
    assert "https://127.0.0.1:9 cannot be reached" in str(ended.message)
    assert site.statuses() == {}

    # given a kubeconfig that does not exist
    Cluster(kubeconfig=tmp_path / "gone").save(site.blocks, overwrite=True)
    ended = site.release()
    assert ended.name == "Errored"
    assert str(tmp_path / "gone") in str(ended.message)

    # given a database that is nowhere
    unreachable = Registry(dsn=SecretStr("postgresql://slipway:hunter2@127.0.0.1:9/registry"), connect_timeout_seconds=1)
    unreachable.save(site.blocks, overwrite=True)
    ended = site.release()
    assert ended.name == "Errored"
    assert "127.0.0.1" in str(ended.message)
    assert "hunter2" not in str(ended.message)
