"""The steps of a canary: beside what serves, a share after the other, judged, and its end. Each looks first, and may be repeated."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from prefect import task

from blocks.errors import PipelineError
from blocks.facts.canary import Canary
from blocks.registry import Registry, RegistryClient
from flows.canary.asked import StepAsked, is_begun
from flows.canary.judge import Judge, Verdict
from flows.canary.page import verdict_so_far
from flows.canary.tasks.drain import drained
from flows.canary.tasks.look import Observer
from flows.canary.watch import Next, next_move
from flows.delivery.deliver import back_end
from flows.delivery.engines import taken_over, with_weight
from flows.delivery.move import DeliveredRevision, Move
from flows.delivery.provenance import Provenance
from flows.errors import ApprovalDenied, ApprovalExpired, CanaryAborted, CanaryHarmful, CanaryInconclusive
from flows.naming import engine_name
from flows.rollout.tasks import await_rollout
from flows.runtime.tasks import OBSERVES, looks, step
from flows.spec import CanaryStep, Candidate, Environment

#: Between two looks, in seconds: often enough to end harm at once, seldom enough for engines and registry.
LOOK_SECONDS = 3.0

#: How often it is said where it is, in seconds.
SHOWN_SECONDS = 30.0

#: In at most this share of canaries that are as good as what serves, harm is said at any time.
ALPHA = 0.05

#: The word of the registry's record for each end that is our no.
_OUTCOMES = {
    CanaryHarmful: "harmful",
    CanaryInconclusive: "inconclusive",
    CanaryAborted: "aborted",
    ApprovalDenied: "aborted",
    ApprovalExpired: "aborted",
}


@step
def begin(move: Move, stable: str) -> Move:
    """Have the registry know of the canary, before anything of it is delivered; the move, with the steps that it was begun with.

    A run that ended it before it was interrupted ends now as it would have then; one that began it goes on by the steps of then, whatever
    the environment's file says by now: by fewer ones it would take over unjudged.

    Raises:
        RegistryRejected: Another canary is open there, or what serves is not `ready`.
        Refusal: How the run had ended it.
    """
    with move.registry.client() as client:
        last = client.canaries.get(move.candidate.model, move.environment.name)
        if last is not None and not last.open and (last.run_id, last.canary) == (move.run_id, move.candidate.fingerprint):
            _raise_again(last)
        # One that serves by the record is over, though what it replaced may be there.
        if last is not None and (last.phase == "warm" or (last.phase == "taking_over" and last.canary == stable)):
            client.canaries.end(**_place(move), outcome="promoted", reason=f"{move.candidate.short} is tried next")
        begun = client.canaries.begin(
            **_place(move),
            stable=stable,
            canary=move.candidate.fingerprint,
            endpoint=move.plan.canary_endpoint,
            steps=[_planned(each) for each in move.environment.rollout.steps],
            actor=move.requester or None,
        )
    # What an earlier canary left beside what serves, warm or half done, goes first: there are two slots.
    delivery = back_end(move.blocks, move.environment)
    beside = delivery.engines(move.candidate.model).beside
    if beside not in (None, move.candidate.fingerprint, stable):
        delivery.leave(move.candidate.model, beside or "", _provenance(move, "another candidate is tried"))
    return with_steps(move, begun.steps)


def with_steps(move: Move, recorded: Sequence[Mapping[str, Any]]) -> Move:
    """The move with the steps of the registry's record; without any, with its own."""
    steps = tuple(CanaryStep(**each) for each in recorded) or move.environment.rollout.steps
    return replace(move, environment=replace(move.environment, rollout=replace(move.environment.rollout, steps=steps)))


def _planned(step: CanaryStep) -> dict[str, object]:
    planned: dict[str, object] = {"weight": step.weight, "minutes": step.minutes}
    return {**planned, "approval": True} if step.approval else planned


def _raise_again(ended: Canary) -> None:
    for kind, word in _OUTCOMES.items():
        if ended.outcome == word:
            raise kind(ended.outcome_reason or "The canary was ended before the run was interrupted.")


