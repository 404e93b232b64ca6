"""The resources that the API server serves, as data: one line each, and lookups by path or kind."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

ALL_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
_NAME_FIELDS = ("metadata.name", "metadata.namespace")


@dataclass(frozen=True, kw_only=True)
class Resource:
    """One resource of one group and version.

    Attributes:
        group: The API group; empty for the core group.
        version: The version served, such as `v1`.
        plural: The name in paths.
        kind: The kind of its objects.
        namespaced: Whether its objects live in namespaces.
        short_names: What kubectl takes for it besides its name.
        categories: kubectl's collective names that include it.
        subresources: `status`, `scale` and the like.
        verbs: What it can be asked; some resources only take `create` and store nothing.
        generation: Whether `metadata.generation` counts changes of anything but metadata and status.
        returns_deleted: Whether DELETE answers the object and not a `Status`.
        fields: The paths that field selectors may use.
        storage: The resource whose objects it shows, as `group/plural`, when it stores none of its own.
        custom: Whether a CustomResourceDefinition made it.
    """

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ALL_VERBS
    generation: bool = False
    returns_deleted: bool = False
    fields: tuple[str, ...] = _NAME_FIELDS
    storage: str = ""
    custom: bool = False
    singular: str = ""

    @property
    def key(self) -> str:
        """Where its objects are stored: `group/plural`."""
        return self.storage or f"{self.group}/{self.plural}"

    @property
    def api_version(self) -> str:
        """The `apiVersion` of its objects."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def prefix(self) -> str:
        """The path under which the group and version are served."""
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"

    @property
    def names(self) -> tuple[str, str]:
        """The plural and the group, the way the constructors of errors take them."""
        return self.plural, self.group


_EVENT_FIELDS = (
    *_NAME_FIELDS,
    "involvedObject.kind",
    "involvedObject.namespace",
    "involvedObject.name",
    "involvedObject.uid",
    "involvedObject.apiVersion",
    "involvedObject.resourceVersion",
    "involvedObject.fieldPath",
    "reason",
    "reportingComponent",
    "source",
    "type",
)
_POD_FIELDS = (
    *_NAME_FIELDS,
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.schedulerName",
    "spec.serviceAccountName",
    "spec.hostNetwork",
    "status.phase",
    "status.podIP",
    "status.nominatedNodeName",
)


def _core(plural: str, kind: str, *short: str, **more: Any) -> Resource:
    return Resource(group="", version="v1", plural=plural, kind=kind, short_names=short, **more)


def _in(group: str, plural: str, kind: str, *short: str, version: str = "v1", **more: Any) -> Resource:
    return Resource(group=group, version=version, plural=plural, kind=kind, short_names=short, **more)


_WORKLOAD: dict[str, Any] = {"subresources": ("status", "scale"), "generation": True, "categories": ("all",)}
_EXTENSION: dict[str, Any] = {"namespaced": False, "generation": True, "categories": ("api-extensions",)}
_RBAC = "rbac.authorization.k8s.io"
_AUTHORIZATION = "authorization.k8s.io"
_AUTHENTICATION = "authentication.k8s.io"
_REVIEW: dict[str, Any] = {"namespaced": False, "verbs": ("create",)}

