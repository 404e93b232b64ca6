"""Weights on the nodes, as the release's run shows them and the cluster sees them."""

from __future__ import annotations

import re
import threading
import time
import uuid
from contextvars import copy_context
from dataclasses import replace

import pytest
from kubernetes.client import CoreV1Api
from kubernetes.config import new_client_from_config
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from prefect.settings import PREFECT_API_URL, temporary_settings
from pydantic import SecretStr

from blocks.cluster import Cluster
from blocks.errors import ClusterRejected
from blocks.registry import Registry, RegistryClient
from flows.node.layout import snapshot_folder
from flows.release import release
from flows.runtime.artifacts import ProgressArtifact
from flows.spec import Candidate
from flows.text.markdown import md
from flows.text.progress import Progress
from flows.weights.scrub import scrub_job
from flows.weights.tasks.job import run_on_node
from flows.weights.tasks.prefetch import snapshots_to_keep
from sandbox.hub import Fault
from sandbox.world import STORE, World
from tests.flows.conftest import Site
from tests.support.environments import claim_volumes, remove_environments
from tests.support.examples import environment


@pytest.fixture
def slow_hub(site: Site) -> None:
    """Weights take a few seconds."""
    site.publish_own()
    site.world.hub.faults.add(Fault(origin="cdn", path=f"*{site.model}*", times=None, bytes_per_second=700_000))


def shown(site: Site, run_id: object) -> dict[str, tuple[float, str]]:
    """The run's progress artifacts: key → percent and sentence."""
    wanted = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run_id]))  # type: ignore[list-item]
    found = site.client.read_artifacts(artifact_filter=wanted)
    return {str(each.key): (float(str(each.data)), str(each.description)) for each in found if each.type == "progress"}


def test_progress_is_shown_while_weights_come_to_two_nodes_that_share(site: Site, slow_hub: None) -> None:
    prefetch = {**site.environment("development")["prefetch"], "share": True}
    site.edit("environments/development.yaml", prefetch=prefetch, node_selector={"pool": "pair"})
    run = site.start(release, model=site.model, environments=["development"])
    leg = threading.Thread(target=copy_context().run, args=(site.leg, release, run))  # Prefect's settings are in the context
    seen = set()
    leg.start()
    while leg.is_alive():
        seen |= set(shown(site, run.id).values())
        time.sleep(0.1)
    leg.join()

    underway = [sentence for percent, sentence in seen if 0 < percent < 100]
    assert underway
    assert all("MB/s" in sentence and "left" in sentence for sentence in underway)
    (percent, sentence) = shown(site, run.id)["prefetch-development-gpu-1"]
    assert percent == 100.0
    assert "fetched and proven" in sentence
    assert site.client.read_flow_run(run.id).state_name == "Completed"
    # and each was found by the name of their Service: the hub sent all of it about once
    wanted = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run.id]))  # type: ignore[list-item]
    (page,) = [str(each.data) for each in site.client.read_artifacts(artifact_filter=wanted) if each.key == "shared-development"]
    told = re.search(r"The hub sent ([\d.]+) MB, the nodes ([\d.]+) MB to each other", page)
    assert told is not None, page
    assert 0 < float(told[1]) <= 1.3 * float(told[2])
    assert {"| gpu-1 |", "| gpu-2 |"} <= set(re.findall(r"^\| gpu-\d \|", page, re.MULTILINE))


def test_what_is_current_previous_or_in_a_pod_is_kept(site: Site) -> None:
    # given a release whose pod runs, and two later candidates that the registry knows as verified
    assert site.release().is_completed()
    with site.registry() as registry:
        (entry,) = registry.entries(model=site.model)
        first = Candidate.from_document(registry.candidates.get(entry.fingerprint or "") or {})
        later = [replace(first, commit=digit * 40) for digit in "ab"]
        for each in later:
            _record_ready(registry, each)

    kept = snapshots_to_keep(Registry(dsn=SecretStr(site.database)))
    with Cluster(kubeconfig=site.world.cluster.kubeconfig).client() as client:
        in_use = client.mounts.claimed_folders("gpu-1")

    assert kept == [snapshot_folder(site.repository, each.commit) for each in later]
    assert snapshot_folder(site.repository, first.commit) in in_use


