"""Brings the candidate's files to the nodes: a Job on each runs Slipway's own program."""

from __future__ import annotations

import contextvars
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

from blocks.cluster import Cluster
from blocks.registry import Registry
from flows.node.layout import snapshot_folder
from flows.runtime.artifacts import ProgressArtifact, show_page
from flows.runtime.tasks import step
from flows.spec import Candidate, Environment
from flows.text.markdown import md
from flows.weights.prefetch import KEPT_STATUSES, prefetch_files, prefetch_job
from flows.weights.progress import fetched_bytes, progress, was_there
from flows.weights.shared import shared_page
from flows.weights.tasks.group import Group, holders
from flows.weights.tasks.job import run_on_node

#: When the Jobs of a group are told to take it with them, in seconds after they were asked for.
_BELONG_SECONDS = 5.0


def _prefetch(
    cluster: Cluster,
    candidate: Candidate,
    environment: Environment,
    node: str,
    together: Sequence[str],
    keep: list[str],
    run_id: str,
    hub_endpoint: str,
) -> Mapping[str, Any]:
    """Have the candidate's snapshot on the node, every byte hashed; how far a fetch is is an artifact of the run. What the node said last.

    Idempotent: within a run the Job is found again by its name, and the program on the node leaves a complete snapshot alone.

    Raises:
        HubUnreachable: The hub did not answer the node; retried.
        HubRejected: The hub refused the node.
        SnapshotCorrupt: What came is not what the hub's own list says.
        DoesNotFit: The node's disk has no room; the message has the numbers.
        ClusterRejected: The Job cannot run, or did not end in time.
    """
    shown = ProgressArtifact(f"prefetch-{environment.name}-{node}")

    def show(line: Mapping[str, Any]) -> None:
        shown.show(progress(line, node), begin=not was_there(line))

    with cluster.client() as client:
        # An engine holds no lock in the store: only the cluster knows what it mounts, also while it terminates.
        in_use = client.mounts.claimed_folders(node)
        last = run_on_node(
            client,
            environment,
            node,
            prefetch_job(candidate, environment, node, run_id, hub_endpoint, nodes=together),
            prefetch_files(candidate, [*keep, *in_use]),
            show,
        )
    show(last)
    return last


@step
def snapshots_to_keep(registry: Registry) -> list[str]:
    """Folders of the snapshots that no node may remove: those of every model's current and previous candidate in every environment."""
    with registry.client() as client:
        kept = client.candidates.kept(KEPT_STATUSES)
    return sorted({snapshot_folder(str(each["repository"]), str(each["commit"])) for each in kept})


def prefetch_everywhere(
    cluster: Cluster,
    registry: Registry,
    candidate: Candidate,
    environment: Environment,
    nodes: Sequence[str],
    run_id: str,
    hub_endpoint: str,
) -> int:
    """Have the snapshot on all these nodes, at the same time. The bytes of what was fetched; none where it was there already.

    Raises:
        PipelineError: What the first node that cannot have it says; the others are waited for.
    """
    keep = snapshots_to_keep(registry)
    group = _begin_group(cluster, candidate, environment, nodes, run_id, hub_endpoint) if environment.prefetch.share else None
    together = group.nodes if group is not None else ()

    def on(node: str) -> Mapping[str, Any]:
        return _prefetch(cluster, candidate, environment, node, together, keep, run_id, hub_endpoint)

    with ThreadPoolExecutor(max(1, len(nodes)), thread_name_prefix="prefetch") as threads:
        # Each with the task's context: its progress is an artifact of this step.
        begun = [threads.submit(contextvars.copy_context().run, on, node) for node in nodes]
        # By then all Jobs are there, with which the group goes if this process is gone before it removes it.
        if group is not None and wait(begun, timeout=_BELONG_SECONDS).not_done:
            with cluster.client() as client:
                group.belong(client)
    said = dict(zip(nodes, (each.result() for each in begun), strict=True))
    if group is not None:
        # Not if a node failed: the next attempt is one of them, and the others wait for it.
        with cluster.client() as client:
            group.delete(client)
        show_page(f"shared-{environment.name}", shared_page(said, together), md("Who brought the weights to whom"))
    return sum(fetched_bytes(line) for line in said.values())


def _begin_group(
    cluster: Cluster, candidate: Candidate, environment: Environment, nodes: Sequence[str], run_id: str, hub_endpoint: str
) -> Group | None:
    """What nodes share by, with Jobs on those that only give; none if there is nobody to share with."""
    with cluster.client() as client:
        givers = holders(client, candidate, environment, nodes)
        group = Group.of(candidate, environment, nodes, givers, run_id)
        if group is None:
            return None
        group.create(client)
        for node in givers:
            # Not waited for: without them the weights come from the hub.
            job = prefetch_job(candidate, environment, node, run_id, hub_endpoint, nodes=group.nodes, gives=True)
            client.jobs.create(environment.namespace, job, prefetch_files(candidate))
    return group
