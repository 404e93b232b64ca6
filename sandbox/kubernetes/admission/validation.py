"""Whether an object makes sense and may change as it does: Kubernetes' semantic checks and its words for what fails them.

Not emulated: the rules of kinds that are not named in the tables below beyond their required fields, CEL rules, and the patterns,
ranges and enumerations of custom resources.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sandbox.kubernetes.admission.changes import CHANGES
from sandbox.kubernetes.admission.pod_validation import validate_pod_spec
from sandbox.kubernetes.admission.store import JSON
from sandbox.kubernetes.meta import errors
from sandbox.kubernetes.meta.problems import Problems
from sandbox.kubernetes.meta.resources import Resource
from sandbox.kubernetes.meta.schemas import Type
from sandbox.kubernetes.meta.selectors import selector_requirements
from sandbox.kubernetes.meta.values import dig

Check = Callable[[JSON, Problems], None]
_LABEL_NAMES = ("/namespaces", "/services")
# These may have colons in their names.
_PATH_NAMES = {f"rbac.authorization.k8s.io/{name}" for name in ("roles", "clusterroles", "rolebindings", "clusterrolebindings")}


def validate_create(resource: Resource, obj: JSON, kind: Type) -> None:
    """Refuse a new object that is not valid.

    Raises:
        ApiError: 422 with all causes.
    """
    problems = Problems()
    _name(resource, obj, problems)
    _valid(resource, obj, kind, problems)
    _refuse(resource, obj, problems)


def validate_update(resource: Resource, subresource: str, before: JSON, after: JSON, kind: Type) -> None:
    """Refuse a change that is not valid.

    Raises:
        ApiError: 422 with all causes.
    """
    problems = Problems()
    if subresource not in ("status", "binding"):
        _valid(resource, after, kind, problems)
        if (change := CHANGES.get(resource.key)) is not None:
            change(before, after, problems)
    _refuse(resource, after, problems)


def _refuse(resource: Resource, obj: JSON, problems: Problems) -> None:
    if problems.causes:
        raise errors.invalid(resource.kind, resource.group, obj["metadata"]["name"], problems.causes)


def _name(resource: Resource, obj: JSON, problems: Problems) -> None:
    name = obj["metadata"]["name"]
    if resource.key == "/services" and "/" in name:
        # The address is allocated before the name is looked at, and its record refuses the name.
        address = dig(obj, "spec", "clusterIP", default="")
        detail = f'failed to allocate IP: IPAddress.networking.k8s.io "{address}" is invalid: spec.parentRef.name: Invalid value: "{name}"'
        problems.invalid("spec.clusterIPs", [""], f"{detail}: may not contain '/'")
    elif resource.key in _PATH_NAMES:
        if "/" in name or "%" in name:
            problems.invalid("metadata.name", name, f"may not contain '{'/' if '/' in name else '%'}'")
    elif resource.key in _LABEL_NAMES:
        problems.check_label_name("metadata.name", name)
    else:
        problems.check_subdomain("metadata.name", name)


def _valid(resource: Resource, obj: JSON, kind: Type, problems: Problems) -> None:
    problems.check_labels("metadata.labels", dig(obj, "metadata", "labels", default={}))
    for key in dig(obj, "metadata", "annotations", default={}):
        problems.check_qualified_name("metadata.annotations", key.lower())
    _owners(obj, problems)
    if (check := _CHECKS.get(resource.key)) is not None:
        check(obj, problems)
    else:
        for field, child in kind.fields.items():
            if field not in ("metadata", "status"):
                _required(obj.get(field), child(), field, field in kind.required, problems)


def _owners(obj: JSON, problems: Problems) -> None:
    owners = dig(obj, "metadata", "ownerReferences", default=[])
    for position, owner in enumerate(owners):
        for field in ("apiVersion", "kind", "name", "uid"):
            if not owner.get(field):
                problems.invalid(f"metadata.ownerReferences[{position}].{field}", "", f"{field} must not be empty")
    if sum(bool(owner.get("controller")) for owner in owners) > 1:
        problems.invalid("metadata.ownerReferences", owners, "Only one reference can have Controller set to true")


def _required(value: Any, kind: Type, path: str, required: bool, problems: Problems) -> None:
    """Report fields that the published schema requires, wherever their parent is there."""
    if value is None:
        if required:
            problems.required(path)
        return
    if isinstance(value, dict) and kind.kind == "struct":
        for field, child in kind.fields.items():
            _required(value.get(field), child(), f"{path}.{field}", field in kind.required, problems)
    elif isinstance(value, list):
        for position, item in enumerate(value):
            _required(item, kind.items(), f"{path}[{position}]", False, problems)


def _workload(*, replicas: bool, policies: tuple[str, ...] = ("Always",)) -> Check:
    def check(obj: JSON, problems: Problems) -> None:
        spec = obj["spec"]
        if replicas:
            problems.check_not_negative("spec.replicas", spec.get("replicas"))
        problems.check_not_negative("spec.minReadySeconds", spec.get("minReadySeconds"))
        if not spec.get("selector"):
            problems.required("spec.selector")
        elif not selector_requirements(spec["selector"]):
            problems.invalid("spec.selector", spec["selector"], "empty selector is invalid for deployment")
        labels = dig(spec, "template", "metadata", "labels", default={})
        problems.check_labels("spec.template.metadata.labels", labels)
        selector = selector_requirements(spec.get("selector"))
        if not selector or not all(term.matches(labels) for term in selector):
            problems.invalid("spec.template.metadata.labels", labels, "`selector` does not match template `labels`")
        validate_pod_spec(spec["template"]["spec"], "spec.template.spec", problems)
        policy = spec["template"]["spec"].get("restartPolicy")
        if policy in ("OnFailure", "Never") and policy not in policies:
            problems.unsupported("spec.template.spec.restartPolicy", policy, policies)
        _strategy(spec, problems)

    return check


def _strategy(spec: JSON, problems: Problems) -> None:
    strategy = spec.get("strategy")
    if strategy is None:
        return
    if strategy.get("type") not in ("Recreate", "RollingUpdate"):
        problems.unsupported("spec.strategy.type", strategy.get("type"), ("Recreate", "RollingUpdate"))
    rolling = strategy.get("rollingUpdate")
    if strategy.get("type") == "Recreate" and rolling is not None:
        problems.forbidden("spec.strategy.rollingUpdate", "may not be specified when strategy `type` is 'Recreate'")
    if rolling is not None and all(str(rolling.get(name)).rstrip("%") == "0" for name in ("maxSurge", "maxUnavailable")):
        problems.invalid("spec.strategy.rollingUpdate.maxUnavailable", rolling["maxUnavailable"], "may not be 0 when `maxSurge` is 0")
    deadline, ready = spec.get("progressDeadlineSeconds", 600), spec.get("minReadySeconds", 0)
    if deadline <= ready:
        problems.invalid("spec.progressDeadlineSeconds", deadline, "must be greater than minReadySeconds")


def _job(obj: JSON, problems: Problems) -> None:
    spec = obj["spec"]
    for field in ("parallelism", "completions", "backoffLimit", "activeDeadlineSeconds", "ttlSecondsAfterFinished"):
        problems.check_not_negative(f"spec.{field}", spec.get(field))
    pod = dig(spec, "template", "spec", default={})
    validate_pod_spec(pod, "spec.template.spec", problems)
    if pod.get("restartPolicy") not in ("OnFailure", "Never"):
        problems.required("spec.template.spec.restartPolicy", 'valid values: "OnFailure", "Never"')


def _cron_job(obj: JSON, problems: Problems) -> None:
    spec = obj["spec"]
    if not spec.get("schedule"):
        problems.required("spec.schedule")
    elif len(spec["schedule"].split()) != 5 and not spec["schedule"].startswith("@"):
        count = len(spec["schedule"].split())
        problems.invalid("spec.schedule", spec["schedule"], f"expected exactly 5 fields, found {count}: {spec['schedule'].split()}")
    pod = dig(spec, "jobTemplate", "spec", "template", "spec", default={})
    validate_pod_spec(pod, "spec.jobTemplate.spec.template.spec", problems)


def _service(obj: JSON, problems: Problems) -> None:
    spec = obj["spec"]
    if spec["type"] not in ("ClusterIP", "NodePort", "LoadBalancer", "ExternalName"):
        problems.unsupported("spec.type", spec["type"], ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort"))
    if not spec.get("ports") and spec["type"] != "ExternalName" and spec.get("clusterIP") != "None":
        problems.required("spec.ports")
    names: set[str] = set()
    for position, port in enumerate(spec.get("ports", ())):
        where = f"spec.ports[{position}]"
        name = port.get("name", "")
        if not name and len(spec["ports"]) > 1:
            problems.required(f"{where}.name")
        if name:
            problems.check_label_name(f"{where}.name", name)
        if name and name in names:
            problems.duplicate(f"{where}.name", name)
        names.add(name)
        number = port.get("port", 0)
        if not 1 <= number <= 65535:
            problems.invalid(f"{where}.port", number, "must be between 1 and 65535, inclusive")
        if port.get("protocol") not in ("TCP", "UDP", "SCTP"):
            problems.unsupported(f"{where}.protocol", port.get("protocol"), ("SCTP", "TCP", "UDP"))
        problems.check_port(f"{where}.targetPort", port.get("targetPort"))
    problems.check_labels("spec.selector", spec.get("selector", {}))


def _pod(obj: JSON, problems: Problems) -> None:
    validate_pod_spec(obj["spec"], "spec", problems)


def _data(obj: JSON, problems: Problems) -> None:
    size = 0
    for field in ("data", "binaryData"):
        for key, value in obj.get(field, {}).items():
            size += len(value.encode())
            if not key or len(key) > 253 or not all(letter.isascii() and (letter.isalnum() or letter in "-_.") for letter in key):
                text = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'"
                problems.invalid(f"{field}[{key}]", key, f"{text} (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name')")
    if size > 1024 * 1024:
        problems.causes.append(
            errors.Cause(field="data", reason="FieldValueTooLong", message="Too long: may not be more than 1048576 bytes")
        )


def _quota(obj: JSON, problems: Problems) -> None:
    for name in dig(obj, "spec", "hard", default={}):
        problems.check_qualified_name(f"spec.hard[{name}]", name.removeprefix("count/"))


def _definition(obj: JSON, problems: Problems) -> None:
    spec = obj["spec"]
    names = spec.get("names", {})
    for field, value in (("group", spec.get("group")), ("scope", spec.get("scope")), ("versions", spec.get("versions"))):
        if not value:
            problems.required(f"spec.{field}")
    for field in ("plural", "kind"):
        if not names.get(field):
            problems.required(f"spec.names.{field}")
    expected = f"{names.get('plural')}.{spec.get('group')}"
    if obj["metadata"]["name"] != expected:
        problems.invalid("metadata.name", obj["metadata"]["name"], 'must be spec.names.plural+"."+spec.group')
    if sum(bool(version.get("storage")) for version in spec.get("versions", ())) != 1:
        problems.invalid("spec.versions", spec.get("versions"), "must have exactly one version marked as storage version")


_CHECKS: dict[str, Check] = {
    "/pods": _pod,
    "/services": _service,
    "/configmaps": _data,
    "/secrets": _data,
    "/resourcequotas": _quota,
    "apps/deployments": _workload(replicas=True),
    "apps/replicasets": _workload(replicas=True),
    "apps/statefulsets": _workload(replicas=True),
    "apps/daemonsets": _workload(replicas=False),
    "batch/jobs": _job,
    "batch/cronjobs": _cron_job,
    "apiextensions.k8s.io/customresourcedefinitions": _definition,
}
