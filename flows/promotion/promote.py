"""How a candidate becomes what an environment serves: prefetch, deploy, rollout, verify, record."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from prefect import Task

from blocks.errors import EndpointRejected, PipelineError, Rejected
from blocks.registry import Entry
from flows.canary.asked import Ask
from flows.canary.tasks import steps as canary
from flows.canary.through import by_steps, ended_beside, settled
from flows.delivery.move import DeliveredRevision, Move
from flows.errors import VerificationFailed, VerificationInconclusive, with_sentence
from flows.placement.assess import in_place
from flows.promotion.record import made_ready, record_deploying, record_failed
from flows.promotion.tasks import prefetch, record, rollout, verify
from flows.record.phases import Stopwatch, phases
from flows.record.tasks import current_entry, require_lock
from flows.rollout.diagnosis import diagnosis_of
from flows.rollout.judge import still_serves
from flows.rollout.tasks import ready_pods
from flows.runtime.tasks import call, foreseen, run
from flows.spec.candidate import LABEL_LENGTH
from flows.verification.attempts import Attempts
from flows.verification.evidence import VerifiedEvidence
from flows.verification.measurement import Outcome


@dataclass(frozen=True, kw_only=True)
class Promoted:
    """What is known of a candidate that serves now.

    Attributes:
        proof: Its verdict and evidence.
        phases: Seconds of each phase.
        fetched_bytes: What was brought to the nodes.
    """

    proof: VerifiedEvidence
    phases: dict[str, float]
    fetched_bytes: int


async def promote(
    move: Move,
    deliver: Task[[Move], DeliveredRevision],
    watch: Stopwatch,
    verified: dict[str, VerifiedEvidence],
    require_allowed: Callable[[], Awaitable[None]],
    ask: Ask | None = None,
) -> Promoted:
    """Have the environment serve the candidate, prove that it answers there, and record it; a failure is recorded, too.

    Args:
        move: What goes where.
        deliver: `deploy`, or `roll_back` for a candidate that ran there before.
        watch: The times of the phases so far.
        verified: What this run has proven so far, by environment; this one is added, whatever the verdict, and all are published.
        require_allowed: Refuses what may not enter the environment (any longer): asked before anything there is touched, and before the
            cluster is told.
        ask: Has people agree to a step of a canary; none for what goes back.

    Raises:
        PipelineError: Why it does not serve there.
    """
    since, told, proof, attempts = datetime.now(UTC), False, None, Attempts()
    # Looked at first: after a failure it tells whose pods must be ready for the endpoint not to be lost.
    before = await call(current_entry, move.registry, move.candidate.model, move.environment.name)
    beside = before.fingerprint if before is not None and move.plan.by_canary and before.status == "ready" else None
    if beside is None and move.plan.by_canary:
        # Nothing is routed: there is no traffic of which it could get a share.
        move = replace(move, plan=in_place(move.plan))
    await require_allowed()
    try:
        # Whatever ends it from here on, foreseen or not, is recorded: what is not known to be verified must not stay routed.
        with foreseen(f"Bringing {move.candidate.short} to {move.environment.name}"):
            # Before anything outside is touched: from this event a run that was killed, or the sweep, reads what is still owed.
            await call(record_deploying, move)
            with watch.phase("prefetch"):
                fetched = await run(prefetch, move)
            # The nodes may have fetched for hours.
            await require_allowed()
            # The registry refuses writes of a run that was taken over from; the cluster cannot, so this is asked right before.
            await call(require_lock, move.registry, move.lock)
            if beside is not None:
                move = await call(canary.begin, move, beside)
            else:
                await call(canary.end_others, move)
            # Before the call, since one that dies in the middle has told it.
            told = True
            with watch.phase("deploy"):
                delivered = await run(deliver, move)
            with watch.phase("rollout"):
                await run(rollout, move, attempts)
            proof = await run(verify, move, watch, since, verified, attempts)
            verified[move.environment.name] = proof
            require_passed(proof, move.where)
            if beside is not None:
                watch.add("canary", await call(canary.judged_before, move))
                with watch.phase("canary"):
                    delivered = await by_steps(move, ask)
            with watch.phase("record"):
                await run(record, move, delivered, proof)
    except PipelineError as exc:
        if beside is not None and told and not (proof is not None and await _is_routed(move, proof)):
            exc = await ended_beside(move, exc)
        # What is not known to be untouched counts as changed.
        error = await _recorded(move, exc, before, proof, deployed=told and exc.untouched is not True)
        if error is exc:
            raise
        raise error from exc
    if beside is not None:
        await settled(move, beside)
    taken = phases(watch.seconds, proof.verdict.pods, since, proof.verdict.warmup_seconds)
    return Promoted(proof=proof, phases=taken, fetched_bytes=fetched)


async def going_back() -> None:
    """Allows what goes back to what served there: it was let in before, and nobody is asked again."""


_NOT_PASSED: dict[Outcome, type[PipelineError]] = {
    "failed": VerificationFailed,
    "errored": EndpointRejected,
    "inconclusive": VerificationInconclusive,
}


def require_passed(proof: VerifiedEvidence, where: str) -> None:
    """Go on only with a candidate that passed.

    Args:
        proof: Its verdict.
        where: Model and environment, for the message.

    Raises:
        VerificationFailed: It did not answer as it should.
        VerificationInconclusive: It cannot be told whether it does.
        EndpointRejected: It could not be measured.
    """
    verdict = proof.verdict
    if verdict.outcome != "passed":
        message = f"{where}: verification {verdict.message} (evidence {proof.ref.sha256[:12]})."
        raise _NOT_PASSED[verdict.outcome](message, evidence_sha256=proof.ref.sha256)


async def _recorded(
    move: Move, error: PipelineError, before: Entry | None, proof: VerifiedEvidence | None, *, deployed: bool
) -> PipelineError:
    """Keep why the candidate does not serve, with its diagnosis; what served before keeps the endpoint only if its pods alone are ready.

    Returns the error to end with: the same, which also says so if it could not be kept. Then the sweep finds a run that ended without it.
    """
    try:
        with foreseen("Recording the failure"):
            if proof is not None and await _is_routed(move, proof):
                return error
            lost = deployed and not await _still_served(move, before)
            try:
                with foreseen("Keeping what was found"):
                    evidence = proof.ref if proof is not None else None
                    await call(record_failed, move, error, diagnosis_of(error), evidence, deployed=deployed, endpoint_taken=lost)
            except Rejected:
                # Without what was found, of which something cannot be kept: that it failed must be on record.
                await call(record_failed, move, error, None, None, deployed=deployed, endpoint_taken=lost)
    except PipelineError as exc:
        return with_sentence(error, f"(That could not be recorded: {exc.message})")
    return error


async def _is_routed(move: Move, proof: VerifiedEvidence) -> bool:
    """Whether it was made ready by this proof, and only hearing of it failed; no, if it cannot be told."""
    try:
        return await call(made_ready, move, proof.ref)
    except PipelineError:
        return False


async def _still_served(move: Move, before: Entry | None) -> bool:
    """Whether the endpoint is still that of the candidate which held it before; no, if it cannot be told."""
    if before is None or before.fingerprint in (None, move.candidate.fingerprint):
        return False
    try:
        with foreseen("Looking for what served before"):
            pods = await call(ready_pods, move.blocks.cluster, move.environment, move.plan.helm_release)
            return still_serves(pods, (before.fingerprint or "")[:LABEL_LENGTH])
    # No route is better than one to a candidate that nobody verified.
    except PipelineError:
        return False
