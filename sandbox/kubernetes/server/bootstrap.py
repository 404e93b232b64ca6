"""What is in a cluster from the start: the system's namespaces, the built-in roles, priority classes and the service `kubernetes`."""

from __future__ import annotations

from typing import Any

from sandbox.kubernetes.admission.store import JSON, Store
from sandbox.kubernetes.objects.reactions import new_object

_RBAC = "rbac.authorization.k8s.io"
_RBAC_V1 = f"{_RBAC}/v1"
_READ = ["get", "list", "watch"]
_WRITE = ["create", "delete", "deletecollection", "patch", "update"]
_WITH_STATUS = ("deployments", "replicasets", "statefulsets", "daemonsets")
_VIEWED = {
    "": [
        "configmaps",
        "endpoints",
        "events",
        "limitranges",
        "namespaces",
        "persistentvolumeclaims",
        "pods",
        "pods/log",
        "pods/status",
        "replicationcontrollers",
        "resourcequotas",
        "resourcequotas/status",
        "serviceaccounts",
        "services",
        "services/status",
    ],
    "apps": ["controllerrevisions", *(f"{name}{part}" for name in _WITH_STATUS for part in ("", "/status", "/scale"))],
    "autoscaling": ["horizontalpodautoscalers", "horizontalpodautoscalers/status"],
    "batch": ["cronjobs", "cronjobs/status", "jobs", "jobs/status"],
    "discovery.k8s.io": ["endpointslices"],
    "networking.k8s.io": ["ingresses", "ingresses/status", "networkpolicies"],
    "policy": ["poddisruptionbudgets", "poddisruptionbudgets/status"],
}
_EDITED = {
    "": [
        "configmaps",
        "endpoints",
        "events",
        "persistentvolumeclaims",
        "pods",
        "pods/eviction",
        "pods/proxy",
        "replicationcontrollers",
        "secrets",
        "serviceaccounts",
        "serviceaccounts/token",
        "services",
        "services/proxy",
    ],
    "apps": [*_WITH_STATUS, *(f"{name}/scale" for name in _WITH_STATUS)],
    "autoscaling": ["horizontalpodautoscalers"],
    "batch": ["cronjobs", "jobs"],
    "networking.k8s.io": ["ingresses", "networkpolicies"],
    "policy": ["poddisruptionbudgets"],
}
_NODE = {
    "": [
        "nodes",
        "nodes/status",
        "pods",
        "pods/status",
        "pods/eviction",
        "events",
        "configmaps",
        "secrets",
        "services",
        "serviceaccounts",
        "serviceaccounts/token",
        "persistentvolumeclaims",
        "persistentvolumes",
    ],
    "coordination.k8s.io": ["leases"],
    "events.k8s.io": ["events"],
}


def _rules(table: dict[str, list[str]], verbs: list[str]) -> list[JSON]:
    return [{"apiGroups": [group], "resources": resources, "verbs": verbs} for group, resources in table.items()]


def _roles() -> dict[str, list[JSON]]:
    everything: list[JSON] = [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}, {"nonResourceURLs": ["*"], "verbs": ["*"]}]
    view = _rules(_VIEWED, _READ)
    read_secrets: list[JSON] = [{"apiGroups": [""], "resources": ["secrets", "pods/proxy", "services/proxy"], "verbs": _READ}]
    edit = [*view, *read_secrets, *_rules(_EDITED, _WRITE)]
    admin = [*edit, *_rules({_RBAC: ["roles", "rolebindings"]}, _READ + _WRITE)]
    reviews: list[str] = ["selfsubjectaccessreviews", "selfsubjectrulesreviews"]
    paths = ["/healthz", "/livez", "/readyz", "/version", "/version/", "/api", "/api/*", "/apis", "/apis/*", "/openapi", "/openapi/*"]
    return {
        "cluster-admin": everything,
        "admin": admin,
        "edit": edit,
        "view": view,
        "system:basic-user": [
            {"apiGroups": ["authorization.k8s.io"], "resources": reviews, "verbs": ["create"]},
            {"apiGroups": ["authentication.k8s.io"], "resources": ["selfsubjectreviews"], "verbs": ["create"]},
        ],
        "system:discovery": [{"nonResourceURLs": paths, "verbs": ["get"]}],
        "system:public-info-viewer": [{"nonResourceURLs": paths[:5], "verbs": ["get"]}],
        # The agent also plays kube-proxy, which reads what is behind a Service.
        "system:node": [*_rules(_NODE, _READ + _WRITE), *_rules({"discovery.k8s.io": ["endpointslices"]}, _READ)],
        "system:kube-scheduler": everything,
        "system:kube-controller-manager": everything,
        "system:auth-delegator": [
            {"apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"], "verbs": ["create"]},
            {"apiGroups": ["authorization.k8s.io"], "resources": ["subjectaccessreviews"], "verbs": ["create"]},
        ],
    }


_BINDINGS = {
    "cluster-admin": ("Group", "system:masters"),
    "system:basic-user": ("Group", "system:authenticated"),
    "system:discovery": ("Group", "system:authenticated"),
    "system:public-info-viewer": ("Group", "system:unauthenticated"),
    "system:node": ("Group", "system:nodes"),
    "system:kube-scheduler": ("User", "system:kube-scheduler"),
    "system:kube-controller-manager": ("User", "system:kube-controller-manager"),
}


def populate(store: Store, port: int) -> None:
    """Put the first objects into an empty store.

    Args:
        store: The store.
        port: The port that the API server listens on, for the endpoints of the service `kubernetes`.
    """
    for name in ("default", "kube-node-lease", "kube-public", "kube-system"):
        labels = {"kubernetes.io/metadata.name": name}
        namespace = new_object("v1", "Namespace", name, spec={"finalizers": ["kubernetes"]}, status={"phase": "Active"})
        namespace["metadata"]["labels"] = labels
        store.put("/namespaces", "", name, namespace)
    for name, rules in _roles().items():
        store.put(f"{_RBAC}/clusterroles", "", name, new_object(_RBAC_V1, "ClusterRole", name, rules=rules))
    for name, (kind, subject) in _BINDINGS.items():
        content: dict[str, Any] = {
            "roleRef": {"apiGroup": _RBAC, "kind": "ClusterRole", "name": name},
            "subjects": [{"apiGroup": _RBAC, "kind": kind, "name": subject}],
        }
        store.put(f"{_RBAC}/clusterrolebindings", "", name, new_object(_RBAC_V1, "ClusterRoleBinding", name, **content))
    for name, value in (("system-cluster-critical", 2_000_000_000), ("system-node-critical", 2_000_001_000)):
        content = {"value": value, "globalDefault": False, "preemptionPolicy": "PreemptLowerPriority"}
        store.put("scheduling.k8s.io/priorityclasses", "", name, new_object("scheduling.k8s.io/v1", "PriorityClass", name, **content))
    _publish(store, port)


def _publish(store: Store, port: int) -> None:
    ports = [{"name": "https", "protocol": "TCP", "port": 443, "targetPort": port}]
    addressing = {"clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1"], "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack"}
    spec = {"ports": ports, **addressing, "type": "ClusterIP", "sessionAffinity": "None", "internalTrafficPolicy": "Cluster"}
    store.put(
        "/services", "default", "kubernetes", new_object("v1", "Service", "kubernetes", "default", spec=spec, status={"loadBalancer": {}})
    )
    subset = {"addresses": [{"ip": "127.0.0.1"}], "ports": [{"name": "https", "port": port, "protocol": "TCP"}]}
    store.put("/endpoints", "default", "kubernetes", new_object("v1", "Endpoints", "kubernetes", "default", subsets=[subset]))
