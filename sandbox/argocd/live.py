"""The objects on the cluster, as the controller compares and changes them: by server-side apply, as Argo CD's field manager."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sandbox.kubernetes.meta.api import Client
from sandbox.kubernetes.meta.client import Collection, Object
from sandbox.kubernetes.meta.errors import ApiError
from sandbox.kubernetes.meta.values import clone, dig

FIELD_MANAGER = "argocd-controller"
TRACKING = "argocd.argoproj.io/tracking-id"
WAVE = "argocd.argoproj.io/sync-wave"

#: What the server writes, and what says nothing about the wish.
_OF_THE_SERVER = ("managedFields", "resourceVersion", "generation", "uid", "creationTimestamp", "selfLink")


@dataclass(frozen=True, order=True, kw_only=True)
class Reference:
    """Which object it is."""

    group: str
    version: str
    kind: str
    namespace: str
    name: str

    @property
    def api_version(self) -> str:
        """The `apiVersion` of the object."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def fields(self) -> Object:
        """Its fields, as they stand in an Application's status; empty ones are left out there."""
        listed = {"group": self.group, "version": self.version, "kind": self.kind, "namespace": self.namespace, "name": self.name}
        return {key: value for key, value in listed.items() if value}


def reference_of(obj: Object) -> Reference:
    """The reference of an object."""
    group, _, version = obj["apiVersion"].rpartition("/")
    metadata = obj["metadata"]
    return Reference(group=group, version=version, kind=obj["kind"], namespace=metadata.get("namespace", ""), name=metadata["name"])


def listed_reference(fields: Object) -> Reference:
    """The reference that stands in an Application's status."""
    return Reference(**{key: fields.get(key, "") for key in ("group", "version", "kind", "namespace", "name")})


def wave_of(obj: Object) -> int:
    """The wave in which the object is to be applied."""
    return int(dig(obj, "metadata", "annotations", WAVE, default="0"))


def owner_of(obj: Object) -> str:
    """The Application that the object says it belongs to; empty if it belongs to none."""
    return str(dig(obj, "metadata", "annotations", TRACKING, default="")).partition(":")[0]


def wish(obj: Object) -> Object:
    """The object without what the server itself writes."""
    metadata = {key: value for key, value in obj["metadata"].items() if key not in _OF_THE_SERVER}
    return {**{key: value for key, value in obj.items() if key != "status"}, "metadata": metadata}


class Live:
    """Reads and writes objects of any kind that the cluster serves."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._served: dict[str, dict[str, Object]] = {}

    async def prepared(self, manifest: Object, application: str, namespace: str) -> Object:
        """A manifest as it is applied: in its namespace, with the mark of the Application that it belongs to.

        Raises:
            ApiError: The cluster does not serve its kind.
        """
        obj = clone(manifest)
        metadata = obj.setdefault("metadata", {})
        if (await self.collection(reference_of(obj))).namespaced:
            metadata.setdefault("namespace", namespace)
        where = reference_of(obj)
        identity = f"{application}:{where.group}/{where.kind}:{where.namespace or namespace}/{where.name}"
        metadata["annotations"] = {**(metadata.get("annotations") or {}), TRACKING: identity}
        return obj

    async def collection(self, reference: Reference) -> Collection:
        """Where the objects of that kind live.

        Raises:
            ApiError: The cluster does not serve it.
        """
        api_version = reference.api_version
        prefix = f"/apis/{api_version}" if reference.group else f"/api/{api_version}"
        if reference.kind not in self._served.get(api_version, {}):
            listed = await self._client.request("GET", prefix)
            self._served[api_version] = {entry["kind"]: entry for entry in listed["resources"] if "/" not in entry["name"]}
        found = self._served[api_version].get(reference.kind)
        if found is None:
            raise ApiError(404, "NotFound", f"The Kubernetes API could not find {api_version}/{reference.kind} for requested resource")
        return Collection(prefix=prefix, plural=found["name"], api_version=api_version, kind=reference.kind, namespaced=found["namespaced"])

    async def get(self, reference: Reference) -> Object | None:
        """The object, if it is there."""
        try:
            return await self._client.request("GET", await self._path(reference))
        except ApiError as exc:
            if exc.code != 404:
                raise
            return None

    async def apply(self, obj: Object, *, dry_run: bool = False) -> Object:
        """The object as it is, or would be, once it is applied.

        Raises:
            ApiError: The cluster refuses it.
        """
        # Forced, as Argo CD does it: Git wins over whoever owns the field.
        query = {"fieldManager": FIELD_MANAGER, "force": "true", **({"dryRun": "All"} if dry_run else {})}
        return await self._client.request(
            "PATCH", await self._path(reference_of(obj)), query=query, body=obj, content_type="application/apply-patch+yaml"
        )

    async def delete(self, reference: Reference) -> None:
        """Delete the object with what it owns, foreground; one that is gone is no error."""
        body: dict[str, Any] = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Foreground"}
        try:
            await self._client.request("DELETE", await self._path(reference), body=body)
        except ApiError as exc:
            if exc.code != 404:
                raise

    async def ensure_namespace(self, name: str) -> None:
        """Create a namespace unless it is there."""
        try:
            await self._client.request("POST", "/api/v1/namespaces", body={"metadata": {"name": name}})
        except ApiError as exc:
            if exc.code != 409:
                raise

    async def _path(self, reference: Reference) -> str:
        return (await self.collection(reference)).one(reference.namespace, reference.name)
