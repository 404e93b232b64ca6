"""The scheduler: gives each pending pod a node that fits, or says in Kubernetes' words why there is none.

Not emulated: preemption by priority (the message says that no victim was found), pod affinity and topology spread, preferred terms,
delayed volume binding, host ports, several profiles. Among the nodes that fit, the one with the largest free share wins.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from sandbox.kubernetes.admission.informer import key_of
from sandbox.kubernetes.controllers.fitting import Misfit, allocatable, misfit, requested, unbound_message, unschedulable_message
from sandbox.kubernetes.controllers.objects import condition, is_deleting, is_finished
from sandbox.kubernetes.controllers.view import Controller, View
from sandbox.kubernetes.meta.client import CLAIMS, NODES, PODS, VOLUMES, Object
from sandbox.kubernetes.meta.errors import ApiError
from sandbox.kubernetes.meta.values import dig, now

NAME = "default-scheduler"


class Scheduler(Controller):
    """Binds pods to nodes, one at a time; looks at waiting pods again whenever a node or another pod changes."""

    def __init__(self, view: View) -> None:
        super().__init__(view)
        self._bindings = view.recorder(NAME, action="Binding")
        self._failures = view.recorder(NAME, action="Scheduling")
        self._assumed: dict[str, str] = {}
        view.informer(PODS).subscribe(self._pod_changed)
        view.informer(NODES).subscribe(self._node_changed)
        view.informer(CLAIMS).subscribe(self._claim_changed)
        view.informer(VOLUMES)

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        if new is not None and _waits(new):
            if old is None or old["spec"] != new["spec"] or old["metadata"]["uid"] != new["metadata"]["uid"]:
                self.queue.add(key_of(new))
            return
        if new is None and old is not None:
            self._assumed.pop(old["metadata"]["uid"], None)
        frees_room = new is None or (is_finished(new) and (old is None or not is_finished(old)))
        if frees_room:
            self._retry_all()

    def _node_changed(self, old: Object | None, new: Object | None) -> None:
        def relevant(node: Object | None) -> tuple[object, ...]:
            return () if node is None else (node.get("spec"), node["metadata"].get("labels"), dig(node, "status", "allocatable"))

        if relevant(old) != relevant(new):
            self._retry_all()

    def _claim_changed(self, old: Object | None, new: Object | None) -> None:
        if new is not None and dig(old or {}, "status", "phase") != dig(new, "status", "phase"):
            self._retry_all()

    def _retry_all(self) -> None:
        for pod in self.view.informer(PODS).list():
            if _waits(pod):
                self.queue.add(key_of(pod))

    async def reconcile(self, key: str) -> float | None:
        """Bind one pod, or write down why it cannot be."""
        pod = self.view.informer(PODS).get(key)
        if pod is None or not _waits(pod) or pod["metadata"]["uid"] in self._assumed:
            return None
        nodes = self.view.informer(NODES).list()
        volumes = self._volumes(pod)
        if isinstance(volumes, str):
            await self._refuse(pod, unbound_message(volumes, len(nodes)))
            return None
        used = self._used()
        misfits: list[Misfit] = []
        fitting: list[Object] = []
        for node in nodes:
            reason = misfit(pod, node, used.get(node["metadata"]["name"], {}), volumes)
            if reason is None:
                fitting.append(node)
            else:
                misfits.append(reason)
        if not fitting:
            await self._refuse(pod, unschedulable_message(misfits, may_preempt=pod["spec"].get("preemptionPolicy") != "Never"))
            return None
        best = min(fitting, key=lambda node: (_busy_share(node, used.get(node["metadata"]["name"], {})), str(node["metadata"]["name"])))
        await self._bind(pod, best["metadata"]["name"])
        return None

    def _volumes(self, pod: Object) -> list[Object] | str:
        """The persistent volumes that the pod mounts, or why they cannot be had."""
        found = []
        for volume in pod["spec"].get("volumes") or []:
            if (name := dig(volume, "persistentVolumeClaim", "claimName")) is None:
                continue
            claim = self.view.informer(CLAIMS).get(f"{pod['metadata']['namespace']}/{name}")
            if claim is None:
                return f'persistentvolumeclaim "{name}" not found'
            bound = self.view.informer(VOLUMES).get(f"/{dig(claim, 'spec', 'volumeName', default='')}")
            if bound is None or dig(claim, "status", "phase") != "Bound":
                return "pod has unbound immediate PersistentVolumeClaims"
            found.append(bound)
        return found

    def _used(self) -> dict[str, dict[str, Decimal]]:
        used: dict[str, dict[str, Decimal]] = {}
        for pod in self.view.informer(PODS).list():
            node = pod["spec"].get("nodeName") or self._assumed.get(pod["metadata"]["uid"])
            if node is None or is_finished(pod):
                continue
            taken = used.setdefault(node, {})
            for name, amount in requested(pod).items():
                taken[name] = taken.get(name, Decimal(0)) + amount
        return used

    async def _bind(self, pod: Object, node: str) -> None:
        metadata = pod["metadata"]
        binding = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": metadata["name"], "namespace": metadata["namespace"], "uid": metadata["uid"]},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        }
        # At once, before the watch tells of it: the next pod must not be given the same GPU.
        self._assumed[metadata["uid"]] = node
        try:
            await self.view.client.request("POST", PODS.one(metadata["namespace"], metadata["name"], "binding"), body=binding)
        except ApiError as exc:
            del self._assumed[metadata["uid"]]
            if exc.code not in (404, 409):
                raise
            return
        message = f"Successfully assigned {metadata['namespace']}/{metadata['name']} to {node}"
        self._bindings.tell(pod, "Normal", "Scheduled", message)

    async def _refuse(self, pod: Object, message: str) -> None:
        old = condition(pod, "PodScheduled")
        self._failures.tell(pod, "Warning", "FailedScheduling", message)
        if old is not None and old.get("message") == message:
            return
        entry = {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": message,
            "lastProbeTime": None,
            "lastTransitionTime": old["lastTransitionTime"] if old is not None and old["status"] == "False" else now(),
            "observedGeneration": pod["metadata"].get("generation", 1),
        }
        await self.view.patch(PODS, pod, {"status": {"conditions": [entry]}}, "status", kind="strategic-merge")


def _waits(pod: Object) -> bool:
    return (
        not pod["spec"].get("nodeName")
        and pod["spec"].get("schedulerName", NAME) == NAME
        and not pod["spec"].get("schedulingGates")
        and not is_finished(pod)
        and not is_deleting(pod)
    )


def _busy_share(node: Object, used: Mapping[str, Decimal]) -> Decimal:
    """The mean share of a node's resources that is taken."""
    capacity = allocatable(node)
    shares = [used.get(name, Decimal(0)) / amount for name, amount in capacity.items() if amount > 0]
    return sum(shares, Decimal(0)) / len(shares) if shares else Decimal(1)
