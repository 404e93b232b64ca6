"""Pods, as their statuses tell."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from blocks.cluster.quantity import amount
from blocks.errors import ClusterRejected, ClusterUnreachable
from blocks.facts import ClusterEvent, Container, ContainerExit, Pod, Trouble
from blocks.kubernetes_api import Document, KubernetesApi, path_of, selector

#: Lines of a failed container's log that are read. vLLM's last line only says that the cause is above, and its tracebacks of
#: several processes are long.
LOG_LINES = 400

GPU_RESOURCE = "nvidia.com/gpu"


class Pods:
    """Reads pods, and what is said about them."""

    def __init__(self, api: KubernetesApi) -> None:
        self._api = api

    def list(self, namespace: str, labels: Mapping[str, str]) -> tuple[Pod, ...]:
        """The pods that carry all these labels."""
        listed = self._api.list(path_of(namespace, "pods"), labels=selector(labels))
        return tuple(_pod(pod) for pod in listed)

    def trouble(self, namespace: str, pod: Pod) -> Trouble:
        """What is to be seen of a pod that does not serve: one request, and one or two more if a container of it has failed."""
        selected = f"involvedObject.kind=Pod,involvedObject.name={pod.name}"
        events = self._api.list(path_of(namespace, "events"), fields=selected)
        failed = next((c for c in pod.containers if c.last_exit is not None and c.last_exit.code != 0), None)
        return Trouble(
            pod=pod,
            events=tuple(ClusterEvent(reason=event.reason or "", message=event.message or "") for event in sorted(events, key=_seen)),
            log=self._failed_log(namespace, pod.name, failed) if failed is not None else "",
        )

    def _failed_log(self, namespace: str, pod: str, container: Container) -> str:
        """The last lines of the attempt that failed; empty if they are gone: the container's last words are in its status, too."""
        # A container that runs again wrote them before its restart.
        before = {"previous": "true"} if container.state == "running" else {}
        try:
            return self._api.log(path_of(namespace, "pods", pod), container=container.name, tailLines=str(LOG_LINES), **before)
        except (ClusterRejected, ClusterUnreachable):
            return ""


def _seen(event: Document) -> datetime:
    # Events of the newer API (events.k8s.io) have an `eventTime` alone.
    return datetime.fromisoformat(event.lastTimestamp or event.eventTime or event.metadata.creationTimestamp)


def _pod(pod: Document) -> Pod:
    conditions = {c.type: c for c in pod.status.conditions or []}
    ready, statuses = conditions.get("Ready"), pod.status.containerStatuses or []
    initial = pod.status.initContainerStatuses or []
    return Pod(
        name=pod.metadata.name,
        labels=dict(pod.metadata.labels or {}),
        ready=_holds(ready),
        phase=pod.status.phase or "Pending",
        node=pod.spec.nodeName,
        restarts=sum(status.restartCount for status in statuses),
        gpus=requested_gpus(pod),
        problem=_problem(pod.status, conditions.get("PodScheduled"), [*initial, *statuses]),
        terminating=pod.metadata.deletionTimestamp is not None,
        containers=(*(_container(status, True) for status in initial), *(_container(status, False) for status in statuses)),
        annotations=dict(pod.metadata.annotations or {}),
        # The spec's: of an image by digest the status of a running container says `sha256:…` alone (containerd 1.6).
        image=pod.spec.containers[0].image or "",
        address=pod.status.podIP or "",
        weights_digest=_weights_digest(pod.spec.initContainers or []),
        times=_times(pod.metadata.creationTimestamp, conditions, statuses),
    )


_POINTS = {"PodScheduled": "scheduled", "Initialized": "initialised", "Ready": "ready"}


def _times(created: str | None, conditions: Mapping[str, Document], statuses: list[Document]) -> dict[str, datetime]:
    times = {point: conditions[kind].lastTransitionTime for kind, point in _POINTS.items() if _holds(conditions.get(kind))}
    times["created"] = created
    if statuses and statuses[0].state and statuses[0].state.running:
        times["started"] = statuses[0].state.running.startedAt
    return {point: datetime.fromisoformat(time) for point, time in times.items() if time is not None}


def _weights_digest(initial: list[Document]) -> str:
    for container in initial:
        args = container.args or []
        # The argument itself: what the container was told to check is what it let pass.
        if container.name == "check-weights" and "--digest" in args[:-1]:
            return str(args[args.index("--digest") + 1])
    return ""


def _holds(condition: Document | None) -> bool:
    return condition is not None and condition.status == "True"


def _container(status: Document, is_init: bool) -> Container:
    waiting, running, ended = status.state.waiting, status.state.running, status.state.terminated
    before = status.lastState.terminated if status.lastState else None
    # Between two attempts of a container its last end is `state`, and `lastState` has the one before.
    last = ended or before
    now = waiting or ended
    return Container(
        name=status.name,
        is_init=is_init,
        state="terminated" if ended is not None else "running" if running is not None else "waiting",
        reason=(now.reason or "") if now else "",
        message=(now.message or "") if now else "",
        restarts=status.restartCount,
        started=bool(status.started),
        ready=bool(status.ready),
        last_exit=ContainerExit(reason=last.reason or "", code=last.exitCode, message=last.message or "") if last else None,
    )


def requested_gpus(pod: Document) -> int:
    """GPUs that the scheduler sets aside for the pod: its containers' together, or its largest init container's if that is more."""
    # Init containers run before the others, one at a time.
    together = sum(_gpus(container) for container in pod.spec.containers)
    return max([together, *(_gpus(container) for container in pod.spec.initContainers or [])])


def _gpus(container: Document) -> int:
    resources = container.resources
    # A limit without a request is a request of the same size.
    amounts = {**(resources.limits or {}), **(resources.requests or {})} if resources is not None else {}
    return amount(amounts, GPU_RESOURCE)


def _problem(pod: Document, scheduled: Document | None, statuses: list[Document]) -> str:
    if pod.phase == "Failed" and pod.reason:  # the node's own doing: Evicted, NodeShutdown, …
        return f"{pod.reason}: {pod.message}"
    if scheduled is not None and scheduled.status == "False":
        return f"{scheduled.reason}: {scheduled.message}"
    for status in statuses:
        waiting, ended = status.state.waiting, status.state.terminated
        last = status.lastState.terminated if status.lastState else None
        # `CrashLoopBackOff` is seldom seen: it stands in the last 0.1 to 0.4 s of a back-off, before that `terminated` (Kubernetes 1.36).
        if waiting is not None and waiting.reason not in ("ContainerCreating", "PodInitializing"):
            before = f" (last exit: {last.reason} {last.exitCode})" if last is not None else ""
            return f"{waiting.reason}: {waiting.message or status.name}{before}"
        if ended is not None and ended.exitCode != 0:
            return f"{ended.reason}: exit code {ended.exitCode}"
    return ""
