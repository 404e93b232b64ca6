"""Pods, as their statuses tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Literal

from blocks.cluster.quantity import amount
from blocks.errors import ClusterRejected, ClusterUnreachable
from blocks.facts import ClusterEvent, Container, ContainerExit, Pod, Trouble
from blocks.facts.cluster import CHECK_WEIGHTS, ENGINE
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
        return tuple(read_pod(pod) for pod in listed)

    def trouble(self, namespace: str, pod: Pod) -> Trouble:
        """What is to be seen of a pod that does not serve: one request, and one or two more if a container of it has failed."""
        failed = pod.failed
        return Trouble(
            pod=pod,
            events=events_of(self._api, namespace, "Pod", pod.name),
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


def events_of(api: KubernetesApi, namespace: str, kind: str, name: str, uid: str = "") -> tuple[ClusterEvent, ...]:
    """What was said about an object, oldest first; one request. With its uid, nothing of one of its name that was there before."""
    which = f"involvedObject.kind={kind},involvedObject.name={name}" + (f",involvedObject.uid={uid}" if uid else "")
    listed = api.list(path_of(namespace, "events"), fields=which)
    return read_events(listed)


def read_events(events: Sequence[Document]) -> tuple[ClusterEvent, ...]:
    """Events as the API server has them, as facts, oldest first."""
    return tuple(ClusterEvent(reason=event.reason or "", message=event.message or "") for event in sorted(events, key=_seen))


def _seen(event: Document) -> datetime:
    # Events of the newer API (events.k8s.io) have an `eventTime` alone.
    return datetime.fromisoformat(event.lastTimestamp or event.eventTime or event.metadata.creationTimestamp)


def read_pod(pod: Document) -> Pod:
    """A pod as the API server has it, as a fact."""
    conditions = {c.type: c for c in pod.status.conditions or []}
    containers = _containers(pod)
    engine = next((container for container in containers if container.name == ENGINE), None)
    disruption = conditions.get("DisruptionTarget")
    return Pod(
        name=pod.metadata.name,
        labels=dict(pod.metadata.labels or {}),
        ready=_holds(conditions.get("Ready")),
        phase=pod.status.phase or "Pending",
        node=pod.spec.nodeName,
        restarts=engine.restarts if engine is not None else 0,
        gpus=requested_gpus(pod),
        problem=_problem(pod.status, conditions.get("PodScheduled"), containers),
        terminating=pod.metadata.deletionTimestamp is not None,
        disrupted=_said(disruption) if disruption is not None and _holds(disruption) else "",
        containers=containers,
        annotations=dict(pod.metadata.annotations or {}),
        # The spec's: of an image by digest the status of a running container says `sha256:…` alone (containerd 1.6).
        image=engine.image if engine is not None else "",
        address=pod.status.podIP or "",
        weights_digest=_weights_digest(pod.spec.initContainers or []),
        times=_times(pod.metadata.creationTimestamp, conditions, pod.status.containerStatuses or []),
    )


_POINTS = {"PodScheduled": "scheduled", "Initialized": "initialised", "Ready": "ready"}


def _times(created: str | None, conditions: Mapping[str, Document], statuses: list[Document]) -> dict[str, datetime]:
    times = {point: conditions[kind].lastTransitionTime for kind, point in _POINTS.items() if _holds(conditions.get(kind))}
    times["created"] = created
    engine = next((status for status in statuses if status.name == ENGINE), None)
    if engine is not None and engine.state and engine.state.running:
        times["started"] = engine.state.running.startedAt
    return {point: datetime.fromisoformat(time) for point, time in times.items() if time is not None}


def _weights_digest(initial: list[Document]) -> str:
    for container in initial:
        args = container.args or []
        # The argument itself: what the container was told to check is what it let pass.
        if container.name == CHECK_WEIGHTS and "--digest" in args[:-1]:
            return str(args[args.index("--digest") + 1])
    return ""


def _holds(condition: Document | None) -> bool:
    return condition is not None and condition.status == "True"


def _said(one: Document) -> str:
    """A reason with its message; both may be left out."""
    return f"{one.reason or 'no reason given'}: {one.message or 'without a word'}"


_Kind = Literal["main", "init", "sidecar", "debug"]


def _containers(pod: Document) -> tuple[Container, ...]:
    spec, status = pod.spec, pod.status
    initial: list[tuple[Document, _Kind]] = [
        (each, "sidecar" if each.restartPolicy == "Always" else "init") for each in spec.initContainers or []
    ]
    main: list[tuple[Document, _Kind]] = [(each, "main") for each in spec.containers]
    debug: list[tuple[Document, _Kind]] = [(each, "debug") for each in spec.ephemeralContainers or []]
    told = {
        each.name: each
        for each in [*(status.initContainerStatuses or []), *(status.containerStatuses or []), *(status.ephemeralContainerStatuses or [])]
    }
    return tuple(_container(each, kind, told.get(each.name)) for each, kind in [*initial, *main, *debug])


def _container(spec: Document, kind: _Kind, status: Document | None) -> Container:
    made = Container(
        name=spec.name,
        kind=kind,
        image=spec.image or "",
        probed=spec.startupProbe is not None or spec.readinessProbe is not None,
        state="waiting",
    )
    if status is None or status.state is None:
        return made
    waiting, running, ended = status.state.waiting, status.state.running, status.state.terminated
    before = status.lastState.terminated if status.lastState else None
    # Between two attempts of a container its last end is `state`, and `lastState` has the one before.
    last = ended or before
    now = waiting or ended
    return replace(
        made,
        state="terminated" if ended is not None else "running" if running is not None else "waiting",
        reason=(now.reason or "") if now else "",
        message=(now.message or "") if now else "",
        restarts=status.restartCount or 0,
        started=bool(status.started),
        ready=bool(status.ready),
        last_exit=ContainerExit(reason=last.reason or "", code=last.exitCode, message=last.message or "") if last else None,
    )


def requested_gpus(pod: Document) -> int:
    """GPUs that the scheduler sets aside for the pod: its containers' together, or an init container's with the sidecars that run then."""
    sidecars, most = 0, 0
    # One at a time and in order; those that are always restarted go on beside all that follow.
    for container in pod.spec.initContainers or []:
        if container.restartPolicy == "Always":
            sidecars += _gpus(container)
        else:
            most = max(most, sidecars + _gpus(container))
    return max(most, sidecars + sum(_gpus(container) for container in pod.spec.containers))


def _gpus(container: Document) -> int:
    resources = container.resources
    # A limit without a request is a request of the same size.
    amounts = {**(resources.limits or {}), **(resources.requests or {})} if resources is not None else {}
    return amount(amounts, GPU_RESOURCE)


def _problem(pod: Document, scheduled: Document | None, containers: Sequence[Container]) -> str:
    if pod.phase == "Failed" and pod.reason:  # the node's own doing: Evicted, NodeShutdown, …
        return _said(pod)
    if scheduled is not None and scheduled.status == "False":
        return _said(scheduled)
    for container in containers:
        # What somebody started in the pod to look at it says nothing of the pod.
        if container.kind == "debug":
            continue
        last = container.last_exit
        # `CrashLoopBackOff` is seldom seen: it stands in the last 0.1 to 0.4 s of a back-off, before that `terminated` (Kubernetes 1.36).
        if container.state == "waiting" and container.reason not in ("", "ContainerCreating", "PodInitializing"):
            before = f" (last exit: {last.reason} {last.code})" if last is not None else ""
            return f"{container.reason}: {container.message or container.name}{before}"
        if container.state == "terminated" and last is not None and last.code != 0:
            return f"{container.reason or 'ended'}: exit code {last.code}"
    return ""
