"""An environment goes back to a candidate that it served before: by a person, or as a rehearsal."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Protocol

from blocks.registry import Lock, Registry
from flows.candidate.page import candidate_rows
from flows.delivery.deliver import take_back
from flows.delivery.move import Move
from flows.errors import NothingToRollBackTo
from flows.naming import release_name
from flows.placement.assess import ReleasePlan
from flows.placement.tasks import plan_return
from flows.promotion.tasks import finished
from flows.record.phases import Stopwatch
from flows.record.tasks import current_entry
from flows.recovery.settle import enter_or_go_back, made_good, owed
from flows.runtime.artifacts import publish_plan_of_return
from flows.runtime.blocks import Site, shared_hub, shared_registry, site
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


def return_page(candidate: Candidate, environment: Environment, planned: ReleasePlan, before: Before | None) -> str:
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
class Ground:
    """Where a run goes back.

    Attributes:
        environment: The environment.
        suite: What the model's candidates are asked there.
        at: The environment's blocks.
        registry: The registry.
        hub_endpoint: Where files come from.
    """

    environment: Environment
    suite: CheckSuite
    at: Site
    registry: Registry
    hub_endpoint: str


async def stand(model: str, environment_name: str) -> Ground:
    """Look up what going back works with.

    Raises:
        SpecInvalid: There is no such model or environment, or a block is missing.
    """
    deployments = Deployments.default()
    environment = deployments.environment(environment_name)
    return Ground(
        environment=environment,
        suite=deployments.suite(deployments.model(model).checks),
        at=await site(environment),
        registry=await shared_registry(deployments),
        hub_endpoint=(await shared_hub(deployments)).endpoint,
    )


async def go_back_to(ground: Ground, candidate: Candidate, lock: Lock, run_id: str, actor: str, reason: str) -> None:
    """Have the environment serve the candidate, which it served before. If that fails, what served until now comes back.

    A run that was lost after it had made the candidate ready has nothing left to do here.

    Raises:
        NothingToRollBackTo: It serves the candidate already.
        PipelineError: Why it does not serve it; the message says what became of the environment.
    """
    environment, registry = ground.environment, ground.registry
    about(model=candidate.model, environment=environment.name, candidate=candidate.fingerprint)
    if await run(finished, registry, candidate, environment, run_id) is not None:
        return
    move = partial(
        Move,
        run_id=run_id,
        registry=registry,
        hub_endpoint=ground.hub_endpoint,
        at=ground.at,
        environment=environment,
        candidate=candidate,
        suite=ground.suite,
        lock=lock,
        requester=actor,
        reason=reason,
    )
    owing = await owed(registry, candidate, environment, run_id)
    if owing is not None:
        raise await made_good(owing, ground.at, candidate, environment, lambda planned: move(planned=planned), keep=True)
    before = await run(current_entry, registry, candidate.model, environment.name)
    if before is not None and before.fingerprint == candidate.fingerprint and before.status == "ready":
        raise NothingToRollBackTo(f"{candidate.model} in {environment.name} already serves candidate {candidate.short}.")
    planned = await run(plan_return, ground.at.cluster, ground.at.helm, candidate, environment)
    await run(publish_plan_of_return, release_name(candidate.model, "rollback"), return_page(candidate, environment, planned, before))
    await enter_or_go_back(move(planned=planned), take_back, Stopwatch(), {}, keep=True)
