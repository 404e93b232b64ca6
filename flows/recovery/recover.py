"""After a failure the environment goes back to what served there, or what failed is removed; diagnosis and evidence come first."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import count

from blocks.errors import PipelineError, Unforeseen
from blocks.facts.kinds import EventKind
from blocks.registry import Failure, Lock
from flows.delivery.move import Context, Move
from flows.delivery.tasks import remove, roll_back
from flows.errors import ERRORS, with_sentence
from flows.placement.tasks import plan_rollback
from flows.promotion.promote import going_back, promote
from flows.record.phases import Stopwatch
from flows.record.tasks import note, recall_candidate, require_lock, settled_failure, unsettled_failure
from flows.recovery.ask import Choice, RecoveryForm, recovery_page
from flows.recovery.decide import Aftermath, after_failure
from flows.recovery.tasks.orphans import had_ended
from flows.recovery.tasks.rollback import record_rolled_back, verified_before
from flows.runtime.forms import ask, given_to, was_opened
from flows.runtime.tasks import call, foreseen, run
from flows.spec import Candidate

#: Who the registry names where no person asked for a rollback.
AUTOMATIC = "slipway"


async def recover(move: Move, error: PipelineError) -> PipelineError:
    """Do what is to be done after the error that ended a promotion; the error to end with, which says what became of the environment.

    Args:
        move: The candidate that failed, by the run that holds the lock.
        error: Why.

    Raises:
        ReleaseUnderWay: The run was given up or cancelled meanwhile, and whoever did that puts things right.
    """
    failure = await call(unsettled_failure, move.registry, move.candidate, move.environment, move.run_id)
    return error if failure is None else with_sentence(error, await _settled(move, failure))


@dataclass(frozen=True, kw_only=True)
class PendingRecovery:
    """A failure that the run recorded and did not end with, as it was lost before.

    Attributes:
        failure: How it failed.
        settled: Whether the environment has been put right since.
    """

    failure: Failure
    settled: bool


async def pending_recovery(context: Context, candidate: Candidate) -> PendingRecovery | None:
    """What a run that is taken up again still has to do; none if nothing, as when it told its end and somebody retries it."""
    place = (context.registry, candidate, context.environment, context.run_id)
    failure = await call(unsettled_failure, *place)
    if failure is not None:
        return PendingRecovery(failure=failure, settled=False)
    failure = await call(settled_failure, *place)
    if failure is not None and not await call(had_ended, context.run_id):
        return PendingRecovery(failure=failure, settled=True)
    return None


async def finish_recovery(pending: PendingRecovery, context: Context, candidate: Candidate, lock: Lock) -> PipelineError:
    """Put the environment right, if that is still to be done; the error to end with, which says what became of it.

    Args:
        pending: What is still to be done.
        context: Where.
        candidate: What failed.
        lock: The run's lock.
    """
    error = recalled(pending.failure)
    if pending.settled:
        return with_sentence(error, "The environment was put right before the run was interrupted.")
    plan = await run(plan_rollback, context.blocks.cluster, context.blocks.helm, candidate, context.environment)
    return with_sentence(error, await _settled(context.move(candidate, plan, lock), pending.failure))


async def _settled(move: Move, failure: Failure) -> str:
    """Do what is decided, and return a sentence of what was done; that it ended otherwise than anybody foresaw is recorded, too."""
    try:
        with foreseen(f"Putting {move.environment.name} right"):
            return await _settle(move, failure)
    except Unforeseen as exc:
        await _note(move, EventKind.ROLLBACK_FAILED, {"reason": exc.message, "failure": failure.reason, "to": failure.replaces})
        return f"{move.environment.name} could not be put right: {exc.message}"


async def _settle(move: Move, failure: Failure) -> str:
    """Do what is decided, and return a sentence of what was done. Killed, it is called again and ends the same."""
    # The run may have stood still for over a minute, and another one taken over.
    await call(require_lock, move.registry, move.lock)
    seen = Aftermath(
        candidate=move.candidate.fingerprint,
        replaces=failure.replaces,
        # Only a failure after which the cluster may carry the candidate is unsettled.
        deployed=True,
        verified_before=await call(verified_before, move.registry, move.candidate.model, move.environment.name),
    )
    decision = after_failure(seen, move.environment.failure, keep=move.keep_failed)
    match decision.step:
        case "ask":
            answer = await _asked(move, failure)
            if answer.decision is Choice.LEAVE:
                detail: dict[str, object] = {"actor": answer.actor, "reason": answer.reason, "failure": failure.reason}
                await _note(move, EventKind.ROLLBACK_DECLINED, detail)
                return f"{answer.actor} left it as it is ({answer.reason}); `slipway rollback` goes back."
            return await _go_back(move, failure, answer.actor, f"{answer.reason} (after: {failure.reason})")
        case "roll_back":
            return await _go_back(move, failure, AUTOMATIC, failure.reason)
        case "remove":
            try:
                await run(remove, move)
            except PipelineError as exc:
                # Not raised: why the release failed is what the run ends with.
                return f"Nothing served there before; what failed could not be removed: {exc.message}"
            await _note(move, EventKind.REMOVED, {"reason": failure.reason})
            return "Nothing served there before: what failed was removed."
    await _note(move, EventKind.KEPT, {"reason": failure.reason})
    return f"It was left as it is, for inspection: Helm release {move.plan.helm_release} in {move.environment.namespace}."


async def _note(move: Move, kind: EventKind, detail: dict[str, object]) -> None:
    await call(note, move.registry, move.candidate, move.environment, kind, detail, move.run_id)


async def _go_back(move: Move, failure: Failure, actor: str, reason: str) -> str:
    try:
        before = await call(recall_candidate, move.registry, move.candidate.model, move.environment.name, failure.replaces or "")
        plan = await run(plan_rollback, move.blocks.cluster, move.blocks.helm, before, move.environment)
        # A stopwatch of its own: the way back is no phase of the release that failed.
        await promote(replace(move, candidate=before, plan=plan, requester=actor, reason=reason), roll_back, Stopwatch(), {}, going_back)
    except PipelineError as exc:
        # Not raised: the run ends with why the release failed, and its sentence and the record say that going back did, too.
        await _note(move, EventKind.ROLLBACK_FAILED, {"reason": exc.message, "failure": failure.reason, "to": failure.replaces})
        return f"Going back to candidate {(failure.replaces or '')[:12]} failed, too: {exc.message}"
    seconds = await call(record_rolled_back, move.registry, before, move.environment, actor, reason, True, move.run_id)
    return f"{move.environment.name} went back to candidate {before.short} in {seconds:.0f} s, which was verified again."


async def _asked(move: Move, failure: Failure) -> RecoveryForm:
    """The answer of a person; suspends the run until there is one. What is no answer is recorded, and decides nothing."""
    numbers = count(1)
    while True:
        number = next(numbers)
        key = f"go-back-{move.environment.name}-{move.candidate.fingerprint[:12]}-{number}"
        given = await given_to(RecoveryForm, key)
        if given is None:
            # Opened and never answered: Prefect suspends no run twice under one key.
            if await was_opened(key):
                continue
            await ask(RecoveryForm, key, recovery_page(move.candidate, move.environment, failure))
            given = await given_to(RecoveryForm, key)
        if given is None:
            continue
        if given.answer is not None:
            return given.answer
        why = {"round": number, "claimed": given.claimed, "why": given.problem, "malformed": given.problem, "sender": given.sender}
        await _note(move, EventKind.APPROVAL_REFUSED, why)


def recalled(failure: Failure) -> PipelineError:
    """The error that the registry keeps of the failure, for a run that was interrupted after it.

    Older versions kept its kind in the reason alone, as `Kind: sentence`.
    """
    name = failure.error or failure.reason.partition(": ")[0]
    kind = ERRORS.get(name)
    return kind(failure.reason.removeprefix(f"{name}: ")) if kind is not None else PipelineError(failure.reason)
