"""The release flow: a model's hub revision through every environment, with a person's approval before production."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any

from prefect import flow, runtime
from prefect.client.schemas.objects import State
from pydantic import Field

from blocks.errors import PipelineError
from blocks.registry import Lock, Registry
from flows.approval.gate import pass_gate
from flows.approval.rules import requester_refusal
from flows.candidate.tasks import resolve
from flows.delivery.deliver import deliver
from flows.delivery.move import Move
from flows.errors import SpecInvalid
from flows.placement.assess import ReleasePlan, chosen_environments
from flows.placement.tasks import plan
from flows.promotion.gates import require_fresh, require_verified
from flows.promotion.tasks import begun_with, finished
from flows.record.lock import locked
from flows.record.phases import Stopwatch
from flows.record.tasks import current_entry, give_back, last_verified
from flows.recovery.cleanup import leave_as_it_was
from flows.recovery.recover import enter_or_go_back, finish_recovery, pending_recovery
from flows.runtime.blocks import Blocks, blocks_of, shared_hub, shared_registry
from flows.runtime.json_logs import about
from flows.runtime.states import ended
from flows.runtime.tasks import RESULTS, run
from flows.spec import Approvers, Candidate, CheckSuite, Deployments, Environment, Model
from flows.spec.types import EnvironmentName
from flows.verification.evidence import VerifiedEvidence
from flows.verification.tasks.evidence import record_phases


@dataclass(frozen=True, kw_only=True)
class Release:
    """What one run works with in all environments."""

    run_id: str
    model: Model
    candidate: Candidate
    suite: CheckSuite
    registry: Registry
    hub_endpoint: str
    approvers: Approvers
    requester: str
    resolving: dict[str, float]
    keep_failed: bool


@flow(
    name="release",
    flow_run_name="release {model} {revision}",
    persist_result=True,
    result_serializer=RESULTS,
    on_cancellation=[leave_as_it_was],
)
async def release(
    model: Annotated[str, Field(min_length=1)],
    revision: Annotated[str, Field(min_length=1)] = "main",
    environments: list[EnvironmentName] = [],  # noqa: B006  # Prefect shows the default in its form
    requester: Annotated[str, Field(max_length=100)] = "",
    keep_failed: bool = False,
) -> State[Any] | dict[str, Any]:
    """Take a model's hub revision through the environments to production.

    Every environment goes: plan, prefetch, deploy, rollout, verify, record. An environment whose policy asks for approval
    suspends the run first; resume it in the Prefect UI or with `slipway approve`.

    Args:
        model: A model of deployments/models, by its file's name.
        revision: Branch, tag or commit on the hub; resolved to a commit once.
        environments: Environments to release to, for example development. Empty: all of them, in the order of promotion.
        requester: Who asks for the release; recorded, and not let approve it unless the environment's policy says so.
        keep_failed: Leave what failed for inspection, where nothing served before. Without, it is removed as the environment says.
    """
    try:
        return await _release(model, revision, environments, requester, keep_failed)
    except PipelineError as exc:
        return ended(exc)


async def _release(model_name: str, revision: str, wanted: list[str], requester: str, keep_failed: bool) -> dict[str, Any]:
    about(model=model_name)
    deployments = Deployments.default()
    model = deployments.model(model_name)
    suite = deployments.suite(model.checks)
    environments = chosen_environments(deployments.environments(), wanted or None)
    approvers = deployments.approvers()
    if (refusal := requester_refusal(requester, environments)) is not None:
        raise SpecInvalid(refusal)
    sites = {environment.name: await blocks_of(environment) for environment in environments}
    hub, registry = await shared_hub(deployments), await shared_registry(deployments)

    resolving, run_id = Stopwatch(), str(runtime.flow_run.id)
    with resolving.phase("resolve"):
        candidate = await run(begun_with, registry, model_name, run_id)
        if candidate is None:
            candidate = await run(resolve, hub, sites[environments[0].name].helm, model, revision)
    about(candidate=candidate.fingerprint)
    this = Release(
        run_id=run_id,
        model=model,
        candidate=candidate,
        suite=suite,
        registry=registry,
        hub_endpoint=hub.endpoint,
        approvers=approvers,
        requester=requester,
        resolving=resolving.seconds,
        keep_failed=keep_failed,
    )

    verified: dict[str, VerifiedEvidence] = {}
    for environment in environments:  # what this run did before it was suspended or lost is not done again
        done = await run(finished, registry, candidate, environment, this.run_id)
        if done is not None:
            await run(give_back, registry, candidate.model, environment.name, this.run_id)
            verified[environment.name] = done
    left = [environment for environment in environments if environment.name not in verified]
    for environment in left:  # where this run failed, and was lost before it had said so
        owing = await pending_recovery(registry, candidate, environment, this.run_id)
        if owing is not None:
            about(environment=environment.name)
            blocks = sites[environment.name]
            async with locked(registry, candidate.model, environment.name, this.run_id) as lock:
                move = partial(_move, this, environment, blocks, lock)
                raise await finish_recovery(owing, blocks, candidate, environment, move, keep=keep_failed)
    for environment in left:  # before anything is touched anywhere
        about(environment=environment.name)
        await run(plan, sites[environment.name].cluster, sites[environment.name].helm, model, candidate, environment)
    for environment in left:
        about(environment=environment.name)
        if environment.approval.required:
            await _promotable(this, environment)
            await pass_gate(registry, candidate, environment, verified, approvers, requester, this.run_id)
        async with locked(registry, candidate.model, environment.name, this.run_id) as lock:
            await _enter(this, environment, sites[environment.name], verified, lock)
    return {"candidate": candidate.fingerprint, "environments": {name: proof.verdict.outcome for name, proof in verified.items()}}


async def _enter(this: Release, environment: Environment, blocks: Blocks, verified: dict[str, VerifiedEvidence], lock: Lock) -> None:
    """Bring the candidate into one environment (one more of `verified`), and keep how long it took."""
    candidate, watch = this.candidate, Stopwatch()
    watch.seconds.update(this.resolving)
    await _promotable(this, environment)
    with watch.phase("plan"):
        planned = await run(plan, blocks.cluster, blocks.helm, this.model, candidate, environment)
    entered = await enter_or_go_back(_move(this, environment, blocks, lock, planned), deliver, watch, verified, keep=this.keep_failed)
    await run(record_phases, this.registry, candidate, environment, entered.phases, entered.fetched_bytes, this.run_id)


def _move(this: Release, environment: Environment, blocks: Blocks, lock: Lock, planned: ReleasePlan) -> Move:
    return Move(
        run_id=this.run_id,
        registry=this.registry,
        hub_endpoint=this.hub_endpoint,
        blocks=blocks,
        environment=environment,
        candidate=this.candidate,
        suite=this.suite,
        planned=planned,
        lock=lock,
        requester=this.requester,
    )


async def _promotable(this: Release, environment: Environment) -> None:
    """Refuse a candidate that the environment before does not serve, or was not verified there for too long."""
    if environment.after is None:
        return
    candidate = this.candidate
    before = await run(current_entry, this.registry, candidate.model, environment.after)
    require_verified(candidate, environment, before)
    verified_at = await run(last_verified, this.registry, candidate, environment.after)
    require_fresh(candidate, environment, verified_at, datetime.now(UTC))
