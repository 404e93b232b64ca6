"""Jobs with the files that they mount."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from blocks.cluster.connection import Connection, selector
from blocks.cluster.pods import Pods
from blocks.errors import ClusterRejected, ClusterUnreachable
from blocks.facts import JobState, Pod


class Jobs:
    """Runs Jobs to their end; every write can be repeated."""

    def __init__(self, api: Connection, pods: Pods) -> None:
        self._api = api
        self._pods = pods

    def create(self, namespace: str, manifest: Mapping[str, Any], files: Mapping[str, str]) -> None:
        """Create a Job and the ConfigMap of the same name that it mounts, unless they are there; a failed Job is made anew.

        The ConfigMap belongs to the Job and goes with it.
        """
        name = manifest["metadata"]["name"]
        job = self._api.find(self._api.batch.read_namespaced_job, name, namespace)
        # A Job that failed stays so, and its template cannot be changed (422): only another one of the name runs again.
        if job is not None and _job_state(job).outcome == "failed":
            self.delete(namespace, name)
            job = None
        if job is None:
            # The ConfigMap first: a pod that finds nothing to mount is only tried again seconds later.
            metadata = {"name": name, "labels": dict(manifest["metadata"].get("labels", {}))}
            # Immutable, as the Job's template is: what is to be fetched otherwise is a Job of another name.
            config_map = {"metadata": metadata, "data": dict(files), "immutable": True}
            self._api.create(self._api.core.create_namespaced_config_map, namespace, config_map)
            self._api.create(self._api.batch.create_namespaced_job, namespace, dict(manifest))
            job = self._api.call(self._api.batch.read_namespaced_job, name, namespace)
        # Last, as the Job has its uid only now. Killed before this, the next attempt finds both and gets here again.
        owner = {"apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": job.metadata.uid}
        self._api.find(self._api.core.patch_namespaced_config_map, name, namespace, {"metadata": {"ownerReferences": [owner]}})

    def get(self, namespace: str, name: str) -> JobState | None:
        """Where the Job stands; none if there is no such Job."""
        job = self._api.find(self._api.batch.read_namespaced_job, name, namespace)
        if job is None:
            return None
        self._api.remember(namespace, name, job.metadata.resource_version)
        return _job_state(job)

    def list(self, namespace: str, labels: Mapping[str, str]) -> tuple[JobState, ...]:
        """The Jobs that carry all these labels; one request."""
        listed = self._api.list(f"/apis/batch/v1/namespaces/{namespace}/jobs", "V1JobList", selector(labels))
        return tuple(_job_state(job) for job in listed)

    def log(self, namespace: str, name: str, lines: int) -> str:
        """The last lines that the Job's newest pod wrote; empty if there is none to read."""
        pods = self._api.call(self._api.core.list_namespaced_pod, namespace, label_selector=f"batch.kubernetes.io/job-name={name}").items
        if not pods:
            return ""
        # Each attempt of a Job (`backoffLimit`) is a pod of its own.
        newest = max(pods, key=lambda pod: pod.metadata.creation_timestamp)
        try:
            return str(self._api.call(self._api.core.read_namespaced_pod_log, newest.metadata.name, namespace, tail_lines=lines))
        except (ClusterRejected, ClusterUnreachable):
            return ""  # the container has not begun, or its node is gone: the Job's own state tells more

    def pods(self, namespace: str, name: str) -> tuple[Pod, ...]:
        """The Job's pods."""
        return self._pods.list(namespace, {"batch.kubernetes.io/job-name": name})

    def wait(self, namespace: str, name: str, seconds: float) -> None:
        """Wait until the Job changes since it was last looked at, `seconds` at most."""
        self._api.wait(self._api.batch.list_namespaced_job, namespace, name, seconds)

    def delete(self, namespace: str, name: str) -> None:
        """Delete the Job with its pods and its ConfigMap; nothing happens if they are not there."""
        # The Job last: killed in between, the next attempt finds it, and comes here again.
        self._api.find(self._api.core.delete_namespaced_config_map, name, namespace)
        # Said, as the API orphans the pods of a Job that is deleted without a word (batch/v1).
        self._api.find(self._api.batch.delete_namespaced_job, name, namespace, propagation_policy="Background")


def _job_state(job: Any) -> JobState:
    # Not FailureTarget or SuccessCriteriaMet, which stand about a second before, while pods still end (Kubernetes 1.36).
    ended = next((c for c in job.status.conditions or [] if c.status == "True" and c.type in ("Complete", "Failed")), None)
    return JobState(
        name=job.metadata.name,
        outcome=None if ended is None else "succeeded" if ended.type == "Complete" else "failed",
        message=(ended.message or "") if ended is not None else "",
        labels=dict(job.metadata.labels or {}),
    )
