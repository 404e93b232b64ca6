"""Kubernetes Deployments, and how far their rollouts are."""

from __future__ import annotations

from collections.abc import Sequence

from blocks.cluster.pods import Pods
from blocks.facts import Pod, Rollout
from blocks.facts.cluster import INSTANCE
from blocks.kubernetes_api import Document, KubernetesApi, path_of, selector

_APPS = "apps/v1"


class Rollouts:
    """Watches rollouts."""

    def __init__(self, api: KubernetesApi, pods: Pods) -> None:
        self._api = api
        self._pods = pods

    def wait(self, namespace: str, name: str, seconds: float) -> None:
        """Wait until the Kubernetes Deployment changes since it was last looked at, `seconds` at most."""
        self._api.wait(path_of(namespace, "deployments", group=_APPS), namespace, name, seconds)

    def engine_of(self, namespace: str, service: str) -> str | None:
        """The instance label of the pods that the Service sends to; none if there is no such Service, or it goes by no such label."""
        found = self._api.find(path_of(namespace, "services", service))
        return (found.spec.selector or {}).get(INSTANCE) if found is not None else None

    def get(self, namespace: str, name: str, service: str = "") -> Rollout | None:
        """A Kubernetes Deployment's progress, its pods, and to which of them its Service sends; none if there is no such Deployment.

        Args:
            namespace: Where.
            name: The Deployment.
            service: Its Service, where that has another name.
        """
        deployment = self._api.find(path_of(namespace, "deployments", name, group=_APPS))
        if deployment is None:
            return None
        # Before its pods are read: what changes in between ends the next wait at once.
        self._api.remember(namespace, name, deployment.metadata.resourceVersion)
        # By the selector, so that those of older ReplicaSets are among them: they hold GPUs until they are gone.
        pods = self._pods.list(namespace, deployment.spec.selector.matchLabels)
        of_service = selector({"kubernetes.io/service-name": service or name})
        slices = self._api.list(path_of(namespace, "endpointslices", group="discovery.k8s.io/v1"), labels=of_service)
        return read_rollout(deployment, pods, slices)


def read_rollout(deployment: Document, pods: Sequence[Pod], slices: Sequence[Document]) -> Rollout:
    """A Kubernetes Deployment as the API server has it, as a fact.

    Args:
        deployment: The Kubernetes Deployment.
        pods: Its pods.
        slices: The EndpointSlices of its Service.
    """
    status, conditions = deployment.status, {c.type: c for c in deployment.status.conditions or []}
    progressing, failure = conditions.get("Progressing"), conditions.get("ReplicaFailure")
    return Rollout(
        wanted=deployment.spec.replicas,
        updated=status.updatedReplicas or 0,
        available=status.availableReplicas or 0,
        total=status.replicas or 0,
        # Until then all the numbers are those of the spec before.
        observed=(status.observedGeneration or 0) >= deployment.metadata.generation,
        deadline_exceeded=progressing is not None and progressing.reason == "ProgressDeadlineExceeded",
        # A pod that the quota refuses never exists: this condition is all that tells of it.
        problem=f"{failure.reason}: {failure.message}" if failure is not None and failure.status == "True" else "",
        pods=tuple(pods),
        surges=_surges(deployment.spec.strategy),
        # A pod that ends is told so first, and leaves this list a moment later.
        routed=frozenset(
            endpoint.targetRef.name
            for each in slices
            for endpoint in each.endpoints or []
            # A slice keeps a pod that ends until it is gone: not ready, though serving.
            if endpoint.targetRef is not None and endpoint.conditions is not None and endpoint.conditions.ready
        ),
    )


def _surges(strategy: Document) -> bool:
    rolling = strategy.rollingUpdate
    # A number or a percentage; `Recreate` has no rolling update at all.
    return rolling is not None and str(rolling.maxSurge) not in ("0", "0%")
