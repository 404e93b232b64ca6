"""Pods that have a node and do not serve: images, mounts, crashes, kills."""

from __future__ import annotations

import re

from blocks.facts import Container, ContainerExit, Pod, Trouble
from blocks.facts.cluster import CHECK_WEIGHTS, OWN_CONTAINERS, PREPARE_COMPILED
from flows.rollout.engine_log import quoted, read_log
from flows.rollout.finding import OTHERS_LEAVE_SECONDS, Category, Finding

_NO_IMAGE = frozenset(
    {"ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName", "ImageInspectError", "RegistryUnavailable"}
)
_REFUSED = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError", "StartError"})
_DENIED = re.compile(r"unauthorized|denied|authentication required|no basic auth credentials|\b40[13]\b|forbidden", re.IGNORECASE)
# `Never`: it is not on the node, and the pull policy forbids to fetch it (ErrImageNeverPull).
_UNKNOWN = re.compile(r"not found|manifest unknown|name unknown|does not exist|InvalidImageName|couldn't parse image|Never", re.IGNORECASE)
_FULL = "no space left on device"

#: What the kubelet says of a folder that a volume lacks, where it may not make it; and of a node's folder that is not there.
_NO_FOLDER = "failed to create subPath directory for volumeMount"
_NO_PLACE = re.compile(r"hostPath type check failed|MountVolume\.NewMounter initialization failed for volume .* path .* does not exist")

#: What a node's agent that was restarted says of a container that ran before, and the runtime of one that ended with its node: it is
#: started again, and nothing is known against it.
_LOST = frozenset({"ContainerStatusUnknown", "Unknown"})

#: Exit codes of processes that a signal ended: SIGKILL and SIGTERM.
_SIGNALLED = frozenset({137, 143})

#: What the kubelet says of a pod that outgrew its own limits of disk: the node has room (Kubernetes 1.36).
_OUTGROWN = re.compile(
    r"Usage of EmptyDir volume|exceeds the total limit of containers|Container .* exceeded its local ephemeral storage limit"
)


def container_finding(trouble: Trouble) -> Finding | None:
    """What is wrong with a pod on its node; none if it may just need its time."""
    pod = trouble.pod
    if pod.problem.startswith("Evicted"):
        return _evicted(pod)
    # Our own first: what is injected may fail because they do.
    for container in sorted(pod.containers, key=is_foreign):
        if container.kind != "debug" and (finding := _container(trouble, container)) is not None:
            return finding
    return _mount(trouble) if pod.phase == "Pending" else None


def is_foreign(container: Container) -> bool:
    """Whether neither the chart nor a Job on a node has a container of that name: something put it into the pod."""
    return container.name not in OWN_CONTAINERS


def has_given_up(container: Container) -> bool:
    """Whether the container has ended twice, so that the kubelet waits longer each time before it starts it again.

    Its state says so only in the last 0.1 to 0.4 s of a wait (`CrashLoopBackOff`); before that it is `terminated` (Kubernetes 1.36).
    """
    ended = container.last_exit is not None and container.last_exit.reason not in _LOST
    again = container.restarts > (0 if container.state == "terminated" else 1)
    return container.reason == "CrashLoopBackOff" or (ended and again)


def _evicted(pod: Pod) -> Finding:
    category: Category = "node-disk-full"
    if "low on resource: memory" in pod.problem:
        category = "out-of-memory"
    elif outgrew(pod):
        category = "scratch-full"
    return Finding(category, f"pod {pod.name}: {quoted(pod.problem).rstrip('. ')}", None, (quoted(pod.problem),))


def outgrew(pod: Pod) -> bool:
    """Whether its node threw the pod out for more disk than its own limits let it have: it would do so again."""
    return _OUTGROWN.search(pod.problem) is not None


def _container(trouble: Trouble, container: Container) -> Finding | None:
    where = f"pod {trouble.pod.name}" + (f", container {container.name}" if is_foreign(container) else "")
    shown = f"{trouble.pod.name}/{container.name}: {container.reason}: {container.message}"
    ended = container.last_exit
    if container.reason in _NO_IMAGE:
        return _image(trouble, container)
    if _NO_FOLDER in container.message:
        return Finding("weights-missing", f"{where} on node {trouble.pod.node}: {quoted(container.message)}", 0.0, (quoted(shown),))
    if container.reason in _REFUSED:
        return Finding("container-refused", f"{where}: {container.reason}: {quoted(container.message)}", 0.0, (quoted(shown),))
    if ended is None or ended.reason in _LOST:
        return None
    # Between two attempts a container that cannot be started is in a back-off like all others.
    if ended.reason in _REFUSED:
        return Finding("container-refused", f"{where}: {ended.reason}: {quoted(ended.message)}", 0.0, (quoted(ended.message),))
    gave_up, killed = has_given_up(container), _killed_by_probe(trouble, container)
    # Exit code 0 is a crash once it came twice, or where a probe asked for it.
    if not (ended.code or gave_up or killed):
        return None
    return _crash(trouble, container, ended, gave_up, killed)


