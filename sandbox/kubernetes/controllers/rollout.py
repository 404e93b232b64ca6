"""The arithmetic of a Deployment's rollout. Pure functions on Deployments and ReplicaSets."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence

from sandbox.kubernetes.meta.client import Object
from sandbox.kubernetes.meta.values import clone, dig

HASH_LABEL = "pod-template-hash"
REVISION = "deployment.kubernetes.io/revision"
REVISION_HISTORY = "deployment.kubernetes.io/revision-history"
DESIRED_REPLICAS = "deployment.kubernetes.io/desired-replicas"
MAX_REPLICAS = "deployment.kubernetes.io/max-replicas"
NOT_COPIED = (
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    REVISION_HISTORY,
    DESIRED_REPLICAS,
    MAX_REPLICAS,
)
_SAFE = "bcdfghjklmnpqrstvwxz2456789"
"""Neither vowels nor digits that look like letters, so that no hash spells a word."""


def template_hash(template: Object, collisions: int) -> str:
    """The label that tells the pods of one template from those of another; ten characters."""
    text = json.dumps(template, sort_keys=True) + (str(collisions) if collisions else "")
    return "".join(_SAFE[byte % len(_SAFE)] for byte in hashlib.sha256(text.encode()).digest()[:10])


def same_template(one: Object, other: Object) -> bool:
    """Whether two pod templates ask for the same pods; the hash label does not count."""
    return _without_hash(one) == _without_hash(other)


def _without_hash(template: Object) -> Object:
    copy = clone(template)
    metadata = copy.get("metadata") or {}
    metadata.pop("creationTimestamp", None)
    labels = metadata.get("labels") or {}
    labels.pop(HASH_LABEL, None)
    copy["metadata"] = {key: value for key, value in metadata.items() if value}
    return copy


def replicas(item: Object) -> int:
    """How many replicas a Deployment or ReplicaSet asks for."""
    return int(item["spec"].get("replicas", 1))


def total(replica_sets: Sequence[Object]) -> int:
    """How many replicas ReplicaSets ask for together."""
    return sum(replicas(replica_set) for replica_set in replica_sets)


def counted(replica_sets: Sequence[Object], field: str) -> int:
    """The sum of a number in the status of ReplicaSets, such as `availableReplicas`."""
    return sum(int(dig(replica_set, "status", field, default=0)) for replica_set in replica_sets)


def revision(item: Object) -> int:
    """The Deployment revision noted on a ReplicaSet or Deployment; 0 when there is none."""
    return int(dig(item, "metadata", "annotations", default={}).get(REVISION, 0))


def fenceposts(deployment: Object) -> tuple[int, int]:
    """How many pods may exist above, and be unavailable below, the wanted number: (surge, unavailable).

    Percentages round up for surge and down for unavailability; both zero would never move, so one may be unavailable then.
    """
    if dig(deployment, "spec", "strategy", "type") == "Recreate":
        return 0, replicas(deployment)
    rolling = dig(deployment, "spec", "strategy", "rollingUpdate", default={})
    surge = _share(rolling.get("maxSurge", "25%"), replicas(deployment), up=True)
    unavailable = _share(rolling.get("maxUnavailable", "25%"), replicas(deployment), up=False)
    if surge == 0 and unavailable == 0:
        unavailable = 1
    return surge, min(unavailable, replicas(deployment)) if replicas(deployment) else unavailable


def _share(value: int | str, of: int, *, up: bool) -> int:
    if isinstance(value, str) and value.endswith("%"):
        exact = int(value[:-1]) * of / 100
        return math.ceil(exact) if up else math.floor(exact)
    return int(value)


def new_size(deployment: Object, new: Object | None, all_sets: Sequence[Object]) -> int:
    """How many replicas the new ReplicaSet should ask for now."""
    wanted = replicas(deployment)
    if dig(deployment, "spec", "strategy", "type") == "Recreate":
        return wanted
    current = replicas(new) if new is not None else 0
    room = wanted + fenceposts(deployment)[0] - total(all_sets)
    return min(wanted, current + max(0, room)) if current < wanted else wanted


def old_sizes(deployment: Object, new: Object, old: Sequence[Object]) -> dict[str, int]:
    """The sizes (by name) that old ReplicaSets should have now; empty when none may shrink. Unhealthy pods go first."""
    all_sets = [*old, new]
    minimum = replicas(deployment) - fenceposts(deployment)[1]
    new_unavailable = replicas(new) - counted([new], "availableReplicas")
    allowance = total(all_sets) - minimum - new_unavailable
    if allowance <= 0:
        return {}
    sizes = {replica_set["metadata"]["name"]: replicas(replica_set) for replica_set in old}
    by_age = sorted(old, key=lambda replica_set: str(replica_set["metadata"]["creationTimestamp"]))
    cleaned = 0
    for replica_set in by_age:
        unhealthy = replicas(replica_set) - counted([replica_set], "availableReplicas")
        cut = max(0, min(allowance - cleaned, unhealthy))
        sizes[replica_set["metadata"]["name"]] -= cut
        cleaned += cut
    spare = counted(all_sets, "availableReplicas") - minimum
    for replica_set in by_age:
        name = replica_set["metadata"]["name"]
        cut = max(0, min(spare, sizes[name], counted([replica_set], "availableReplicas")))
        sizes[name] -= cut
        spare -= cut
    return sizes


def proportional_sizes(deployment: Object, active: Sequence[Object]) -> dict[str, int]:
    """Sizes (by name) after the Deployment was scaled in the middle of a rollout: each ReplicaSet gets its share."""
    allowed = replicas(deployment) + fenceposts(deployment)[0] if replicas(deployment) else 0
    to_add = allowed - total(active)
    largest_first = sorted(active, key=replicas, reverse=True)
    sizes = {}
    added = 0
    for replica_set in largest_first:
        annotations = dig(replica_set, "metadata", "annotations", default={})
        before = int(annotations.get(MAX_REPLICAS, 0)) or total(active)
        share = round(replicas(replica_set) * allowed / before) - replicas(replica_set) if before else 0
        left = to_add - added
        share = min(share, left) if to_add > 0 else max(share, left)
        sizes[replica_set["metadata"]["name"]] = replicas(replica_set) + share
        added += share
    if largest_first:
        name = largest_first[0]["metadata"]["name"]
        sizes[name] = max(0, sizes[name] + to_add - added)
    return sizes
