"""A Kubernetes cluster, through its own Python client: nodes, Jobs, rollouts. Every answer is a fact, every write can be repeated."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Self

import urllib3.exceptions
from kubernetes import client as kubernetes_client
from kubernetes import watch
from kubernetes.client.exceptions import ApiException
from prefect.blocks.core import Block
from pydantic import Field

from blocks.errors import ClusterConflict, ClusterRejected, ClusterUnreachable, PipelineError
from blocks.facts import JobState, Node, Pod, Rollout
from blocks.kubeconfig import load_configuration

GPU_RESOURCE = "nvidia.com/gpu"


class Cluster(Block):
    """A Kubernetes cluster: a kubeconfig file with its context, or the service account of the pod that the flow runs in."""

    _block_type_name = "Slipway cluster"
    _block_type_slug = "slipway-cluster"

    kubeconfig: Path | None = Field(default=None, description="Kubeconfig file; empty uses the service account of the pod.")
    context: str | None = Field(default=None, description="A context of that file; empty uses its current one.")
    timeout_seconds: float = Field(default=30.0, gt=0, description="How long one request may take.")

    def client(self) -> ClusterClient:
        """A client for this cluster; use it as a context manager.

        Raises:
            ClusterRejected: The kubeconfig or its context does not exist.
        """
        return ClusterClient(self)


class ClusterClient:
    """Talks to one API server over one pool of connections."""

    def __init__(self, block: Cluster) -> None:
        configuration = load_configuration(block.kubeconfig, block.context)
        self._host = str(configuration.host)
        self._timeout = block.timeout_seconds
        self._api = kubernetes_client.ApiClient(configuration)
        self._core = kubernetes_client.CoreV1Api(self._api)
        self._apps = kubernetes_client.AppsV1Api(self._api)
        self._batch = kubernetes_client.BatchV1Api(self._api)
        self._versions: dict[tuple[str, str], str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._api.close()  # type: ignore[no-untyped-call]

    def nodes(self, selector: Mapping[str, str]) -> tuple[Node, ...]:
        """The nodes that carry all these labels."""
        listed = self._call(self._core.list_node, label_selector=_selector(selector))
        return tuple(_node(node) for node in listed.items)

    def ensure_namespace(self, name: str, labels: Mapping[str, str]) -> None:
        """Create the namespace if it is not there; one that is there is left as it is."""
        body = {"metadata": {"name": name, "labels": dict(labels)}}
        if self._found(self._core.read_namespace, name) is None:
            self._create(self._core.create_namespace, body)

    def ensure_job(self, namespace: str, manifest: Mapping[str, Any], files: Mapping[str, str]) -> None:
        """Create a Job and the ConfigMap of the same name that it mounts, unless they are there; a failed Job is made anew.

        The ConfigMap belongs to the Job and goes with it.
        """
        name = manifest["metadata"]["name"]
        job = self._found(self._batch.read_namespaced_job, name, namespace)
        if job is not None and _job_state(job).outcome == "failed":
            self.delete_job(namespace, name)
            job = None
        if job is None:
            # The ConfigMap first: a pod that finds nothing to mount is only tried again seconds later.
            metadata = {"name": name, "labels": dict(manifest["metadata"].get("labels", {}))}
            self._create(self._core.create_namespaced_config_map, namespace, {"metadata": metadata, "data": dict(files), "immutable": True})
            self._create(self._batch.create_namespaced_job, namespace, dict(manifest))
            job = self._call(self._batch.read_namespaced_job, name, namespace)
        owner = {"apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": job.metadata.uid}
        self._found(self._core.patch_namespaced_config_map, name, namespace, {"metadata": {"ownerReferences": [owner]}})

    def job(self, namespace: str, name: str) -> JobState | None:
        """Where the Job stands; none if there is no such Job."""
        job = self._found(self._batch.read_namespaced_job, name, namespace)
        if job is None:
            return None
        self._versions[namespace, name] = job.metadata.resource_version
        return _job_state(job)

    def job_log(self, namespace: str, name: str, lines: int) -> str:
        """The last lines that the Job's newest pod wrote; empty if there is none to read."""
        pods = self._call(self._core.list_namespaced_pod, namespace, label_selector=f"batch.kubernetes.io/job-name={name}").items
        if not pods:
            return ""
        newest = max(pods, key=lambda pod: pod.metadata.creation_timestamp)
        try:
            return str(self._call(self._core.read_namespaced_pod_log, newest.metadata.name, namespace, tail_lines=lines))
        except (ClusterRejected, ClusterUnreachable):
            return ""  # the container has not begun, or its node is gone: the Job's own state tells more

    def job_pods(self, namespace: str, name: str) -> tuple[Pod, ...]:
        """The Job's pods."""
        return self.pods(namespace, {"batch.kubernetes.io/job-name": name})

    def wait_for_job(self, namespace: str, name: str, seconds: float) -> None:
        """Wait until the Job changes since it was last looked at, `seconds` at most."""
        self._wait(self._batch.list_namespaced_job, namespace, name, seconds)

    def wait_for_deployment(self, namespace: str, name: str, seconds: float) -> None:
        """Wait until the Kubernetes Deployment changes since it was last looked at, `seconds` at most."""
        self._wait(self._apps.list_namespaced_deployment, namespace, name, seconds)

    def delete_job(self, namespace: str, name: str) -> None:
        """Delete the Job with its pods and its ConfigMap; nothing happens if they are not there."""
        self._found(self._core.delete_namespaced_config_map, name, namespace)
        self._found(self._batch.delete_namespaced_job, name, namespace, propagation_policy="Background")

    def pods(self, namespace: str, selector: Mapping[str, str]) -> tuple[Pod, ...]:
        """The pods that carry all these labels."""
        listed = self._call(self._core.list_namespaced_pod, namespace, label_selector=_selector(selector))
        return tuple(_pod(pod) for pod in listed.items)

    def rollout(self, namespace: str, name: str) -> Rollout | None:
        """A Kubernetes Deployment's progress with its pods; none if there is no such Deployment."""
        deployment = self._found(self._apps.read_namespaced_deployment, name, namespace)
        if deployment is None:
            return None
        self._versions[namespace, name] = deployment.metadata.resource_version
        pods = self.pods(namespace, deployment.spec.selector.match_labels)
        status, conditions = deployment.status, {c.type: c for c in deployment.status.conditions or []}
        progressing, failure = conditions.get("Progressing"), conditions.get("ReplicaFailure")
        return Rollout(
            wanted=deployment.spec.replicas,
            updated=status.updated_replicas or 0,
            available=status.available_replicas or 0,
            total=status.replicas or 0,
            observed=(status.observed_generation or 0) >= deployment.metadata.generation,
            deadline_exceeded=progressing is not None and progressing.reason == "ProgressDeadlineExceeded",
            problem=f"{failure.reason}: {failure.message}" if failure is not None and failure.status == "True" else "",
            pods=pods,
        )

    def _wait(self, method: Callable[..., Any], namespace: str, name: str, seconds: float) -> None:
        """A watch that ends with the first event since the object's version that was read last."""
        events = watch.Watch().stream(  # type: ignore[no-untyped-call]
            method,
            namespace,
            field_selector=f"metadata.name={name}",
            resource_version=self._versions.get((namespace, name)),
            timeout_seconds=max(1, round(seconds)),
            _request_timeout=self._timeout,
        )
        try:
            with closing(events):
                next(events, None)
        except ApiException as exc:
            if exc.status != 410:  # too old a version: there are changes
                raise self._error(exc) from exc
        except urllib3.exceptions.HTTPError as exc:
            raise self._error(exc) from exc

    def _create(self, method: Callable[..., Any], *arguments: Any) -> None:
        """Create; something of that name that is there already was made by an earlier attempt."""
        try:
            self._call(method, *arguments)
        except ClusterConflict as exc:
            if exc.facts.get("reason") != "AlreadyExists":
                raise

    def _found(self, method: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        try:
            return self._call(method, *arguments, **options)
        except ClusterRejected as exc:
            if exc.facts.get("code") == 404:
                return None
            raise

    def _call(self, method: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        try:
            return method(*arguments, _request_timeout=self._timeout, **options)
        except (ApiException, urllib3.exceptions.HTTPError) as exc:
            raise self._error(exc) from exc

    def _error(self, exc: Exception) -> PipelineError:
        if not isinstance(exc, ApiException) or not exc.status:
            return ClusterUnreachable(
                f"The cluster at {self._host} cannot be reached ({type(exc).__name__}); check the kubeconfig and the network."
            )
        reason, message = _status(exc)
        facts = {"code": exc.status, "reason": reason}
        if exc.status == 409:
            return ClusterConflict(f"The cluster reports a conflict: {message}.", **facts)
        if exc.status in (429, 500, 502, 503, 504):
            return ClusterUnreachable(f"The cluster at {self._host} answered HTTP {exc.status}: {message}.", **facts)
        if exc.status == 401:
            return ClusterRejected(
                f"The cluster at {self._host} does not accept the credentials of the kubeconfig (HTTP 401): renew them.", **facts
            )
        return ClusterRejected(f"The cluster refused: {message}.", **facts)


def _status(exc: ApiException) -> tuple[str, str]:
    try:
        status = json.loads(exc.body or "")
        return str(status.get("reason", "")), str(status.get("message", exc.reason)).rstrip(".")
    except (TypeError, ValueError, AttributeError):
        return "", str(exc.reason)


def _selector(labels: Mapping[str, str]) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items()))


