"""The status of a Deployment: counts, and the conditions in Kubernetes' words. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence

from sandbox.kubernetes.controllers import rollout
from sandbox.kubernetes.controllers.objects import age_seconds, find_condition, set_condition, without_condition
from sandbox.kubernetes.meta.client import Object
from sandbox.kubernetes.meta.values import dig

NO_DEADLINE = 2**31 - 1
"""A progress deadline of this many seconds means: none."""


def _progressing(conditions: list[Object], status: str, reason: str, message: str) -> list[Object]:
    wanted = {"type": "Progressing", "status": status, "reason": reason, "message": message}
    return set_condition(conditions, wanted, updated=True)


def created(conditions: list[Object], replica_set: str) -> list[Object]:
    """Progress: a new ReplicaSet was made."""
    return _progressing(conditions, "True", "NewReplicaSetCreated", f'Created new replica set "{replica_set}"')


def found(conditions: list[Object], replica_set: str) -> list[Object]:
    """Progress: an old ReplicaSet became the new one again."""
    return _progressing(conditions, "True", "FoundNewReplicaSet", f'Found new replica set "{replica_set}"')


def failed_to_create(conditions: list[Object], message: str) -> list[Object]:
    """No progress: the ReplicaSet itself was refused."""
    return _progressing(conditions, "False", "ReplicaSetCreateError", message)


def paused(conditions: list[Object], *, is_paused: bool) -> list[Object]:
    """Note that the Deployment was paused or resumed, if it was."""
    reason = (find_condition(conditions, "Progressing") or {}).get("reason")
    if is_paused and reason != "DeploymentPaused":
        return _progressing(conditions, "Unknown", "DeploymentPaused", "Deployment is paused")
    if not is_paused and reason == "DeploymentPaused":
        return _progressing(conditions, "Unknown", "DeploymentResumed", "Deployment is resumed")
    return conditions


def status_of(deployment: Object, sets: Sequence[Object], new: Object | None) -> Object:
    """The status that a Deployment should have.

    Args:
        deployment: The Deployment with the status it has.
        sets: All its ReplicaSets.
        new: The one among them that has its template.
    """
    old = deployment.get("status") or {}
    counts = {
        "replicas": rollout.counted(sets, "replicas"),
        "updatedReplicas": rollout.counted([new], "replicas") if new is not None else 0,
        "readyReplicas": rollout.counted(sets, "readyReplicas"),
        "availableReplicas": rollout.counted(sets, "availableReplicas"),
    }
    counts["unavailableReplicas"] = max(0, rollout.total(sets) - counts["availableReplicas"])
    status: Object = {
        "observedGeneration": deployment["metadata"].get("generation", 1),
        **{name: count for name, count in counts.items() if count},
        "terminatingReplicas": rollout.counted(sets, "terminatingReplicas"),
    }
    if old.get("collisionCount"):
        status["collisionCount"] = old["collisionCount"]
    conditions = _available(deployment, old.get("conditions") or [], counts["availableReplicas"])
    if not deployment["spec"].get("paused") and _deadline(deployment) is not None:
        conditions = _progress(deployment, conditions, old, counts, new)
    status["conditions"] = _replica_failure(conditions, sets, new)
    return status


def _available(deployment: Object, conditions: list[Object], available: int) -> list[Object]:
    enough = available >= rollout.replicas(deployment) - rollout.fenceposts(deployment)[1]
    return set_condition(
        conditions,
        {
            "type": "Available",
            "status": "True" if enough else "False",
            "reason": "MinimumReplicasAvailable" if enough else "MinimumReplicasUnavailable",
            "message": "Deployment has minimum availability." if enough else "Deployment does not have minimum availability.",
        },
        updated=True,
    )


def _progress(deployment: Object, conditions: list[Object], old: Object, counts: dict[str, int], new: Object | None) -> list[Object]:
    current = find_condition(conditions, "Progressing")
    settled = counts["replicas"] == counts["updatedReplicas"] and (current or {}).get("reason") == "NewReplicaSetAvailable"
    # Complete once, it never times out, whatever its pods do later (a crash loop, on Kubernetes 1.36).
    if settled:
        return conditions
    what = f'ReplicaSet "{new["metadata"]["name"]}"' if new is not None else f'Deployment "{deployment["metadata"]["name"]}"'
    wanted = rollout.replicas(deployment)
    if all(counts[name] == wanted for name in ("replicas", "updatedReplicas", "availableReplicas")):
        return _progressing(conditions, "True", "NewReplicaSetAvailable", f"{what} has successfully progressed.")
    if _moved(old, counts):
        # The time of the last progress is what the deadline counts from, so it is renewed though the words stay the same.
        return _progressing(_without_words(conditions), "True", "ReplicaSetUpdated", f"{what} is progressing.")
    if _timed_out(deployment, current):
        return _progressing(conditions, "False", "ProgressDeadlineExceeded", f"{what} has timed out progressing.")
    return conditions


def _without_words(conditions: list[Object]) -> list[Object]:
    """The conditions with the words of Progressing taken out, so that setting it again renews its time."""
    return [{**entry, "message": ""} if entry["type"] == "Progressing" else entry for entry in conditions]


def _moved(old: Object, counts: dict[str, int]) -> bool:
    def before(name: str) -> int:
        return int(old.get(name, 0))

    return (
        counts["updatedReplicas"] > before("updatedReplicas")
        or counts["replicas"] - counts["updatedReplicas"] < before("replicas") - before("updatedReplicas")
        or counts["readyReplicas"] > before("readyReplicas")
        or counts["availableReplicas"] > before("availableReplicas")
    )


def _deadline(deployment: Object) -> int | None:
    seconds = deployment["spec"].get("progressDeadlineSeconds", 600)
    return None if seconds >= NO_DEADLINE else int(seconds)


def _timed_out(deployment: Object, progressing: Object | None) -> bool:
    deadline = _deadline(deployment)
    if progressing is None or deadline is None or progressing["reason"] == "NewReplicaSetAvailable":
        return False
    return progressing["reason"] == "ProgressDeadlineExceeded" or age_seconds(progressing["lastUpdateTime"]) >= deadline


def _replica_failure(conditions: list[Object], sets: Sequence[Object], new: Object | None) -> list[Object]:
    newest_first = ([new] if new is not None else []) + [item for item in sets if item is not new]
    for item in newest_first:
        failure = find_condition(dig(item, "status", "conditions", default=[]), "ReplicaFailure")
        if failure is not None:
            wanted = {key: failure[key] for key in ("type", "status", "reason", "message")}
            return set_condition(conditions, wanted, updated=True)
    return without_condition(conditions, "ReplicaFailure")


def next_look_seconds(deployment: Object, status: Object) -> float | None:
    """Seconds until the progress deadline could pass; None when the rollout is over or has no deadline."""
    progressing = find_condition(status["conditions"], "Progressing")
    deadline = _deadline(deployment)
    if progressing is None or deadline is None or deployment["spec"].get("paused"):
        return None
    if progressing["reason"] in ("NewReplicaSetAvailable", "ProgressDeadlineExceeded"):
        return None
    return max(0.0, deadline - age_seconds(progressing["lastUpdateTime"])) + 0.1
