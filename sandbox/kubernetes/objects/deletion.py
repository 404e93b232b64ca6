"""Deleting objects: preconditions, graceful deletion of pods, finalizers, propagation, and collections.

Owned objects are removed by the garbage collector, a controller: this file only leaves the `orphan` or `foregroundDeletion` finalizer
that tells it what to do. Not emulated: delays other than the pods' grace period.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sandbox.kubernetes.admission.requests import Request, Target
from sandbox.kubernetes.admission.store import JSON, Store
from sandbox.kubernetes.meta import errors
from sandbox.kubernetes.meta.clock import utc_now
from sandbox.kubernetes.meta.resources import Resource
from sandbox.kubernetes.meta.values import clone, dig, now
from sandbox.kubernetes.objects.listing import Filter

_FINALIZERS = {"Orphan": "orphan", "Foreground": "foregroundDeletion"}


def delete(store: Store, request: Request, target: Target) -> JSON:
    """Delete an object, or begin to; return the answer: the object if it is still there or is one to be shown, else a `Status`.

    Raises:
        ApiError: 404; 409 if a precondition does not hold.
    """
    resource = target.resource
    obj = store.get(resource.key, target.namespace, target.name)
    if obj is None:
        raise errors.not_found(*resource.names, target.name)
    options = _options(request)
    if resource.key == "batch/jobs" and "propagationPolicy" not in options and not obj["metadata"].get("finalizers"):
        # For as long as there are Jobs: without a word their pods stay (registry/batch/job/strategy.go, `DefaultGarbageCollectionPolicy`).
        options["propagationPolicy"] = "Orphan"
    _check_preconditions(resource, obj, options)
    left = _marked(resource, obj, options)
    if request.dry_run:
        return left or _gone(resource, obj)
    if left is None:
        if resource.key == "/pods" and obj["metadata"].get("deletionGracePeriodSeconds") != 0:
            # Its end is told before it is gone, whoever deletes it.
            ending = clone(obj)
            ending["metadata"] |= {"deletionGracePeriodSeconds": 0, "deletionTimestamp": obj["metadata"].get("deletionTimestamp", now())}
            store.put(resource.key, target.namespace, target.name, ending)
        return _gone(resource, store.delete(resource.key, target.namespace, target.name))
    if left != obj:
        left = store.put(resource.key, target.namespace, target.name, left)
    return left


def delete_collection(store: Store, request: Request, target: Target) -> JSON:
    """Delete the objects that the selectors of the request name; return them as a list."""
    resource = target.resource
    wanted = Filter(request, target)
    found = [obj for obj in store.objects(resource.key, target.namespace) if wanted.matches(obj)]
    for obj in found:
        metadata = obj["metadata"]
        delete(store, request, Target(resource=resource, namespace=metadata.get("namespace", ""), name=metadata["name"]))
    items = [{key: value for key, value in obj.items() if key not in ("kind", "apiVersion")} for obj in found]
    return {
        "kind": f"{resource.kind}List",
        "apiVersion": resource.api_version,
        "metadata": {"resourceVersion": str(store.revision)},
        "items": items,
    }


def _options(request: Request) -> dict[str, Any]:
    body = request.body if isinstance(request.body, dict) else {}
    options: dict[str, Any] = {**request.query, **body}
    if (grace := options.get("gracePeriodSeconds")) is not None:
        options["gracePeriodSeconds"] = int(grace)
    policy = options.get("propagationPolicy")
    if policy not in (None, "Orphan", "Background", "Foreground"):
        cause = errors.Cause(
            field="propagationPolicy",
            reason="FieldValueNotSupported",
            message=f'Unsupported value: "{policy}": supported values: "Background", "Foreground", "Orphan"',
        )
        raise errors.invalid("DeleteOptions", "meta.k8s.io", "", [cause])
    return options


def _check_preconditions(resource: Resource, obj: JSON, options: dict[str, Any]) -> None:
    metadata = obj["metadata"]
    for field, label in (("uid", "UID"), ("resourceVersion", "ResourceVersion")):
        wanted = dig(options, "preconditions", field)
        if wanted is not None and wanted != metadata[field]:
            why = f"Precondition failed: {label} in precondition: {wanted}, {label} in object meta: {metadata[field]}"
            raise errors.conflict(*resource.names, metadata["name"], why)


def _marked(resource: Resource, obj: JSON, options: dict[str, Any]) -> JSON | None:
    """The object with the marks of its deletion; None if nothing keeps it."""
    left = clone(obj)
    metadata = left["metadata"]
    finalizers = [
        name for name in metadata.get("finalizers", ()) if name not in _FINALIZERS.values() or not options.get("propagationPolicy")
    ]
    if (finalizer := _FINALIZERS.get(options.get("propagationPolicy", ""))) is not None:
        finalizers.append(finalizer)
    if finalizers:
        metadata["finalizers"] = finalizers
    grace = _grace_seconds(resource, obj, options)
    if "deletionTimestamp" in metadata:
        # A second delete can only make it sooner.
        grace = min(grace, metadata.get("deletionGracePeriodSeconds", 0))
    # A namespace goes when it is empty (reactions.py), and never at once.
    if not grace and not finalizers and resource.key != "/namespaces":
        return None
    if metadata.get("deletionGracePeriodSeconds") != grace:
        metadata["deletionGracePeriodSeconds"] = grace
        ends = utc_now() + timedelta(seconds=grace)
        metadata["deletionTimestamp"] = ends.strftime("%Y-%m-%dT%H:%M:%SZ") if grace else metadata.get("deletionTimestamp", now())
        if resource.generation and "generation" in metadata:
            metadata["generation"] += 1
    if resource.key == "/namespaces":
        metadata.pop("deletionGracePeriodSeconds", None)
        left["status"] = {**left.get("status", {}), "phase": "Terminating"}
    return left


def _grace_seconds(resource: Resource, obj: JSON, options: dict[str, Any]) -> int:
    """How long a pod that runs somewhere may take to end; everything else goes at once."""
    if resource.key != "/pods" or not dig(obj, "spec", "nodeName") or dig(obj, "status", "phase") in ("Succeeded", "Failed"):
        return 0
    asked = options.get("gracePeriodSeconds")
    return int(asked if asked is not None else dig(obj, "spec", "terminationGracePeriodSeconds", default=30))


def _gone(resource: Resource, obj: JSON) -> JSON:
    if resource.returns_deleted:
        return obj
    details = {"name": obj["metadata"]["name"], **({"group": resource.group} if resource.group else {}), "kind": resource.plural}
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": {**details, "uid": obj["metadata"]["uid"]},
    }
