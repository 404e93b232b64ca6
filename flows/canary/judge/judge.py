"""The judge of one canary."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from flows.canary.judge.scores import Score, quantile
from flows.canary.judge.sentences import reason
from flows.canary.judge.shares import Share
from flows.canary.judge.trace import Trace
from flows.canary.judge.values import Values
from flows.canary.judge.verdict import Finding, Outcome, Verdict
from flows.canary.judge.window import BY_ITSELF, MEASURES, OUTCOMES, Counts, Histogram, Measure, Window
from flows.spec.harm import HarmSizes

#: The one alpha of a canary is divided over all tests; with what each has, their e-values are averaged, which is one again (Vovk & Wang,
#: "E-values: calibration, combination and applications", 2021). Errors get most, as they are what hurts most.
_SHARES = {"errors": 0.36, "refused": 0.08, "aborted": 0.04, "unfinished": 0.04}
_TIMES: dict[Score, float] = {"middle": 0.05, "tail": 0.05, "mean": 0.02}
_LENGTHS = 0.06
_OUTPUT = ("longer", "shorter")

#: More strata, or buckets of a histogram, than any source divides into.
_MOST_STRATA, _MOST_BUCKETS = 8, 128
#: Nothing is compared for so long after the weight changed, in seconds: at least, and at most.
_SETTLING = (10.0, 120.0)
#: What no e-value exceeds where it is told, as a logarithm.
_MOST_EVIDENCE = math.log(1e12)


class Judge:
    """Looks at windows one after the other, and may be asked at any time.

    Whatever it has said of harm once, it does not take back.

    Args:
        sizes: What counts as harm.
        alpha: In at most this share of canaries that are as good as what serves, harm is said at any time; and in at most this share of
            those that are worse by a size of harm, none is said.
    """

    def __init__(self, sizes: HarmSizes, alpha: float = 0.05) -> None:
        self._sizes = sizes
        self._alpha = alpha
        self._shares: dict[str, Share] = {}
        self._values: dict[Measure, Values] = {}
        self._trace = Trace()
        self._now = 0.0
        self._judged = 0.0
        self._weight: int | None = None
        self._changed = 0.0
        self._requests = [0, 0]
        self._harm: dict[str, Any] | None = None

    @property
    def trace(self) -> Trace:
        """What it saw over time."""
        return self._trace

    @property
    def harmful(self) -> bool:
        """Whether it has found harm: what the flow asks at each look, and cheaper than the verdict."""
        return self._harm is not None

    def add(self, window: Window) -> None:
        """What both candidates did since the last look.

        After each change of the weight, what serves is learnt and nothing is compared until requests of before are done: a candidate
        that gets more of them has not ended its long ones yet, so that those that fail at once would look like more.
        """
        if window.weight != self._weight:
            self._weight, self._changed = window.weight, self._now
        self._now += window.seconds
        settled = self._now - self._changed > self._settling_seconds()
        for measure in MEASURES:
            self._add_values(measure, window, settled)
        if settled:
            self._judged += window.seconds
            for name, bad_and_all in _BAD_ENDS.items():
                counted = {}
                for stratum, pair in list(window.strata.items())[:_MOST_STRATA]:
                    current, canary = bad_and_all(pair.current), bad_and_all(pair.canary)
                    if current is not None and canary is not None:
                        counted[stratum] = (*current, *canary)
                if counted:
                    self._shares.setdefault(name, Share()).add(counted, window.seconds)
            for pair in window.strata.values():
                self._requests[0] += sum(pair.current.requests.values())
                self._requests[1] += sum(pair.canary.requests.values())
        evidence = self._evidence()
        if evidence >= 1 / self._alpha and self._harm is None:
            self._conclude(evidence)
        self._note(window, evidence)

    def _settling_seconds(self) -> float:
        known = self._values.get("e2e")
        slow = quantile(known.pooled()[0], known.bounds, 0.95) if known and known.strata else None
        return min(max(2 * (slow or 0.0), _SETTLING[0]), _SETTLING[1])

    def _add_values(self, measure: Measure, window: Window, settled: bool) -> None:
        bounds = window.bounds.get(measure)
        if not bounds or len(bounds) > _MOST_BUCKETS:
            return
        known = self._values.setdefault(measure, Values(bounds=bounds))
        # A source that divides otherwise from now on cannot be compared with before.
        if known.bounds != bounds:
            return
        pairs: dict[str, tuple[Histogram, Histogram]] = {}
        for stratum, pair in list(window.strata.items())[:_MOST_STRATA]:
            current, canary = pair.current.histograms.get(measure), pair.canary.histograms.get(measure)
            if current is not None and canary is not None:
                pairs[stratum] = (current, canary)
        if pairs:
            if settled:
                known.add(pairs, window.seconds)
            else:
                known.learn(pairs)

    def _tests(self) -> Iterator[tuple[str, str, float, float]]:
        """Each test: measure, score, its part of alpha, the logarithm of its e-value."""
        for name, share in self._shares.items():
            yield name, "share", _SHARES[name], share.log_e
        for measure, values in self._values.items():
            if measure == "output":
                drift = values.drifts["mean"]
                yield "longer", "mean", _LENGTHS, drift.log_e(1.0)
                yield "shorter", "mean", _LENGTHS, drift.log_e(-1.0)
            else:
                for score, part in _TIMES.items():
                    yield measure, score, part, values.drifts[score].log_e()

    def _conclude(self, evidence: float) -> None:
        # Only what matters counts: with enough requests, any two candidates differ. Less evidence never makes an error more likely.
        strong = [(name, score, part * _exp(log_e)) for name, score, part, log_e in self._tests() if log_e > 0]
        material = {(name, score): evidence for name, score, evidence in strong if self._material(name, score)}
        if sum(material.values()) >= 1 / self._alpha:
            name, score = max(material, key=lambda test: material[test])
            self._harm = {"measure": name, "score": score, "e_value": evidence}

    def _material(self, name: str, score: str) -> bool:
        """Whether the canary is worse by half a size of harm, by what was seen."""
        if name in self._shares:
            current, canary = self._shares[name].current, self._shares[name].canary
            return current is not None and canary is not None and canary - current >= getattr(self._sizes, name) / 2
        ratio = (self._sizes.output if name in _OUTPUT else self._sizes.latency) ** 0.5
        return self._values[_measure(name)].exceeds(_score(score), 1 / ratio if name == "shorter" else ratio)

    def _evidence(self) -> float:
        # A test that its source cannot tell of stays at 1.
        tests = list(self._tests())
        return sum(part * _exp(log_e) for _, _, part, log_e in tests) + max(0.0, 1.0 - sum(part for _, _, part, _ in tests))

    def _finding(self, name: str, score: str, log_e: float) -> Finding:
        if name in self._shares:
            return self._share_finding(name, log_e)
        return self._value_finding(name, score, log_e)

    def _share_finding(self, name: str, log_e: float) -> Finding:
        share, harm = self._shares[name], float(getattr(self._sizes, name))
        current, canary = share.current, share.canary
        low, high = share.difference(self._alpha)
        return Finding(
            measure=name,
            score="share",
            unit="share",
            effect=None if current is None or canary is None else canary - current,
            low=low,
            high=high,
            harm=harm,
            e_value=_exp(log_e),
            current=current,
            canary=canary,
            excluded=high < harm,
        )

    def _value_finding(self, name: str, score: str, log_e: float) -> Finding:
        values, of = self._values[_measure(name)], _score(score)
        drift, harm = values.drifts[of], self._sizes.output if name in _OUTPUT else self._sizes.latency
        current, canary = values.told(of) if values.strata else (None, None)
        radius = drift.radius(self._alpha)
        if not math.isfinite(radius):
            effect = low = high = None
        else:
            low, effect, high = (values.ratio(of, drift.mean + step) for step in (-radius, 0.0, radius))
            if name == "shorter":
                low, effect, high = (1 / max(one, 1e-3) for one in (high, effect, low))
        coarse = values.coarse(of, harm) if values.strata else False
        return Finding(
            measure=name,
            score=score,
            unit="ratio",
            effect=effect,
            low=low,
            high=high,
            harm=harm,
            e_value=_exp(log_e),
            current=current,
            canary=canary,
            excluded=high is not None and high < harm and not coarse,
            coarse=coarse,
        )

    def verdict(self) -> Verdict:
        """What is known by now."""
        findings = tuple(self._finding(name, score, log_e) for name, score, _, log_e in self._tests() if self._told(name))
        known = {finding.measure for finding in findings}
        unknown = tuple(name for name in (*_SHARES, "ttft", "itl", "e2e", *_OUTPUT) if name not in known)
        open_ = [name for name in known if not _excluded([finding for finding in findings if finding.measure == name])]
        outcome: Outcome = "undecided"
        if self._harm is not None:
            outcome = "harm"
        elif not open_ and {"errors", "e2e"} <= known:
            outcome = "none"
        leading = self._leading(findings, open_)
        more = self._more_seconds([finding for finding in findings if finding.measure in open_ and not finding.excluded])
        evidence = max(self._evidence(), self._harm["e_value"] if self._harm else 0.0)
        return Verdict(
            outcome=outcome,
            reason=reason(outcome, leading, unknown, self._judged, self._requests[1], more),
            e_value=min(evidence, math.exp(_MOST_EVIDENCE)),
            limit=1 / self._alpha,
            leading=leading,
            findings=findings,
            unknown=unknown,
            seconds=self._judged,
            current_requests=self._requests[0],
            canary_requests=self._requests[1],
            more_seconds=more if outcome == "undecided" else None,
        )

    def _told(self, name: str) -> bool:
        """Whether the source has told of this measure at all."""
        if name in self._shares:
            return True
        return any(self._values[_measure(name)].pooled()[0])

    def _leading(self, findings: tuple[Finding, ...], open_: list[str]) -> Finding | None:
        if self._harm is not None:
            named = (self._harm["measure"], self._harm["score"])
            return next((finding for finding in findings if (finding.measure, finding.score) == named), None)
        candidates = [finding for finding in findings if finding.measure in open_ and not finding.excluded] or list(findings)
        return max(candidates, key=_reach, default=None)

    def _more_seconds(self, open_: list[Finding]) -> float | None:
        """Bounds come nearer as the root of time."""
        times = []
        for finding in open_:
            if finding.coarse or (finding.score == "mean" and any(not o.coarse and o.measure == finding.measure for o in open_)):
                continue
            effect, high, harm = finding.effect, finding.high, finding.harm
            if effect is None or high is None or effect >= harm:
                return None
            if finding.unit == "ratio":
                effect, high, harm = math.log(max(effect, 1e-3)), math.log(max(high, 1e-3)), math.log(harm)
            times.append(self._judged * (((high - effect) / (harm - effect)) ** 2 - 1))
        return max(times, default=None)

    def _note(self, window: Window, evidence: float) -> None:
        requests, errors = [0, 0], [0, 0]
        histograms: list[list[float]] = [[], []]
        for pair in window.strata.values():
            for arm, counts in enumerate((pair.current, pair.canary)):
                requests[arm] += sum(counts.requests.values())
                errors[arm] += counts.requests.get("error", 0)
                found = counts.histograms.get("e2e")
                if found is not None:
                    known = histograms[arm] or [0.0] * len(found.counts)
                    histograms[arm] = [before + count for before, count in zip(known, found.counts, strict=True)]
        known_values = self._values.get("e2e")
        both = (histograms[0], histograms[1]) if histograms[0] and histograms[1] and known_values else None
        self._trace.add(
            self._now,
            window.weight,
            min(_MOST_EVIDENCE, math.log(max(evidence, 1e-12))),
            (requests[0], requests[1]),
            (errors[0], errors[1]),
            both,
            known_values.bounds if known_values else (),
        )

    def state(self) -> dict[str, Any]:
        """What it knows, as JSON: tens of kilobytes, however long it looks. A judge that is `resumed` with it goes on as this one would."""
        return {
            "shares": {name: share.state() for name, share in self._shares.items()},
            "values": {name: values.state() for name, values in self._values.items()},
            "trace": self._trace.state(),
            "now": self._now,
            "judged": self._judged,
            "weight": self._weight,
            "changed": self._changed,
            "requests": self._requests,
            "harm": self._harm,
        }

    @classmethod
    def resumed(cls, sizes: HarmSizes, alpha: float, state: Mapping[str, Any]) -> Judge:
        """The judge whose state that is; an empty one begins, as does one of another version that cannot be read."""
        try:
            return cls(sizes, alpha)._knowing(state) if state else cls(sizes, alpha)
        except (KeyError, TypeError, ValueError, AttributeError):
            return cls(sizes, alpha)

    def _knowing(self, state: Mapping[str, Any]) -> Judge:
        self._shares = {name: Share.resumed(share) for name, share in state["shares"].items() if name in _SHARES}
        self._values = {name: Values.resumed(values) for name, values in state["values"].items() if name in MEASURES}
        self._trace = Trace.resumed(state["trace"])
        self._now, self._judged, self._changed = (float(state[name]) for name in ("now", "judged", "changed"))
        self._weight = state["weight"]
        self._requests, self._harm = [int(count) for count in state["requests"]], state["harm"]
        return self


def _excluded(findings: list[Finding]) -> bool:
    """Whether harm of one measure is excluded: by ranks, or by means where buckets are too wide for ranks."""
    ranks = [finding for finding in findings if finding.score != "mean" and not finding.coarse]
    return all(finding.excluded for finding in ranks or findings if not finding.coarse) and any(finding.excluded for finding in findings)


def _reach(finding: Finding) -> float:
    """How far the bound reaches, in sizes of harm."""
    if finding.high is None:
        return math.inf
    return finding.high / finding.harm if finding.unit == "share" else math.log(max(finding.high, 1e-3)) / math.log(finding.harm)


def _exp(log_e: float) -> float:
    return math.exp(min(log_e, _MOST_EVIDENCE))


def _score(name: str) -> Score:
    return "tail" if name == "tail" else "mean" if name == "mean" else "middle"


def _measure(name: str) -> Measure:
    return "output" if name in _OUTPUT else next(measure for measure in MEASURES if measure == name)


def _ends(outcome: str) -> Callable[[Counts], tuple[int, int] | None]:
    def counted(counts: Counts) -> tuple[int, int] | None:
        known = counts.requests
        return (known[outcome], sum(known.get(one, 0) for one in OUTCOMES)) if outcome in known else None  # type: ignore[index]

    return counted


def _unfinished(counts: Counts) -> tuple[int, int] | None:
    if not counts.finish:
        return None
    return sum(count for why, count in counts.finish.items() if why not in BY_ITSELF), sum(counts.finish.values())


#: How a window tells of each share: how many ended badly, of how many.
_BAD_ENDS: dict[str, Callable[[Counts], tuple[int, int] | None]] = {
    "errors": _ends("error"),
    "refused": _ends("refused"),
    "aborted": _ends("aborted"),
    "unfinished": _unfinished,
}
