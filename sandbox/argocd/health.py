"""How well objects are, by Argo CD's built-in assessments. Pure.

Not emulated: assessments written in Lua, and those of kinds that are not named here; such objects have no health and do not count.
"""

from __future__ import annotations

from collections.abc import Iterable

from sandbox.kubernetes.meta.client import Object

#: From best to worst: an Application is as well as its worst object.
ORDER = ("Healthy", "Suspended", "Progressing", "Missing", "Degraded", "Unknown")


def health_of(obj: Object) -> tuple[str, str] | None:
    """An object's health and the words for it; none for kinds that have none."""
    match obj["kind"]:
        case "Deployment":
            return _deployment(obj)
        case "Job":
            return _job(obj)
        case "Service":
            pending = obj["spec"].get("type") == "LoadBalancer" and not obj.get("status", {}).get("loadBalancer", {}).get("ingress")
            return ("Progressing", "") if pending else ("Healthy", "")
    return None


def worst(healths: Iterable[str]) -> str:
    """The health of them all."""
    return max(healths, key=ORDER.index, default="Healthy")


def _deployment(obj: Object) -> tuple[str, str]:
    spec, status, name = obj["spec"], obj.get("status") or {}, obj["metadata"]["name"]
    if spec.get("paused"):
        return "Suspended", "Deployment is paused"
    if obj["metadata"].get("generation", 0) > status.get("observedGeneration", 0):
        return "Progressing", "Waiting for rollout to finish: observed deployment generation less than desired generation"
    progressing: Object = next((entry for entry in status.get("conditions") or () if entry["type"] == "Progressing"), {})
    if progressing.get("reason") == "ProgressDeadlineExceeded":
        return "Degraded", f'Deployment "{name}" exceeded its progress deadline'
    wanted, updated = spec.get("replicas", 1), status.get("updatedReplicas", 0)
    total, available = status.get("replicas", 0), status.get("availableReplicas", 0)
    if updated < wanted:
        return "Progressing", f"Waiting for rollout to finish: {updated} out of {wanted} new replicas have been updated..."
    if total > updated:
        return "Progressing", f"Waiting for rollout to finish: {total - updated} old replicas are pending termination..."
    if available < updated:
        return "Progressing", f"Waiting for rollout to finish: {available} of {updated} updated replicas are available..."
    return "Healthy", ""


def _job(obj: Object) -> tuple[str, str]:
    for condition in (obj.get("status") or {}).get("conditions") or ():
        if condition.get("status") == "True" and condition["type"] in ("Complete", "Failed"):
            return ("Healthy" if condition["type"] == "Complete" else "Degraded"), condition.get("message", "")
    return ("Suspended" if obj["spec"].get("suspend") else "Progressing"), ""
