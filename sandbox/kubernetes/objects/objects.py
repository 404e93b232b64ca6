"""Writing objects: create, replace, patch and apply, each through decoding, defaults, ownership, admission and validation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sandbox.kubernetes.admission.admission import Admission
from sandbox.kubernetes.admission.apply import Manager, apply, track_update
from sandbox.kubernetes.admission.defaults import apply_defaults
from sandbox.kubernetes.admission.requests import Request, Target
from sandbox.kubernetes.admission.store import JSON, Store
from sandbox.kubernetes.admission.strategies import generate_name, prepare_create, prepare_update
from sandbox.kubernetes.admission.validation import validate_create, validate_update
from sandbox.kubernetes.meta import errors
from sandbox.kubernetes.meta.decoding import decode
from sandbox.kubernetes.meta.patches import json_patch, merge_patch, strategic_merge_patch
from sandbox.kubernetes.meta.resources import Resource
from sandbox.kubernetes.meta.types import Types
from sandbox.kubernetes.meta.values import clone, dig, now

APPLY_PATCH = "application/apply-patch+yaml"
PATCH_TYPES = (
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    APPLY_PATCH,
)


@dataclass(frozen=True, kw_only=True)
class Written:
    """The outcome of a write.

    Attributes:
        created: Whether the object did not exist before.
        obj: The object as stored; not to be changed.
    """

    created: bool
    obj: JSON


class Objects:
    """The write path of all resources."""

    def __init__(self, store: Store, types: Types, admission: Admission) -> None:
        self._store = store
        self._types = types
        self._admission = admission

    def read(self, resource: Resource, namespace: str, name: str) -> JSON:
        """The stored object.

        Raises:
            ApiError: 404.
        """
        obj = self._store.get(resource.key, namespace, name)
        if obj is None:
            raise errors.not_found(*resource.names, name)
        return obj

    def create(self, request: Request, target: Target) -> Written:
        """Store a new object.

        Raises:
            ApiError: It is malformed, invalid, forbidden by admission, or exists.
        """
        return self._create(request, target, request.body, apply_as=None)

    def _create(self, request: Request, target: Target, body: Any, *, apply_as: Manager | None) -> Written:
        resource = target.resource
        obj = self._understand(request, target, body)
        metadata = obj["metadata"]
        if metadata.get("resourceVersion"):
            raise errors.bad_request("resourceVersion should not be set on objects to be created")
        if not metadata.get("name") and metadata.get("generateName"):
            metadata["name"] = generate_name(metadata["generateName"])
        if not metadata.get("name"):
            name_missing = errors.Cause(
                field="metadata.name", reason="FieldValueRequired", message="Required value: name or generateName is required"
            )
            raise errors.invalid(resource.kind, resource.group, "", [name_missing])
        if self._store.get(resource.key, target.namespace, metadata["name"]) is not None:
            raise errors.already_exists(*resource.names, metadata["name"])
        apply_defaults(obj)
        kind = self._types.of(resource)
        status_apart = "status" in resource.subresources
        if apply_as is None:
            manager = Manager(name=request.manager, operation="Update", api_version=resource.api_version)
            obj["metadata"].pop("managedFields", None)
            obj = track_update(None, obj, kind, manager, time=now(), status_apart=status_apart)
        prepare_create(resource, obj, self._store)
        self._admission.mutate(resource, obj)
        validate_create(resource, obj, kind)
        self._admission.check_create(resource, obj)
        request.warnings.extend(self._admission.warnings(resource, obj))
        if request.dry_run:
            return Written(created=True, obj=obj)
        obj = self._store.put(resource.key, target.namespace, metadata["name"], obj)
        return Written(created=True, obj=obj)

    def _understand(self, request: Request, target: Target, body: Any) -> JSON:
        """The body as an object of the resource, decoded and in the right namespace."""
        resource = target.resource
        if not isinstance(body, dict):
            raise errors.bad_request("the object provided is unrecognized (must be of type " + resource.kind + "): expected an object")
        body = {"kind": resource.kind, "apiVersion": resource.api_version, **body}
        if body["kind"] != resource.kind or body["apiVersion"] != resource.api_version:
            group, _, version = body["apiVersion"].rpartition("/")
            raise errors.bad_request(
                f'{body["kind"]} in version "{version}" cannot be handled as a {resource.kind}: '
                f'no kind "{body["kind"]}" is registered for version "{body["apiVersion"]}"'
                if (group, version) == (resource.group, resource.version)
                else f"the API version in the data ({body['apiVersion']}) does not match the expected API version ({resource.api_version})"
            )
        validation = request.query.get("fieldValidation", "Warn")
        described = f'{resource.kind} in version "{resource.version}"'
        obj, warnings = decode(body, self._types.of(resource), described, validation)
        request.warnings.extend(warnings)
        metadata = obj.setdefault("metadata", {})
        if resource.namespaced:
            if metadata.setdefault("namespace", target.namespace) != target.namespace:
                raise errors.bad_request("the namespace of the provided object does not match the namespace sent on the request")
        else:
            metadata.pop("namespace", None)
        for field in ("labels", "annotations", "finalizers", "ownerReferences"):
            if field in metadata and not metadata[field]:
                del metadata[field]
        return {"kind": obj.pop("kind"), "apiVersion": obj.pop("apiVersion"), **obj}

    def update(self, request: Request, target: Target) -> Written:
        """Replace an object.

        Raises:
            ApiError: It does not exist, was changed since it was read, or is malformed, invalid or forbidden.
        """
        before = self.read(target.resource, target.namespace, target.name)
        return self._replace(request, target, before, request.body)

    def patch(self, request: Request, target: Target) -> Written:
        """Patch an object; an apply creates it if it is not there.

        Raises:
            ApiError: As for `update`; 415 for an unknown kind of patch; 409 for an apply that conflicts with other owners.
        """
        resource = target.resource
        if request.content_type not in PATCH_TYPES or (resource.custom and "strategic" in request.content_type):
            raise errors.unsupported_media_type(
                request.content_type, [kind for kind in PATCH_TYPES if not (resource.custom and "strategic" in kind)]
            )
        if request.content_type == APPLY_PATCH:
            return self._apply(request, target)
        before = self.read(resource, target.namespace, target.name)
        match request.content_type:
            case "application/json-patch+json":
                after = json_patch(before, request.body)
            case "application/merge-patch+json":
                after = merge_patch(before, request.body)
            case _:
                after = strategic_merge_patch(before, request.body, self._types.of(resource))
        return self._replace(request, target, before, after)

    def _apply(self, request: Request, target: Target) -> Written:
        resource, config = target.resource, request.body
        if not request.query.get("fieldManager"):
            cause = errors.Cause(field="fieldManager", reason="FieldValueRequired", message="Required value: is required for apply patch")
            raise errors.invalid("PatchOptions", "meta.k8s.io", "", [cause])
        if not isinstance(config, dict) or not config.get("kind") or not config.get("apiVersion"):
            raise errors.bad_request("error decoding YAML: Object 'Kind' is missing")
        if dig(config, "metadata", "managedFields"):
            raise errors.bad_request("metadata.managedFields must be nil")
        config = self._understand(request, target, clone(config))
        live = self._store.get(resource.key, target.namespace, target.name)
        if live is None and not target.subresource and not config["metadata"].get("name"):
            why = f"the name of the object ({target.name} based on URL) was undeterminable: name must be provided"
            raise errors.bad_request(why)
        if config["metadata"].setdefault("name", target.name) != target.name:
            raise errors.bad_request(
                f"the name of the object ({config['metadata']['name']}) does not match the name on the URL ({target.name})"
            )
        manager = Manager(name=request.manager, operation="Apply", api_version=resource.api_version, subresource=target.subresource)
        force = request.query.get("force") == "true"
        if live is None and target.subresource:
            raise errors.not_found(*resource.names, target.name)
        kind = self._types.of(resource)
        empty: JSON = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": {}}
        status_apart = "status" in resource.subresources
        # A condition and no field to be owned: it is compared, not merged.
        wanted = config.get("metadata", {}).pop("resourceVersion", None)
        merged = apply(live or empty, config, kind, manager, time=now(), status_apart=status_apart, force=force)
        if live is None:
            return self._create(request, target, merged, apply_as=manager)
        if wanted is not None:
            merged["metadata"]["resourceVersion"] = wanted
        return self._replace(request, target, live, merged, applied=True)

    def _replace(self, request: Request, target: Target, before: JSON, body: Any, *, applied: bool = False) -> Written:
        resource = target.resource
        after = self._understand(request, target, body)
        metadata = after["metadata"]
        if metadata.setdefault("name", target.name) != target.name:
            raise errors.bad_request(f"the name of the object ({metadata['name']}) does not match the name on the URL ({target.name})")
        if metadata.get("resourceVersion", before["metadata"]["resourceVersion"]) != before["metadata"]["resourceVersion"]:
            raise errors.conflict(*resource.names, target.name)
        if metadata.get("uid", before["metadata"]["uid"]) != before["metadata"]["uid"]:
            why = f"Precondition failed: UID in precondition: {metadata['uid']}, UID in object meta: {before['metadata']['uid']}"
            raise errors.conflict(*resource.names, target.name, why)
        apply_defaults(after)
        kind = self._types.of(resource)
        after = prepare_update(resource, target.subresource, before, after, self._store)
        if not applied:
            manager = Manager(name=request.manager, operation="Update", api_version=resource.api_version, subresource=target.subresource)
            status_apart = "status" in resource.subresources
            after = track_update(before, after, kind, manager, time=now(), status_apart=status_apart)
        after["metadata"]["resourceVersion"] = before["metadata"]["resourceVersion"]
        # A write that changes nothing makes no new version, and tells no watch.
        if after == before:
            return Written(created=False, obj=before)
        validate_update(resource, target.subresource, before, after, kind)
        if not target.subresource and after.get("spec") != before.get("spec"):
            request.warnings.extend(self._admission.warnings(resource, after))
        if request.dry_run:
            return Written(created=False, obj=after)
        return Written(created=False, obj=self.store_update(resource, target.namespace, target.name, after))

    def store_update(self, resource: Resource, namespace: str, name: str, after: JSON) -> JSON:
        """Store the new state of an object; one that only waited for its finalizers goes when the last is gone."""
        after = {**after, "metadata": dict(after["metadata"])}
        metadata = after["metadata"]
        stored = self._store.put(resource.key, namespace, name, after)
        finished = "deletionTimestamp" in metadata and not metadata.get("finalizers") and not metadata.get("deletionGracePeriodSeconds")
        if finished and (resource.key != "/namespaces" or not after.get("spec", {}).get("finalizers")):
            self._store.delete(resource.key, namespace, name)
        return stored
