"""The release flow: a model's hub revision through every environment, with a person's approval before production."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any

from prefect import flow, runtime
from prefect.client.schemas.objects import State
from pydantic import Field

from blocks.errors import PipelineError
from blocks.hub import Hub
from flows.approval.gate import Request, pass_gate, pass_step, require_approved
from flows.approval.rules import requester_refusal
from flows.canary.tasks.steps import entered
from flows.candidate.tasks import resolve
from flows.delivery.move import Context
from flows.delivery.tasks import deploy
from flows.errors import SpecInvalid
from flows.placement.assess import chosen_environments
from flows.placement.tasks import plan, plan_release
from flows.promotion.gates import require_fresh, require_verified
from flows.promotion.promote import promote
from flows.promotion.record import begun_with, finished
from flows.promotion.tasks import skip
from flows.record.lock import locked
from flows.record.phases import Stopwatch
from flows.record.tasks import current_entry, give_back, last_verified
from flows.recovery.cleanup import leave_as_it_was
from flows.recovery.recover import finish_recovery, pending_recovery, recover
from flows.runtime.blocks import blocks_of_run
from flows.runtime.json_logs import about
from flows.runtime.states import ended
from flows.runtime.tasks import RESULTS, call, foreseen, go_on_drawing, one_client, run
from flows.spec import Candidate, Deployments, Model
from flows.spec.types import EnvironmentName
from flows.verification.evidence import VerifiedEvidence
from flows.verification.tasks.evidence import record_phases


@flow(
    name="release",
    flow_run_name="release {model} {revision}",
    persist_result=True,
    result_serializer=RESULTS,
    # No `retries`: a run that begins anew by itself asks people with a new form, and the answer to the old one is void.
    # A run that died is taken up by the sweep, at most twice.
    on_cancellation=[leave_as_it_was],
)
async def release(
    model: Annotated[str, Field(min_length=1, max_length=100)],
    revision: Annotated[str, Field(min_length=1, max_length=255)] = "main",
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
        with one_client(), foreseen(f"Releasing {model}"):
            return await _release(model, revision, environments, requester, keep_failed)
    except PipelineError as exc:
        return ended(exc)


async def _release(model_name: str, revision: str, wanted: list[str], requester: str, keep_failed: bool) -> dict[str, Any]:
    about(model=model_name)
    deployments, run_id = Deployments.default(), str(runtime.flow_run.id)
    model = deployments.model(model_name)
    deployments.approvers()  # refuses a file that is wrong before anything is begun
    environments = chosen_environments(deployments.environments(), wanted or None)
    if (refusal := requester_refusal(requester, environments)) is not None:
        raise SpecInvalid(refusal)
    # All files and blocks at once: what is missing in the last environment is told before the first is touched.
    hub, registry, blocks = await blocks_of_run(deployments, environments)
    contexts = [
        Context(
            run_id=run_id,
            registry=registry,
            hub_endpoint=hub.endpoint,
            blocks=of_environment,
            environment=environment,
            suite=deployments.suite_of(model),
            requester=requester,
            keep_failed=keep_failed,
        )
        for environment, of_environment in zip(environments, blocks, strict=True)
    ]

    with registry.kept_open():
        return await _through(deployments, model, revision, hub, contexts)


async def _through(deployments: Deployments, model: Model, revision: str, hub: Hub, contexts: Sequence[Context]) -> dict[str, Any]:
    """Take the revision through the environments, or go on where an earlier process of the run was."""
    registry, run_id, resolving = contexts[0].registry, contexts[0].run_id, Stopwatch()
    with resolving.phase("resolve"):
        # A resumed run starts from the top, maybe days later: the branch may have moved, what it began with counts.
        candidate = await call(begun_with, registry, model.name, run_id)
        if candidate is not None:
            await go_on_drawing()
        else:
            candidate = await run(resolve, hub, contexts[0].blocks.helm, model, revision)
    about(candidate=candidate.fingerprint)

    verified, left = await _left_to_do(contexts, candidate)
    for context in left:  # before anything is touched anywhere
        about(environment=context.environment.name)
        await run(plan, context.blocks.cluster, context.blocks.helm, model, candidate, context.environment)
    for context in left:
        about(environment=context.environment.name)
        since = await call(entered, registry, candidate, context.environment.name, run_id)
        grant, asked = None, _request(deployments, context, candidate, since)
        if context.environment.approval.required:
            # Outside of the lock, which would go stale: while people are asked the run has no process that could keep it.
            await _require_promotable(context, candidate)
            grant = await pass_gate(asked, verified)
        async with locked(registry, model.name, context.environment.name, run_id) as lock:
            # Again, now that nobody else changes it: people may have taken days.
            await _require_promotable(context, candidate)
            watch = Stopwatch(resolving.seconds)
            with watch.phase("plan"):
                # The plan above refused early what cannot work; since then GPUs may have been taken.
                planned = await call(plan_release, context.blocks.cluster, context.blocks.helm, model, candidate, context.environment)
            move = context.move(candidate, planned, lock)
            try:
                promoted = await promote(move, deploy, watch, verified, partial(require_approved, asked, grant), partial(pass_step, asked))
            except PipelineError as exc:
                # Still under the lock, so that nobody gets between the failure and the way back.
                raise await recover(move, exc) from exc
            # Outside of the block above: the candidate serves and is on record, and there is nothing to recover from.
            await call(record_phases, registry, candidate, context.environment, promoted.phases, promoted.fetched_bytes, run_id)
    return {"candidate": candidate.fingerprint, "environments": {name: proof.verdict.outcome for name, proof in verified.items()}}


def _request(deployments: Deployments, context: Context, candidate: Candidate, entered_at: datetime | None) -> Request:
    return Request(
        registry=context.registry,
        deployments=deployments,
        candidate=candidate,
        environment=context.environment,
        requester=context.requester,
        run_id=context.run_id,
        entered_at=entered_at,
    )


async def _left_to_do(contexts: Sequence[Context], candidate: Candidate) -> tuple[dict[str, VerifiedEvidence], list[Context]]:
    """What this run verified before it was suspended or lost, by environment, and the environments that are still before it.

    Raises:
        PipelineError: The run had failed in one of them and was lost before it had said so; that one has been put right.
    """
    verified: dict[str, VerifiedEvidence] = {}
    for context in contexts:
        registry, environment, run_id = context.registry, context.environment, context.run_id
        done = await call(finished, registry, candidate, environment, run_id)
        if done is not None:
            # It may have been lost after its record and before it gave the lock back.
            await call(give_back, registry, candidate.model, environment.name, run_id)
            verified[environment.name] = done
            await run(skip, environment.name, candidate.short, done.ref.sha256)
    left = [context for context in contexts if context.environment.name not in verified]
    for context in left:
        pending = await pending_recovery(context, candidate)
        if pending is not None:
            about(environment=context.environment.name)
            async with locked(context.registry, candidate.model, context.environment.name, context.run_id) as lock:
                raise await finish_recovery(pending, context, candidate, lock)
    return verified, left


async def _require_promotable(context: Context, candidate: Candidate) -> None:
    """Refuse a candidate that the environment before does not serve, or was not verified there for too long."""
    environment = context.environment
    if environment.after is None:
        return
    before = await call(current_entry, context.registry, candidate.model, environment.after)
    require_verified(candidate, environment, before)
    verified_at = await call(last_verified, context.registry, candidate, environment.after)
    require_fresh(candidate, environment, verified_at, datetime.now(UTC))
