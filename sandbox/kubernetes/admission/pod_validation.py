"""Whether a pod's specification makes sense, in a Pod or in the template of a workload.

Not emulated: checks of volume plugins other than the common ones, of security contexts, of affinity, and of ephemeral containers.
"""

from __future__ import annotations

import re
from typing import Any

from sandbox.kubernetes.admission.store import JSON
from sandbox.kubernetes.meta.problems import Problems
from sandbox.kubernetes.meta.values import dig, quantity

_VARIABLE = re.compile(r"[^=\x00-\x1f\x7f]+")
_PORT_NAME = re.compile(r"(?=.{1,15}$)(?=.*[a-z])[a-z0-9]([a-z0-9]|-(?!-))*(?<!-)")
_HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc")
_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_WHOLE = "must be an integer"


def validate_pod_spec(spec: JSON, path: str, problems: Problems) -> None:
    """Collect what is wrong with a pod's specification."""
    volumes = _volumes(spec, path, problems)
    if not spec.get("containers"):
        problems.required(f"{path}.containers")
    names: set[str] = set()
    for field in ("initContainers", "containers"):
        for position, container in enumerate(spec.get(field, ())):
            where = f"{path}.{field}[{position}]"
            _container(container, where, volumes, problems)
            name = container.get("name")
            if name in names:
                problems.duplicate(f"{where}.name", name)
            names.add(name)
    if spec.get("restartPolicy") not in ("Always", "OnFailure", "Never"):
        problems.unsupported(f"{path}.restartPolicy", spec.get("restartPolicy"), ("Always", "OnFailure", "Never"))
    if spec.get("dnsPolicy") not in ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"):
        problems.unsupported(f"{path}.dnsPolicy", spec.get("dnsPolicy"), ("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"))
    problems.check_labels(f"{path}.nodeSelector", spec.get("nodeSelector", {}))
    problems.check_not_negative(f"{path}.terminationGracePeriodSeconds", spec.get("terminationGracePeriodSeconds"))
    deadline = spec.get("activeDeadlineSeconds")
    if deadline is not None and not 1 <= deadline < 2**31:
        problems.invalid(f"{path}.activeDeadlineSeconds", deadline, "must be between 1 and 2147483647, inclusive")
    for position, toleration in enumerate(spec.get("tolerations", ())):
        _toleration(toleration, f"{path}.tolerations[{position}]", problems)
    if account := spec.get("serviceAccountName"):
        problems.check_subdomain(f"{path}.serviceAccountName", account)


def _volumes(spec: JSON, path: str, problems: Problems) -> set[str]:
    names: set[str] = set()
    for position, volume in enumerate(spec.get("volumes", ())):
        where = f"{path}.volumes[{position}]"
        name = volume.get("name", "")
        if not name:
            problems.required(f"{where}.name")
        else:
            problems.check_label_name(f"{where}.name", name)
        if name in names:
            problems.duplicate(f"{where}.name", name)
        names.add(name)
        if len([key for key in volume if key != "name"]) > 1:
            problems.forbidden(where, "may not specify more than 1 volume type")
        if "hostPath" in volume and not volume["hostPath"].get("path"):
            problems.required(f"{where}.hostPath.path")
        elif ".." in dig(volume, "hostPath", "path", default="").split("/"):
            problems.invalid(f"{where}.hostPath.path", volume["hostPath"]["path"], "must not contain '..'")
        if "persistentVolumeClaim" in volume and not volume["persistentVolumeClaim"].get("claimName"):
            problems.required(f"{where}.persistentVolumeClaim.claimName")
        if "secret" in volume and not volume["secret"].get("secretName"):
            problems.required(f"{where}.secret.secretName")
        if "configMap" in volume and not volume["configMap"].get("name"):
            problems.required(f"{where}.configMap.name")
    return names


def _container(container: JSON, path: str, volumes: set[str], problems: Problems) -> None:
    if not container.get("name"):
        problems.required(f"{path}.name")
    else:
        problems.check_label_name(f"{path}.name", container["name"])
    image = container.get("image", "")
    if not image:
        problems.required(f"{path}.image")
    elif image != image.strip():
        problems.invalid(f"{path}.image", image, "must not have leading or trailing whitespace")
    if container.get("imagePullPolicy") not in ("Always", "IfNotPresent", "Never"):
        problems.unsupported(f"{path}.imagePullPolicy", container.get("imagePullPolicy"), ("Always", "IfNotPresent", "Never"))
    _ports(container, path, problems)
    for position, variable in enumerate(container.get("env", ())):
        _variable(variable, f"{path}.env[{position}]", problems)
    seen: set[str] = set()
    for position, mount in enumerate(container.get("volumeMounts", ())):
        where = f"{path}.volumeMounts[{position}]"
        if mount.get("name") not in volumes:
            problems.not_found(f"{where}.name", mount.get("name", ""))
        if not mount.get("mountPath"):
            problems.required(f"{where}.mountPath")
        elif mount["mountPath"] in seen:
            problems.invalid(f"{where}.mountPath", mount["mountPath"], "must be unique")
        seen.add(mount.get("mountPath", ""))
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        if name in container:
            _probe(container[name], name, f"{path}.{name}", problems)
    for name, hook in container.get("lifecycle", {}).items():
        if isinstance(hook, dict) and not any(key in hook for key in ("exec", "httpGet", "tcpSocket", "sleep")):
            problems.required(f"{path}.lifecycle.{name}", "must specify a handler type")
    _resources(container.get("resources", {}), f"{path}.resources", problems)


