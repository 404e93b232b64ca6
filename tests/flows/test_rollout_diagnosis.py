"""What keeps a rollout from going on is named, on a cluster that has the trouble: no Prefect, no Helm, small Kubernetes Deployments."""

from __future__ import annotations

import copy
import uuid
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import pytest
from kubernetes.client import ApiClient, AppsV1Api, CoreV1Api
from kubernetes.config import new_client_from_config

from blocks.cluster import Cluster
from blocks.errors import RolloutStalled
from flows.naming import WEIGHTS_CLAIM
from flows.rollout.tasks import await_rollout
from flows.spec import Candidate
from sandbox import models
from sandbox.world import ENGINE_IMAGE, PREFETCH_IMAGE, World
from tests.support.environments import claim_volumes, remove_environments
from tests.support.examples import candidate, digest, environment

NAME = "tiny"

#: A pod that would serve if its weights were there, within the means of every node.
POD: dict[str, Any] = {
    "terminationGracePeriodSeconds": 1,
    "nodeSelector": {"node-type": "gpu"},
    "tolerations": [{"key": "gpu-workload", "operator": "Exists"}],
    "containers": [
        {
            "name": "vllm",
            "image": f"{ENGINE_IMAGE}@sha256:{digest('image')}",
            "args": ["/models/none", "--served-model-name", NAME, "--port", "8000"],
            "terminationMessagePolicy": "FallbackToLogsOnError",
            "startupProbe": {"httpGet": {"path": "/health", "port": 8000}, "periodSeconds": 1, "failureThreshold": 60},
            "resources": {"limits": {"nvidia.com/gpu": "1"}},
        }
    ],
}


@dataclass
class Place:
    """A namespace in which Kubernetes Deployments are made and watched."""

    world: World
    api: ApiClient
    namespace: str

    def stalled(self, *, of: Candidate | None = None, container: dict[str, Any] | None = None, **pod: Any) -> RolloutStalled:
        """Roll the candidate's pod out until it stalls."""
        released = of or candidate()
        spec = {**copy.deepcopy(POD), **pod}
        spec["containers"][0].update(container or {})
        labels = {"app": NAME, "slipway.dev/candidate": released.label}
        template = {"metadata": {"labels": labels}, "spec": spec}
        body = {"metadata": {"name": NAME}, "spec": {"replicas": 1, "selector": {"matchLabels": {"app": NAME}}, "template": template}}
        AppsV1Api(self.api).create_namespaced_deployment(self.namespace, body)
        where = environment(namespace=self.namespace)
        with pytest.raises(RolloutStalled) as caught:
            await_rollout(Cluster(kubeconfig=self.world.cluster.kubeconfig), released, where, NAME, 60)
        return caught.value


def with_model(place: Place, **container: Any) -> dict[str, Any]:
    """A pod whose weights are there, so that nothing but what a test asks for is wrong with it."""
    folder = place.world.cluster.nodes[0].disk / "models"
    folder.mkdir(exist_ok=True)
    for name, content in models.make_model().items():
        (folder / name).write_bytes(content)
    mounted = {"args": ["/models", *POD["containers"][0]["args"][1:]], "volumeMounts": [{"name": "weights", "mountPath": "/models"}]}
    return {"volumes": [{"name": "weights", "hostPath": {"path": "/models"}}], "container": {**mounted, **container}}


@pytest.fixture
def place(world: World) -> Iterator[Place]:
    with closing(new_client_from_config(str(world.cluster.kubeconfig))) as api:
        core, name = CoreV1Api(api), f"stalls-{uuid.uuid4().hex[:8]}"
        core.create_namespace({"metadata": {"name": name}})
        yield Place(world=world, api=api, namespace=name)
        world.engine_faults.clear()
        remove_environments(world.cluster.kubeconfig, [name])


def test_a_quota_that_is_too_small(place: Place) -> None:
    quota = {"metadata": {"name": "gpus"}, "spec": {"hard": {"requests.nvidia.com/gpu": "1"}}}
    CoreV1Api(place.api).create_namespaced_resource_quota(place.namespace, quota)

    stalled = place.stalled(container={"resources": {"limits": {"nvidia.com/gpu": "2"}}})

    assert stalled.facts["category"] == "quota-exceeded"
    assert "requested: requests.nvidia.com/gpu=2" in stalled.message


