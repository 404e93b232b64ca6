"""The status of a pod as a kubelet writes it: phase and conditions from what its containers do. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence

from sandbox.kubernetes.controllers.objects import find_condition
from sandbox.kubernetes.meta.client import Object
from sandbox.kubernetes.meta.values import dig, now
from sandbox.kubernetes.node.container import Container


def phase_of(init: Sequence[Container], containers: Sequence[Container]) -> str:
    """The pod's phase."""
    if any_failed(init):
        return "Failed"
    if not all(container.done for container in init):
        return "Pending"
    if all(container.done for container in containers):
        return "Succeeded" if all(container.succeeded for container in containers) else "Failed"
    never_ran = [container for container in containers if "waiting" in container.state and not container.last_state]
    return "Pending" if never_ran else "Running"


def any_failed(init: Sequence[Container]) -> bool:
    """Whether one of the init containers has failed for good."""
    return any(container.done and not container.succeeded for container in init)


def conditions_of(
    pod: Object, phase: str, final: str, init: Sequence[Container], containers: Sequence[Container], *, has_sandbox: bool, ending: bool
) -> list[Object]:
    """The conditions of the pod, with the transition times of those that did not change.

    Args:
        pod: The pod.
        phase: The phase that is told.
        final: The phase that it comes to: how it ended is told before that it ended.
        init: Its init containers.
        containers: Its containers.
        has_sandbox: Whether it may start containers.
        ending: Whether it is being ended.
    """
    waiting = [container.name for container in init if not container.succeeded]
    unready = [container.name for container in containers if not container.told(ending=ending)["ready"]]
    completed = final == "Succeeded"
    incomplete = f"containers with incomplete status: [{' '.join(waiting)}]"
    initialized = _entry("Initialized", not waiting, "ContainersNotInitialized", incomplete)
    if completed:
        not_ready: tuple[str, str | None] = ("PodCompleted", None)
    elif final == "Failed" and not all(container.lost for container in containers):
        not_ready = ("PodFailed", None)
    else:
        not_ready = _not_ready(unready)
    wanted = [
        _entry("PodReadyToStartContainers", has_sandbox and phase not in ("Succeeded", "Failed")),
        initialized | ({"reason": "PodCompleted"} if completed and not waiting else {}),
        _entry("Ready", not unready and phase == "Running", *not_ready),
        _entry("ContainersReady", not unready and phase == "Running", *not_ready),
        _entry("PodScheduled", True),
    ]
    generation = pod["metadata"].get("generation")
    return [_with_times(pod, entry | ({"observedGeneration": generation} if generation else {})) for entry in wanted]


def _not_ready(unready: Sequence[str]) -> tuple[str, str]:
    return "ContainersNotReady", f"containers with unready status: [{' '.join(unready)}]"


def _entry(kind: str, true: bool, reason: str | None = None, message: str | None = None) -> Object:
    # A strategic merge keeps what a patch leaves out, so the words of a condition that is true again are taken out by name.
    words = {"reason": None, "message": None} if true else {"reason": reason, "message": message}
    return {"type": kind, "status": "True" if true else "False", **words}


def _with_times(pod: Object, entry: Object) -> Object:
    old = find_condition(dig(pod, "status", "conditions", default=[]), entry["type"])
    same = old is not None and old["status"] == entry["status"] and old.get("lastTransitionTime")
    return {"lastProbeTime": None, "lastTransitionTime": old["lastTransitionTime"] if old is not None and same else now(), **entry}