def _ports(container: JSON, path: str, problems: Problems) -> None:
    names: set[str] = set()
    for position, port in enumerate(container.get("ports", ())):
        where = f"{path}.ports[{position}]"
        if not port.get("containerPort"):
            problems.required(f"{where}.containerPort")
        problems.check_port(f"{where}.containerPort", port.get("containerPort", 1) or 1)
        if port.get("protocol") not in ("TCP", "UDP", "SCTP"):
            problems.unsupported(f"{where}.protocol", port.get("protocol"), ("SCTP", "TCP", "UDP"))
        if (name := port.get("name")) is not None:
            if len(name) > 15:
                problems.invalid(f"{where}.name", name, "must be no more than 15 characters")
            elif not _PORT_NAME.fullmatch(name):
                problems.invalid(f"{where}.name", name, "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
            if name in names:
                problems.duplicate(f"{where}.name", name)
            names.add(name)


def _variable(variable: JSON, path: str, problems: Problems) -> None:
    name = variable.get("name", "")
    if not name:
        problems.required(f"{path}.name")
    elif not _VARIABLE.fullmatch(name):
        text = "a valid environment variable name must consist only of printable ASCII characters other than '='"
        problems.invalid(f"{path}.name", name, text)
    if (source := variable.get("valueFrom")) is not None:
        if variable.get("value"):
            problems.invalid(f"{path}.valueFrom", "", "may not be specified when `value` is not empty")
        if not source:
            problems.invalid(
                f"{path}.valueFrom",
                "",
                "must specify one of: `configMapKeyRef`, `fieldRef`, `fileKeyRef`, `resourceFieldRef`, or `secretKeyRef`",
            )


def _probe(probe: JSON, name: str, path: str, problems: Problems) -> None:
    handlers = [key for key in _HANDLERS if key in probe]
    if not handlers:
        problems.required(path, "must specify a handler type")
    for extra in handlers[1:]:
        problems.forbidden(f"{path}.{extra}", "may not specify more than 1 handler type")
    for field in ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"):
        problems.check_not_negative(f"{path}.{field}", probe.get(field))
    if name != "readinessProbe" and probe.get("successThreshold", 1) != 1:
        problems.invalid(f"{path}.successThreshold", probe["successThreshold"], "must be 1")
    for handler in ("httpGet", "tcpSocket"):
        if handler in probe:
            problems.check_port(f"{path}.{handler}.port", probe[handler].get("port"))
    if "exec" in probe and not probe["exec"].get("command"):
        problems.required(f"{path}.exec.command")


def _resources(resources: JSON, path: str, problems: Problems) -> None:
    for field in ("limits", "requests"):
        for name, amount in resources.get(field, {}).items():
            where = f"{path}.{field}[{name}]"
            problems.check_qualified_name(where, name)
            if "/" not in name and name not in ("cpu", "memory", "ephemeral-storage") and not name.startswith("hugepages-"):
                problems.invalid(where, name, "must be a standard resource for containers")
            number = quantity(amount)
            if number < 0:
                problems.invalid(where, amount, "must be greater than or equal to 0")
            if "/" in name and number % 1:
                problems.invalid(where, amount, _WHOLE)
    for name, wanted in resources.get("requests", {}).items():
        limit = dig(resources, "limits", name)
        if limit is None:
            if "/" in name:
                problems.required(f"{path}.limits", "Limit must be set for non overcommitable resources")
        elif "/" in name and quantity(wanted) != quantity(limit):
            problems.invalid(f"{path}.requests", wanted, f"must be equal to {name} limit of {limit}")
        elif quantity(wanted) > quantity(limit):
            problems.invalid(f"{path}.requests", wanted, f"must be less than or equal to {name} limit of {limit}")


def _toleration(toleration: JSON, path: str, problems: Problems) -> None:
    operator: Any = toleration.get("operator", "Equal")
    if not toleration.get("key") and operator != "Exists":
        problems.invalid(
            f"{path}.operator", operator, 'operator must be Exists when `key` is empty, which means "match all values and all keys"'
        )
    if operator not in ("Equal", "Exists", ""):
        problems.unsupported(f"{path}.operator", operator, ("Equal", "Exists"))
    if operator == "Exists" and toleration.get("value"):
        problems.invalid(f"{path}.operator", toleration["value"], "value must be empty when `operator` is 'Exists'")
    effect = toleration.get("effect", "")
    if effect and effect not in _EFFECTS:
        problems.unsupported(f"{path}.effect", effect, _EFFECTS)
