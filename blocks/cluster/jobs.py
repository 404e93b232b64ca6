"""Jobs with the files that they mount."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from blocks.cluster.pods import Pods, events_of
from blocks.errors import ClusterRejected, ClusterUnreachable
from blocks.facts import ClusterEvent, JobState, Pod
from blocks.kubernetes_api import Document, KubernetesApi, path_of, selector

#: The label that a Job's pods carry.
_JOB_NAME = "batch.kubernetes.io/job-name"


def _path(namespace: str, name: str = "") -> str:
    return path_of(namespace, "jobs", name, group="batch/v1")


class Jobs:
    """Runs Jobs to their end; every write can be repeated."""

    def __init__(self, api: KubernetesApi, pods: Pods) -> None:
        self._api = api
        self._pods = pods

    def create(self, namespace: str, manifest: Mapping[str, Any], files: Mapping[str, str]) -> None:
        """Create a Job and the ConfigMap of the same name that it mounts, unless they are there; a failed Job is made anew.

        The ConfigMap belongs to the Job and goes with it.
        """
        name = manifest["metadata"]["name"]
        job = self._api.find(_path(namespace, name))
        # A Job that failed, or is going to, stays so, and its template cannot be changed (422): only another one of the name runs again.
        if job is not None and ((state := read_job(job)).outcome == "failed" or state.failing):
            self.delete(namespace, name)
            job = None
        if job is None:
            # The ConfigMap first: a pod that finds nothing to mount is only tried again seconds later.
            metadata = {"name": name, "labels": dict(manifest["metadata"].get("labels", {}))}
            # Immutable, as the Job's template is: what is to be fetched otherwise is a Job of another name.
            config_map = {"metadata": metadata, "data": dict(files), "immutable": True}
            self._api.create(path_of(namespace, "configmaps"), config_map)
            self._api.create(_path(namespace), manifest)
            job = self._api.call("GET", _path(namespace, name))
        # Last, as the Job has its uid only now. Killed before this, the next attempt finds both and gets here again.
        owner = {"apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": job.metadata.uid}
        self._api.patch(path_of(namespace, "configmaps", name), {"metadata": {"ownerReferences": [owner]}}, missing_ok=True)

    def get(self, namespace: str, name: str) -> JobState | None:
        """Where the Job stands; none if there is no such Job."""
        job = self._api.find(_path(namespace, name))
        if job is None:
            return None
        self._api.remember(namespace, name, job.metadata.resourceVersion)
        return read_job(job)

    def list(self, namespace: str, labels: Mapping[str, str]) -> tuple[JobState, ...]:
        """The Jobs that carry all these labels; one request."""
        listed = self._api.list(_path(namespace), labels=selector(labels))
        return tuple(read_job(job) for job in listed)

    def log(self, namespace: str, name: str, container: str, lines: int) -> str:
        """The last lines that this container of the Job's newest pod wrote; empty if there is none to read."""
        pods = self._api.list(path_of(namespace, "pods"), labels=selector({_JOB_NAME: name}))
        if not pods:
            return ""
        # Each attempt of a Job (`backoffLimit`) is a pod of its own.
        newest = max(pods, key=lambda pod: pod.metadata.creationTimestamp)
        try:
            # By its name: where something injects another, the API server asks which (400).
            return self._api.log(path_of(namespace, "pods", newest.metadata.name), container=container, tailLines=str(lines))
        except (ClusterRejected, ClusterUnreachable):
            return ""  # the container has not begun, or its node is gone: the Job's own state tells more

    def pods(self, namespace: str, name: str) -> tuple[Pod, ...]:
        """The Job's pods."""
        return self._pods.list(namespace, {_JOB_NAME: name})

    def events(self, namespace: str, name: str, uid: str) -> tuple[ClusterEvent, ...]:
        """What was said about the Job itself, oldest first: a pod that the quota or a policy refuses never exists, and shows here alone.

        Of that very Job: the events of one that was deleted stay for an hour, and the next attempt has its name.
        """
        return events_of(self._api, namespace, "Job", name, uid)

    def wait(self, namespace: str, name: str, seconds: float) -> None:
        """Wait until the Job changes since it was last looked at, `seconds` at most."""
        self._api.wait(_path(namespace), namespace, name, seconds)

    def delete(self, namespace: str, name: str) -> None:
        """Delete the Job with its pods and its ConfigMap; nothing happens if they are not there."""
        # The Job last: killed in between, the next attempt finds it, and comes here again.
        self._api.delete(path_of(namespace, "configmaps", name))
        self._api.delete(_path(namespace, name))


def read_job(job: Document) -> JobState:
    """A Job as the API server has it, as a fact."""
    holding = {c.type: c for c in job.status.conditions or [] if c.status == "True"}
    # Not FailureTarget or SuccessCriteriaMet: they stand while pods still end, about a second, or on a silent node until its kubelet
    # is back (Kubernetes 1.36).
    failed = holding.get("Failed") or holding.get("FailureTarget")
    return JobState(
        name=job.metadata.name,
        outcome="succeeded" if "Complete" in holding else "failed" if "Failed" in holding else None,
        reason=(failed.reason or "") if failed is not None else "",
        message=(failed.message or "") if failed is not None else "",
        labels=dict(job.metadata.labels or {}),
        failing="FailureTarget" in holding and "Failed" not in holding,
        uid=job.metadata.uid or "",
        suspended=bool(job.spec.suspend) if job.spec is not None else False,
    )