def _record_ready(registry: RegistryClient, candidate: Candidate) -> None:
    who = {"model": candidate.model, "environment": "development", "fingerprint": candidate.fingerprint, "run_id": candidate.short}
    registry.candidates.register(candidate.fingerprint, candidate.document(), candidate.model, candidate.commit)
    registry.lifecycle.begin(**who, hub_revision=candidate.commit, namespace="n", endpoint="e:8000")
    registry.lifecycle.mark_ready(**who, helm_revision=1, evidence_sha256=registry.evidence.save("verdict", {"of": candidate.short}))


def test_wrong_bytes_end_the_release_with_the_nodes_own_sentence(site: Site) -> None:
    site.publish_own()
    # beyond what the plan reads
    site.world.hub.faults.add(Fault(origin="cdn", path=f"*{site.model}*", flip_byte_at=1_000_000, times=None))

    ended = site.release()

    site.world.hub.faults.clear()
    assert ended.name == "Errored"
    assert ended.message is not None
    assert ended.message.startswith("Node gpu-1: ")
    assert "is not what the hub says it is" in ended.message
    assert site.statuses() == {"development": "failed"}


def test_a_disk_without_room_fails_the_release_with_the_numbers(site: Site) -> None:
    site.publish_own()
    site.edit("environments/development.yaml", prefetch={**site.environment("development")["prefetch"], "reserve_percent": 99.9})

    ended = site.release()

    assert ended.name == "Failed"
    assert ended.message is not None
    assert "stay reserved" in ended.message


@pytest.mark.parametrize(
    ("store", "changes", "why"),
    [
        pytest.param("/mnt/forgotten", {}, r'path "/mnt/forgotten" does not exist: make that folder on the node \(', id="store"),
        pytest.param(
            STORE, {"image": "slipway-sandbox/forgotten"}, r"cannot start: pod .*Image\w*: .*slipway-sandbox/forgotten", id="image"
        ),
        pytest.param(STORE, {"quota": "50m"}, r"exceeded quota: small, requested: requests\.cpu=100m.*Raise the namespace's", id="quota"),
        pytest.param(STORE, {"node": "gpu-9"}, r"there is no node gpu-9 any longer .*have node_selector leave it out", id="node"),
    ],
)
def test_what_a_node_will_never_have_is_named_at_once(world: World, store: str, changes: dict[str, str], why: str) -> None:
    kubeconfig, namespace = world.cluster.kubeconfig, f"bare-{uuid.uuid4().hex[:8]}"
    where = environment(namespace=namespace)
    if "image" in changes:
        where = replace(where, prefetch=replace(where.prefetch, image=f"{changes['image']}@sha256:{'0' * 64}"))
    with new_client_from_config(str(kubeconfig)) as api, Cluster(kubeconfig=kubeconfig).client() as client:
        CoreV1Api(api).create_namespace({"metadata": {"name": namespace}})
        claim_volumes(world, namespace, path=store)
        if "quota" in changes:
            quota = {"metadata": {"name": "small"}, "spec": {"hard": {"requests.cpu": changes["quota"]}}}
            CoreV1Api(api).create_namespaced_resource_quota(namespace, quota)

        node = changes.get("node") or client.nodes.list(where.node_selector)[0].name
        job = scrub_job(where, node, "run")
        with pytest.raises(ClusterRejected, match=why):
            run_on_node(client, where, node, job, {}, lambda line: None)

        assert client.jobs.get(namespace, job["metadata"]["name"]) is None
    remove_environments(kubeconfig, [namespace])


def test_progress_that_cannot_be_shown_stops_nothing() -> None:
    # Prefect says by a warning that it is not in a run
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}), pytest.warns(FutureWarning):
        ProgressArtifact("prefetch-development-gpu-1").show(Progress(percent=1.0, message=md("a little")))
