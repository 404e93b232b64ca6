"""What a pod refers to: fields of itself, Secrets and ConfigMaps."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Mapping
from decimal import Decimal

from sandbox.kubernetes.meta.api import Client
from sandbox.kubernetes.meta.client import CONFIG_MAPS, SECRETS, Object
from sandbox.kubernetes.meta.errors import ApiError
from sandbox.kubernetes.meta.values import dig, quantity


class MissingReference(Exception):
    """A Secret, a ConfigMap or a key of one is not there; the message is the kubelet's."""


async def contents(client: Client, kind: str, namespace: str, name: str, *, optional: bool) -> dict[str, bytes] | None:
    """The entries of a `secret` or `configmap`; None if it is optional and absent.

    Raises:
        MissingReference: It is absent and not optional.
    """
    collection = SECRETS if kind == "secret" else CONFIG_MAPS
    try:
        item = await client.request("GET", collection.one(namespace, name))
    except ApiError as exc:
        if exc.code != 404:
            raise
        if optional:
            return None
        raise MissingReference(f'{kind} "{name}" not found') from exc
    if kind == "secret":
        return {key: base64.b64decode(value) for key, value in (item.get("data") or {}).items()}
    plain = {key: value.encode() for key, value in (item.get("data") or {}).items()}
    return plain | {key: base64.b64decode(value) for key, value in (item.get("binaryData") or {}).items()}


def field(pod: Object, path: str) -> str:
    """The value of a `fieldRef`, e.g. `metadata.name` or `metadata.labels['app']`; empty when the pod has none."""
    if (match := re.fullmatch(r"metadata\.(labels|annotations)\['([^']+)'\]", path)) is not None:
        return str(dig(pod, "metadata", match[1], default={}).get(match[2], ""))
    if path in ("metadata.labels", "metadata.annotations"):
        entries = dig(pod, *path.split("."), default={})
        return "\n".join(f'{key}="{value}"' for key, value in sorted(entries.items()))
    if path in ("status.podIPs", "status.hostIPs"):
        return ",".join(str(entry["ip"]) for entry in dig(pod, *path.split("."), default=[]))
    return str(dig(pod, *path.split("."), default=""))


def resource(pod: Object, container: Object, reference: Object, allocatable: Mapping[str, str]) -> str:
    """The value of a `resourceFieldRef`, in units of its divisor, rounded up; the node's own amount where no limit is set."""
    name = reference.get("containerName", container["name"])
    about = next(entry for entry in pod["spec"]["containers"] + (pod["spec"].get("initContainers") or []) if entry["name"] == name)
    side, _, kind = reference["resource"].partition(".")
    amount = dig(about, "resources", side, kind) or (allocatable.get(kind, "0") if side == "limits" else "0")
    divisor = quantity(reference.get("divisor") or "1") or Decimal(1)
    return str(math.ceil(quantity(amount) / divisor))
