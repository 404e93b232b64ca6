"""The subresources that are not plain writes: scale, binding, eviction and tokens.

Not emulated: scale of custom resources, and ephemeral containers.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from sandbox.kubernetes.admission.access import ISSUER, Tokens
from sandbox.kubernetes.admission.requests import Request, Target
from sandbox.kubernetes.admission.store import JSON, Store
from sandbox.kubernetes.controllers.objects import is_ready
from sandbox.kubernetes.meta import errors
from sandbox.kubernetes.meta.patches import json_patch, merge_patch
from sandbox.kubernetes.meta.selectors import format_selector, matches_labels, selector_requirements
from sandbox.kubernetes.meta.values import clone, dig, now
from sandbox.kubernetes.objects.deletion import delete
from sandbox.kubernetes.objects.objects import Objects

SUCCESS: JSON = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}
_TOKEN_SECONDS = (600, 2**32)


def scale_of(obj: JSON) -> JSON:
    """An object's `Scale`: how many replicas it wants and has, and the selector of its pods."""
    metadata = {key: obj["metadata"][key] for key in ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")}
    selector = dig(obj, "spec", "selector", default={})
    text = format_selector(selector if "matchLabels" in selector or "matchExpressions" in selector else {"matchLabels": selector})
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": metadata,
        "spec": {"replicas": dig(obj, "spec", "replicas", default=0)},
        "status": {"replicas": dig(obj, "status", "replicas", default=0), "selector": text},
    }


def write_scale(objects: Objects, request: Request, target: Target) -> JSON:
    """Set the replicas through the `scale` subresource, which then owns them.

    Raises:
        ApiError: As for an update; 422 for a negative number.
    """
    obj = objects.read(target.resource, target.namespace, target.name)
    scale = scale_of(obj)
    if request.method == "PUT":
        wanted = request.body
    elif request.content_type == "application/json-patch+json":
        wanted = json_patch(scale, request.body)
    else:
        wanted = merge_patch(scale, request.body)
    replicas = dig(wanted, "spec", "replicas", default=0)
    if replicas < 0:
        message = f"Invalid value: {replicas}: must be greater than or equal to 0"
        cause = errors.Cause(field="spec.replicas", reason="FieldValueInvalid", message=message)
        raise errors.invalid("Scale", "autoscaling", target.name, [cause])
    changed = clone(obj)
    changed["spec"]["replicas"] = replicas
    if version := dig(wanted, "metadata", "resourceVersion"):
        changed["metadata"]["resourceVersion"] = version
    return scale_of(objects.update(_with_body(request, changed), target).obj)


def _with_body(request: Request, body: Any) -> Request:
    return Request(
        method="PUT", path=request.path, query=request.query, body=body, user=request.user, agent=request.agent, warnings=request.warnings
    )


def bind(objects: Objects, request: Request, target: Target) -> JSON:
    """Assign a pod to the node that a `Binding` names.

    Raises:
        ApiError: 409 if it is assigned already or being deleted.
    """
    name = target.name or dig(request.body, "metadata", "name", default="")
    pods = Target(resource=target.resource, namespace=target.namespace, name=name, subresource="binding")
    pod = clone(objects.read(pods.resource, pods.namespace, name))
    if "deletionTimestamp" in pod["metadata"]:
        raise errors.conflict("pods/binding", "", name, f"pod {name} is being deleted, cannot be assigned to a host")
    if node := pod["spec"].get("nodeName"):
        raise errors.conflict("pods/binding", "", name, f'pod {name} is already assigned to node "{node}"')
    pod["spec"]["nodeName"] = request.body["target"]["name"]
    metadata = dig(request.body, "metadata", default={})
    for field in ("annotations", "labels"):
        if metadata.get(field):
            pod["metadata"][field] = {**pod["metadata"].get(field, {}), **metadata[field]}
    conditions = [item for item in dig(pod, "status", "conditions", default=[]) if item["type"] != "PodScheduled"]
    scheduled = {"type": "PodScheduled", "status": "True", "lastProbeTime": None, "lastTransitionTime": now()}
    pod["status"]["conditions"] = [*conditions, scheduled]
    if not request.dry_run:
        objects.store_update(pods.resource, pods.namespace, name, pod)
    return SUCCESS


