"""The Jobs that share weights: what they find and know each other by is made, goes with them, and is left nowhere."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from kubernetes.client import BatchV1Api, CoreV1Api
from kubernetes.client.exceptions import ApiException
from kubernetes.config import new_client_from_config

from blocks.cluster import Cluster
from flows.node.layout import snapshot_folder
from flows.spec import Environment
from flows.weights.prefetch import prefetch_files, prefetch_job
from flows.weights.tasks.group import Group, holders
from sandbox.kubernetes.server.server import ApiServer
from tests.support.examples import candidate, environment

WANTED = ["new-1"]


@pytest.fixture
def where(core: CoreV1Api) -> Environment:
    """An environment of three nodes, on one of which a pod serves the candidate."""
    core.create_namespace({"metadata": {"name": "sharing"}})
    for name in ("new-1", "old-1", "old-2"):
        core.create_node({"metadata": {"name": name, "labels": {"pool": "sharing"}}, "spec": {}})
        core.patch_node_status(name, {"status": {"conditions": [{"type": "Ready", "status": "True"}]}})
    folder = snapshot_folder(candidate().repository, candidate().commit)
    mounts = [{"name": "weights", "mountPath": "/m", "subPath": folder}]
    spec = {
        "nodeName": "old-2",
        "containers": [{"name": "engine", "image": "x", "volumeMounts": mounts}],
        "volumes": [{"name": "weights", "persistentVolumeClaim": {"claimName": "slipway-weights"}}],
    }
    core.create_namespaced_pod("sharing", {"metadata": {"name": "serves"}, "spec": spec})
    made = environment(namespace="sharing", node_selector={"pool": "sharing"})
    return replace(made, prefetch=replace(made.prefetch, share=True))


@pytest.fixture
def core(server: ApiServer) -> Iterator[CoreV1Api]:
    with new_client_from_config(str(server.admin_kubeconfig)) as api:
        yield CoreV1Api(api)


def test_a_group_is_made_goes_with_its_jobs_and_is_left_nowhere(server: ApiServer, core: CoreV1Api, where: Environment) -> None:
    with Cluster(kubeconfig=server.admin_kubeconfig).client() as client:
        # given a node that wants what another has
        giving = holders(client, candidate(), where, WANTED)
        assert giving == ["old-2"]
        group = Group.of(candidate(), where, WANTED, giving, "run")
        assert group is not None
        assert group.nodes == ("new-1", "old-2")

        # when the same is asked for twice, as a run that was killed does
        group.create(client)
        key = core.read_namespaced_secret(group.name, "sharing").data["tls.key"]
        group.create(client)
        secret, service = (read(group.name, "sharing") for read in (core.read_namespaced_secret, core.read_namespaced_service))

        # then its key stays what it is, and its name leads to its pods, ready or not
        assert secret.data["tls.key"] == key
        assert service.spec.cluster_ip == "None"
        assert service.spec.publish_not_ready_addresses
        for node in group.nodes:
            job = prefetch_job(candidate(), where, node, "run", "hub", nodes=group.nodes, gives=node in giving)
            client.jobs.create("sharing", job, prefetch_files(candidate()))
            assert service.spec.selector.items() <= job["spec"]["template"]["metadata"]["labels"].items()

        group.belong(client)
        jobs = {job.metadata.name: job.metadata.uid for job in BatchV1Api(core.api_client).list_namespaced_job("sharing").items}
        for read in (core.read_namespaced_secret, core.read_namespaced_service):
            assert {owner.name: owner.uid for owner in read(group.name, "sharing").metadata.owner_references} == jobs
        assert core.read_namespaced_secret(group.name, "sharing").data["tls.key"] == key

        group.delete(client)
        group.delete(client)
    for read in (core.read_namespaced_secret, core.read_namespaced_service):
        with pytest.raises(ApiException, match="404"):
            read(group.name, "sharing")
    left = [job.metadata.name for job in BatchV1Api(core.api_client).list_namespaced_job("sharing").items]
    assert len(left) == 1  # the one that wanted it
