"""What is decided about a new or changed object beyond its own validity: namespaces, service accounts, limits, priorities, security.

Not emulated: webhooks, admission policies, and image pull secrets of service accounts.
"""

from __future__ import annotations

from sandbox.kubernetes.admission import pod_security
from sandbox.kubernetes.admission.quota import Quotas
from sandbox.kubernetes.admission.store import JSON, Store
from sandbox.kubernetes.admission.strategies import generate_name
from sandbox.kubernetes.meta import errors
from sandbox.kubernetes.meta.resources import Resource
from sandbox.kubernetes.meta.values import dig, quantity

TOKEN_MOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"  # noqa: S105 - a path in the pod
_SYSTEM_PRIORITIES = {"system-cluster-critical": 2_000_000_000, "system-node-critical": 2_000_001_000}


class Admission:
    """The admission chain, in Kubernetes' order: namespace, limits, service account, tolerations, priority, security, quota."""

    def __init__(self, store: Store, quotas: Quotas) -> None:
        self._store = store
        self._quotas = quotas

    def check_namespace(self, resource: Resource, namespace: str, name: str) -> None:
        """Refuse new objects where there is no namespace, or one that is being removed.

        Raises:
            ApiError: 404 or 403.
        """
        if not resource.namespaced or "list" not in resource.verbs:
            return
        found = self._store.get("/namespaces", "", namespace)
        if found is None:
            raise errors.not_found("namespaces", "", namespace)
        if "deletionTimestamp" in found["metadata"]:
            error = errors.forbidden(
                *resource.names, name, f"unable to create new content in namespace {namespace} because it is being terminated"
            )
            error.status["details"]["causes"] = [
                {"reason": "NamespaceTerminating", "message": f"namespace {namespace} is being terminated", "field": "metadata.namespace"}
            ]
            raise error

    def mutate(self, resource: Resource, obj: JSON) -> None:
        """Complete a new object, in place.

        Raises:
            ApiError: 403 or 404; its namespace does not take it, or a service account or priority class that it names is missing.
        """
        metadata = obj["metadata"]
        self.check_namespace(resource, metadata.get("namespace", ""), metadata["name"])
        if resource.key != "/pods":
            return
        self._default_limits(obj)
        self._give_service_account(obj)
        _tolerate(obj)
        self._prioritise(obj)

    def check_create(self, resource: Resource, obj: JSON) -> None:
        """Refuse a new object that passes a limit or a quota, or that its namespace does not hold to be secure.

        Raises:
            ApiError: 403.
        """
        if resource.key == "/pods":
            self._check_limits(obj)
        if (found := pod_security.violation(self._namespace(obj), "enforce", resource.key, obj)) is not None:
            raise errors.forbidden(*resource.names, obj["metadata"]["name"], found)
        self._quotas.check(resource, obj)

    def warnings(self, resource: Resource, obj: JSON) -> list[str]:
        """What whoever writes the object is to be warned of."""
        found = pod_security.violation(self._namespace(obj), "warn", resource.key, obj)
        return [] if found is None else [f"would {found}"]

    def _namespace(self, obj: JSON) -> JSON | None:
        return self._store.get("/namespaces", "", obj["metadata"].get("namespace", ""))

    def _default_limits(self, pod: JSON) -> None:
        for limit_range in self._store.objects("/limitranges", pod["metadata"]["namespace"]):
            for limit in dig(limit_range, "spec", "limits", default=[]):
                if limit.get("type") != "Container":
                    continue
                for container in [*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]]:
                    resources = container.setdefault("resources", {})
                    for field, source in (("requests", "defaultRequest"), ("limits", "default")):
                        for name, amount in limit.get(source, {}).items():
                            resources.setdefault(field, {}).setdefault(name, amount)

    def _check_limits(self, pod: JSON) -> None:
        metadata = pod["metadata"]
        problems = []
        for limit_range in self._store.objects("/limitranges", metadata["namespace"]):
            for limit in dig(limit_range, "spec", "limits", default=[]):
                if limit.get("type") == "Container":
                    for container in pod["spec"]["containers"]:
                        problems += _beyond(limit, container.get("resources", {}))
        if problems:
            text = problems[0] if len(problems) == 1 else f"[{', '.join(problems)}]"
            raise errors.forbidden("pods", "", metadata["name"], text)

    def _give_service_account(self, pod: JSON) -> None:
        spec, namespace = pod["spec"], pod["metadata"]["namespace"]
        name = spec.setdefault("serviceAccountName", "default")
        spec["serviceAccount"] = name
        account = self._store.get("/serviceaccounts", namespace, name)
        if account is None:
            why = f'error looking up service account {namespace}/{name}: serviceaccount "{name}" not found'
            raise errors.forbidden("pods", "", pod["metadata"]["name"], why)
        if spec.get("automountServiceAccountToken", account.get("automountServiceAccountToken", True)):
            _mount_token(spec)

    def _prioritise(self, pod: JSON) -> None:
        spec = pod["spec"]
        name = spec.get("priorityClassName", "")
        found = self._store.get("scheduling.k8s.io/priorityclasses", "", name) if name else None
        if name and found is None and name not in _SYSTEM_PRIORITIES:
            raise errors.forbidden("pods", "", pod["metadata"]["name"], f"no PriorityClass with name {name} was found")
        if not name:
            found = next((item for item in self._store.objects("scheduling.k8s.io/priorityclasses") if item.get("globalDefault")), None)
            if found is not None:
                spec["priorityClassName"] = found["metadata"]["name"]
        spec["priority"] = dig(found, "value", default=_SYSTEM_PRIORITIES.get(name, 0))
        spec.setdefault("preemptionPolicy", dig(found, "preemptionPolicy", default="PreemptLowerPriority"))


def _mount_token(spec: JSON) -> None:
    """Mount the account's token, as `kube-api-access-…`, into each container that mounts nothing there."""
    containers = [*spec.get("initContainers", ()), *spec["containers"]]
    without = [item for item in containers if all(mount["mountPath"] != TOKEN_MOUNT for mount in item.get("volumeMounts", ()))]
    if not without:
        return
    name = generate_name("kube-api-access-")
    namespace = {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}
    sources = [
        # An hour and seven seconds: by this number Kubernetes knows the tokens that it mounts unasked.
        {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [namespace]}},
    ]
    spec.setdefault("volumes", []).append({"name": name, "projected": {"sources": sources, "defaultMode": 420}})
    for container in without:
        container.setdefault("volumeMounts", []).append({"name": name, "readOnly": True, "mountPath": TOKEN_MOUNT})


def _tolerate(pod: JSON) -> None:
    """Let the pod stay five minutes on a node that is lost, unless it says otherwise."""
    tolerations = pod["spec"].setdefault("tolerations", [])
    for key in ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"):
        if not any(item.get("key") in (key, None) and item.get("effect") in ("NoExecute", None) for item in tolerations):
            tolerations.append({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300})


def _beyond(limit: JSON, resources: JSON) -> list[str]:
    problems = []
    for name, bound in limit.get("max", {}).items():
        actual = dig(resources, "limits", name)
        if actual is None:
            problems.append(f"maximum {name} usage per Container is {bound}.  No limit is specified")
        elif quantity(actual) > quantity(bound):
            problems.append(f"maximum {name} usage per Container is {bound}, but limit is {actual}")
    for name, bound in limit.get("min", {}).items():
        actual = dig(resources, "requests", name)
        if actual is None:
            problems.append(f"minimum {name} usage per Container is {bound}.  No request is specified")
        elif quantity(actual) < quantity(bound):
            problems.append(f"minimum {name} usage per Container is {bound}, but request is {actual}")
    return problems
