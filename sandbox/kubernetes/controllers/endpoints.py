"""Endpoints and EndpointSlices of Services: which pod addresses stand behind a name.

Names of headless Services lie as files with addresses in a folder, where `sandbox.names` looks them up for a container's program.

Not emulated: topology hints, IPv6, more than one slice a Service (Kubernetes splits after a hundred addresses), host names.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sandbox.kubernetes.controllers.objects import is_deleting, is_finished, is_ready, owner_reference
from sandbox.kubernetes.controllers.view import Controller, View
from sandbox.kubernetes.meta.client import ENDPOINT_SLICES, ENDPOINTS, PODS, SERVICES, Object
from sandbox.kubernetes.meta.errors import ApiError
from sandbox.kubernetes.meta.selectors import matches_labels, selector_requirements
from sandbox.kubernetes.meta.values import dig, now
from sandbox.names import file_of, write

SERVICE_LABEL = "kubernetes.io/service-name"
MANAGED_LABEL, MANAGER = "endpoints.kubernetes.io/managed-by", "endpoint-controller"
SLICE_LABELS = {"endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io"}


class EndpointsController(Controller):
    """Keeps the addresses of every Service that has a selector.

    Args:
        view: The API server.
        names: Where names of headless Services are kept; none keeps none.
    """

    def __init__(self, view: View, names: Path | None = None) -> None:
        super().__init__(view)
        self._names = names
        self.watch(SERVICES)
        self.watch(ENDPOINTS)
        view.informer(ENDPOINT_SLICES)
        view.informer(PODS).subscribe(self._pod_changed)

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        namespace = (new or old or {})["metadata"]["namespace"]
        for service in self.view.informer(SERVICES).list(namespace):
            requirements = selector_requirements({"matchLabels": dig(service, "spec", "selector", default={})})
            if requirements and any(pod is not None and matches_labels(requirements, pod) for pod in (old, new)):
                self.queue.add(f"{namespace}/{service['metadata']['name']}")

    async def reconcile(self, key: str) -> float | None:
        """Write the addresses of one Service."""
        service = self.view.informer(SERVICES).get(key)
        if service is None:
            if self._names is not None:
                (self._names / file_of(key)).unlink(missing_ok=True)
            if (endpoints := self.view.informer(ENDPOINTS).get(key)) is not None and _is_ours(endpoints):
                await self.view.delete(ENDPOINTS, endpoints)
            return None
        selector = dig(service, "spec", "selector", default={})
        if not selector or is_deleting(service):
            return None
        requirements = selector_requirements({"matchLabels": selector})
        namespace = service["metadata"]["namespace"]
        pods = [
            pod
            for pod in self.view.informer(PODS).list(namespace)
            if matches_labels(requirements, pod) and dig(pod, "status", "podIP") and not is_finished(pod)
        ]
        pods.sort(key=lambda pod: str(pod["status"]["podIP"]))
        # A pod that ends leaves the Endpoints when it is deleted; the slice keeps it, not ready, until its phase is final.
        if self._names is not None and service["spec"].get("clusterIP") == "None":
            everyone = service["spec"].get("publishNotReadyAddresses")
            found = [pod["status"]["podIP"] for pod in pods if not is_deleting(pod) and (everyone or is_ready(pod))]
            write(self._names / file_of(key), found)
        await self._write_endpoints(service, [pod for pod in pods if not is_deleting(pod)])
        await self._write_slice(service, pods)
        return None

    async def _write_endpoints(self, service: Object, pods: list[Object]) -> None:
        metadata = service["metadata"]
        subsets: dict[str, Object] = {}
        for pod in pods:
            ports = _ports(service, pod)
            subset = subsets.setdefault(str(ports), {"addresses": [], "notReadyAddresses": [], "ports": ports})
            ready = is_ready(pod) or service["spec"].get("publishNotReadyAddresses")
            subset["addresses" if ready else "notReadyAddresses"].append(
                {"ip": pod["status"]["podIP"], "nodeName": pod["spec"].get("nodeName"), "targetRef": _target(pod)}
            )
        body: Object = {
            "apiVersion": "v1",
            "kind": "Endpoints",
            "metadata": {
                "name": metadata["name"],
                "namespace": metadata["namespace"],
                "labels": {**(metadata.get("labels") or {}), MANAGED_LABEL: MANAGER},
                "annotations": {"endpoints.kubernetes.io/last-change-trigger-time": now()},
            },
            "subsets": [{name: value for name, value in subset.items() if value} for subset in subsets.values()],
        }
        old = self.view.informer(ENDPOINTS).get(f"{metadata['namespace']}/{metadata['name']}")
        if old is not None and _content(old) == _content(body):
            return
        if old is None:
            await self.view.create(ENDPOINTS, metadata["namespace"], body)
        else:
            body["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"]
            await self.view.replace(ENDPOINTS, body)

    async def _write_slice(self, service: Object, pods: list[Object]) -> None:
        metadata = service["metadata"]
        ports = _ports(service, pods[0]) if pods else []
        endpoints = [_slice_endpoint(service, pod) for pod in pods]
        slices = self.view.informer(ENDPOINT_SLICES).list(metadata["namespace"])
        old = next((item for item in slices if dig(item, "metadata", "labels", SERVICE_LABEL) == metadata["name"]), None)
        if old is not None and (old.get("endpoints") or []) == endpoints and (old.get("ports") or []) == ports:
            return
        content = {"addressType": "IPv4", "endpoints": endpoints, "ports": ports}
        if old is not None:
            await self.view.replace(ENDPOINT_SLICES, {**old, **content})
            return
        body = {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "generateName": f"{metadata['name']}-",
                "namespace": metadata["namespace"],
                "labels": {SERVICE_LABEL: metadata["name"], **SLICE_LABELS},
                "ownerReferences": [owner_reference(service)],
            },
            **content,
        }
        try:
            await self.view.create(ENDPOINT_SLICES, metadata["namespace"], body)
        except ApiError as exc:
            if exc.code != 403:
                raise  # A namespace that is going away refuses new objects, and needs none.


def _content(endpoints: Object) -> tuple[Any, Any]:
    return endpoints.get("subsets") or [], endpoints["metadata"].get("labels")


def _is_ours(endpoints: Object) -> bool:
    return bool(dig(endpoints, "metadata", "labels", MANAGED_LABEL) == MANAGER)


def _ports(service: Object, pod: Object) -> list[Object]:
    """The ports of a Service as this pod serves them; a named target port is looked up in the pod."""
    ports = []
    for port in service["spec"].get("ports") or []:
        number = _target_port(port, pod)
        if number is not None:
            entry = {"name": port.get("name"), "port": number, "protocol": port.get("protocol", "TCP")}
            ports.append({name: value for name, value in entry.items() if value is not None})
    return ports


def _target_port(port: Object, pod: Object) -> int | None:
    target = port.get("targetPort", port["port"])
    if isinstance(target, int):
        return target
    for container in pod["spec"]["containers"]:
        for offered in container.get("ports") or []:
            if offered.get("name") == target:
                return int(offered["containerPort"])
    return None


def _target(pod: Object) -> Object:
    metadata = pod["metadata"]
    return {"kind": "Pod", "namespace": metadata["namespace"], "name": metadata["name"], "uid": metadata["uid"]}


def _slice_endpoint(service: Object, pod: Object) -> Object:
    serving = is_ready(pod)
    terminating = is_deleting(pod)
    ready = (serving and not terminating) or bool(service["spec"].get("publishNotReadyAddresses"))
    return {
        "addresses": [pod["status"]["podIP"]],
        "conditions": {"ready": ready, "serving": serving, "terminating": terminating},
        "nodeName": pod["spec"].get("nodeName"),
        "targetRef": _target(pod),
    }
