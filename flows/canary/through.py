"""How a candidate that is up beside what serves takes its place: share by share, judged, or not at all."""

from __future__ import annotations

from blocks.errors import PipelineError
from flows.canary.asked import Ask
from flows.canary.tasks.steps import give_up, go_through, settle, take_over, wait_before
from flows.delivery.move import DeliveredRevision, Move
from flows.errors import with_sentence
from flows.runtime.tasks import call, foreseen, get_run_log, run


async def by_steps(move: Move, ask: Ask | None) -> DeliveredRevision:
    """Have the candidate get one share of the requests after the other while it is judged, and then the environment's endpoint.

    Args:
        move: What is tried where.
        ask: Has people agree to a step, where the environment says that they must; none for what goes without them.

    Raises:
        CanaryHarmful, CanaryInconclusive, CanaryAborted: It does not take over; the message says why.
        ApprovalDenied, ApprovalExpired: Nobody agreed to a step.
    """
    promoted = False
    for number, step in enumerate(move.environment.rollout.steps):
        if step.approval and ask is not None:
            asked = await call(wait_before, move, number)
            if asked is not None:
                await ask(asked)
                # Whoever promotes it is no approver: time is skipped, and never people.
                promoted = False
        # With the last one it takes over.
        if step.minutes is not None and not promoted:
            promoted = await run(go_through, move, number, step.weight)
    return await run(take_over, move)


async def settled(move: Move, stable: str) -> None:
    """What is left to do when it serves and is on record: what it replaced goes, or stays warm. What fails of that is the sweep's to do."""
    try:
        with foreseen("Putting away what was replaced"):
            await call(settle, move, stable)
    except PipelineError as exc:
        get_run_log().warning("What the canary replaced is still there, and the sweep takes it away: %s", exc.message)


async def ended_beside(move: Move, error: PipelineError) -> PipelineError:
    """Leave what served to serve everything; the error to end with, which says so if that could not be done. Then the sweep does it."""
    try:
        with foreseen("Ending the canary"):
            await call(give_up, move, error)
    except PipelineError as exc:
        return with_sentence(error, f"(What stands beside what serves could not be taken away yet: {exc.message})")
    error.untouched = True
    return error
