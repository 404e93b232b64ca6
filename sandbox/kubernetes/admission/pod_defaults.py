"""The defaults of pods, as Pods and as templates of workloads."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sandbox.kubernetes.admission.store import JSON
from sandbox.kubernetes.meta.values import dig

_PROBE = {"timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3}


def fill(target: JSON, **values: Any) -> None:
    """Set the keys that are not there."""
    for key, value in values.items():
        target.setdefault(key, value)


def containers_of(spec: JSON) -> Iterable[JSON]:
    """All containers of a pod's specification, those that initialise it first."""
    return [*spec.get("initContainers", ()), *spec.get("containers", ())]


def pod_spec(spec: JSON) -> None:
    """The defaults of a pod's specification, also where it is a template."""
    fill(spec, restartPolicy="Always", terminationGracePeriodSeconds=30, dnsPolicy="ClusterFirst")
    fill(spec, securityContext={}, schedulerName="default-scheduler")
    account = spec.get("serviceAccountName") or spec.get("serviceAccount")
    if account:
        spec["serviceAccountName"] = spec["serviceAccount"] = account
    for volume in spec.get("volumes", ()):
        _volume(volume)
    for container in containers_of(spec):
        _container(container)


def _container(container: JSON) -> None:
    fill(container, resources={}, terminationMessagePath="/dev/termination-log", terminationMessagePolicy="File")
    image = container.get("image", "")
    tag = image.rpartition("/")[2].partition(":")[2]
    container.setdefault("imagePullPolicy", "Always" if tag in ("", "latest") and "@" not in image else "IfNotPresent")
    for port in container.get("ports", ()):
        fill(port, protocol="TCP")
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        if (probe := container.get(name)) is not None:
            fill(probe, **_PROBE)
            _http_get(probe)
            if "grpc" in probe:
                fill(probe["grpc"], service="")
    for hook in container.get("lifecycle", {}).values():
        if isinstance(hook, dict):
            _http_get(hook)
    for variable in container.get("env", ()):
        if (reference := dig(variable, "valueFrom", "fieldRef")) is not None:
            fill(reference, apiVersion="v1")


def _http_get(handler: JSON) -> None:
    if (get := handler.get("httpGet")) is not None:
        fill(get, path="/", scheme="HTTP")


def _volume(volume: JSON) -> None:
    if set(volume) == {"name"}:
        volume["emptyDir"] = {}
    # 0644 in decimal, since JSON has no octal numbers.
    for source in ("secret", "configMap", "projected", "downwardAPI"):
        if source in volume:
            fill(volume[source], defaultMode=420)
    if "hostPath" in volume:
        fill(volume["hostPath"], type="")
    for item in dig(volume, "downwardAPI", "items", default=[]):
        fill(item.get("fieldRef", {}), apiVersion="v1")
    for projection in dig(volume, "projected", "sources", default=[]):
        if "serviceAccountToken" in projection:
            fill(projection["serviceAccountToken"], expirationSeconds=3600)
        for item in dig(projection, "downwardAPI", "items", default=[]):
            if "fieldRef" in item:
                fill(item["fieldRef"], apiVersion="v1")