BUILT_IN: tuple[Resource, ...] = (
    _core("bindings", "Binding", verbs=("create",)),
    _core("configmaps", "ConfigMap", "cm"),
    _core("endpoints", "Endpoints", "ep"),
    _core("events", "Event", "ev", fields=_EVENT_FIELDS),
    _core("limitranges", "LimitRange", "limits"),
    _core(
        "namespaces",
        "Namespace",
        "ns",
        namespaced=False,
        subresources=("status", "finalize"),
        verbs=tuple(verb for verb in ALL_VERBS if verb != "deletecollection"),
        returns_deleted=True,
        fields=("metadata.name", "status.phase"),
    ),
    _core("nodes", "Node", "no", namespaced=False, subresources=("status", "proxy"), fields=("metadata.name", "spec.unschedulable")),
    _core("persistentvolumeclaims", "PersistentVolumeClaim", "pvc", subresources=("status",), returns_deleted=True),
    _core("persistentvolumes", "PersistentVolume", "pv", namespaced=False, subresources=("status",), returns_deleted=True),
    _core(
        "pods",
        "Pod",
        "po",
        subresources=("status", "log", "binding", "eviction", "proxy"),
        returns_deleted=True,
        generation=True,
        categories=("all",),
        fields=_POD_FIELDS,
    ),
    _core("podtemplates", "PodTemplate", returns_deleted=True),
    _core("replicationcontrollers", "ReplicationController", "rc", **_WORKLOAD),
    _core("resourcequotas", "ResourceQuota", "quota", subresources=("status",), returns_deleted=True),
    _core(
        "secrets",
        "Secret",
        fields=(*_NAME_FIELDS, "type"),
    ),
    _core("serviceaccounts", "ServiceAccount", "sa", subresources=("token",), returns_deleted=True),
    _core("services", "Service", "svc", subresources=("status", "proxy"), returns_deleted=True, categories=("all",)),
    _in(
        "admissionregistration.k8s.io",
        "mutatingwebhookconfigurations",
        "MutatingWebhookConfiguration",
        namespaced=False,
        generation=True,
        categories=("api-extensions",),
    ),
    _in(
        "admissionregistration.k8s.io",
        "validatingwebhookconfigurations",
        "ValidatingWebhookConfiguration",
        namespaced=False,
        generation=True,
        categories=("api-extensions",),
    ),
    _in(
        "apiextensions.k8s.io",
        "customresourcedefinitions",
        "CustomResourceDefinition",
        "crd",
        "crds",
        subresources=("status",),
        **_EXTENSION,
    ),
    _in("apps", "controllerrevisions", "ControllerRevision"),
    _in("apps", "daemonsets", "DaemonSet", "ds", subresources=("status",), generation=True, categories=("all",)),
    _in("apps", "deployments", "Deployment", "deploy", **_WORKLOAD),
    _in("apps", "replicasets", "ReplicaSet", "rs", **_WORKLOAD, fields=(*_NAME_FIELDS, "status.replicas")),
    _in("apps", "statefulsets", "StatefulSet", "sts", **_WORKLOAD),
    _in(_AUTHENTICATION, "selfsubjectreviews", "SelfSubjectReview", **_REVIEW),
    _in(_AUTHENTICATION, "tokenreviews", "TokenReview", **_REVIEW),
    _in(_AUTHORIZATION, "localsubjectaccessreviews", "LocalSubjectAccessReview", verbs=("create",)),
    _in(_AUTHORIZATION, "selfsubjectaccessreviews", "SelfSubjectAccessReview", **_REVIEW),
    _in(_AUTHORIZATION, "selfsubjectrulesreviews", "SelfSubjectRulesReview", **_REVIEW),
    _in(_AUTHORIZATION, "subjectaccessreviews", "SubjectAccessReview", **_REVIEW),
    _in(
        "autoscaling",
        "horizontalpodautoscalers",
        "HorizontalPodAutoscaler",
        "hpa",
        version="v2",
        subresources=("status",),
        categories=("all",),
    ),
    _in("batch", "cronjobs", "CronJob", "cj", subresources=("status",), generation=True, categories=("all",)),
    _in(
        "batch",
        "jobs",
        "Job",
        subresources=("status",),
        generation=True,
        categories=("all",),
        fields=(*_NAME_FIELDS, "status.successful"),
    ),
    _in("coordination.k8s.io", "leases", "Lease"),
    _in("discovery.k8s.io", "endpointslices", "EndpointSlice", generation=True),
    _in("events.k8s.io", "events", "Event", "ev", storage="/events"),
    _in("networking.k8s.io", "ingressclasses", "IngressClass", namespaced=False, generation=True),
    _in("networking.k8s.io", "ingresses", "Ingress", "ing", subresources=("status",), generation=True),
    _in("networking.k8s.io", "networkpolicies", "NetworkPolicy", "netpol", generation=True),
    _in("policy", "poddisruptionbudgets", "PodDisruptionBudget", "pdb", subresources=("status",), generation=True),
    _in(_RBAC, "clusterrolebindings", "ClusterRoleBinding", namespaced=False),
    _in(_RBAC, "clusterroles", "ClusterRole", namespaced=False),
    _in(_RBAC, "rolebindings", "RoleBinding"),
    _in(_RBAC, "roles", "Role"),
    _in("scheduling.k8s.io", "priorityclasses", "PriorityClass", "pc", namespaced=False, generation=True),
    _in("storage.k8s.io", "storageclasses", "StorageClass", "sc", namespaced=False),
)

SUBRESOURCE_KINDS = {
    "scale": "autoscaling/v1/Scale",
    "token": "authentication.k8s.io/v1/TokenRequest",
    "eviction": "policy/v1/Eviction",
    "binding": "/Binding",
}


class Registry:
    """The resources served at present: the built-in ones and those that CustomResourceDefinitions add."""

    def __init__(self, resources: Iterable[Resource] = BUILT_IN) -> None:
        self._by_path: dict[tuple[str, str, str], Resource] = {}
        for resource in resources:
            self.add(resource)

    def __iter__(self) -> Iterator[Resource]:
        return iter(self._by_path.values())

    def add(self, resource: Resource) -> None:
        """Serve a resource, or replace the one of the same path."""
        self._by_path[(resource.group, resource.version, resource.plural)] = resource

    def remove(self, resource: Resource) -> None:
        """Stop serving a resource."""
        self._by_path.pop((resource.group, resource.version, resource.plural), None)

    def by_path(self, group: str, version: str, plural: str) -> Resource | None:
        """The resource of a path, or None."""
        return self._by_path.get((group, version, plural))

    def stored(self) -> list[Resource]:
        """Each resource that stores objects of its own, once whatever its versions."""
        seen: dict[str, Resource] = {}
        for resource in self:
            if not resource.storage and "list" in resource.verbs:
                seen.setdefault(resource.key, resource)
        return list(seen.values())
