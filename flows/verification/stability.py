"""Whether the engine stayed well while it was under load, and whether one that does not answer hangs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from blocks.facts import EngineMetrics, Pod
from blocks.facts.cluster import ENGINE
from flows.spec import StabilityPolicy
from flows.verification.measurement import Measurement, judged

#: The measurement that says whether an engine ended since the rollout.
RESTARTS = "restarts"


def check_restarts(before: Sequence[Pod], after: Sequence[Pod], why: Mapping[str, str] | None = None) -> Measurement:
    """No engine may restart, end or be replaced between two looks.

    Args:
        before: The pods as the rollout left them.
        after: The pods now.
        why: What is known of those that ended, by pod.
    """
    known = {pod.name: pod for pod in before}
    told = {pod.name: _what_became(known.get(pod.name), pod) for pod in after}
    told |= {name: f"{name} is gone" for name in sorted(known.keys() - told.keys())}
    seen = [what + (f" ({why[name]})" if why and name in why else "") for name, what in told.items() if what]
    return judged(RESTARTS, "stability", not seen, expected="the same pods without a restart", seen="; ".join(seen) or "none")


def _what_became(before: Pod | None, now: Pod) -> str:
    if before is None:
        return f"{now.name} is new"
    if now.restarts != before.restarts:
        return f"{now.name} restarted {now.restarts - before.restarts} time(s)"
    # Not yet started again: the count goes up only then.
    ended = [container for container in now.containers if container.name == ENGINE and container.state != "running"]
    return f"{now.name} ended" if ended else ""


def check_counts(
    before: Mapping[str, EngineMetrics], after: Mapping[str, EngineMetrics], requests: int, policy: StabilityPolicy
) -> list[Measurement]:
    """What the engines counted over the load: errors and preemptions.

    Args:
        before: By pod, before the first request.
        after: The same after the last one.
        requests: How many were sent.
        policy: How many preemptions are a storm.
    """
    # A pod that came or went has no difference to tell; `check_restarts` tells of it.
    pods = before.keys() & after.keys()
    errors = sum(after[pod].errors - before[pod].errors for pod in pods)
    preemptions = sum(after[pod].preemptions - before[pod].preemptions for pod in pods)
    allowed = int(policy.max_preemptions_per_request * requests)
    counted = f"of {requests} requests on {len(pods)} pod(s)"
    return [
        judged(
            "engine-errors", "stability", bool(pods) and errors == 0, expected="no request that ended in error", seen=f"{errors} {counted}"
        ),
        judged(
            "preemptions",
            "stability",
            bool(pods) and preemptions <= allowed,
            expected=f"{allowed} preemption(s) at most",
            seen=f"{preemptions} {counted}",
        ),
    ]


def check_cache(peak: float | None, policy: StabilityPolicy, problem: str = "") -> Measurement:
    """The KV cache must not have been fuller than the policy allows at any look while the load ran.

    Args:
        peak: The highest share in use that was seen; none if nobody said.
        policy: How full it may be.
        problem: Why one look or more could not be read; empty if all could. What was not seen is not taken for an empty cache.
    """
    limit = policy.max_kv_cache_usage
    if problem or peak is None or not math.isfinite(peak) or peak < 0:
        seen = problem or ("no pod said" if peak is None else f"{peak:g}, which is no share")
        return Measurement(name="kv-cache", kind="stability", outcome="errored", expected="a share at every look", seen=seen)
    return judged("kv-cache", "stability", peak <= limit, expected=f"at most {limit:.0%} in use", seen=f"{peak:.1%} at the highest")


def check_hang(health: int | None, tokens_before: int | None, tokens_after: int | None, seconds: float) -> Measurement:
    """Says of an endpoint that left a question unanswered what it did meanwhile. It fails in any case.

    Args:
        health: What `/health` answers now.
        tokens_before: Tokens that all pods had generated before the question; none where they would not say.
        tokens_after: The same afterwards.
        seconds: How long was waited.
    """
    healthy = f"/health answers HTTP {health}" if health is not None else "/health does not answer"
    if tokens_before is None or tokens_after is None:
        meanwhile = "and the engine does not say whether tokens move"
    elif tokens_after == tokens_before:
        meanwhile = f"and not one token was generated in {seconds:.0f} s: the engine hangs"
    else:
        meanwhile = f"and {tokens_after - tokens_before} token(s) were generated in {seconds:.0f} s: it is slow"
    return judged("progress", "stability", False, expected="answers in time", seen=f"{healthy}, {meanwhile}")
