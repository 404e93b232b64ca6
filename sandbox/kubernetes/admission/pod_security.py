"""Pod Security: what the levels `baseline` and `restricted` of the Pod Security Standards do not allow in a pod, in Kubernetes' words.

A namespace's labels (`pod-security.kubernetes.io/enforce`, `…/warn`, each with a `-version`) ask for a level. Not emulated: versions
(every one counts as `latest`), audit annotations, exemptions, the check of pods that are there when labels change, and the controls of
AppArmor, SELinux, sysctls, `/proc`, Windows, and hosts of probes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sandbox.kubernetes.admission.store import JSON
from sandbox.kubernetes.meta.values import dig

_LABEL = "pod-security.kubernetes.io"
_ADDABLE = {
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
}
_VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image", "persistentVolumeClaim", "projected", "secret"}
_CONFINED = ("RuntimeDefault", "Localhost")
_TEMPLATES = {
    "/pods": ("spec",),
    "/replicationcontrollers": ("spec", "template", "spec"),
    "apps/deployments": ("spec", "template", "spec"),
    "apps/replicasets": ("spec", "template", "spec"),
    "apps/statefulsets": ("spec", "template", "spec"),
    "apps/daemonsets": ("spec", "template", "spec"),
    "batch/jobs": ("spec", "template", "spec"),
    "batch/cronjobs": ("spec", "jobTemplate", "spec", "template", "spec"),
}


def violation(namespace: Mapping[str, Any] | None, mode: str, resource: str, obj: JSON) -> str | None:
    """What an object violates of the level that its namespace asks for, as one sentence; None if nothing.

    Args:
        namespace: The namespace, if there is one.
        mode: `enforce`, which looks at pods alone, or `warn`, which looks at what makes pods as well.
        resource: The object's resource, such as `apps/deployments`.
        obj: The object.
    """
    labels = dig(namespace, "metadata", "labels", default={})
    level = labels.get(f"{_LABEL}/{mode}", "privileged")
    path = _TEMPLATES.get(resource) if mode == "warn" or resource == "/pods" else None
    spec = dig(obj, *path) if path is not None else None
    if level == "privileged" or spec is None:
        return None
    # A level that does not exist counts as the strictest.
    found = [*_baseline(spec, restricted=level != "baseline"), *(_restricted(spec) if level != "baseline" else ())]
    if not found:
        return None
    version = labels.get(f"{_LABEL}/{mode}-version", "latest")
    return f'violate{"s" if mode == "enforce" else ""} PodSecurity "{level}:{version}": {", ".join(found)}'


def _baseline(spec: JSON, *, restricted: bool) -> Iterator[str]:
    """What `baseline` forbids; what `restricted` forbids in other words is left to it."""
    containers = _containers(spec)
    if not restricted:
        adding = {item["name"]: [name for name in _capabilities(item, "add") if name not in _ADDABLE] for item in containers}
        yield from _said("non-default capabilities", _adding(adding))
    shared = ", ".join(f"{name}=true" for name in ("hostNetwork", "hostPID", "hostIPC") if spec.get(name))
    yield from _said("host namespaces", shared)
    volumes = [volume["name"] for volume in spec.get("volumes", ()) if "hostPath" in volume]
    if not restricted:
        yield from _said("hostPath volumes", f"{_several('volume', volumes)} {_quoted(volumes)}" if volumes else "")
    ports = {item["name"]: [str(port["hostPort"]) for port in item.get("ports", ()) if port.get("hostPort")] for item in containers}
    users = [name for name, numbers in ports.items() if numbers]
    numbers = [number for found in ports.values() for number in found]
    verb = "uses" if len(users) == 1 else "use"
    yield from _said(
        "hostPort",
        f"{_several('container', users)} {_quoted(users)} {verb} {_several('hostPort', numbers)} {', '.join(numbers)}" if users else "",
    )
    privileged = [item["name"] for item in containers if _context(item, "privileged")]
    yield from _said("privileged", _must(privileged, "must not set securityContext.privileged=true"))
    if not restricted:
        unconfined = [item["name"] for item in containers if _context(item, "seccompProfile", "type") == "Unconfined"]
        yield from _said("seccompProfile", _unconfined(spec, unconfined))


def _restricted(spec: JSON) -> Iterator[str]:
    """What `restricted` forbids besides."""
    containers = _containers(spec)
    escalating = [item["name"] for item in containers if _context(item, "allowPrivilegeEscalation") is not False]
    yield from _said("allowPrivilegeEscalation != false", _must(escalating, "must set securityContext.allowPrivilegeEscalation=false"))

    keeping = [item["name"] for item in containers if "ALL" not in _capabilities(item, "drop")]
    adding = {item["name"]: [name for name in _capabilities(item, "add") if name != "NET_BIND_SERVICE"] for item in containers}
    dropped = _must(keeping, 'must set securityContext.capabilities.drop=["ALL"]')
    yield from _said("unrestricted capabilities", "; ".join(filter(None, (dropped, _adding(adding)))))

    kinds = {volume["name"]: kind for volume in spec.get("volumes", ()) for kind in volume if kind not in ("name", *_VOLUMES)}
    verb, types = ("uses" if len(kinds) == 1 else "use"), sorted(set(kinds.values()))
    volumes = f"{_several('volume', kinds)} {_quoted(kinds)} {verb} restricted volume {_several('type', types)} {_quoted(types)}"
    yield from _said("restricted volume types", volumes if kinds else "")

    pod_non_root = dig(spec, "securityContext", "runAsNonRoot")
    refusing = [item["name"] for item in containers if _context(item, "runAsNonRoot") is False]
    silent = [item["name"] for item in containers if _context(item, "runAsNonRoot") is None and pod_non_root is not True]
    if refusing or (pod_non_root is False and silent):
        pod = "pod must not set securityContext.runAsNonRoot=false" if pod_non_root is False else ""
        named = _must(refusing, "must not set securityContext.runAsNonRoot=false")
        yield from _said("runAsNonRoot != true", " and ".join(filter(None, (pod, named))))
    else:
        yield from _said("runAsNonRoot != true", _pod_or(silent, "must set securityContext.runAsNonRoot=true"))

    pod = "pod must not set runAsUser=0" if dig(spec, "securityContext", "runAsUser") == 0 else ""
    root = _must([item["name"] for item in containers if _context(item, "runAsUser") == 0], "must not set runAsUser=0")
    yield from _said("runAsUser=0", " and ".join(filter(None, (pod, root))))

    profile = dig(spec, "securityContext", "seccompProfile", "type")
    own = {item["name"]: _context(item, "seccompProfile", "type") for item in containers}
    unconfined = [name for name, value in own.items() if value is not None and value not in _CONFINED]
    if unconfined or profile not in (None, *_CONFINED):
        yield from _said("seccompProfile", _unconfined(spec, unconfined))
    else:
        open_to = [name for name, value in own.items() if value is None and profile is None]
        yield from _said(
            "seccompProfile", _pod_or(open_to, 'must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost"')
        )


def _containers(spec: JSON) -> list[JSON]:
    return [*spec.get("initContainers", ()), *spec.get("containers", ())]


def _context(container: JSON, *path: str) -> Any:
    return dig(container, "securityContext", *path)


def _capabilities(container: JSON, side: str) -> list[str]:
    found: list[str] = _context(container, "capabilities", side) or []
    return found


def _said(reason: str, detail: str) -> Iterator[str]:
    if detail:
        yield f"{reason} ({detail})"


def _quoted(names: Any) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _several(word: str, things: Any) -> str:
    return word if len(things) == 1 else f"{word}s"


def _must(names: list[str], what: str) -> str:
    return f"{_several('container', names)} {_quoted(names)} {what}" if names else ""


def _pod_or(names: list[str], what: str) -> str:
    return f"pod or {_must(names, what)}" if names else ""


def _adding(adding: dict[str, list[str]]) -> str:
    names = [name for name, added in adding.items() if added]
    added = sorted({capability for capabilities in adding.values() for capability in capabilities})
    return _must(names, f"must not include {_quoted(added)} in securityContext.capabilities.add")


def _unconfined(spec: JSON, names: list[str]) -> str:
    what = 'must not set securityContext.seccompProfile.type to "Unconfined"'
    pod = f"pod {what}" if dig(spec, "securityContext", "seccompProfile", "type") == "Unconfined" else ""
    return " and ".join(filter(None, (pod, _must(names, what))))
