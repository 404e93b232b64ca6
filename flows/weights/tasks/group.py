"""What the Jobs of one prefetch find and know each other by, on the cluster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from blocks.cluster import ClusterClient
from flows.naming import SHARE_PORT, prefetch_job_name, share_name
from flows.node.layout import snapshot_folder
from flows.spec import Candidate, Environment
from flows.weights.prefetch import GROUP_LABEL, shares
from flows.weights.secret import share_secret

#: Nodes beside those of a release that give what they have.
_MOST_GIVERS = 4


def holders(client: ClusterClient, candidate: Candidate, environment: Environment, nodes: Sequence[str]) -> list[str]:
    """Other nodes of the environment that have the snapshot, as pods there mount it; no more than are of use."""
    others = sorted(n.name for n in client.nodes.list(environment.node_selector) if n.ready and n.schedulable and n.name not in nodes)
    folder = snapshot_folder(candidate.repository, candidate.commit)
    return list(islice((node for node in others if folder in client.mounts.claimed_folders(node)), _MOST_GIVERS))


@dataclass(frozen=True, kw_only=True)
class Group:
    """The Jobs that bring one candidate to an environment's nodes together.

    Attributes:
        namespace: Where they run.
        name: The name of their Service and Secret.
        environment: The environment's name.
        nodes: All their nodes, sorted: a node's number is its place here.
        giving: Jobs on those of them that fetch nothing.
    """

    namespace: str
    name: str
    environment: str
    nodes: tuple[str, ...]
    giving: tuple[str, ...]

    @classmethod
    def of(cls, candidate: Candidate, environment: Environment, nodes: Sequence[str], givers: Sequence[str], run_id: str) -> Group | None:
        """The group of the nodes that want the candidate and those that give it; none if nobody shares."""
        together = tuple(sorted({*nodes, *givers}))
        if not shares(environment, together):
            return None
        return cls(
            namespace=environment.namespace,
            name=share_name(run_id, candidate.fingerprint, environment.name),
            environment=environment.name,
            nodes=together,
            giving=tuple(prefetch_job_name(run_id, candidate.fingerprint, node) for node in givers),
        )

    def create(self, client: ClusterClient) -> None:
        """Have Service and Secret; before the Jobs, which mount it. The key is made here, and is written nowhere else."""
        labels = {"app.kubernetes.io/managed-by": "slipway", "slipway.dev/environment": self.environment}
        client.groups.create(self.namespace, self.name, labels, {GROUP_LABEL: self.name}, SHARE_PORT, share_secret)

    def belong(self, client: ClusterClient) -> None:
        """Have them go with the Jobs, if this process is gone before it removes them."""
        client.groups.belong(self.namespace, self.name, {GROUP_LABEL: self.name})

    def delete(self, client: ClusterClient) -> None:
        """Remove them, and the Jobs of those that only give."""
        for job in self.giving:
            client.jobs.delete(self.namespace, job)
        client.groups.delete(self.namespace, self.name)
