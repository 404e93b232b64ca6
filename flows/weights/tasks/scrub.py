"""Hashes again what lies on the nodes, by a Job on each, and keeps what was found."""

from __future__ import annotations

from prefect import task

from blocks.cluster import Cluster
from blocks.facts.kinds import EventKind
from blocks.registry import Registry
from flows.runtime.artifacts import ProgressArtifact, show_table
from flows.runtime.tasks import OBSERVES, step
from flows.spec import Environment
from flows.text.markdown import Markdown, md
from flows.weights.progress import progress
from flows.weights.scrub import ScrubReport, scrub_job
from flows.weights.tasks.job import run_on_node


@step
def nodes_of(cluster: Cluster, environment: Environment) -> list[str]:
    """The environment's nodes that a Job can run on now."""
    with cluster.client() as client:
        return sorted(node.name for node in client.nodes.list(environment.node_selector) if node.ready and node.schedulable)


@task(task_run_name="scrub {node}", **OBSERVES)
def scrub(cluster: Cluster, environment: Environment, node: str, run_id: str) -> ScrubReport:
    """Hash what lies on the node; what is damaged is made unusable for engines that start from now on.

    Raises:
        NodeRejected: The node's disk cannot be read.
        ClusterUnreachable: What it found cannot be read; retried.
        ClusterRejected: The Job cannot run, or did not end in time.
    """
    shown = ProgressArtifact(f"scrub-{node}")
    job = scrub_job(environment, node, run_id)
    with cluster.client() as client:
        last = run_on_node(client, environment, node, job, {}, lambda line: shown.show(progress(line, node)))
    return ScrubReport.of(node, job["metadata"]["name"], last)


@step
def record_scrubbed(registry: Registry, environment: Environment, report: ScrubReport, run_id: str) -> None:
    """Keep the report as evidence, and that there was a scrub as an event."""
    with registry.client() as client:
        sha256 = client.evidence.save("scrub", {"scrub": report.document(), "run_id": run_id})
        detail = {"node": report.node, "corrupt": len(report.corrupt), "snapshots": list(report.snapshots), "evidence_sha256": sha256}
        client.events.add(EventKind.SCRUBBED, environment=environment.name, run_id=run_id, detail=detail)


@step
def publish_scrub(rows: list[dict[str, Markdown]]) -> None:
    """Show what was found on each node."""
    show_table("scrub", rows, md("What the weights on the nodes hash to"))
