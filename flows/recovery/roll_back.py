"""An environment goes back to a candidate that it served before: by a person, or as a rehearsal."""

from __future__ import annotations

from blocks.errors import PipelineError
from blocks.registry import Entry, Lock
from flows.candidate.page import candidate_rows
from flows.delivery.move import Context
from flows.delivery.tasks import roll_back
from flows.errors import NothingToRollBackTo
from flows.naming import release_name
from flows.placement.assess import ReleasePlan
from flows.placement.tasks import plan_rollback
from flows.promotion.promote import going_back, promote
from flows.promotion.record import finished
from flows.record.phases import Stopwatch
from flows.record.tasks import current_entry
from flows.recovery.recover import finish_recovery, pending_recovery, recover
from flows.runtime.artifacts import show_page
from flows.runtime.blocks import blocks_of_run
from flows.runtime.json_logs import about
from flows.runtime.tasks import call, run
from flows.spec import Candidate, Deployments, Environment
from flows.text.markdown import Markdown, code, md, names, row
from flows.text.markdown import page as page_of


def rollback_page(candidate: Candidate, environment: Environment, planned: ReleasePlan, before: Entry | None) -> Markdown:
    """What a rollback will do."""
    now = md("candidate {} ({})", code((before.fingerprint or "")[:12]), before.status) if before is not None else md("nothing")
    pause = f"nothing answers for up to {planned.interruption_seconds:,.0f} s" if planned.interruption_seconds else "none"
    return page_of(
        md("## {} in {} goes back", candidate.model, environment.name),
        md(""),
        *candidate_rows(candidate),
        row("instead of", now),
        row("nodes", md("{}; its weights are kept there", names(planned.nodes))),
        row("way", planned.strategy),
        row("interruption", pause),
        row("the rollout may take", f"{planned.budget.rollout_seconds} s"),
    )


async def rollback_context(model: str, environment_name: str, run_id: str, actor: str, reason: str) -> Context:
    """Look up what going back works with.

    Raises:
        SpecInvalid: There is no such model or environment, or a block is missing.
    """
    deployments = Deployments.default()
    environment = deployments.environment(environment_name)
    hub, registry, (blocks,) = await blocks_of_run(deployments, [environment])
    return Context(
        run_id=run_id,
        registry=registry,
        hub_endpoint=hub.endpoint,
        blocks=blocks,
        environment=environment,
        suite=deployments.suite(deployments.model(model).checks),
        requester=actor,
        reason=reason,
        keep_failed=True,
    )


async def roll_back_to(context: Context, candidate: Candidate, lock: Lock) -> None:
    """Have the environment serve the candidate, which it served before. If that fails, what served until now comes back.

    A run that was lost after it had made the candidate ready has nothing left to do here.

    Raises:
        NothingToRollBackTo: It serves the candidate already.
        PipelineError: Why it does not serve it; the message says what became of the environment.
    """
    environment, registry, blocks = context.environment, context.registry, context.blocks
    about(model=candidate.model, environment=environment.name, candidate=candidate.fingerprint)
    if await call(finished, registry, candidate, environment, context.run_id) is not None:
        return
    pending = await pending_recovery(context, candidate)
    if pending is not None:
        raise await finish_recovery(pending, context, candidate, lock)
    before = await call(current_entry, registry, candidate.model, environment.name)
    # One that is current but degraded may be put right by going back to it.
    if before is not None and before.fingerprint == candidate.fingerprint and before.status == "ready":
        raise NothingToRollBackTo(f"{candidate.model} in {environment.name} already serves candidate {candidate.short}.")
    plan = await run(plan_rollback, blocks.cluster, blocks.helm, candidate, environment)
    page = rollback_page(candidate, environment, plan, before)
    await call(show_page, release_name(candidate.model, "rollback"), page, md("What the rollback does"))
    move = context.move(candidate, plan, lock)
    try:
        await promote(move, roll_back, Stopwatch(), {}, going_back)
    except PipelineError as exc:
        raise await recover(move, exc) from exc
