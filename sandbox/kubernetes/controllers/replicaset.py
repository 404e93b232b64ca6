"""The ReplicaSet controller: as many pods as asked for.

Not emulated: the slow start of large batches and the pod-deletion-cost annotation.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sandbox.kubernetes.controllers.objects import (
    is_active,
    is_deleting,
    is_finished,
    is_ready,
    owner_reference,
    seconds_until_available,
    set_condition,
    without_condition,
)
from sandbox.kubernetes.controllers.view import Controller, View, owned
from sandbox.kubernetes.meta.client import PODS, REPLICA_SETS, Object
from sandbox.kubernetes.meta.errors import ApiError
from sandbox.kubernetes.meta.selectors import matches_labels, selector_requirements
from sandbox.kubernetes.meta.values import clone, dig


def pod_from_template(owner: Object) -> Object:
    """The pod that an owner's template stands for; the server gives it its name."""
    template = clone(owner["spec"]["template"])
    metadata = template.get("metadata") or {}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "generateName": f"{owner['metadata']['name']}-",
            "namespace": owner["metadata"]["namespace"],
            **{key: metadata[key] for key in ("labels", "annotations", "finalizers") if metadata.get(key)},
            "ownerReferences": [owner_reference(owner)],
        },
        "spec": template["spec"],
    }


def first_to_go(pods: Iterable[Object]) -> list[Object]:
    """Pods in the order in which they are given up: unassigned, pending, not ready, then the youngest."""

    def rank(pod: Object) -> tuple[Any, ...]:
        phase = {"Pending": 0, "Unknown": 1}.get(dig(pod, "status", "phase", default="Pending"), 2)
        return ("nodeName" in pod["spec"], phase, is_ready(pod))

    youngest_first = sorted(pods, key=lambda pod: str(pod["metadata"]["creationTimestamp"]), reverse=True)
    return sorted(youngest_first, key=rank)


class ReplicaSetController(Controller):
    """Creates and deletes pods until each ReplicaSet has its number."""

    def __init__(self, view: View) -> None:
        super().__init__(view)
        self._events = view.recorder("replicaset-controller")
        self.watch(REPLICA_SETS)
        self.watch_dependents(PODS, "ReplicaSet")

    async def reconcile(self, key: str) -> float | None:
        """Bring one ReplicaSet to its number of pods and write its status."""
        replica_set = self.view.informer(REPLICA_SETS).get(key)
        if replica_set is None:
            return None
        failure: ApiError | None = None
        if not is_deleting(replica_set):
            pods = await owned(self.view, replica_set, PODS)
            failure = await self._scale(replica_set, [pod for pod in pods if is_active(pod)])
        again_seconds = await self._write_status(replica_set, failure)
        if failure is not None:
            raise failure
        return again_seconds

    async def _scale(self, replica_set: Object, pods: list[Object]) -> ApiError | None:
        missing = replica_set["spec"].get("replicas", 1) - len(pods)
        for _ in range(missing):
            try:
                pod = await self.view.create(PODS, replica_set["metadata"]["namespace"], pod_from_template(replica_set))
            except ApiError as exc:
                self._events.tell(replica_set, "Warning", "FailedCreate", f"Error creating: {exc.message}")
                return exc
            self._events.tell(replica_set, "Normal", "SuccessfulCreate", f"Created pod: {pod['metadata']['name']}")
        for pod in first_to_go(pods)[: max(0, -missing)]:
            await self.view.delete(PODS, pod)
            self._events.tell(replica_set, "Normal", "SuccessfulDelete", f"Deleted pod: {pod['metadata']['name']}")
        return None

    async def _write_status(self, replica_set: Object, failure: ApiError | None) -> float | None:
        all_pods = [pod for pod in await owned(self.view, replica_set, PODS) if not is_finished(pod)]
        pods = [pod for pod in all_pods if not is_deleting(pod)]
        template_labels = selector_requirements({"matchLabels": dig(replica_set, "spec", "template", "metadata", "labels", default={})})
        waits = [seconds_until_available(pod, replica_set["spec"].get("minReadySeconds", 0)) for pod in pods]
        counts = {
            "fullyLabeledReplicas": sum(matches_labels(template_labels, pod) for pod in pods),
            "readyReplicas": sum(is_ready(pod) for pod in pods),
            "availableReplicas": sum(wait == 0.0 for wait in waits),
        }
        old = replica_set.get("status") or {}
        status: Object = {
            "replicas": len(pods),
            **{name: count for name, count in counts.items() if count},
            "terminatingReplicas": len(all_pods) - len(pods),
            "observedGeneration": replica_set["metadata"].get("generation", 1),
        }
        if conditions := _conditions(old.get("conditions") or [], failure):
            status["conditions"] = conditions
        if status != old:
            await self.view.replace(REPLICA_SETS, {**replica_set, "status": status}, "status")
        return min((wait for wait in waits if wait), default=None)


def _conditions(conditions: list[Object], failure: ApiError | None) -> list[Object]:
    if failure is None:
        return without_condition(conditions, "ReplicaFailure")
    # Every refused pod has another name, so the message changes with each attempt; the first one stands, as in Kubernetes.
    if any(entry["type"] == "ReplicaFailure" for entry in conditions):
        return conditions
    return set_condition(conditions, {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": failure.message})
