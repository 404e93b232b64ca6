"""What a load took, and whether that is within the limits. Seconds throughout; the warm-up is never among the samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from blocks.facts import Load, Sample
from flows.spec import LatencyPolicy
from flows.verification.measurement import Measurement, Outcome
from flows.verification.percentiles import Interval, Percentiles, percentiles


@dataclass(frozen=True, kw_only=True)
class LatencyLevel:
    """What was measured at one concurrency.

    Attributes:
        concurrency: Requests under way at a time.
        seconds: How long the load ran.
        tokens_per_second: Generated tokens of all requests by that time.
        end_to_end: Request to last byte; none where no answer was good, as for the next two.
        first_token: Request to first token.
        inter_token: One token to the next.
        samples_seconds: The end-to-end latencies, in the order of their ends.
        bad: Answers that were not good, and the first one's fault.
        fault: That fault; empty where there was none.
    """

    concurrency: int
    seconds: float
    tokens_per_second: float
    end_to_end: Percentiles | None
    first_token: Percentiles | None
    inter_token: Percentiles | None
    samples_seconds: tuple[float, ...]
    bad: int = 0
    fault: str = ""


def level(loads: Sequence[Load]) -> LatencyLevel:
    """All loads of one concurrency as one."""
    samples = [sample for load in loads for sample in load.samples]
    good = [sample for sample in samples if not sample.error]
    bad = [sample for sample in samples if sample.error]
    seconds = sum(load.seconds for load in loads)
    return LatencyLevel(
        concurrency=loads[0].concurrency,
        seconds=seconds,
        tokens_per_second=sum(sample.tokens for sample in good) / seconds if seconds else 0.0,
        end_to_end=percentiles([sample.seconds for sample in good]),
        first_token=percentiles([sample.first_seconds for sample in good if sample.first_seconds is not None]),
        inter_token=percentiles([gap for sample in good for gap in sample.gaps_seconds]),
        samples_seconds=tuple(round(sample.seconds, 6) for sample in good),
        bad=len(bad),
        fault=_fault(bad[0]) if bad else "",
    )


def _fault(sample: Sample) -> str:
    return f"HTTP {sample.status}: {sample.error[:120]}" if sample.status not in (None, 0, 200) else sample.error[:160]


def samples_wanted(loads: Sequence[Load], policy: LatencyPolicy) -> int:
    """How many more samples are needed before the limits can be judged: none as soon as both intervals lie on one side of their limit.

    Each further round doubles the samples, up to the policy's number and time; a bad answer ends it.
    """
    if not loads:
        return policy.samples
    measured = level(loads)
    have = len(measured.samples_seconds)
    # A bad answer fails the level, however quick the others are.
    spent = measured.bad or measured.seconds >= policy.budget_seconds or have >= policy.max_samples
    if spent or "inconclusive" not in [m.outcome for m in check_latency(measured, policy)]:
        return 0
    return min(have, policy.max_samples - have)


def check_latency(measured: LatencyLevel, policy: LatencyPolicy) -> list[Measurement]:
    """Compare the end-to-end latencies with the limits.

    A limit is kept if the whole confidence interval of the percentile is below it, broken if none of it is, and cannot be told otherwise.
    """
    have = len(measured.samples_seconds)
    if measured.bad or measured.end_to_end is None or have < policy.samples:
        seen = f"{have} good" + (f", {measured.bad} bad; {measured.fault}" if measured.bad else "")
        outcome: Outcome = "failed" if measured.bad else "inconclusive"
        return [Measurement(name="latency", kind="latency", outcome=outcome, expected=f"{policy.samples} good answers", seen=seen)]
    return [
        _limit("latency-p50", measured.end_to_end.p50, policy.p50_seconds, have),
        _limit("latency-p95", measured.end_to_end.p95, policy.p95_seconds, have),
    ]


def check_level(measured: LatencyLevel, wanted: int) -> Measurement:
    """A level whose latencies are only reported must still answer everything."""
    name, have = f"load-{measured.concurrency}", len(measured.samples_seconds)
    seen = f"{have} good" + (
        f", {measured.bad} bad; {measured.fault}" if measured.bad else f" at {measured.tokens_per_second:.0f} tokens/s"
    )
    outcome: Outcome = "failed" if measured.bad else "passed" if have >= wanted else "inconclusive"
    return Measurement(name=name, kind="latency", outcome=outcome, expected=f"{wanted} good answers", seen=seen)


def _limit(name: str, interval: Interval, limit_seconds: float, count: int) -> Measurement:
    outcome: Outcome = "inconclusive"
    if interval.high < limit_seconds:
        outcome = "passed"
    elif interval.low >= limit_seconds:
        outcome = "failed"
    milliseconds = f"{interval.value * 1000:.1f} ms (95 % interval {interval.low * 1000:.1f} to {interval.high * 1000:.1f})"
    return Measurement(
        name=name,
        kind="latency",
        outcome=outcome,
        expected=f"under {limit_seconds * 1000:g} ms",
        seen=f"{milliseconds} of {count}",
        seconds=interval.value,
    )