def test_more_gpus_than_any_node_has(place: Place) -> None:
    wide = candidate(engine=replace(candidate().engine, tensor_parallel_size=1000))

    stalled = place.stalled(of=wide, container={"resources": {"limits": {"nvidia.com/gpu": "1000"}}})

    assert stalled.facts["category"] == "no-gpu"
    assert "Insufficient nvidia.com/gpu" in stalled.message


@pytest.mark.parametrize("pod", [{"nodeSelector": {"gpu": "h100"}}, {"tolerations": []}], ids=["selector", "taint"])
def test_a_node_that_does_not_match(place: Place, pod: dict[str, Any]) -> None:
    assert place.stalled(**pod).facts["category"] == "no-matching-node"


def test_an_image_that_does_not_exist(place: Place) -> None:
    stalled = place.stalled(container={"image": "nowhere.example/vllm@sha256:" + digest("none")})

    assert stalled.facts["category"] == "image-not-found"
    assert "nowhere.example/vllm" in stalled.message


def test_a_secret_that_does_not_exist(place: Place) -> None:
    reference = {"secretKeyRef": {"name": "engine-settings", "key": "a"}}

    stalled = place.stalled(container={"env": [{"name": "A", "valueFrom": reference}]})

    assert stalled.facts["category"] == "container-refused"
    assert "engine-settings" in stalled.message


def test_weights_that_are_not_on_the_node(place: Place) -> None:
    claim_volumes(place.world, place.namespace)
    volume = {"name": "weights", "persistentVolumeClaim": {"claimName": WEIGHTS_CLAIM, "readOnly": True}}
    mount = {"name": "weights", "mountPath": "/models", "subPath": "models/gone"}

    stalled = place.stalled(volumes=[volume], container={"volumeMounts": [mount]})

    assert stalled.facts["category"] == "weights-missing"
    assert 'failed to create subPath directory for volumeMount "weights" of container "vllm"' in stalled.message


def test_weights_that_are_not_the_candidates(place: Place) -> None:
    mount = {"name": "weights", "mountPath": "/models/other", "readOnly": True}
    checker = {
        "name": "check-weights",
        "image": f"{PREFETCH_IMAGE}@sha256:{digest('prefetch')}",
        "args": ["check", "/models/other", "--digest", "0" * 64],
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [mount],
    }
    volume = {"name": "weights", "hostPath": {"path": "/var/lib/slipway/models/other", "type": "DirectoryOrCreate"}}

    stalled = place.stalled(initContainers=[checker], volumes=[volume])

    assert stalled.facts["category"] == "weights-refused"
    assert "has no manifest: it is no snapshot, or a scrub found it damaged" in stalled.message


def test_a_folder_that_is_no_model(place: Place) -> None:
    stalled = place.stalled()

    assert stalled.facts["category"] == "weights-unloadable"
    assert "/models/none" in stalled.message


@pytest.mark.parametrize(
    ("category", "line"),
    [
        ("gpu-out-of-memory", "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB."),
        ("no-kv-cache-memory", "ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization`."),
        ("crash-loop", "KeyError: 'rope_type'"),
    ],
)
def test_an_engine_that_crashes_while_loading(place: Place, category: str, line: str) -> None:
    place.world.engine_faults.set(NAME, crash_on_load=line)

    stalled = place.stalled(**with_model(place))

    assert stalled.facts["category"] == category
    assert line in stalled.message


def test_an_engine_that_needs_longer_than_its_budget(place: Place) -> None:
    place.world.engine_faults.set(NAME, start_delay_seconds=100)
    probe = {"httpGet": {"path": "/health", "port": 8000}, "periodSeconds": 1, "failureThreshold": 1}

    assert place.stalled(**with_model(place, startupProbe=probe)).facts["category"] == "killed-while-loading"


def test_an_engine_that_needs_more_memory_than_its_limit(place: Place) -> None:
    place.world.engine_faults.set(NAME, start_delay_seconds=100)

    stalled = place.stalled(**with_model(place, resources={"limits": {"nvidia.com/gpu": "1", "memory": "8Mi"}}))

    assert stalled.facts["category"] == "out-of-memory"


def test_a_service_account_that_does_not_exist(place: Place) -> None:
    stalled = place.stalled(serviceAccountName="nobody")

    assert stalled.facts["category"] == "admission-refused"
    assert 'serviceaccount "nobody" not found' in stalled.message
