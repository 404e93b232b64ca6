"""How a candidate gets to an environment's cluster, and how an environment goes back: the one place that knows the ways."""

from __future__ import annotations

from dataclasses import dataclass

from blocks.facts import HelmRevision
from blocks.registry import Lock, Registry
from flows.connections import Site
from flows.plan.release import ReleasePlan
from flows.spec import Candidate, CheckSuite, Environment
from flows.tasks.deploy import deploy
from flows.tasks.policy import run
from flows.tasks.redeploy import redeploy


@dataclass(frozen=True, kw_only=True)
class Move:
    """One candidate's move into one environment, by one run that holds the lock.

    Attributes:
        run_id: The flow run.
        registry: Where it is recorded.
        hub_endpoint: Where its files come from.
        at: The environment's blocks.
        environment: Where it goes.
        candidate: What goes there.
        suite: What it is asked when it is there.
        planned: Names, nodes and deadlines.
        lock: The run's lock of the model in the environment.
    """

    run_id: str
    registry: Registry
    hub_endpoint: str
    at: Site
    environment: Environment
    candidate: Candidate
    suite: CheckSuite
    planned: ReleasePlan
    lock: Lock

    @property
    def where(self) -> str:
        """Model and environment, for messages."""
        return f"{self.candidate.model} in {self.environment.name}"


async def deliver(move: Move) -> HelmRevision:
    """Have the cluster run the candidate, which may be new there; does not wait for pods."""
    return await run(deploy, move.at.helm, move.candidate, move.environment, move.planned)


async def take_back(move: Move) -> HelmRevision:
    """Have the cluster run the candidate as it did before; does not wait for pods."""
    return await run(redeploy, move.at.helm, move.candidate, move.environment, move.planned)