@task(task_run_name="canary {weight} % of {move.candidate.model} in {move.environment.name}", **OBSERVES)
def go_through(move: Move, number: int, weight: int) -> bool:
    """Have the canary get the share of a step, and judge it until the step is over; whether it takes over without the steps that are left.

    Idempotent: a step that was begun goes on until its own end, with what the judge had seen.

    Args:
        move: What is tried where.
        number: Which of the environment's steps, from 0.
        weight: Its share, in per cent.

    Raises:
        CanaryHarmful, CanaryInconclusive, CanaryAborted: It ends; the message says why.
        RegistryUnreachable: The registry did not answer; retried.
    """
    policy, shown = move.environment.rollout, -math.inf
    with move.registry.client() as client, Observer(move) as observer:
        canary = _present(client, move)
        # A run that is taken up again begins with the first step, and has done some of them.
        if canary.phase == "taking_over" or canary.step > number:
            return canary.phase == "taking_over"
        kept: dict[str, Any] = dict(canary.judge)
        judge, extended = Judge.resumed(policy.harm, ALPHA, kept.get("judge") or {}), int(kept.get("extended") or 0)
        before = _seconds(kept)
        if not judge.harmful:
            canary = _shifted(client, move, canary, number, weight)
        for waited in looks(math.inf, time.sleep, LOOK_SECONDS):
            judge.add(observer.look(canary))
            canary = _present(client, move)
            verdict = judge.verdict()
            found = next_move(canary, verdict, policy, extended, datetime.now(UTC), observer.down_seconds())
            extended += found.move == "extend"
            state = {"judge": judge.state(), "extended": extended, "verdict": _told(verdict), "watched": round(before + waited, 3)}
            client.canaries.save_judge(**_place(move), state=state)
            if found.move != "look" or waited - shown >= SHOWN_SECONDS:
                observer.tell(canary, judge, verdict, found.reason)
                shown = waited
            if found.error is not None:
                raise found.error
            if found.move in ("next", "promote"):
                if found.heeds is not None:
                    client.canaries.change(**_place(move), until=canary.until, heeds=found.heeds, reason=found.reason)
                return found.move == "promote"
            canary = _arranged(client, move, canary, found)
    return False


@step
def entered(registry: Registry, candidate: Candidate, environment: str, run_id: str) -> datetime | None:
    """When an earlier process of the run brought the candidate there as a canary that is open; none if none did."""
    with registry.client() as client:
        canary = client.canaries.get(candidate.model, environment)
    if canary is None or not canary.open or (canary.run_id, canary.canary) != (run_id, candidate.fingerprint):
        return None
    return canary.began_at


@step
def judged_before(move: Move) -> float:
    """For how long processes of the run before this one have judged the canary, in seconds; 0 for one that begins."""
    with move.registry.client() as client:
        return _seconds(_present(client, move).judge)


def _seconds(kept: Mapping[str, object]) -> float:
    # Another version may have written it.
    seconds = kept.get("watched")
    return float(seconds) if isinstance(seconds, int | float) else 0.0


@step
def wait_before(move: Move, number: int) -> StepAsked | None:
    """Have the canary keep the share that it has until people agree to a step; what they are asked, none if the step was begun.

    Raises:
        CanaryAborted: Somebody wants it ended, or it was; while it waits nobody else would hear of that.
    """
    policy = move.environment.rollout
    weight, of = policy.steps[number].weight, len(policy.steps)
    with move.registry.client() as client:
        canary = _present(client, move)
        if is_begun(canary, number, weight):
            return None
        if canary.wish == "abort":
            raise CanaryAborted(f"{move.where}: {canary.wish_actor} ended the canary ({canary.wish_reason}); what served serves all again.")
        if (canary.phase, canary.step) != ("held", number):
            reason = f"people are asked before step {number + 1} of {of} ({weight} %)"
            canary = client.canaries.change(**_place(move), phase="held", step=number, reason=reason)
    kept: dict[str, Any] = dict(canary.judge)
    judge, told = Judge.resumed(policy.harm, ALPHA, kept.get("judge") or {}), kept.get("verdict")
    return StepAsked(
        number=number,
        of=of,
        weight=weight,
        now=canary.weight,
        began_at=canary.began_at,
        verdict=told if isinstance(told, dict) else {},
        page=verdict_so_far(judge.verdict(), judge.trace),
    )


def _shifted(client: RegistryClient, move: Move, canary: Canary, number: int, weight: int) -> Canary:
    """The canary at the share of the step; one that is there already goes on."""
    wanted = move.environment.rollout.steps[number]
    if is_begun(canary, number, weight):
        return canary
    _route(move, weight)
    return client.canaries.change(
        **_place(move),
        phase="running",
        step=number,
        # A weight rises or becomes 0: one that is held back after a failure comes again.
        weight=weight,
        shadow=move.environment.rollout.shadow,
        until=datetime.now(UTC) + timedelta(minutes=wanted.minutes or 0),
    )


def _told(verdict: Verdict) -> dict[str, object]:
    """What the exporter, the doctor and `slipway canary status` read of a verdict (docs/canary.md)."""
    names = ("outcome", "reason", "e_value", "limit", "seconds", "current_requests", "canary_requests")
    return {name: getattr(verdict, name) for name in names}


def _arranged(client: RegistryClient, move: Move, canary: Canary, found: Next) -> Canary:
    change = client.canaries.change
    match found.move:
        case "hold":
            return change(**_place(move), phase="held", until=None, reason=found.reason, heeds=found.heeds)
        case "resume":
            return change(**_place(move), phase="running", until=found.until, reason=found.reason, heeds=found.heeds)
        case "extend":
            return change(**_place(move), until=found.until, reason=found.reason)
    return canary


