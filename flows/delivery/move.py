"""One candidate's move into one environment: what every step of it works with."""

from __future__ import annotations

from dataclasses import dataclass

from blocks.registry import Lock, Registry
from flows.placement.assess import ReleasePlan
from flows.runtime.blocks import Blocks
from flows.spec import Candidate, CheckSuite, Environment

#: The fact of an error that tells that it came before anything was changed: what serves goes on serving.
UNTOUCHED = "untouched"


@dataclass(frozen=True, kw_only=True)
class Move:
    """One candidate's move into one environment, by one run that holds the lock.

    Attributes:
        run_id: The flow run.
        registry: Where it is recorded.
        hub_endpoint: Where its files come from.
        blocks: The environment's blocks.
        environment: Where it goes.
        candidate: What goes there.
        suite: What it is asked when it is there.
        planned: Names, nodes and deadlines.
        lock: The run's lock of the model in the environment.
        requester: Who asked for it; empty where nobody is known.
        reason: Why an environment goes back; empty for a release.
    """

    run_id: str
    registry: Registry
    hub_endpoint: str
    blocks: Blocks
    environment: Environment
    candidate: Candidate
    suite: CheckSuite
    planned: ReleasePlan
    lock: Lock
    requester: str = ""
    reason: str = ""

    @property
    def where(self) -> str:
        """Model and environment, for messages."""
        return f"{self.candidate.model} in {self.environment.name}"


@dataclass(frozen=True, kw_only=True)
class DeliveredRevision:
    """How the cluster got what it runs; exactly one of the two is set.

    Attributes:
        helm_revision: Number in `helm history`, where the flow runs Helm.
        git_commit: The commit, where Argo CD follows Git.
    """

    helm_revision: int | None = None
    git_commit: str | None = None
