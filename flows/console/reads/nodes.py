"""Nodes: their GPUs and disks, the snapshots that engines mount there, and what the last scrub found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from blocks.facts import Node
from blocks.facts.registry import Event
from blocks.registry import RegistryClient
from blocks.registry.documents import StoredEvidence
from blocks.strict_json import NumberUnusable, whole
from flows.console.reads.clusters import Clusters, EnvironmentNodes
from flows.console.reads.known import MaySee, Unknown
from flows.spec import Environment


@dataclass(frozen=True, kw_only=True)
class LastScrub:
    """What hashing a node's weights again found, when it was last done.

    Attributes:
        at: When.
        environment: The environment whose nightly run did it.
        event_id: The event that says so.
        evidence_sha256: The whole report; None where an older version wrote none.
        contents: Contents that were hashed; None where the report is not there.
        size_bytes: Their bytes.
        skipped: Contents that there was no time for.
        corrupt: How many were damaged.
        snapshots: Folders of the snapshots that held one.
    """

    at: datetime
    environment: str
    event_id: int
    evidence_sha256: str | None
    contents: int | None
    size_bytes: int | None
    skipped: int | None
    corrupt: int | None
    snapshots: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class NodeRow:
    """A node.

    Attributes:
        name: Its name.
        environments: Whose pods may run there.
        node: What its cluster says of it; None where that cannot be asked, and only scrubs know the node.
        mounted: The snapshots that engines on it mount, as folders of the store.
        scrub: The last scrub; None if it never was.
    """

    name: str
    environments: tuple[str, ...]
    node: Node | None
    mounted: tuple[str, ...]
    scrub: LastScrub | None


@dataclass(frozen=True, kw_only=True)
class NodesView:
    """All nodes that the caller may see, by name, and the environments whose cluster could not be asked, with why."""

    nodes: tuple[NodeRow, ...]
    unknown: Mapping[str, str] = field(default_factory=dict)


def read_nodes(registry: RegistryClient, clusters: Clusters, environments: Sequence[Environment], may_see: MaySee) -> NodesView:
    """Two statements, and a look at each environment's cluster.

    Args:
        registry: Open.
        clusters: Who asks the clusters.
        environments: Those of `deployments/`.
        may_see: Lets through the environments that the caller may see of whatever model.
    """
    seen = [environment for environment in environments if may_see("", environment.name)]
    scrubs = [event for event in registry.events.last_scrubs() if may_see("", event.environment or "")]
    reports = registry.overview.documents({str(event.detail.get("evidence_sha256")) for event in scrubs})
    return nodes_of(clusters.nodes(seen), [_scrub(event, reports) for event in scrubs])


def nodes_of(asked: Mapping[str, EnvironmentNodes | Unknown], scrubs: Sequence[tuple[str, LastScrub]]) -> NodesView:
    """The nodes by name, each with the last of its scrubs: environments may share nodes."""
    known: dict[str, Node] = {}
    whose: dict[str, list[str]] = {}
    mounted: dict[str, set[str]] = {}
    for environment, found in asked.items():
        if isinstance(found, Unknown):
            continue
        for node in found.nodes:
            known[node.name] = node
            whose.setdefault(node.name, []).append(environment)
            mounted.setdefault(node.name, set()).update(found.mounted.get(node.name, ()))
    last: dict[str, LastScrub] = {}
    for name, scrub in scrubs:
        whose.setdefault(name, [scrub.environment])
        if name not in last or last[name].at < scrub.at:
            last[name] = scrub
    rows = (
        NodeRow(
            name=name,
            environments=tuple(environments),
            node=known.get(name),
            mounted=tuple(sorted(mounted.get(name, ()))),
            scrub=last.get(name),
        )
        for name, environments in sorted(whose.items())
    )
    return NodesView(nodes=tuple(rows), unknown={name: found.why for name, found in asked.items() if isinstance(found, Unknown)})


def _scrub(event: Event, reports: Mapping[str, StoredEvidence]) -> tuple[str, LastScrub]:
    sha256 = event.detail.get("evidence_sha256")
    stored = reports.get(str(sha256))
    report = stored.document.get("scrub") if stored is not None else None
    report = report if isinstance(report, dict) else {}
    snapshots = event.detail.get("snapshots")
    return str(event.detail.get("node")), LastScrub(
        at=event.occurred_at,
        environment=event.environment or "",
        event_id=event.id,
        evidence_sha256=str(sha256) if sha256 else None,
        contents=_count(report.get("contents")),
        size_bytes=_count(report.get("size_bytes")),
        skipped=_count(report.get("skipped")),
        corrupt=_count(event.detail.get("corrupt")),
        snapshots=tuple(map(str, snapshots)) if isinstance(snapshots, list) else (),
    )


def _count(value: object) -> int | None:
    try:
        return whole(value)
    except NumberUnusable:
        return None
