"""From what engines and routers count to what both candidates did between two looks: counters that restart, pods that come and go. No I/O.

Counters are read as Prometheus reads them: one that is less than before began anew, and all that it says is new. Whoever is seen for the
first time says nothing yet: what it counted so far may be of a time before the canary.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from blocks.strict_json import LARGEST_COUNT, finite
from flows.canary.judge.window import MEASURES, OUTCOMES, Counts, Histogram, Measure, Outcome, Pair, Source, Window

#: Longer than any engine's or router's metrics of one model, in bytes, series and characters of one.
_LARGEST, _MOST_SERIES, _LONGEST_SERIES = 8 << 20, 20_000, 1024

#: Of so many pods the last counts are remembered.
_MOST_KNOWN = 1000

#: Whose a series is.
Arm = str
CURRENT, CANARY = "current", "canary"
#: The one stratum of engines, which do not tell times by the length of a prompt.
ALL = "all"

#: What somebody has counted since it started: by arm, stratum, and what is counted.
Counters = dict[tuple[str, ...], float]

# vLLM 0.32.0 (`vllm/v1/metrics/loggers.py`).
_ENGINE_MEASURES: dict[str, Measure] = {
    "vllm:time_to_first_token_seconds": "ttft",
    "vllm:inter_token_latency_seconds": "itl",
    "vllm:e2e_request_latency_seconds": "e2e",
    "vllm:request_generation_tokens": "output",
}
_ENGINE_ENDS, _ENGINE_REFUSED = "vllm:request_success_total", "vllm:admission_rejections_total"
_ENGINE_OUTCOMES = {"error": "error", "abort": "aborted"}

# docs/router.md.
_ROUTER_MEASURES: dict[str, Measure] = {
    "slipway_router_ttft_seconds": "ttft",
    "slipway_router_itl_seconds": "itl",
    "slipway_router_e2e_seconds": "e2e",
    "slipway_router_output_tokens": "output",
}
_ROUTER_REQUESTS, _ROUTER_FINISHES = "slipway_router_requests_total", "slipway_router_finishes_total"


class Unreadable(ValueError):
    """No metrics that could be counted with."""


def engine_counters(text: str, arm: Arm) -> Counters:
    """What a pod's engines have counted, all of them together.

    Raises:
        Unreadable: It is no Prometheus text, or holds what is no count.
    """
    found: Counters = {}
    for sample in _samples(text, (*_ENGINE_MEASURES, _ENGINE_ENDS, _ENGINE_REFUSED)):
        if sample.name == _ENGINE_ENDS:
            reason = sample.labels.get("finished_reason", "")
            _count(found, (arm, ALL, "requests", _ENGINE_OUTCOMES.get(reason, "ok")), sample)
            if reason not in _ENGINE_OUTCOMES:
                _count(found, (arm, ALL, "finish", reason), sample)
        elif sample.name == _ENGINE_REFUSED:
            _count(found, (arm, ALL, "requests", "refused"), sample)
        else:
            _count_bucket(found, (arm, ALL), sample, _ENGINE_MEASURES)
    return found


def router_counters(text: str, model: str, environment: str, candidates: Mapping[str, Arm]) -> Counters:
    """What a router has counted of a model: the requests of what serves, and those of the canary with the copies that it got.

    Args:
        text: Its metrics.
        model: The name that clients send.
        environment: Where.
        candidates: Whose fingerprint is whose.

    Raises:
        Unreadable: It is no Prometheus text, or holds what is no count.
    """
    found: Counters = {}
    for sample in _samples(text, (*_ROUTER_MEASURES, _ROUTER_REQUESTS, _ROUTER_FINISHES), having=tuple(candidates)):
        labels = sample.labels
        arm = candidates.get(labels.get("candidate", ""))
        if arm is None or (labels.get("model"), labels.get("environment")) != (model, environment):
            continue
        place = (arm, labels.get("prompt", ALL))
        if sample.name == _ROUTER_REQUESTS:
            if labels.get("outcome") in OUTCOMES:
                _count(found, (*place, "requests", labels["outcome"]), sample)
        elif sample.name == _ROUTER_FINISHES:
            _count(found, (*place, "finish", labels.get("reason", "")), sample)
        else:
            _count_bucket(found, place, sample, _ROUTER_MEASURES)
    return found


def _samples(text: str, names: tuple[str, ...], having: tuple[str, ...] = ()) -> Iterable[Sample]:
    if len(text) > _LARGEST:
        raise Unreadable("it is too long")
    # Only what is wanted is taken apart.
    lines = [line for line in text.split("\n") if line.startswith(names) and (not having or any(part in line for part in having))]
    if len(lines) > _MOST_SERIES or max(map(len, lines), default=0) > _LONGEST_SERIES:
        raise Unreadable("it has too many series, or too long ones")
    try:
        for family in text_string_to_metric_families("\n".join([*lines, ""])):
            yield from family.samples
    except (ValueError, KeyError, IndexError, TypeError) as exc:
        raise Unreadable("it is no Prometheus text") from exc


def _count(found: Counters, key: tuple[str, ...], sample: Sample) -> None:
    try:
        value = finite(sample.value)
    except ValueError as exc:
        raise Unreadable(f"{sample.name} is no count") from exc
    if not 0 <= value <= LARGEST_COUNT:
        raise Unreadable(f"{sample.name} is below zero, or beyond every count")
    found[key] = found.get(key, 0.0) + value


def _count_bucket(found: Counters, place: tuple[str, str], sample: Sample, measures: Mapping[str, Measure]) -> None:
    base, _, part = sample.name.rpartition("_")
    measure = measures.get(base)
    if measure is None:
        return
    if part == "bucket":
        _count(found, (*place, "bucket", measure, _bound(sample)), sample)
    elif part == "sum":
        _count(found, (*place, "sum", measure), sample)


def _bound(sample: Sample) -> str:
    """The upper bound of a bucket, as it is written; values of zero and less have no ratio to others."""
    text = sample.labels.get("le", "")
    try:
        if float(text) > 0:
            return text
    except ValueError:
        pass
    raise Unreadable(f"{sample.name} has a bucket without an upper bound above zero")


@dataclass
class Differences:
    """What several have counted since they were looked at last: engines of pods, or routers.

    Attributes:
        known: What each had counted at the last look.
    """

    known: dict[str, Counters] = field(default_factory=dict)

    def since(self, now: Mapping[str, Counters]) -> Counters:
        """What all of them together have counted since each was looked at last."""
        found: Counters = {}
        for name, counters in now.items():
            before = self.known.get(name)
            if before is None:
                continue
            # One counter that fell is a process that began anew, with all of its counters.
            anew = any(counters.get(key, 0.0) < value for key, value in before.items())
            for key, value in counters.items():
                found[key] = found.get(key, 0.0) + (value if anew else value - before.get(key, 0.0))
        # Whoever does not answer now is compared with what it said last, later.
        self.known |= now
        for gone in list(self.known)[:-_MOST_KNOWN]:
            del self.known[gone]
        return found


def window(counted: Counters, seconds: float, weight: int, source: Source) -> Window:
    """What was counted, as the judge sees it.

    Args:
        counted: Of both candidates, since the last look.
        seconds: How long ago that was.
        weight: The canary's share, in percent.
        source: Who counted.
    """
    bounds = {measure: _bounds(counted, measure) for measure in MEASURES}
    names = sorted({stratum for _, stratum, *_ in counted})
    # A router has no series of what did not happen yet; engines have all of theirs from the start.
    seen = {key[3] for key in counted if key[2] == "requests"}
    told = [outcome for outcome in OUTCOMES if source == "router" or outcome in seen]
    strata = {
        name: Pair(current=_counts(counted, CURRENT, name, bounds, told), canary=_counts(counted, CANARY, name, bounds, told))
        for name in names
    }
    return Window(
        seconds=seconds,
        weight=weight,
        strata=strata,
        bounds={measure: tuple(known) for measure, known in bounds.items() if known},
        source=source,
    )


def _bounds(counted: Counters, measure: Measure) -> list[float]:
    """The upper bounds that both candidates count by; none where they divide otherwise, so that nothing could be compared."""
    by_arm = {
        arm: sorted({float(key[4]) for key in counted if key[0] == arm and key[2:4] == ("bucket", measure)}) for arm in (CURRENT, CANARY)
    }
    if by_arm[CURRENT] != by_arm[CANARY] and by_arm[CURRENT] and by_arm[CANARY]:
        return []
    return [bound for bound in by_arm[CURRENT] or by_arm[CANARY] if bound != float("inf")]


def _counts(counted: Counters, arm: Arm, stratum: str, bounds: Mapping[Measure, Sequence[float]], told: Sequence[Outcome]) -> Counts:
    mine = {key[2:]: value for key, value in counted.items() if key[:2] == (arm, stratum)}
    requests = {outcome: round(mine.get(("requests", outcome), 0.0)) for outcome in told}
    finish = {key[1]: round(value) for key, value in mine.items() if key[0] == "finish"}
    histograms: dict[Measure, Histogram] = {}
    for measure, edges in bounds.items():
        if edges:
            upto = {float(key[2]): value for key, value in mine.items() if key[:2] == ("bucket", measure)}
            histograms[measure] = _histogram(upto, edges, mine.get(("sum", measure), 0.0))
    return Counts(requests=requests, finish=finish, histograms=histograms)


def _histogram(upto: Mapping[float, float], edges: Sequence[float], total: float) -> Histogram:
    counts, before = [], 0.0
    for edge in (*edges, float("inf")):
        value = upto.get(edge, before)
        # Counters of one process are not read at one moment.
        counts.append(max(0, round(value - before)))
        before = max(before, value)
    return Histogram(counts=tuple(counts), total=max(0.0, total))
