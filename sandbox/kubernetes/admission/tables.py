"""Objects as the tables that `kubectl get` asks for: the columns of the common kinds; name and age for the others.

Not emulated: the wide columns, and `additionalPrinterColumns` of custom resources.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from sandbox.kubernetes.admission.store import JSON
from sandbox.kubernetes.meta.values import dig, parse_time

Cells = Callable[[JSON], list[Any]]


def wants_table(accept: str) -> bool:
    """Whether the `Accept` header asks for a table first."""
    return "as=Table" in accept.partition(",")[0]


def as_table(obj: JSON) -> JSON:
    """An object or a list of them as a `Table`; anything else, such as a `Status`, as it is."""
    kind = str(obj.get("kind", ""))
    if kind == "Status" or "metadata" not in obj:
        return obj
    items = obj["items"] if kind.endswith("List") and "items" in obj else [obj]
    names, cells = _COLUMNS.get(kind.removesuffix("List") if items is not obj else kind, ((), lambda item: []))
    columns = [
        {"name": name, "type": "string", "format": "name" if name == "Name" else "", "description": "", "priority": 0}
        for name in ("Name", *names, "Age")
    ]
    rows = [
        {
            "cells": [item["metadata"].get("name", ""), *cells(item), _age(dig(item, "metadata", "creationTimestamp"))],
            "object": {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": item["metadata"]},
        }
        for item in items
    ]
    metadata = (
        obj["metadata"] if items is not obj and kind.endswith("List") else {"resourceVersion": obj["metadata"].get("resourceVersion", "")}
    )
    return {"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata, "columnDefinitions": columns, "rows": rows}


def _age(time: str | None) -> str:
    if not time:
        return "<unknown>"
    seconds = int((datetime.now(UTC) - parse_time(time)).total_seconds())
    for size, letter in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= 2 * size:
            return f"{seconds // size}{letter}"
    return f"{max(seconds, 0)}s"


def _pod(pod: JSON) -> list[Any]:
    statuses = dig(pod, "status", "containerStatuses", default=[])
    reason = dig(pod, "status", "reason", default=dig(pod, "status", "phase", default="Unknown"))
    for status in statuses:
        reason = dig(status, "state", "waiting", "reason") or dig(status, "state", "terminated", "reason") or reason
    if "deletionTimestamp" in pod["metadata"]:
        reason = "Terminating"
    ready = sum(bool(status.get("ready")) for status in statuses)
    restarts = sum(status.get("restartCount", 0) for status in statuses)
    return [f"{ready}/{len(dig(pod, 'spec', 'containers', default=[]))}", reason, restarts]


def _deployment(obj: JSON) -> list[Any]:
    def count(field: str) -> int:
        return int(dig(obj, "status", field, default=0))

    return [f"{count('readyReplicas')}/{dig(obj, 'spec', 'replicas', default=0)}", count("updatedReplicas"), count("availableReplicas")]


def _replica_set(obj: JSON) -> list[Any]:
    return [dig(obj, "spec", "replicas", default=0), *(dig(obj, "status", name, default=0) for name in ("replicas", "readyReplicas"))]


def _stateful_set(obj: JSON) -> list[Any]:
    return [f"{dig(obj, 'status', 'readyReplicas', default=0)}/{dig(obj, 'spec', 'replicas', default=0)}"]


def _job(job: JSON) -> list[Any]:
    finished = {item["type"] for item in dig(job, "status", "conditions", default=[]) if item.get("status") == "True"}
    state = "Complete" if "Complete" in finished else "Failed" if "Failed" in finished else "Running"
    start, end = dig(job, "status", "startTime"), dig(job, "status", "completionTime")
    duration = f"{int((parse_time(end) - parse_time(start)).total_seconds())}s" if start and end else ""
    return [state, f"{dig(job, 'status', 'succeeded', default=0)}/{dig(job, 'spec', 'completions', default=1)}", duration]


def _service(service: JSON) -> list[Any]:
    ports = ",".join(f"{port['port']}/{port.get('protocol', 'TCP')}" for port in dig(service, "spec", "ports", default=[]))
    return [dig(service, "spec", "type"), dig(service, "spec", "clusterIP", default="<none>"), "<none>", ports or "<none>"]


def _node(node: JSON) -> list[Any]:
    ready: JSON = next((item for item in dig(node, "status", "conditions", default=[]) if item["type"] == "Ready"), {})
    state = "Ready" if ready.get("status") == "True" else "NotReady"
    if dig(node, "spec", "unschedulable"):
        state += ",SchedulingDisabled"
    roles = [key.rpartition("/")[2] for key in dig(node, "metadata", "labels", default={}) if key.startswith("node-role.kubernetes.io/")]
    return [state, ",".join(sorted(roles)) or "<none>", dig(node, "status", "nodeInfo", "kubeletVersion", default="")]


def _event(event: JSON) -> list[Any]:
    about = event.get("involvedObject") or event.get("regarding") or {}
    seen = event.get("lastTimestamp") or event.get("eventTime") or dig(event, "metadata", "creationTimestamp")
    who = f"{str(about.get('kind', '')).lower()}/{about.get('name', '')}"
    return [_age(seen), event.get("type", ""), event.get("reason", ""), who, event.get("message") or event.get("note", "")]


_COLUMNS: dict[str, tuple[tuple[str, ...], Cells]] = {
    "Pod": (("Ready", "Status", "Restarts"), _pod),
    "Deployment": (("Ready", "Up-to-date", "Available"), _deployment),
    "ReplicaSet": (("Desired", "Current", "Ready"), _replica_set),
    "StatefulSet": (("Ready",), _stateful_set),
    "Job": (("Status", "Completions", "Duration"), _job),
    "Service": (("Type", "Cluster-IP", "External-IP", "Port(s)"), _service),
    "Node": (("Status", "Roles", "Version"), _node),
    "Namespace": (("Status",), lambda item: [dig(item, "status", "phase", default="")]),
    "ConfigMap": (("Data",), lambda item: [len(item.get("data", {})) + len(item.get("binaryData", {}))]),
    "Secret": (("Type", "Data"), lambda item: [item.get("type", ""), len(item.get("data", {}))]),
    "ServiceAccount": (("Secrets",), lambda item: [len(item.get("secrets", ()))]),
    "Event": (("Last Seen", "Type", "Reason", "Object", "Message"), _event),
}
