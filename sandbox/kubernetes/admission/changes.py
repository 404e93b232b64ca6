"""Which changes of an object are allowed: the fields that stay as they were made, by resource."""

from __future__ import annotations

from collections.abc import Callable

from sandbox.kubernetes.admission.store import JSON
from sandbox.kubernetes.meta.problems import Problems
from sandbox.kubernetes.meta.values import clone, dig

Change = Callable[[JSON, JSON, Problems], None]


def _fixed(*paths: str) -> Change:
    """Fields that cannot be changed once the object is there."""

    def check(before: JSON, after: JSON, problems: Problems) -> None:
        for path in paths:
            old, new = (dig(obj, *path.split(".")) for obj in (before, after))
            if old != new:
                problems.immutable(path, new)

    return check


def _frozen_data(before: JSON, after: JSON, problems: Problems) -> None:
    if before.get("immutable"):
        if not after.get("immutable"):
            problems.forbidden("immutable", "field is immutable when `immutable` is set")
        for field in ("data", "binaryData"):
            if before.get(field) != after.get(field):
                problems.forbidden(field, "field is immutable when `immutable` is set")
    if before.get("type") != after.get("type"):
        problems.immutable("type", after.get("type"))


def _service_change(before: JSON, after: JSON, problems: Problems) -> None:
    old, new = dig(before, "spec", "clusterIP"), dig(after, "spec", "clusterIP")
    if old and new != old and dig(after, "spec", "type") != "ExternalName":
        problems.invalid("spec.clusterIPs[0]", dig(after, "spec", "clusterIPs", default=[new]), "may not change once set")


def _pod_change(before: JSON, after: JSON, problems: Problems) -> None:
    """A pod's wish is fixed but for images, deadlines and more tolerations."""
    comparable = []
    for obj in (before, after):
        spec = clone(obj["spec"])
        for field in ("activeDeadlineSeconds", "tolerations", "schedulingGates"):
            spec.pop(field, None)
        for container in [*spec.get("containers", ()), *spec.get("initContainers", ())]:
            container.pop("image", None)
        comparable.append(spec)
    kept = [item for item in dig(before, "spec", "tolerations", default=[]) if item in dig(after, "spec", "tolerations", default=[])]
    if comparable[0] != comparable[1] or len(kept) != len(dig(before, "spec", "tolerations", default=[])):
        problems.forbidden(
            "spec",
            "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
            "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
            "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)\n",
        )


def _job_change(before: JSON, after: JSON, problems: Problems) -> None:
    # A suspended job may still be moved to other nodes; Kubernetes allows it for schedulers of jobs, and nobody here needs it.
    _fixed("spec.completions", "spec.selector", "spec.template", "spec.completionMode")(before, after, problems)


def _role_change(before: JSON, after: JSON, problems: Problems) -> None:
    if before.get("roleRef") != after.get("roleRef"):
        problems.invalid("roleRef", after.get("roleRef"), "cannot change roleRef")


CHANGES: dict[str, Change] = {
    "/pods": _pod_change,
    "/services": _service_change,
    "/configmaps": _frozen_data,
    "/secrets": _frozen_data,
    "apps/deployments": _fixed("spec.selector"),
    "apps/replicasets": _fixed("spec.selector"),
    "apps/daemonsets": _fixed("spec.selector"),
    "apps/statefulsets": _fixed("spec.selector", "spec.serviceName", "spec.podManagementPolicy", "spec.volumeClaimTemplates"),
    "batch/jobs": _job_change,
    "/persistentvolumeclaims": _fixed("spec.storageClassName", "spec.accessModes"),
    "rbac.authorization.k8s.io/rolebindings": _role_change,
    "rbac.authorization.k8s.io/clusterrolebindings": _role_change,
    "scheduling.k8s.io/priorityclasses": _fixed("value"),
    "apiextensions.k8s.io/customresourcedefinitions": _fixed("spec.scope"),
}