def _image(trouble: Trouble, container: Container) -> Finding:
    # ImagePullBackOff itself may only say that it backs off; why is in the events of the pulls.
    pulls = [event.message for event in trouble.events if event.reason in ("Failed", "FailedToRetrieveImagePullSecret")]
    said = " ".join([container.reason, container.message, *pulls])
    category: Category = "image-not-pulled"
    patience: float | None = None
    if _FULL in said.lower():
        category, patience = "node-disk-full", OTHERS_LEAVE_SECONDS
    elif _DENIED.search(said):
        category, patience = "image-pull-denied", 0.0
    elif _UNKNOWN.search(said):
        category, patience = "image-not-found", 0.0
    secret = next((e.message for e in trouble.events if e.reason == "FailedToRetrieveImagePullSecret"), "")
    where = f"pod {trouble.pod.name}" + (f", container {container.name}" if is_foreign(container) else "")
    sentence = f"{where}: {container.reason}: {quoted(container.message)}" + (f" ({secret.rstrip('.')})" if secret else "")
    return Finding(category, sentence, patience, tuple(quoted(line) for line in dict.fromkeys([container.message, *pulls])))


def _crash(trouble: Trouble, container: Container, ended: ContainerExit, gave_up: bool, killed: tuple[str, str] | None) -> Finding:
    where = f"pod {trouble.pod.name}, container {container.name}"
    exit_ = f"{ended.reason or 'ended'} with exit code {ended.code}, {container.restarts} restart(s)"
    # The API server may not get at the log (500 was seen); the kubelet keeps the last words in the pod's status, too.
    log = (read_log(trouble.log) if container == trouble.pod.failed else None) or read_log(ended.message)
    evidence = tuple(filter(None, [f"{where}: {exit_}", log.line if log else ""]))
    words = f": {log.line}" if log else ""
    if ended.reason == "OOMKilled":
        return Finding("out-of-memory", f"{where} was killed for using more memory than its limit", 0.0, evidence)
    if container.name == PREPARE_COMPILED:  # makes the folder of compiled code
        return Finding("container-refused", f"{where} ended{words}", 0.0, evidence)
    if container.name == CHECK_WEIGHTS:
        return Finding("weights-refused", f"{where} refused the snapshot on node {trouble.pod.node}{words}", 0.0, evidence)
    if log is not None and log.cause is not None and not is_foreign(container):
        return Finding(log.cause, f"{where} ended{words}", 0.0, evidence)
    if killed is not None and (ended.code in _SIGNALLED or gave_up or container.restarts):
        kind, event = killed
        if kind == "startup":
            return Finding(
                "killed-while-loading", f"{where} was not loaded when its load budget ended, and was killed", 0.0, (event, *evidence)
            )
        return Finding("hung-engine", f"{where} stopped answering its health check, and was killed", 0.0, (event, *evidence))
    others = "; the chart does not render it, so look at what injects it" if is_foreign(container) else ""
    return Finding("crash-loop", f"{where}: {exit_}{words}{others}", 0.0 if gave_up else None, evidence)


def _killed_by_probe(trouble: Trouble, container: Container) -> tuple[str, str] | None:
    """The kubelet's word that a probe ended this container: (kind of probe, the event's message)."""
    for event in reversed(trouble.events):
        for kind in ("startup", "liveness"):
            if event.reason == "Killing" and f"Container {container.name} failed {kind} probe" in event.message:
                return kind, event.message
    return None


def _mount(trouble: Trouble) -> Finding | None:
    failed = [event.message for event in trouble.events if event.reason in ("FailedMount", "FailedAttachVolume", "FailedCreatePodSandBox")]
    if not failed:
        return None
    last = failed[-1]
    sentence = f"pod {trouble.pod.name} on node {trouble.pod.node}: {quoted(last)}"
    if _NO_PLACE.search(last):
        return Finding("container-refused", f"{sentence}: make that folder on the node", 0.0, tuple(map(quoted, failed)))
    if _FULL in last.lower():
        return Finding("node-disk-full", sentence, OTHERS_LEAVE_SECONDS, tuple(map(quoted, failed)))
    # What is mounted may come a moment after the pod that mounts it.
    return Finding("container-refused", sentence, OTHERS_LEAVE_SECONDS, tuple(map(quoted, failed)))
