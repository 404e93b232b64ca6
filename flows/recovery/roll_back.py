"""An environment goes back to a candidate that it served before: by a person, or as a rehearsal."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Protocol

from blocks.registry import Lock, Registry
from flows.candidate.page import candidate_rows
from flows.delivery.deliver import roll_back
from flows.delivery.move import Move
from flows.errors import NothingToRollBackTo
from flows.naming import release_name
from flows.placement.assess import ReleasePlan
from flows.placement.tasks import plan_rollback
from flows.promotion.tasks import finished
from flows.record.phases import Stopwatch
from flows.record.tasks import current_entry
from flows.recovery.recover import enter_or_go_back, finish_recovery, pending_recovery
from flows.runtime.artifacts import publish_plan_of_return
from flows.runtime.blocks import Blocks, blocks_of, shared_hub, shared_registry
from flows.runtime.json_logs import about
from flows.runtime.tasks import run
from flows.spec import Candidate, CheckSuite, Deployments, Environment


class Before(Protocol):
    """What a rollback takes the place of."""

    @property
    def fingerprint(self) -> str | None:
        """Its candidate."""

    @property
    def status(self) -> str | None:
        """Its status."""


def rollback_page(candidate: Candidate, environment: Environment, planned: ReleasePlan, before: Before | None) -> str:
    """What a rollback will do, as markdown."""
    now = f"candidate `{(before.fingerprint or '')[:12]}` ({before.status})" if before is not None else "nothing"
    pause = f"nothing answers for up to {planned.interruption_seconds:,.0f} s" if planned.interruption_seconds else "none"
    return "\n".join(
        [
            f"## {candidate.model} in {environment.name} goes back",
            "",
            *candidate_rows(candidate),
            f"| instead of | {now} |",
            f"| nodes | {', '.join(planned.nodes)}; its weights are kept there |",
            f"| way | {planned.strategy} |",
            f"| interruption | {pause} |",
            f"| the rollout may take | {planned.budget.rollout_seconds} s |",
        ]
    )


@dataclass(frozen=True, kw_only=True)
class RollbackContext:
    """Where a run goes back.

    Attributes:
        environment: The environment.
        suite: What the model's candidates are asked there.
        blocks: The environment's blocks.
        registry: The registry.
        hub_endpoint: Where files come from.
    """

    environment: Environment
    suite: CheckSuite
    blocks: Blocks
    registry: Registry
    hub_endpoint: str


async def load_rollback(model: str, environment_name: str) -> RollbackContext:
    """Probe up what going back works with.

    Raises:
        SpecInvalid: There is no such model or environment, or a block is missing.
    """
    deployments = Deployments.default()
    environment = deployments.environment(environment_name)
    return RollbackContext(
        environment=environment,
        suite=deployments.suite(deployments.model(model).checks),
        blocks=await blocks_of(environment),
        registry=await shared_registry(deployments),
        hub_endpoint=(await shared_hub(deployments)).endpoint,
    )


async def roll_back_to(context: RollbackContext, candidate: Candidate, lock: Lock, run_id: str, actor: str, reason: str) -> None:
    """Have the environment serve the candidate, which it served before. If that fails, what served until now comes back.

    A run that was lost after it had made the candidate ready has nothing left to do here.

    Raises:
        NothingToRollBackTo: It serves the candidate already.
        PipelineError: Why it does not serve it; the message says what became of the environment.
    """
    environment, registry = context.environment, context.registry
    about(model=candidate.model, environment=environment.name, candidate=candidate.fingerprint)
    if await run(finished, registry, candidate, environment, run_id) is not None:
        return
    move = partial(
        Move,
        run_id=run_id,
        registry=registry,
        hub_endpoint=context.hub_endpoint,
        blocks=context.blocks,
        environment=environment,
        candidate=candidate,
        suite=context.suite,
        lock=lock,
        requester=actor,
        reason=reason,
    )
    owing = await pending_recovery(registry, candidate, environment, run_id)
    if owing is not None:
        raise await finish_recovery(owing, context.blocks, candidate, environment, lambda planned: move(planned=planned), keep=True)
    before = await run(current_entry, registry, candidate.model, environment.name)
    if before is not None and before.fingerprint == candidate.fingerprint and before.status == "ready":
        raise NothingToRollBackTo(f"{candidate.model} in {environment.name} already serves candidate {candidate.short}.")
    planned = await run(plan_rollback, context.blocks.cluster, context.blocks.helm, candidate, environment)
    await run(publish_plan_of_return, release_name(candidate.model, "rollback"), rollback_page(candidate, environment, planned, before))
    await enter_or_go_back(move(planned=planned), roll_back, Stopwatch(), {}, keep=True)
