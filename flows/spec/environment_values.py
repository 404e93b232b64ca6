"""What an environment's file may set of the chart: how much, where and how long, but nothing that opens the pods or the way to them.

The chart's schema says what a value may look like; it serves others than Slipway, and is asked when Helm runs. These rules are
Slipway's own, and hold before anything starts. Annotations and labels are allowed by name: cluster software acts on them, and nobody knows
all of it.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping
from typing import Any

from flows.spec.source import Place

#: A place in the values, and what is wrong there.
Problem = tuple[Place, str]

#: What may be set: a value, or with a tuple some of its keys.
_MAY: Mapping[str, tuple[str, ...] | None] = {
    "autoscaling": None,
    "compileCache": ("hostPath", "claim"),
    "image": ("pullPolicy", "pullSecrets"),
    "networkPolicy": ("enabled", "routers", "prometheus", "verifiers", "controlPlane", "dns"),
    "podAnnotations": None,
    "podLabels": None,
    "preStopSleepSeconds": None,
    "priorityClassName": None,
    "replicas": None,
    "resources": ("requests", "limits"),
    "route": ("kind", "host", "annotations", "ingressClassName", "tlsSecret", "gateway", "gatewayApi", "timeoutSeconds"),
    "scratch": None,
    "security": ("runAsUser", "runAsGroup"),
    "sharedMemory": None,
    "terminationGracePeriodSeconds": None,
    "topologySpread": None,
}

#: What the pipeline sets, and from where.
_SET = {
    "candidate": "it is the candidate's",
    "compileCache.gpu": "the plan sets it",
    "engine": "set engine in the model's file instead",
    "environment": "it is the file's name",
    "fullname": "it is made of the model's and the environment's name",
    "image.digest": "set image in the model's file instead",
    "image.repository": "set image in the model's file instead",
    "loadBudgetSeconds": "the plan sets it",
    "model": "it is the candidate's",
    "nodeSelector": "set node_selector instead",
    "rollout": "set rollout.strategy of the environment instead",
    "tolerations": "set tolerations of the environment instead",
    "weights": "it is the candidate's",
}

#: What a pod may ask for. Other resources of a node are devices.
_RESOURCES = ("cpu", "memory", "ephemeral-storage", "nvidia.com/gpu")

#: Names without a prefix are a user's own. Those with dots are read by container runtimes (`io.kubernetes.cri-o.Devices`).
_OWN = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_-]{0,61}[A-Za-z0-9])?")

#: A Secret's name, as the chart's schema has it.
_SECRET_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")

#: Known to be read by who watches or schedules, and not to change what a pod may do or whom it talks to.
_POD_ANNOTATIONS = re.compile(
    r"(prometheus\.io|ad\.datadoghq\.com|co\.elastic\.logs|fluentbit\.io)/.+"
    r"|cluster-autoscaler\.kubernetes\.io/safe-to-evict|karpenter\.sh/do-not-disrupt|kubectl\.kubernetes\.io/(restartedAt|default-container)"
)
_POD_LABELS = re.compile(r"app\.kubernetes\.io/(version|component)|kueue\.x-k8s\.io/(queue-name|priority-class)")

#: Known to change neither where requests go, nor what becomes of them on the way, nor who else's they are.
_ROUTE_ANNOTATIONS = re.compile(
    r"cert-manager\.io/.+|external-dns\.alpha\.kubernetes\.io/ttl"
    r"|nginx\.ingress\.kubernetes\.io/(proxy-(body-size|buffering|buffer-size|buffers-number|request-buffering|http-version|max-temp-file-size"
    r"|(read|send|connect)-timeout|next-upstream(-timeout|-tries)?)|client-body-buffer-size|limit-[a-z-]+|(white|allow|deny)list-source-range"
    r"|(force-)?ssl-redirect|enable-cors|cors-[a-z-]+|auth-(type|secret|realm|tls-(secret|verify-client|verify-depth))|load-balance)"
    r"|traefik\.ingress\.kubernetes\.io/router\.(entrypoints|priority|tls(\..+)?)"
    r"|alb\.ingress\.kubernetes\.io/(scheme|certificate-arn|listen-ports|ssl-policy|ssl-redirect|load-balancer-(name|attributes)|target-type"
    r"|target-group-attributes|group\.(name|order)|inbound-cidrs|security-groups|subnets|tags|wafv2-acl-arn|healthcheck-[a-z-]+)"
)

#: The claims of an environment's weights (`flows.naming`, which is a floor above).
WEIGHTS_CLAIMS = ("slipway-store", "slipway-weights")

#: Folders of a node that hold more than a cache, and what lies in them.
_SYSTEM = ("bin", "boot", "dev", "etc", "home", "lib", "lib32", "lib64", "libx32", "proc", "root", "run", "sbin", "sys", "tmp", "usr")
_SYSTEM_BELOW = ("/opt/cni", "/var/lib", "/var/lock", "/var/log", "/var/mail", "/var/run", "/var/spool", "/var/tmp")  # noqa: S108

#: Addresses that may be public: no wider than this, in bits of the network's part.
_NARROW = {4: 20, 6: 48}

#: IPv6 ranges that stand for all of IPv4.
_ALL_OF_IPV4 = tuple(ipaddress.ip_network(text) for text in ("::ffff:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32"))


def problems(values: Mapping[str, Any], store: str) -> Iterator[Problem]:
    """What is wrong with the values of an environment.

    Args:
        values: Its further chart values.
        store: The folder on the nodes that holds the weights.
    """
    yield from _keys(values)
    yield from _pull_secrets(_inside(values, "image").get("pullSecrets"))
    yield from _mounts(_inside(values, "compileCache"), store)
    yield from _network(_inside(values, "networkPolicy"))
    for kind, asked in _inside(values, "resources").items():
        for name in asked if isinstance(asked, Mapping) else ():
            if name not in _RESOURCES:
                yield (
                    ("resources", kind, name),
                    f"must not be there: a pod gets {', '.join(_RESOURCES[:-1])} and GPUs, and no other device.",
                )
    if str(values.get("priorityClassName") or "").startswith("system-"):
        yield ("priorityClassName",), "is for what a cluster itself needs: name a class of your own."
    for name, number in _inside(values, "security").items():
        if type(number) is not int or number < 1:
            yield ("security", name), "must be a whole number, 1 or more: an engine is never root."
    yield from _named(values, ("podLabels",), _POD_LABELS, "could let the pod be taken for another one")
    yield from _named(values, ("podAnnotations",), _POD_ANNOTATIONS, "could change what the pod may do, or whom it talks to")
    yield from _named(values, ("route", "annotations"), _ROUTE_ANNOTATIONS, "could send requests elsewhere, or let others in", own=None)


def _keys(values: Mapping[str, Any]) -> Iterator[Problem]:
    for name, value in values.items():
        if name not in _MAY:
            yield (name,), _not_to_set(name)
            continue
        inner = _MAY[name]
        if inner is None and name not in ("podLabels", "podAnnotations"):
            continue
        if not isinstance(value, Mapping):
            yield (name,), "must be a mapping of keys to values."
            continue
        for key in value:
            if inner is not None and key not in inner:
                yield (name, key), _not_to_set(f"{name}.{key}")


def _not_to_set(name: str) -> str:
    return (
        f"must not be set here: {_SET.get(name, 'no value of the chart that an environment may set has this name (docs/deployments.md)')}."
    )


def _pull_secrets(names: object) -> Iterator[Problem]:
    # Jobs get them before Helm is asked, whose schema says the same.
    if names is not None and not isinstance(names, list):
        yield ("image", "pullSecrets"), "must be a list of Secrets' names."
    for index, name in enumerate(_list(names)):
        if not isinstance(name, str) or not _SECRET_NAME.fullmatch(name):
            yield ("image", "pullSecrets", index), "must be a Secret's name: lower-case letters, digits, hyphens and dots."


def _mounts(cache: Mapping[str, Any], store: str) -> Iterator[Problem]:
    claim, folder = cache.get("claim"), cache.get("hostPath")
    if claim in WEIGHTS_CLAIMS:
        yield ("compileCache", "claim"), "holds the weights, which an engine must only read: name slipway-compiled, or a claim of your own."
    if not folder:
        return
    parts = str(folder).split("/")
    if parts[0] or len(parts) < 3 or any(part in ("", ".", "..") for part in parts[1:]):
        yield ("compileCache", "hostPath"), "must be a whole path of two folders at the least, without . and .. in it."
    elif parts[1] in _SYSTEM or any(_holds(above, str(folder)) for above in _SYSTEM_BELOW):
        yield ("compileCache", "hostPath"), "lies among folders of the node's own system: make one elsewhere, such as /var/cache/slipway."
    elif _holds(store, str(folder)) or _holds(str(folder), store):
        yield ("compileCache", "hostPath"), f"overlaps {store}, which holds the weights: make a folder elsewhere."


def _holds(above: str, path: str) -> bool:
    return path == above or path.startswith(f"{above.rstrip('/')}/")


def _network(policy: Mapping[str, Any]) -> Iterator[Problem]:
    if policy.get("enabled", True) is not True:
        yield ("networkPolicy", "enabled"), "must be true: without the policy anybody in the cluster may ask the engine, and it anybody."
    for kind in ("routers", "prometheus", "verifiers", "dns"):
        for index, peer in enumerate(_list(policy.get(kind))):
            labels = peer.get("namespaceLabels") if isinstance(peer, Mapping) else None
            if not isinstance(labels, Mapping) or "kubernetes.io/metadata.name" not in labels:
                place = ("networkPolicy", kind, index, "namespaceLabels")
                yield place, "must name the namespace by kubernetes.io/metadata.name, the one label that only its name gives it."
    for index, text in enumerate(_list(policy.get("controlPlane"))):
        problem = _too_wide(text)
        if problem:
            yield ("networkPolicy", "controlPlane", index), problem


def _too_wide(text: object) -> str:
    try:
        network = ipaddress.ip_network(str(text))
    except ValueError:
        return f"must be an address range, such as 192.0.2.16/28 (given: {str(text)[:60]!r})."
    if any(network.version == known.version and network.overlaps(known) for known in _ALL_OF_IPV4):
        return "stands for IPv4 addresses: name these themselves."
    private = network.is_private and network.prefixlen >= 7
    narrow = _NARROW[network.version]
    if not private and network.prefixlen < narrow:
        return f"lets half the world in: name the API servers' own addresses, or a range of /{narrow} at the widest."
    return ""


def _named(
    values: Mapping[str, Any], place: Place, known: re.Pattern[str], why: str, own: re.Pattern[str] | None = _OWN
) -> Iterator[Problem]:
    found: Any = values
    for part in place:
        found = _inside(found, str(part))
    for name in found:
        if not known.fullmatch(str(name)) and not (own is not None and own.fullmatch(str(name))):
            instead = (
                "only names without a prefix and some that are known to be harmless" if own is not None else "only some that are known"
            )
            yield (*place, name), f"must not be set: it {why}; {instead} may be (docs/deployments.md)."


def _inside(values: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = values.get(name)
    return found if isinstance(found, Mapping) else {}


def _list(found: object) -> list[Any]:
    return found if isinstance(found, list) else []