@task(task_run_name="take over: {move.candidate.model} in {move.environment.name}", **OBSERVES)
def take_over(move: Move) -> DeliveredRevision:
    """Have the environment's endpoint lead to the canary; no pod starts again. What served stays up, without requests.

    Idempotent: one that has taken over is left alone.

    Raises:
        Transient: Helm, the cluster or Git did not answer; retried.
        RolloutStalled: The endpoint does not lead to it.
    """
    with move.registry.client() as client:
        if _present(client, move).phase != "taking_over":
            # All requests first, at the name that leads to it before and after: so none meets the endpoint while that changes hands.
            client.canaries.change(**_place(move), phase="taking_over", weight=100, shadow=0)
    delivered = back_end(move.blocks, move.environment).rearrange(move, taken_over, "promote")
    plan, seconds = move.plan, move.plan.budget.rollout_seconds
    await_rollout(move.blocks.cluster, move.candidate, move.environment, plan.engine, seconds, plan.helm_release)
    return delivered


@step
def settle(move: Move, stable: str) -> None:
    """After it was recorded: what served stays warm for as long as the environment says, or goes as soon as its requests are answered."""
    keep = move.environment.rollout.keep_minutes
    with move.registry.client() as client:
        if keep:
            until = datetime.now(UTC) + timedelta(minutes=keep)
            client.canaries.change(**_place(move), phase="warm", until=until, reason=f"{stable[:12]} stays up for {keep:g} min")
            return
    _remove(move, stable, "it was replaced")
    with move.registry.client() as client:
        client.canaries.end(**_place(move), outcome="promoted", reason=f"{move.candidate.short} serves")


@step
def give_up(move: Move, error: PipelineError) -> None:
    """Leave what served to serve everything, and nothing of the canary: no request to it, none that it has not answered, none of its pods.

    Idempotent, at whichever point it was.

    Raises:
        PipelineError: Something cannot be reached or refuses; the sweep does it then.
    """
    with move.registry.client() as client:
        serving = client.current(move.candidate.model, move.environment.name)
        if serving is not None and serving.fingerprint == move.candidate.fingerprint:
            return  # it is ready on record, and the answer to that was lost
        canary = client.canaries.get(move.candidate.model, move.environment.name)
        if canary is not None and canary.open and canary.run_id == move.run_id and canary.weight + canary.shadow:
            client.canaries.change(**_place(move), weight=0, shadow=0, until=canary.until, reason=error.message[:4000])
    _route(move, 0)
    _remove(move, move.candidate.fingerprint, error.message)
    with move.registry.client() as client:
        outcome = next((word for kind, word in _OUTCOMES.items() if isinstance(error, kind)), "failed")
        if canary is not None and canary.run_id == move.run_id:
            client.canaries.end(**_place(move), outcome=outcome, reason=error.message)


@step
def end_others(move: Move) -> None:
    """End a canary of whichever run that is open where the candidate is about to go by itself: nothing is routed to it any longer."""
    with move.registry.client() as client:
        canary = client.canaries.get(move.candidate.model, move.environment.name)
        if canary is not None and canary.open:
            client.canaries.end(**_place(move), outcome="replaced", reason=f"{move.candidate.short} takes the place")


def _remove(move: Move, fingerprint: str, reason: str) -> None:
    engines = back_end(move.blocks, move.environment).engines(move.candidate.model)
    if fingerprint in (engines.serving, engines.beside):
        engine = engine_name(move.plan.helm_release, engines.slot_of(fingerprint))
        if fingerprint == engines.beside:
            drained(move.blocks, move.environment, engine)
        back_end(move.blocks, move.environment).leave(move.candidate.model, fingerprint, _provenance(move, reason))


def _route(move: Move, weight: int) -> None:
    """Have a gateway's route share requests out; where there is none, routers go by the registry alone."""
    if routes_by_gateway(move.environment):
        back_end(move.blocks, move.environment).rearrange(move, with_weight(weight), f"give {weight} % to")


def routes_by_gateway(environment: Environment) -> bool:
    """Whether requests also come by an HTTPRoute of the chart's, whose weights are Helm's or Git's to say."""
    route = environment.values.get("route")
    return isinstance(route, dict) and route.get("kind") == "httpRoute"


def _present(client: RegistryClient, move: Move) -> Canary:
    canary = client.canaries.get(move.candidate.model, move.environment.name)
    if canary is None or not canary.open or canary.canary != move.candidate.fingerprint:
        how = f" as {canary.outcome}" if canary is not None and canary.outcome else ""
        raise CanaryAborted(f"{move.where}: the canary was ended elsewhere{how}; what served serves all again.")
    return canary


def _place(move: Move) -> dict[str, Any]:
    return {"model": move.candidate.model, "environment": move.environment.name, "run_id": move.run_id, "fence": move.lock.fence}


def _provenance(move: Move, reason: str) -> Provenance:
    return Provenance(run_id=move.run_id, requester=move.requester, reason=reason)