def evict(store: Store, objects: Objects, request: Request, target: Target) -> JSON:
    """Delete a pod if its disruption budgets allow it.

    Raises:
        ApiError: 429 if one does not; 500 if it has more than one.
    """
    pod = objects.read(target.resource, target.namespace, target.name)
    budgets = [
        budget
        for budget in store.objects("policy/poddisruptionbudgets", target.namespace)
        if matches_labels(selector_requirements(dig(budget, "spec", "selector")), pod)
    ]
    if len(budgets) > 1:
        message = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
        raise errors.ApiError(500, "InternalError", message)
    if budgets and dig(pod, "status", "phase") == "Running" and not _is_nobodys_loss(pod, budgets[0]):
        _spend(store, budgets[0], dry_run=request.dry_run)
    if not request.dry_run:
        _mark_evicted(objects, target, pod)
    options = dig(request.body, "deleteOptions", default={})
    pods = Target(resource=target.resource, namespace=target.namespace, name=target.name)
    delete(store, _with_body(request, options), pods)
    return SUCCESS


def _is_nobodys_loss(pod: JSON, budget: JSON) -> bool:
    """Whether the pod serves nothing, and may go without the budget's leave."""
    if is_ready(pod):
        return False
    if dig(budget, "spec", "unhealthyPodEvictionPolicy") == "AlwaysAllow":
        return True
    healthy, wanted = (dig(budget, "status", field, default=0) for field in ("currentHealthy", "desiredHealthy"))
    return bool(healthy >= wanted > 0)


def _mark_evicted(objects: Objects, target: Target, pod: JSON) -> None:
    """Say in the pod's status why it goes, before it does."""
    marked = clone(pod)
    conditions = [item for item in dig(marked, "status", "conditions", default=[]) if item["type"] != "DisruptionTarget"]
    why = {"reason": "EvictionByEvictionAPI", "message": "Eviction API: evicting"}
    conditions.append({"type": "DisruptionTarget", "status": "True", "lastTransitionTime": now(), **why})
    marked.setdefault("status", {})["conditions"] = conditions
    objects.store_update(target.resource, target.namespace, target.name, marked)


def _spend(store: Store, budget: JSON, *, dry_run: bool) -> None:
    metadata = budget["metadata"]
    allowed = dig(budget, "status", "disruptionsAllowed", default=0)
    if allowed <= 0:
        healthy, wanted = (dig(budget, "status", field, default=0) for field in ("currentHealthy", "desiredHealthy"))
        text = f"The disruption budget {metadata['name']} needs {wanted} healthy pods and has {healthy} currently"
        cause = errors.Cause(field="", reason="DisruptionBudget", message=text)
        raise errors.too_many_requests("Cannot evict pod as it would violate the pod's disruption budget.", [cause])
    if not dry_run:
        changed = clone(budget)
        changed["status"]["disruptionsAllowed"] = allowed - 1
        store.put("policy/poddisruptionbudgets", metadata["namespace"], metadata["name"], changed)


def request_token(store: Store, objects: Objects, tokens: Tokens, request: Request, target: Target) -> JSON:
    """Issue a token for a service account, as `kubectl create token` asks for.

    Raises:
        ApiError: 404, or 422 for a lifetime under ten minutes.
    """
    account = objects.read(target.resource, target.namespace, target.name)
    spec = dig(request.body, "spec", default={})
    seconds = int(spec.get("expirationSeconds") or 3600)
    if not _TOKEN_SECONDS[0] <= seconds <= _TOKEN_SECONDS[1]:
        low = seconds < _TOKEN_SECONDS[0]
        text = "may not specify a duration less than 10 minutes" if low else "may not specify a duration larger than 2^32 seconds"
        cause = errors.Cause(field="spec.expirationSeconds", reason="FieldValueInvalid", message=f"Invalid value: {seconds}: {text}")
        raise errors.invalid("TokenRequest", "authentication.k8s.io", target.name, [cause])
    reference = spec.get("boundObjectRef")
    pod = None
    if reference and reference.get("kind") == "Pod":
        pod = store.get("/pods", target.namespace, reference["name"])
        if pod is None:
            raise errors.not_found("pods", "", reference["name"])
    audiences = spec.get("audiences") or [ISSUER]
    token = tokens.issue_for_service_account(account, seconds, audiences, pod)
    expires = (datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")
    metadata = {key: account["metadata"][key] for key in ("name", "namespace", "uid")}
    return {
        "kind": "TokenRequest",
        "apiVersion": "authentication.k8s.io/v1",
        "metadata": {**metadata, "creationTimestamp": now()},
        "spec": {"audiences": audiences, "expirationSeconds": seconds, "boundObjectRef": reference},
        "status": {"token": token, "expirationTimestamp": expires},
    }
