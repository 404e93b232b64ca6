"""From measurements to a verdict: a pure function of what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from blocks.storable import storable_text
from flows.record.phases import PodTimes
from flows.verification.behaviour import Behaviour
from flows.verification.golden import Golden
from flows.verification.latency import LatencyLevel
from flows.verification.measurement import Measurement, Outcome
from flows.verification.power import Power
from flows.verification.stability import RESTARTS


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the measurements amount to, and the figures behind them.

    Attributes:
        outcome: `failed` if an engine died, else `errored` if something could not be measured, else `failed` if anything failed, else
            `inconclusive` if anything could not be told, else `passed`.
        measurements: All of them, in order.
        engine_version: What the engine states; empty where it was not asked.
        warmup_seconds: How long the requests took that do not count.
        latency: By concurrency; the first is the one that the limits are for.
        golden: Answers to the golden prompts, for the release after this one.
        behaviour: How they differ from those of the release before; none where there is nothing to compare with.
        pods: The pods that served, and how they came up.
        power: What the comparison with the release before could have seen, or the next one will; none where there are no answers.
    """

    outcome: Outcome
    measurements: tuple[Measurement, ...]
    engine_version: str = ""
    warmup_seconds: float | None = None
    latency: tuple[LatencyLevel, ...] = ()
    golden: Golden | None = None
    behaviour: Behaviour | None = None
    pods: tuple[PodTimes, ...] = ()
    power: Power | None = None

    @property
    def message(self) -> str:
        """The verdict in one line: the outcome, and what it comes from first."""
        wrong = [m for m in self.measurements if m.outcome != "passed"]
        if not wrong:
            return f"{self.outcome}: {len(self.measurements)} of {len(self.measurements)} checks"
        of_outcome = [m for m in wrong if m.outcome == self.outcome] or wrong
        # An engine that died is why whatever else went wrong did.
        first = next((m for m in of_outcome if m.name == RESTARTS), of_outcome[0])
        return f"{self.outcome}: {len(wrong)} of {len(self.measurements)} checks; {first.name}: expected {first.expected}, saw {first.seen}"

    @property
    def p50_seconds(self) -> float | None:
        """Median end-to-end latency at the concurrency that the limits are for; none where it was not measured."""
        return self.latency[0].end_to_end.p50.value if self.latency and self.latency[0].end_to_end else None

    @property
    def p95_seconds(self) -> float | None:
        """The 95th percentile of the same."""
        return self.latency[0].end_to_end.p95.value if self.latency and self.latency[0].end_to_end else None


_WORST_FIRST: tuple[Outcome, ...] = ("errored", "failed", "inconclusive")


def outcome_of(measurements: Sequence[Measurement]) -> Outcome:
    """The worst outcome of all; of no measurement, that nothing could be measured.

    An engine that died is why whatever else could not be measured, and that is a failure of the candidate.
    """
    outcomes = {measurement.outcome for measurement in measurements}
    if not measurements:
        return "errored"
    if any(measurement.name == RESTARTS and measurement.outcome == "failed" for measurement in measurements):
        return "failed"
    return next((kind for kind in _WORST_FIRST if kind in outcomes), "passed")


def judge(
    measurements: Sequence[Measurement],
    *,
    engine_version: str = "",
    warmup_seconds: float | None = None,
    latency: Sequence[LatencyLevel] = (),
    golden: Golden | None = None,
    behaviour: Behaviour | None = None,
    pods: Sequence[PodTimes] = (),
    power: Power | None = None,
) -> Verdict:
    """The verdict of all measurements; the rest is kept with it."""
    return Verdict(
        outcome=outcome_of(measurements),
        measurements=tuple(replace(m, expected=storable_text(m.expected), seen=storable_text(m.seen)) for m in measurements),
        engine_version=engine_version,
        warmup_seconds=warmup_seconds,
        latency=tuple(latency),
        golden=golden,
        behaviour=behaviour,
        pods=tuple(pods),
        power=power,
    )
