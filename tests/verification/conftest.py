"""A model that is served in the sandbox's cluster as a rollout leaves it, and verification of it; nothing but pods is set up for it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from kubernetes.client import ApiClient, CoreV1Api
from kubernetes.config import new_client_from_config

from blocks.cluster import Cluster
from blocks.endpoint import Endpoint
from flows.spec import BehaviourPolicy, Candidate, CheckSuite, Deployments, Environment, LatencyPolicy
from flows.spec.load import ROOT
from flows.verification.attempts import Attempts
from flows.verification.golden import Reference
from flows.verification.tasks.verify import measure
from flows.verification.verdict import Verdict
from flows.weights.prefetch import mount_path
from sandbox.models import make_model
from sandbox.world import World
from tests.support.examples import candidate, environment
from tests.support.waiting import until

NODE = "gpu-1"
#: What the shipped model's file says.
TOOLS = ("--enable-auto-tool-choice", "--tool-call-parser", "hermes")
DEPLOYMENTS = Deployments(root=ROOT / "deployments")

FULL = DEPLOYMENTS.suite("full")
#: A few checks, and a golden prompt of each kind: the text, the chat and the JSON.
SHORT = replace(DEPLOYMENTS.suite("smoke"), golden=(FULL.golden[0], FULL.golden[4], FULL.golden[-1]))
#: As short as it can be; the limits stay those of production.
QUICK = LatencyPolicy(samples=20, max_samples=80, warmup=1, concurrency=(1, 4))


@dataclass
class Served:
    """One pod behind one Service."""

    world: World
    api: ApiClient
    namespace: str
    name: str = "tiny-llama-staging"
    candidate: Candidate = field(default_factory=candidate)

    @property
    def address(self) -> str:
        return f"{self.name}.{self.namespace}.svc.cluster.local:8000"

    @property
    def environment(self) -> Environment:
        return environment(namespace=self.namespace, latency=QUICK, behaviour=BehaviourPolicy(runs=2))

    def start(self, files: dict[str, bytes]) -> None:
        """Serve these files as the candidate, and wait until they are served."""
        core, folder = CoreV1Api(self.api), f"/{self.namespace}/snapshot"
        disk = self.world.cluster.node(NODE).disk / folder.lstrip("/")
        disk.mkdir(parents=True)
        for name, content in files.items():
            (disk / name).write_bytes(content)
        core.create_namespace({"metadata": {"name": self.namespace}})
        selector = {"app.kubernetes.io/instance": self.name}
        ports = [{"name": "http", "port": 8000, "targetPort": 8000}]
        service = {"metadata": {"name": self.name}, "spec": {"selector": selector, "ports": ports}}
        core.create_namespaced_service(self.namespace, service)
        core.create_namespaced_pod(self.namespace, self._pod(folder, {**selector, "slipway.dev/candidate": self.candidate.label}))
        self.wait()

    def _pod(self, folder: str, labels: dict[str, str]) -> dict[str, Any]:
        mounted = mount_path(self.candidate)
        window = str(self.candidate.engine.max_model_len)
        probe = {"httpGet": {"path": "/health", "port": 8000}, "periodSeconds": 1}
        container = {
            "name": "vllm",
            "image": self.candidate.image,
            "args": [mounted, "--served-model-name", self.candidate.model, "--port", "8000", "--max-model-len", window, *TOOLS],
            "ports": [{"containerPort": 8000}],
            "readinessProbe": probe,
            "volumeMounts": [{"name": "weights", "mountPath": mounted, "readOnly": True}],
        }
        annotations = {"slipway.dev/fingerprint": self.candidate.fingerprint}
        volumes = [{"name": "weights", "hostPath": {"path": folder, "type": "Directory"}}]
        spec = {"nodeName": NODE, "containers": [container], "volumes": volumes, "terminationGracePeriodSeconds": 1}
        return {"metadata": {"name": f"{self.name}-0", "labels": labels, "annotations": annotations}, "spec": spec}

    def wait(self) -> None:
        """Until its pod is ready."""
        with self.cluster.client() as client:
            until(lambda: any(pod.ready for pod in client.pods.list(self.namespace, {})), lambda: client.pods.list(self.namespace, {}))

    @property
    def cluster(self) -> Cluster:
        return Cluster(kubeconfig=self.world.cluster.kubeconfig)

    def endpoint(self, timeout_seconds: float = 20.0) -> Endpoint:
        return Endpoint(via="service-proxy", kubeconfig=self.world.cluster.kubeconfig, timeout_seconds=timeout_seconds)

    def verify(
        self,
        suite: CheckSuite | None = None,
        *,
        endpoint: Endpoint | None = None,
        address: str = "",
        reference: Reference = Reference(),  # noqa: B008  # frozen
        timeout_seconds: float = 20.0,
        attempts: Attempts | None = None,
        **changes: Any,
    ) -> Verdict:
        """Verify the candidate as the task does, in this process and without Prefect's server."""
        return measure(
            endpoint or self.endpoint(timeout_seconds),
            self.cluster,
            replace(self.candidate, **{name: changes.pop(name) for name in list(changes) if name in ("commit", "image", "engine")}),
            replace(self.environment, **changes),
            self.name,
            address or self.address,
            suite or SHORT,
            reference,
            attempts or Attempts(),
        )

    def faults(self, **faults: Any) -> None:
        self.world.engine_faults.set(self.candidate.model, **faults)


def wrong(verdict: Verdict) -> dict[str, str]:
    """The checks that did not pass, and what was seen."""
    return {measurement.name: measurement.seen for measurement in verdict.measurements if measurement.outcome != "passed"}


@pytest.fixture(scope="module")
def serving(world: World) -> Iterator[Served]:
    unique = uuid.uuid4().hex[:8]
    image = DEPLOYMENTS.model("tiny-llama").image
    # A name of its own, so that its faults are nobody else's.
    made = candidate(model=f"tiny-{unique}x", image=image)
    with new_client_from_config(str(world.cluster.kubeconfig)) as api:
        served = Served(world=world, api=api, namespace=f"verify-{unique}", candidate=made)
        try:
            served.start(make_model())
            yield served
        finally:
            CoreV1Api(api).delete_namespace(served.namespace)


@pytest.fixture
def served(serving: Served) -> Iterator[Served]:
    """The model, without faults before and after."""
    yield serving
    serving.world.engine_faults.clear()