def _node(node: Any) -> Node:
    ready = any(c.type == "Ready" and c.status == "True" for c in node.status.conditions or [])
    gpus = int((node.status.allocatable or {}).get(GPU_RESOURCE, 0))
    return Node(name=node.metadata.name, ready=ready, schedulable=not node.spec.unschedulable, gpus=gpus)


def _job_state(job: Any) -> JobState:
    for condition in job.status.conditions or []:
        if condition.status == "True" and condition.type in ("Complete", "Failed"):
            return JobState(
                name=job.metadata.name,
                outcome="succeeded" if condition.type == "Complete" else "failed",
                message=condition.message or "",
            )
    return JobState(name=job.metadata.name, outcome=None)


def _pod(pod: Any) -> Pod:
    conditions = {c.type: c for c in pod.status.conditions or []}
    ready, statuses = conditions.get("Ready"), pod.status.container_statuses or []
    return Pod(
        name=pod.metadata.name,
        labels=dict(pod.metadata.labels or {}),
        ready=ready is not None and ready.status == "True",
        phase=pod.status.phase or "Pending",
        node=pod.spec.node_name,
        restarts=sum(status.restart_count for status in statuses),
        problem=_problem(conditions.get("PodScheduled"), statuses),
        terminating=pod.metadata.deletion_timestamp is not None,
    )


def _problem(scheduled: Any, statuses: list[Any]) -> str:
    if scheduled is not None and scheduled.status == "False":
        return f"{scheduled.reason}: {scheduled.message}"
    for status in statuses:
        waiting, ended = status.state.waiting, status.state.terminated
        last = status.last_state.terminated if status.last_state else None
        if waiting is not None and waiting.reason not in ("ContainerCreating", "PodInitializing"):
            before = f" (last exit: {last.reason} {last.exit_code})" if last is not None else ""
            return f"{waiting.reason}: {waiting.message or status.name}{before}"
        if ended is not None and ended.exit_code != 0:
            return f"{ended.reason}: exit code {ended.exit_code}"
    return ""
