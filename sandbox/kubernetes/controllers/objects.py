"""What several controllers ask of objects: owners, pod states, conditions, times. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from sandbox.kubernetes.meta.client import Object
from sandbox.kubernetes.meta.clock import utc_now
from sandbox.kubernetes.meta.values import dig, now, parse_time

FINISHED_PHASES = ("Succeeded", "Failed")


def micro_time(moment: datetime | None = None) -> str:
    """A moment (now by default) as leases and new-style events write it: UTC with microseconds."""
    return (moment or utc_now()).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def owner_reference(owner: Object) -> Object:
    """The reference that makes an object the controlled dependent of its owner."""
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def controller_of(item: Object) -> Object | None:
    """The owner reference of the controller of an object, if it has one."""
    return next((reference for reference in item["metadata"].get("ownerReferences") or [] if reference.get("controller")), None)


def is_controlled_by(item: Object, owner: Object) -> bool:
    """Whether this very owner (by uid) controls the object."""
    reference = controller_of(item)
    return reference is not None and bool(reference["uid"] == owner["metadata"]["uid"])


def is_deleting(item: Object) -> bool:
    """Whether its deletion has begun."""
    return "deletionTimestamp" in item["metadata"]


def is_finished(pod: Object) -> bool:
    """Whether none of the pod's containers will ever run again."""
    return dig(pod, "status", "phase") in FINISHED_PHASES


def is_active(pod: Object) -> bool:
    """Whether the pod counts towards the replicas of its owner."""
    return not is_finished(pod) and not is_deleting(pod)


def condition(item: Object, kind: str) -> Object | None:
    """The condition of that type in an object's status."""
    return find_condition(dig(item, "status", "conditions", default=[]), kind)


def find_condition(conditions: Iterable[Object], kind: str) -> Object | None:
    """The condition of that type among those given."""
    return next((entry for entry in conditions if entry["type"] == kind), None)


def is_ready(pod: Object) -> bool:
    """Whether the pod's Ready condition is true."""
    found = condition(pod, "Ready")
    return found is not None and bool(found["status"] == "True")


def seconds_until_available(pod: Object, min_ready_seconds: int) -> float | None:
    """Seconds until a ready pod counts as available (0: it does now); None while it is not ready."""
    found = condition(pod, "Ready")
    if found is None or found["status"] != "True":
        return None
    if not min_ready_seconds or not found.get("lastTransitionTime"):
        return 0.0
    due = parse_time(found["lastTransitionTime"]) + timedelta(seconds=min_ready_seconds)
    return max(0.0, (due - utc_now()).total_seconds())


def age_seconds(time_text: str) -> float:
    """Seconds since a time as Kubernetes writes it."""
    return (utc_now() - parse_time(time_text)).total_seconds()


def set_condition(conditions: list[Object], wanted: Object, *, updated: bool = False) -> list[Object]:
    """The conditions with one of them set; its transition time changes only with its status.

    Args:
        conditions: The conditions so far.
        wanted: Type, status, reason and message of the one to set.
        updated: Whether the kind keeps a `lastUpdateTime` too (Deployments do).
    """
    old = find_condition(conditions, wanted["type"])
    if old is not None and all(old.get(key) == wanted.get(key) for key in ("status", "reason", "message")):
        return conditions
    moment = now()
    transition = old["lastTransitionTime"] if old is not None and old["status"] == wanted["status"] else moment
    entry: dict[str, Any] = {**wanted, "lastTransitionTime": transition}
    if updated:
        entry["lastUpdateTime"] = moment
    return [entry if existing is old else existing for existing in conditions] if old is not None else [*conditions, entry]


def without_condition(conditions: list[Object], kind: str) -> list[Object]:
    """The conditions without those of that type."""
    return [entry for entry in conditions if entry["type"] != kind]
