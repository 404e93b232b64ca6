"""What a run that is taken up again still owes: it failed in an environment, and was lost before it had said so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from blocks.errors import PipelineError
from blocks.registry import Registry
from flows.delivery.deliver import Move
from flows.placement.assess import ReleasePlan
from flows.placement.tasks import plan_return
from flows.promotion.tasks import settled_failure, unsettled_failure
from flows.recovery.decide import Failure
from flows.recovery.settle import settle
from flows.recovery.tasks.interrupted import had_ended
from flows.runtime.blocks import Site
from flows.runtime.states import recalled
from flows.runtime.tasks import run
from flows.spec import Candidate, Environment


@dataclass(frozen=True, kw_only=True)
class Owed:
    """A failure that the run recorded and did not end with.

    Attributes:
        failure: How it failed.
        settled: Whether the environment has been put right since.
    """

    failure: Failure
    settled: bool


async def owed(registry: Registry, candidate: Candidate, environment: Environment, run_id: str) -> Owed | None:
    """What the run owes in the environment; none if nothing, as when it told its end and somebody retries it."""
    failure = await run(unsettled_failure, registry, candidate, environment, run_id)
    if failure is not None:
        return Owed(failure=failure, settled=False)
    failure = await run(settled_failure, registry, candidate, environment, run_id)
    if failure is not None and not await run(had_ended, run_id):
        return Owed(failure=failure, settled=True)
    return None


async def made_good(
    owing: Owed, at: Site, candidate: Candidate, environment: Environment, move: Callable[[ReleasePlan], Move], *, keep: bool
) -> PipelineError:
    """Put the environment right, if that is still to be done; the error to end with, which says what became of it.

    Args:
        owing: What is owed.
        at: The environment's blocks.
        candidate: What failed.
        environment: Where.
        move: Makes the failed move again of a plan; the run holds the lock.
        keep: Whether what failed is to be kept for inspection where nothing served before.
    """
    error = recalled(owing.failure.reason)
    if owing.settled:
        return type(error)(f"{error.message} The environment was put right before the run was interrupted.")
    planned = await run(plan_return, at.cluster, at.helm, candidate, environment)
    return type(error)(f"{error.message} {await settle(move(planned), owing.failure, keep=keep)}")
