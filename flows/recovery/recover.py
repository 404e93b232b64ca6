"""After a failure the environment goes back to what served there, or what failed is removed; diagnosis and evidence come first."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

import blocks.errors
import flows.errors
from blocks.errors import PipelineError
from blocks.registry import Registry
from flows.delivery.deliver import remove, roll_back
from flows.delivery.move import DeliveredRevision, Move
from flows.placement.assess import ReleasePlan
from flows.placement.tasks import plan_rollback
from flows.promotion.promote import Promoted, promote
from flows.record.history import Failure
from flows.record.phases import Stopwatch
from flows.record.tasks import note, recall_candidate, require_lock, settled_failure, unsettled_failure
from flows.recovery.ask import Choice, RecoveryForm, recovery_page
from flows.recovery.decide import next_step
from flows.recovery.tasks.orphans import had_ended
from flows.recovery.tasks.rollback import record_rolled_back
from flows.runtime.blocks import Blocks
from flows.runtime.forms import ask, given_to, was_opened
from flows.runtime.tasks import run
from flows.spec import Candidate, Environment
from flows.verification.evidence import VerifiedEvidence

#: Who the registry names where no person asked for a rollback.
AUTOMATIC = "slipway"

#: Forms that are opened at most.
_MAX_ROUNDS = 20


async def enter_or_go_back(
    move: Move,
    bring: Callable[[Move], Awaitable[DeliveredRevision]],
    watch: Stopwatch,
    verified: dict[str, VerifiedEvidence],
    *,
    keep: bool,
) -> Promoted:
    """Enter the environment; if that fails there, do what is to be done after it.

    Args:
        move: What goes where.
        bring: `deliver`, or `roll_back` for a candidate that ran there before.
        watch: The times of the phases so far.
        verified: What this run has proven so far, by environment.
        keep: Whether what failed is to be kept for inspection where nothing served before.

    Raises:
        PipelineError: Why it does not serve there, and what became of the environment.
    """
    try:
        return await promote(move, bring, watch, verified)
    except PipelineError as exc:
        failure = await run(unsettled_failure, move.registry, move.candidate, move.environment, move.run_id)
        if failure is None:
            raise
        raise type(exc)(f"{exc.message} {await recover(move, failure, keep=keep)}", **exc.facts) from exc


async def recover(move: Move, failure: Failure, *, keep: bool) -> str:
    """Do what is to be done after the failure, and return a sentence of what was done. Killed, it is called again and ends the same.

    Args:
        move: The candidate that failed, by the run that holds the lock.
        failure: How it failed.
        keep: Whether what failed is to be kept for inspection where nothing served before.

    Raises:
        ReleaseUnderWay: The run was given up or cancelled meanwhile, and whoever did that puts things right.
    """
    await run(require_lock, move.registry, move.lock)
    step = next_step(failure, move.candidate.fingerprint, move.environment.failure, keep=keep)
    if step == "ask":
        answer = await _asked(move, failure)
        if answer.decision is Choice.LEAVE:
            detail = {"actor": answer.actor, "reason": answer.reason, "failure": failure.reason}
            await run(note, move.registry, move.candidate, move.environment, "rollback_declined", detail, move.run_id)
            return f"{answer.actor} left it as it is ({answer.reason}); `slipway rollback` goes back."
        return await _go_back(move, failure, answer.actor, f"{answer.reason} (after: {failure.reason})")
    if step == "return":
        return await _go_back(move, failure, AUTOMATIC, failure.reason)
    if step == "remove":
        try:
            await remove(move)
        except PipelineError as exc:
            return f"Nothing served there before; what failed could not be removed: {exc.message}"
        await run(note, move.registry, move.candidate, move.environment, "removed", {"reason": failure.reason}, move.run_id)
        return "Nothing served there before: what failed was removed."
    await run(note, move.registry, move.candidate, move.environment, "kept", {"reason": failure.reason}, move.run_id)
    return f"It was left as it is, for inspection: Helm release {move.planned.helm_release} in {move.environment.namespace}."


async def _go_back(move: Move, failure: Failure, actor: str, reason: str) -> str:
    try:
        before = await run(recall_candidate, move.registry, move.candidate.model, move.environment.name, failure.replaces or "")
        planned = await run(plan_rollback, move.blocks.cluster, move.blocks.helm, before, move.environment)
        await promote(replace(move, candidate=before, planned=planned, requester=actor, reason=reason), roll_back, Stopwatch(), {})
    except PipelineError as exc:
        detail = {"reason": exc.message, "failure": failure.reason, "to": failure.replaces}
        await run(note, move.registry, move.candidate, move.environment, "rollback_failed", detail, move.run_id)
        return f"Going back to candidate {(failure.replaces or '')[:12]} failed, too: {exc.message}"
    seconds = await run(record_rolled_back, move.registry, before, move.environment, actor, reason, True, move.run_id)
    return f"{move.environment.name} went back to candidate {before.short} in {seconds:.0f} s, which was verified again."


async def _asked(move: Move, failure: Failure) -> RecoveryForm:
    """The answer of a person; suspends the run until there is one."""
    for number in range(1, _MAX_ROUNDS + 1):
        key = f"go-back-{move.environment.name}-{move.candidate.fingerprint[:12]}-{number}"
        given = await given_to(RecoveryForm, key)
        if given is None:
            if await was_opened(key):
                continue
            await ask(RecoveryForm, key, recovery_page(move.candidate, move.environment, failure))
            given = await given_to(RecoveryForm, key)
        if given is not None and given.answer is not None:
            return given.answer
    return RecoveryForm(decision=Choice.LEAVE, actor=AUTOMATIC, reason=f"no acceptable answer in {_MAX_ROUNDS} rounds")


def recalled(reason: str) -> PipelineError:
    """The error that the registry keeps as `Kind: sentence`, for a run that was interrupted after it."""
    name, _, message = reason.partition(": ")
    kind = getattr(flows.errors, name, None) or getattr(blocks.errors, name, None)
    return kind(message) if isinstance(kind, type) and issubclass(kind, PipelineError) else PipelineError(reason)


@dataclass(frozen=True, kw_only=True)
class PendingRecovery:
    """A failure that the run recorded and did not end with.

    Attributes:
        failure: How it failed.
        settled: Whether the environment has been put right since.
    """

    failure: Failure
    settled: bool


async def pending_recovery(registry: Registry, candidate: Candidate, environment: Environment, run_id: str) -> PendingRecovery | None:
    """What the run owes in the environment; none if nothing, as when it told its end and somebody retries it."""
    failure = await run(unsettled_failure, registry, candidate, environment, run_id)
    if failure is not None:
        return PendingRecovery(failure=failure, settled=False)
    failure = await run(settled_failure, registry, candidate, environment, run_id)
    if failure is not None and not await run(had_ended, run_id):
        return PendingRecovery(failure=failure, settled=True)
    return None


async def finish_recovery(
    owing: PendingRecovery,
    blocks: Blocks,
    candidate: Candidate,
    environment: Environment,
    move: Callable[[ReleasePlan], Move],
    *,
    keep: bool,
) -> PipelineError:
    """Put the environment right, if that is still to be done; the error to end with, which says what became of it.

    Args:
        owing: What is pending.
        blocks: The environment's blocks.
        candidate: What failed.
        environment: Where.
        move: Makes the failed move again of a plan; the run holds the lock.
        keep: Whether what failed is to be kept for inspection where nothing served before.
    """
    error = recalled(owing.failure.reason)
    if owing.settled:
        return type(error)(f"{error.message} The environment was put right before the run was interrupted.")
    planned = await run(plan_rollback, blocks.cluster, blocks.helm, candidate, environment)
    return type(error)(f"{error.message} {await recover(move(planned), owing.failure, keep=keep)}")
