"""How a candidate gets to an environment's cluster, and how an environment goes back: the one place that knows the ways."""

from __future__ import annotations

from dataclasses import dataclass

from prefect import Task

from blocks.errors import HelmConflict, HelmStuck
from blocks.facts import HelmRevision
from blocks.registry import Lock, Registry
from flows.connections import Site
from flows.plan.release import ReleasePlan
from flows.spec import Candidate, CheckSuite, Environment
from flows.tasks.deploy import deploy
from flows.tasks.policy import run
from flows.tasks.record import note
from flows.tasks.redeploy import redeploy
from flows.tasks.unstick import uninstall, unstick

#: A killed operation and fields that somebody else owns: each may be in the way once, and the second may show only when the first is gone.
_OBSTACLES = 2


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
    return await _by_helm(move, deploy)


async def take_back(move: Move) -> HelmRevision:
    """Have the cluster run the candidate as it did before; does not wait for pods."""
    return await _by_helm(move, redeploy)


async def remove(move: Move) -> None:
    """Take away what the candidate's Helm release made."""
    await run(uninstall, move.at.helm, move.planned.helm_release, move.environment.namespace)


async def _by_helm(move: Move, change: Task[..., HelmRevision]) -> HelmRevision:
    """Change the Helm release; what a killed operation left, or somebody did beside Helm, is recorded and put right first."""
    at, environment, release = move.at, move.environment, move.planned.helm_release
    overwrite = False
    for _ in range(_OBSTACLES):
        try:
            return await run(change, at.helm, move.candidate, environment, move.planned, overwrite)
        except HelmStuck as exc:
            await run(note, move.registry, move.candidate, environment, "helm_stuck", {"found": exc.message}, move.run_id)
            repair = await run(unstick, at.helm, release, environment.namespace, move.candidate.fingerprint)
            if repair is not None:
                detail = {"done": repair.sentence, "kind": repair.kind}
                await run(note, move.registry, move.candidate, environment, "helm_unstuck", detail, move.run_id)
        except HelmConflict as exc:
            # The release's fields are the chart's to say; whoever changed them can read here that, and why, it is so no longer.
            await run(
                note, move.registry, move.candidate, environment, "fields_taken_back", {"found": exc.message, **exc.facts}, move.run_id
            )
            overwrite = True
    return await run(change, at.helm, move.candidate, environment, move.planned, overwrite)
