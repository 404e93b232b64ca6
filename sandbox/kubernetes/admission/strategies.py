"""What the server itself writes into an object when it is created or updated: status, generated selectors, addresses, generation.

Not emulated: node ports that avoid ranges in use elsewhere, IPv6, and pod hash labels (their controllers write those).
"""

from __future__ import annotations

import base64
import secrets
import uuid
from typing import Any

from sandbox.kubernetes.admission.store import JSON, Store
from sandbox.kubernetes.meta.resources import Resource
from sandbox.kubernetes.meta.values import clone, dig, now, quantity

_NAME_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
_FIRST_STATUS: dict[str, JSON] = {
    "/pods": {"phase": "Pending"},
    "/namespaces": {"phase": "Active"},
    "/services": {"loadBalancer": {}},
    "/persistentvolumeclaims": {"phase": "Pending"},
    "/persistentvolumes": {"phase": "Available"},
    "/resourcequotas": {},
    "/nodes": {},
    "apps/deployments": {},
    "apps/replicasets": {"replicas": 0},
    "apps/statefulsets": {"replicas": 0, "availableReplicas": 0},
    "apps/daemonsets": {"currentNumberScheduled": 0, "numberMisscheduled": 0, "desiredNumberScheduled": 0, "numberReady": 0},
    "batch/jobs": {},
    "batch/cronjobs": {},
    "networking.k8s.io/ingresses": {"loadBalancer": {}},
    "policy/poddisruptionbudgets": {"disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0},
    "autoscaling/horizontalpodautoscalers": {"desiredReplicas": 0},
}


def generate_name(prefix: str) -> str:
    """A name from `generateName`: the prefix, cut to 58 characters, and five random ones."""
    return prefix[:58] + "".join(secrets.choice(_NAME_LETTERS) for _ in range(5))


def prepare_create(resource: Resource, obj: JSON, store: Store) -> None:
    """Write into a new object what the server decides, in place."""
    metadata = obj["metadata"]
    metadata["uid"] = str(uuid.uuid4())
    metadata["creationTimestamp"] = now()
    for unwanted in ("deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "resourceVersion", "generation"):
        metadata.pop(unwanted, None)
    if resource.generation:
        metadata["generation"] = 1
    if "status" in resource.subresources and not (resource.key == "/nodes" and obj.get("status")):
        obj.pop("status", None)
        if resource.key in _FIRST_STATUS:
            obj["status"] = dict(_FIRST_STATUS[resource.key])
    match resource.key:
        case "batch/jobs":
            _prepare_job(obj)
        case "/services":
            allocate_addresses(obj, None, store)
        case "/secrets":
            merge_string_data(obj)
        case "/namespaces":
            obj["spec"] = {"finalizers": ["kubernetes"]}
        case "/pods":
            obj["status"]["qosClass"] = _quality_class(obj)


def _prepare_job(obj: JSON) -> None:
    spec, metadata = obj["spec"], obj["metadata"]
    if spec["manualSelector"]:
        return
    # Both spellings, as Kubernetes sets them: older clients select by the short ones.
    identity = {
        "batch.kubernetes.io/controller-uid": metadata["uid"],
        "batch.kubernetes.io/job-name": metadata["name"],
        "controller-uid": metadata["uid"],
        "job-name": metadata["name"],
    }
    template = spec["template"].setdefault("metadata", {})
    template["labels"] = {**template.get("labels", {}), **identity}
    if not metadata.get("labels"):
        metadata["labels"] = dict(template["labels"])
    spec["selector"] = {"matchLabels": {"batch.kubernetes.io/controller-uid": metadata["uid"]}}


def allocate_addresses(obj: JSON, before: JSON | None, store: Store) -> None:
    """Give a service its cluster IP and node ports, or keep the ones that it has."""
    spec = obj["spec"]
    old = (before or {}).get("spec", {})
    if spec.get("type") == "ExternalName":
        return
    if not spec.get("clusterIP"):
        spec["clusterIP"] = old.get("clusterIP") or _free_address(store)
    spec["clusterIPs"] = [spec["clusterIP"]]
    spec.setdefault("ipFamilies", ["IPv4"])
    spec.setdefault("ipFamilyPolicy", "SingleStack")
    if spec.get("type") in ("NodePort", "LoadBalancer"):
        old_ports = {(port["port"], port.get("protocol")): port.get("nodePort") for port in old.get("ports", ())}
        for port in spec.get("ports", ()):
            port.setdefault("nodePort", old_ports.get((port["port"], port["protocol"])) or 30000 + secrets.randbelow(2768))


def _free_address(store: Store) -> str:
    taken = {dig(service, "spec", "clusterIP") for service in store.objects("/services")}
    while True:
        address = f"10.96.{secrets.randbelow(256)}.{1 + secrets.randbelow(254)}"
        if address not in taken:
            return address


def merge_string_data(obj: JSON) -> None:
    """Move a Secret's `stringData` into `data`."""
    plain = obj.pop("stringData", None)
    if plain:
        obj["data"] = {**obj.get("data", {}), **{key: base64.b64encode(value.encode()).decode() for key, value in plain.items()}}


def _quality_class(pod: JSON) -> str:
    """A pod's quality of service: Guaranteed, Burstable or BestEffort, from its CPU and memory."""
    requests, limits, guaranteed = False, False, True
    for container in [*pod["spec"].get("initContainers", ()), *pod["spec"].get("containers", ())]:
        resources = container.get("resources", {})
        for name in ("cpu", "memory"):
            request, limit = dig(resources, "requests", name), dig(resources, "limits", name)
            requests, limits = requests or request is not None, limits or limit is not None
            guaranteed = guaranteed and limit is not None and (request is None or quantity(request) == quantity(limit))
    if not requests and not limits:
        return "BestEffort"
    return "Guaranteed" if guaranteed else "Burstable"


def prepare_update(resource: Resource, subresource: str, before: JSON, after: JSON, store: Store) -> JSON:
    """The object with what this write cannot change put back, and the generation counted on when the wish changed."""
    after = dict(after)
    metadata = dict(after["metadata"])
    old = before["metadata"]
    for kept in ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation", "generateName"):
        if kept in old:
            metadata[kept] = old[kept]
        else:
            metadata.pop(kept, None)
    metadata.pop("selfLink", None)
    after["metadata"] = metadata
    if "status" in resource.subresources:
        if subresource == "status":
            after = {**clone(before), "metadata": _status_metadata(resource, old, metadata), "status": after.get("status", {})}
        else:
            after.pop("status", None)
            if "status" in before:
                after["status"] = before["status"]
    match resource.key:
        case "/services":
            allocate_addresses(after, before, store)
        case "/secrets":
            merge_string_data(after)
        case "/namespaces" if subresource != "finalize":
            after["spec"] = before["spec"]
    apart = ("metadata", "status") if "status" in resource.subresources or not resource.custom else ("metadata",)
    if resource.generation and _wish(after, apart) != _wish(before, apart):
        after["metadata"] = {**after["metadata"], "generation": old.get("generation", 0) + 1}
    return after


def _status_metadata(resource: Resource, old: JSON, new: JSON) -> JSON:
    """Writes of a status may change annotations, and of pods and nodes all that is the writer's to say but the owners."""
    if resource.custom:
        return {**old, **({"managedFields": new["managedFields"]} if "managedFields" in new else {})}
    fields = ("annotations", "managedFields", *(("labels", "finalizers") if resource.key in ("/pods", "/nodes") else ()))
    kept = {key: value for key, value in old.items() if key not in fields}
    return {**kept, **{key: new[key] for key in fields if key in new}}


def _wish(obj: JSON, apart: tuple[str, ...]) -> dict[str, Any]:
    return {key: value for key, value in obj.items() if key not in apart}
