"""The node life cycle: a node whose agent no longer renews its lease is marked, tainted, and in the end emptied.

Not emulated: eviction rates by zone, and the memory- and disk-pressure taints.
"""

from __future__ import annotations

from datetime import timedelta

from sandbox.kubernetes.controllers.fitting import tolerates
from sandbox.kubernetes.controllers.objects import condition, is_deleting, is_ready
from sandbox.kubernetes.controllers.view import Controller, View
from sandbox.kubernetes.meta.client import LEASES, NODES, PODS, Object
from sandbox.kubernetes.meta.clock import utc_now
from sandbox.kubernetes.meta.values import clone, dig, now, parse_time

LEASE_NAMESPACE = "kube-node-lease"
UNREACHABLE = "node.kubernetes.io/unreachable"
NOT_READY = "node.kubernetes.io/not-ready"
UNSCHEDULABLE = "node.kubernetes.io/unschedulable"


class NodeController(Controller):
    """Watches the leases of nodes.

    Args:
        view: The cluster.
        grace_seconds: How old a lease may be before its node counts as lost; Kubernetes waits 50.
    """

    def __init__(self, view: View, *, grace_seconds: float = 50.0) -> None:
        super().__init__(view)
        self._grace_seconds = grace_seconds
        self._events = view.recorder("node-controller")
        self.watch(NODES)
        view.informer(LEASES)
        view.informer(PODS)

    async def reconcile(self, key: str) -> float | None:
        """Look at one node's lease; mark the node and its pods when it is too old."""
        node = self.view.informer(NODES).get(key)
        if node is None or is_deleting(node):
            return None
        left_seconds = self._lease_left_seconds(node)
        ready = condition(node, "Ready")
        if left_seconds <= 0 and ready is not None and ready["status"] != "Unknown":
            node = await self._mark_lost(node)
        node = await self._taint(node)
        wait_seconds = left_seconds + 0.05 if left_seconds > 0 else self._grace_seconds
        evict_seconds = await self._evict(node)
        return min(wait_seconds, evict_seconds) if evict_seconds is not None else wait_seconds

    def _lease_left_seconds(self, node: Object) -> float:
        lease = self.view.informer(LEASES).get(f"{LEASE_NAMESPACE}/{node['metadata']['name']}")
        renewed = dig(lease, "spec", "renewTime") or node["metadata"]["creationTimestamp"]
        return (parse_time(renewed) + timedelta(seconds=self._grace_seconds) - utc_now()).total_seconds()

    async def _mark_lost(self, node: Object) -> Object:
        moment = now()
        conditions = [
            {
                **entry,
                "status": "Unknown",
                "reason": "NodeStatusUnknown",
                "message": "Kubelet stopped posting node status.",
                "lastTransitionTime": moment,
            }
            for entry in node["status"]["conditions"]
        ]
        node = await self.view.patch(NODES, node, {"status": {"conditions": conditions}}, "status", kind="strategic-merge")
        name = node["metadata"]["name"]
        self._events.tell(node, "Normal", "NodeNotReady", f"Node {name} status is now: NodeNotReady")
        for pod in self._pods_on(node):
            if is_ready(pod):
                # Alone, as conditions are merged by type: ContainersReady stays True (Kubernetes 1.36).
                entry = {"type": "Ready", "status": "False", "lastTransitionTime": moment}
                await self.view.patch(PODS, pod, {"status": {"conditions": [entry]}}, "status", kind="strategic-merge")
                self._events.tell(pod, "Warning", "NodeNotReady", "Node is not ready")
        return node

    def _pods_on(self, node: Object) -> list[Object]:
        return [pod for pod in self.view.informer(PODS).list() if pod["spec"].get("nodeName") == node["metadata"]["name"]]

    async def _taint(self, node: Object) -> Object:
        """Give the node the taints that its Ready condition calls for, and take them away when it has recovered."""
        state = (condition(node, "Ready") or {"status": "Unknown"})["status"]
        wanted = {"False": NOT_READY, "Unknown": UNREACHABLE}.get(state)
        taints = clone(dig(node, "spec", "taints", default=[]))
        cordoned = UNSCHEDULABLE if dig(node, "spec", "unschedulable") else None
        kept = [
            taint for taint in taints if taint["key"] not in (NOT_READY, UNREACHABLE, UNSCHEDULABLE) or taint["key"] in (wanted, cordoned)
        ]
        if wanted is not None and not any(taint["key"] == wanted for taint in kept):
            kept += [{"key": wanted, "effect": effect, "timeAdded": now()} for effect in ("NoSchedule", "NoExecute")]
        if cordoned is not None and not any(taint["key"] == cordoned for taint in kept):
            kept.append({"key": cordoned, "effect": "NoSchedule", "timeAdded": now()})
        return node if kept == taints else await self.view.patch(NODES, node, {"spec": {"taints": kept}})

    async def _evict(self, node: Object) -> float | None:
        """Delete the pods that have waited for the node as long as they tolerate; return when to look again."""
        waits = []
        for taint in dig(node, "spec", "taints", default=[]):
            if taint["effect"] != "NoExecute" or "timeAdded" not in taint:
                continue
            for pod in self._pods_on(node):
                patience_seconds = _patience_seconds(pod, taint)
                if patience_seconds is None or is_deleting(pod):
                    continue
                left_seconds = (parse_time(taint["timeAdded"]) + timedelta(seconds=patience_seconds) - utc_now()).total_seconds()
                if left_seconds > 0:
                    waits.append(left_seconds)
                else:
                    message = f"Marking for deletion Pod {pod['metadata']['namespace']}/{pod['metadata']['name']}"
                    self._events.tell(pod, "Normal", "TaintManagerEviction", message)
                    entry = {
                        "type": "DisruptionTarget",
                        "status": "True",
                        "reason": "DeletionByTaintManager",
                        "message": "Taint manager: deleting due to NoExecute taint",
                        "lastTransitionTime": now(),
                        "observedGeneration": pod["metadata"].get("generation", 1),
                    }
                    pod = await self.view.patch(PODS, pod, {"status": {"conditions": [entry]}}, "status", kind="strategic-merge")
                    await self.view.delete(PODS, pod)
        return min(waits, default=None)


def _patience_seconds(pod: Object, taint: Object) -> float | None:
    """How long a pod tolerates a taint: 0 if not at all, None if for ever."""
    if not tolerates(pod, taint):
        return 0.0
    times = [
        float(toleration["tolerationSeconds"])
        for toleration in pod["spec"].get("tolerations") or []
        if "tolerationSeconds" in toleration and tolerates({"spec": {"tolerations": [toleration]}}, taint)
    ]
    return min(times, default=None)
