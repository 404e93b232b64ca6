"""Resource quotas: what a namespace uses, the refusal of what would pass the limit, and the status that tells.

Not emulated: scopes of quotas, and quotas on storage classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from sandbox.kubernetes.admission.store import JSON, Store
from sandbox.kubernetes.meta import errors
from sandbox.kubernetes.meta.resources import Resource
from sandbox.kubernetes.meta.values import dig, format_quantity, quantity

_COUNTED = {
    "/pods": "pods",
    "/services": "services",
    "/secrets": "secrets",
    "/configmaps": "configmaps",
    "/persistentvolumeclaims": "persistentvolumeclaims",
    "/resourcequotas": "resourcequotas",
    "/replicationcontrollers": "replicationcontrollers",
}
Usage = dict[str, Decimal]


def usage_of(key: str, obj: Mapping[str, object]) -> Usage:
    """What one object uses, under the names that quotas limit."""
    group, _, plural = key.partition("/")
    used: Usage = {f"count/{plural}.{group}" if group else f"count/{plural}": Decimal(1)}
    if key in _COUNTED:
        used[_COUNTED[key]] = Decimal(1)
    if key == "/pods":
        # Pods that have ended stay in the API, and take nothing.
        if dig(obj, "status", "phase") in ("Succeeded", "Failed"):
            return {}
        used.update(_pod_usage(obj))
    if key == "/persistentvolumeclaims" and (size := dig(obj, "spec", "resources", "requests", "storage")):
        used["requests.storage"] = quantity(size)
    if key == "/services":
        kind = dig(obj, "spec", "type")
        used["services.loadbalancers"] = Decimal(kind == "LoadBalancer")
        used["services.nodeports"] = Decimal(len(dig(obj, "spec", "ports", default=[])) if kind in ("NodePort", "LoadBalancer") else 0)
    return used


def _pod_usage(pod: Mapping[str, object]) -> Usage:
    """A pod's requests and limits: the sum of its containers, or the largest init container where that is more."""
    used: Usage = {}
    for field in ("requests", "limits"):
        total: Usage = {}
        for container in dig(pod, "spec", "containers", default=[]):
            for name, amount in dig(container, "resources", field, default={}).items():
                total[name] = total.get(name, Decimal(0)) + quantity(amount)
        for container in dig(pod, "spec", "initContainers", default=[]):
            for name, amount in dig(container, "resources", field, default={}).items():
                total[name] = max(total.get(name, Decimal(0)), quantity(amount))
        for name, amount in total.items():
            used[f"{field}.{name}"] = amount
            if field == "requests" and name in ("cpu", "memory", "ephemeral-storage"):
                used[name] = amount
    return used


class Quotas:
    """The quotas of all namespaces."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def check(self, resource: Resource, obj: JSON) -> None:
        """Refuse a new object that a quota of its namespace has no room for.

        Raises:
            ApiError: 403, with what was requested, used and limited.
        """
        if not resource.namespaced:
            return
        metadata = obj["metadata"]
        for quota in self._store.objects("/resourcequotas", metadata["namespace"]):
            hard = dig(quota, "spec", "hard", default={})
            requested = {name: amount for name, amount in usage_of(resource.key, obj).items() if name in hard and amount}
            if resource.key == "/pods":
                self._demand(quota, hard, obj)
            used = self.used(quota)
            beyond = sorted(name for name, amount in requested.items() if used[name] + amount > quantity(hard[name]))
            if beyond:
                texts = [
                    ",".join(f"{name}={values[name]}" for name in beyond)
                    for values in (
                        {name: format_quantity(amount, str(hard[name])) for name, amount in requested.items()},
                        {name: format_quantity(amount, str(hard[name])) for name, amount in used.items()},
                        hard,
                    )
                ]
                why = f"exceeded quota: {quota['metadata']['name']}, requested: {texts[0]}, used: {texts[1]}, limited: {texts[2]}"
                raise errors.forbidden(*resource.names, metadata["name"], why)

    def _demand(self, quota: JSON, hard: JSON, pod: JSON) -> None:
        """A quota on CPU or memory wants every container to say how much it takes."""
        missing = []
        for name in sorted(hard):
            field, _, compute = name.partition(".") if "." in name else ("requests", "", name)
            if field in ("requests", "limits") and compute in ("cpu", "memory"):
                without = [item["name"] for item in pod["spec"]["containers"] if dig(item, "resources", field, compute) is None]
                if without:
                    missing.append(f"{name} for: {','.join(sorted(without))}")
        if missing:
            why = f"failed quota: {quota['metadata']['name']}: must specify {'; '.join(missing)}"
            raise errors.forbidden("pods", "", pod["metadata"]["name"], why)

    def used(self, quota: JSON) -> Usage:
        """What the namespace of a quota uses of each thing that it limits."""
        hard = dig(quota, "spec", "hard", default={})
        total: Usage = dict.fromkeys(hard, Decimal(0))
        keys = {key for key, plural in _COUNTED.items() if plural in hard}
        keys |= {_key_of(name) for name in hard if name.startswith("count/")}
        keys |= {"/pods"} if any(name.partition(".")[0] in ("requests", "limits", "cpu", "memory") for name in hard) else set()
        keys |= {"/persistentvolumeclaims"} if "requests.storage" in hard else set()
        keys |= {"/services"} if any(name.startswith("services.") for name in hard) else set()
        for key in keys:
            for obj in self._store.objects(key, quota["metadata"]["namespace"]):
                for name, amount in usage_of(key, obj).items():
                    if name in total:
                        total[name] += amount
        return total

    def refresh(self, namespace: str) -> None:
        """Bring the status of a namespace's quotas up to date."""
        for quota in list(self._store.objects("/resourcequotas", namespace)):
            hard = dig(quota, "spec", "hard", default={})
            used = {name: format_quantity(amount, str(hard[name])) for name, amount in self.used(quota).items()}
            status = {"hard": dict(hard), "used": used} if hard else {}
            if quota.get("status") != status:
                metadata = dict(quota["metadata"])
                self._store.put("/resourcequotas", namespace, metadata["name"], {**quota, "metadata": metadata, "status": status})


def _key_of(name: str) -> str:
    plural, _, group = name.removeprefix("count/").partition(".")
    return f"{group}/{plural}"
