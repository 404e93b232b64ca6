"""Pods, as their statuses tell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from blocks.cluster.connection import Connection, selector
from blocks.facts import Pod


class Pods(Connection):
    """Reads pods."""

    def pods(self, namespace: str, labels: Mapping[str, str]) -> tuple[Pod, ...]:
        """The pods that carry all these labels."""
        listed = self._call(self._core.list_namespaced_pod, namespace, label_selector=selector(labels))
        return tuple(_pod(pod) for pod in listed.items)


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
