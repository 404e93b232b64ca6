"""From answers to measurements, and from measurements to a verdict. Percentiles by nearest rank; latencies are seconds."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from blocks.facts import Answer, ServedModel
from flows.plan.values import mount_path
from flows.spec import Candidate, Check, LatencyPolicy

Outcome = Literal["passed", "failed", "inconclusive", "errored"]


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One attempt at a check: what was expected, what was seen, how it came out."""

    name: str
    outcome: Outcome
    expected: str
    seen: str
    seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the measurements amount to.

    Attributes:
        outcome: `errored` if something could not be measured, else `failed` if anything failed, else `inconclusive` if
            anything could not be told, else `passed`.
        measurements: All of them, in order.
        p50_seconds: Median latency after the warm-up; none where it was not measured.
        p95_seconds: Its 95th percentile.
    """

    outcome: Outcome
    measurements: tuple[Measurement, ...]
    p50_seconds: float | None = None
    p95_seconds: float | None = None

    @property
    def sentence(self) -> str:
        """The verdict in one line: the outcome, and what was wrong first."""
        wrong = [m for m in self.measurements if m.outcome != "passed"]
        if not wrong:
            return f"passed: {len(self.measurements)} of {len(self.measurements)} checks"
        first = wrong[0]
        return f"{self.outcome}: {len(wrong)} of {len(self.measurements)} checks; {first.name}: expected {first.expected}, saw {first.seen}"

    def document(self) -> dict[str, Any]:
        """The verdict as JSON-able data."""
        return asdict(self)


def judge(measurements: Sequence[Measurement], latencies: Sequence[float] = ()) -> Verdict:
    """The verdict of all measurements; `latencies` (seconds, warm-up excluded) are for its percentiles only."""
    outcomes = {measurement.outcome for measurement in measurements}
    outcome: Outcome = "errored"
    if measurements:
        outcome = next((kind for kind in _WORST_FIRST if kind in outcomes), "passed")
    return Verdict(
        outcome=outcome,
        measurements=tuple(measurements),
        p50_seconds=percentile(latencies, 50) if latencies else None,
        p95_seconds=percentile(latencies, 95) if latencies else None,
    )


_WORST_FIRST: tuple[Outcome, ...] = ("errored", "failed", "inconclusive")


def percentile(values: Sequence[float], percent: float) -> float:
    """The nearest-rank percentile: the smallest value that at least `percent` per cent of all values do not exceed.

    Raises:
        ValueError: There are no values, or `percent` is not in (0, 100].
    """
    if not values or not 0 < percent <= 100:
        raise ValueError("a percentile needs values and a percentage in (0, 100]")
    return sorted(values)[math.ceil(percent / 100 * len(values)) - 1]


def check_health(status: int) -> Measurement:
    """`/health` must answer 200."""
    return Measurement(name="health", outcome="passed" if status == 200 else "failed", expected="HTTP 200", seen=f"HTTP {status}")


def check_identity(models: Sequence[ServedModel], candidate: Candidate) -> Measurement:
    """`/v1/models` must list the model under its name, loaded from the candidate's own commit."""
    expected = f"{candidate.model} from {mount_path(candidate)} with {candidate.engine.max_model_len} tokens"
    served = next((model for model in models if model.name == candidate.model), None)
    if served is None:
        names = ", ".join(model.name for model in models) or "no model"
        return Measurement(name="identity", outcome="failed", expected=expected, seen=names)
    right = served.root == mount_path(candidate) and served.max_model_len == candidate.engine.max_model_len
    seen = f"{served.name} from {served.root} with {served.max_model_len} tokens"
    return Measurement(name="identity", outcome="passed" if right else "failed", expected=expected, seen=seen)


def check_pods(labels: Sequence[str | None], candidate: Candidate) -> Measurement:
    """Every pod behind the endpoint must carry the candidate's label."""
    wrong = [label for label in labels if label != candidate.label]
    seen = f"{len(labels) - len(wrong)} of {len(labels)} pods" + (f"; another carries {(wrong[0] or 'none')[:12]}" if wrong else "")
    passed = bool(labels) and not wrong
    return Measurement(name="pods", outcome="passed" if passed else "failed", expected=f"all pods labelled {candidate.short}", seen=seen)


def check_answer(check: Check, answer: Answer) -> Measurement:
    """Compare an answer with the check's expectation."""
    expect = check.expect
    wanted: list[tuple[str, bool]] = [("HTTP 200", answer.status == 200)]
    if answer.status == 200:
        if expect.contains is not None:
            wanted.append((f"text with {expect.contains!r}", expect.contains in answer.text))
        if expect.regex is not None:
            wanted.append((f"text like /{expect.regex}/", re.search(expect.regex, answer.text) is not None))
        if expect.finish_reason is not None:
            wanted.append((f"finish reason {expect.finish_reason}", answer.finish_reason == expect.finish_reason))
        wanted.append((f"{expect.min_tokens} token(s) or more", answer.completion_tokens >= expect.min_tokens))
        wanted.append(("no replacement characters", "\ufffd" not in answer.text))
    missed = [what for what, held in wanted if not held]
    seen = f"{answer.text[:80]!r}, {answer.finish_reason}, {answer.completion_tokens} token(s)"
    return Measurement(
        name=check.name,
        outcome="failed" if missed else "passed",
        expected=", ".join(missed or [what for what, _ in wanted]),
        seen=seen if answer.status == 200 else f"HTTP {answer.status}: {answer.error[:200]}",
        seconds=answer.seconds,
    )


def check_latency(answers: Sequence[Answer], policy: LatencyPolicy) -> list[Measurement]:
    """Compare the median and the 95th percentile of the answers' latencies with the policy; too few good ones tell nothing."""
    good = [answer.seconds for answer in answers if answer.status == 200]
    if len(good) < policy.samples:
        bad = next((answer for answer in answers if answer.status != 200), None)
        seen = f"{len(good)}" + (f"; HTTP {bad.status}: {bad.error[:120]}" if bad else "")
        outcome: Outcome = "failed" if bad else "inconclusive"
        return [Measurement(name="latency", outcome=outcome, expected=f"{policy.samples} good answers", seen=seen)]
    result = []
    for name, percent, limit in (("latency-p50", 50, policy.p50_seconds), ("latency-p95", 95, policy.p95_seconds)):
        value = percentile(good, percent)
        result.append(
            Measurement(
                name=name,
                outcome="passed" if value < limit else "failed",
                expected=f"under {limit * 1000:.0f} ms",
                seen=f"{value * 1000:.1f} ms of {len(good)}",
                seconds=value,
            )
        )
    return result
