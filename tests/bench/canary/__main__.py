"""How often a canary's judge errs, and how fast it finds harm, beside Argo Rollouts' usual template and a fixed-sample test.

`make bench-canary` prints a line for each question and writes them to `build/bench-canary.json`; it ends with 1 and names each bar that is
missed. `ARGS=--quick` asks a tenth as often.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from flows.canary.judge import Judge
from flows.spec.harm import HarmSizes
from sandbox.weights import lies_below, point
from tests.bench.canary import argo
from tests.bench.canary.traffic import WINDOW_SECONDS, Traffic, drawn, shown

RESULTS = Path("build") / "bench-canary.json"
ALPHA = 0.05
#: How slow and fast a candidate is by itself for a while, in turns: not at all, up to a fifth.
OWN = (0.0, 0.05, 0.1, 0.15, 0.2)
#: What Argo's conditions may be tuned to: the least share of good answers, and P95 as a multiple of what is usual or of what serves.
SUCCESS = (0.95, 0.97, 0.98, 0.985, 0.99, 0.9925, 0.995)
P95 = (1.05, 1.1, 1.15, 1.2, 1.25, 1.3, 1.4, 1.5)


@dataclass(frozen=True, kw_only=True)
class Run:
    """One simulated canary: when each of them found harm, in seconds; infinity is never.

    Attributes:
        judge: The judge.
        by: What the judge found.
        outcome: What the judge said at the end.
        fixed: The fixed-sample test.
        errors: The canary's share of errors of each minute.
        p95: Its 95th percentile of each minute, and that of what serves.
    """

    judge: float
    by: str
    outcome: str
    fixed: float
    errors: tuple[float, ...]
    p95: tuple[tuple[float, float], ...]


def run(asked: tuple[Traffic, int]) -> Run:
    """One canary of this traffic."""
    traffic, seed = asked
    windows, current, canary = drawn(replace(traffic, own=OWN[seed % len(OWN)]), np.random.default_rng(seed))
    judge, found = Judge(HarmSizes(), ALPHA), math.inf
    for number, window in enumerate(shown(traffic, windows, current, canary), start=1):
        judge.add(window)
        if judge.harmful:
            found = number * WINDOW_SECONDS
            break
    verdict = judge.verdict()
    leading = verdict.leading
    return Run(
        judge=found,
        by=f"{leading.measure} {leading.score}" if leading and judge.harmful else "",
        outcome=verdict.outcome,
        fixed=argo.fixed_sample_at(current, canary, windows),
        errors=tuple(argo.error_rates(canary, windows)),
        p95=tuple(zip(argo.p95s(canary, windows), argo.p95s(current, windows), strict=True)),
    )


class Bench:
    """Asks the questions, and keeps what was answered."""

    def __init__(self, *, quick: bool) -> None:
        self._share = 0.1 if quick else 1.0
        self.lines: list[dict[str, Any]] = []
        self.missed: list[str] = []

    def tell(self, line: Mapping[str, Any]) -> None:
        """Note a line, and show it."""
        self.lines.append(dict(line))
        print(json.dumps(line), flush=True)

    def hold(self, bar: str, kept: bool) -> None:
        """Note whether a bar is kept."""
        if not kept:
            self.missed.append(bar)

    def runs(self, traffic: Traffic, count: int, first: int) -> list[Run]:
        """So many canaries; a tenth of them if it has to be quick."""
        asked = [(traffic, first + number) for number in range(max(20, round(count * self._share)))]
        with ProcessPoolExecutor(os.cpu_count(), initializer=os.nice, initargs=(10,)) as pool:
            return list(pool.map(run, asked, chunksize=4))


def times(seconds: Sequence[float]) -> dict[str, Any]:
    """How often something was found, and after how many seconds."""
    found = sorted(seconds)
    middle, late = found[len(found) // 2], found[int(len(found) * 0.9)]
    return {
        "found": round(sum(map(math.isfinite, found)) / len(found), 4),
        "median_seconds": middle if math.isfinite(middle) else None,
        "p90_seconds": late if math.isfinite(late) else None,
    }


def tuned(honest: Sequence[Run], harmed: Sequence[Run], kind: str) -> list[dict[str, Any]]:
    """Argo's template under each condition: how often it fails honest canaries of an hour, and when it fails harmed ones."""
    usual = float(np.nanmedian([now for one in honest for now, _ in one.p95]))
    conditions: dict[str, Any] = {
        "errors": [(f"success >= {least}", lambda one, least=least: [rate > 1 - least for rate in one.errors]) for least in SUCCESS],
        "p95": [(f"p95 <= {most} x usual", lambda one, most=most: [now > most * usual for now, _ in one.p95]) for most in P95],
        "p95 ratio": [(f"p95 <= {most} x current", lambda one, most=most: [now > most * then for now, then in one.p95]) for most in P95],
    }
    lines = []
    for name, fails in conditions[kind]:
        false = sum(math.isfinite(argo.failed_at(fails(one))) for one in honest) / len(honest)
        lines.append({"condition": name, "false_alarms": round(false, 4), **times([argo.failed_at(fails(one)) for one in harmed])})
    return lines


def fastest(lines: Sequence[Mapping[str, Any]], most_false: float) -> Mapping[str, Any]:
    """The condition that finds harm first among those that err no more often."""
    kept = [line for line in lines if line["false_alarms"] <= most_false] or list(lines)
    return min(kept, key=lambda line: (line["median_seconds"] or math.inf, -line["found"]))


def honest_canaries(bench: Bench) -> list[Run]:
    """A/A: nothing is worse, for an hour."""
    runs = bench.runs(Traffic(), 1000, 0)
    false = sum(math.isfinite(one.judge) for one in runs) / len(runs)
    by_own = {
        str(own): round(float(np.mean([math.isfinite(one.judge) for number, one in enumerate(runs) if number % len(OWN) == place])), 4)
        for place, own in enumerate(OWN)
    }
    bench.tell(
        {
            "canaries": "honest, an hour, looked at every 5 s",
            "of": len(runs),
            "false_alarms": round(false, 4),
            "by_own_slowness": by_own,
            "by_measure": Counter(one.by for one in runs if one.by),
            "said_at_the_end": Counter(one.outcome for one in runs),
            "fixed_sample_test_false_alarms": round(sum(math.isfinite(one.fixed) for one in runs) / len(runs), 4),
        }
    )
    bench.hold(f"false alarms {false:.1%}, at most 5 %", false <= ALPHA)
    return runs


def harmed_canaries(bench: Bench, honest: Sequence[Run]) -> None:
    """A/B: a harm, found by the judge and by Argo's template under every condition."""
    false = sum(math.isfinite(one.judge) for one in honest) / len(honest)
    for name, traffic, kinds, bar in (
        ("1 % more errors", Traffic(more_errors=0.01), ("errors",), True),
        ("latency x 1.2", Traffic(slower=1.2), ("p95", "p95 ratio"), True),
        ("slowest tenth x 1.4", Traffic(slower_tail=1.4), ("p95", "p95 ratio"), False),
    ):
        # Others than those that the judge was made with, which began at 1,000 and at 100,000.
        runs = bench.runs(traffic, 200, 400_000)
        judge = times([one.judge for one in runs])
        bench.tell({"harm": name, "of": len(runs), **judge, "by": Counter(one.by for one in runs if one.by).most_common(3)})
        for kind in kinds:
            lines = tuned(honest, runs, kind)
            for line in lines:
                bench.tell({"harm": name, "argo": kind, **line})
            # The condition that is best for this very harm, which nobody knows beforehand: of those that err in at most 5 % of honest
            # canaries, and of those that err no more often than the judge. Documented is 0.95; a ratio of 1.2 is the size of the harm.
            rivals = {"at most 5 % false alarms": fastest(lines, ALPHA), "no more false alarms than the judge": fastest(lines, false)}
            rivals["as documented" if kind == "errors" else "the size of the harm"] = lines[0] if kind == "errors" else lines[3]
            for which, rival in rivals.items():
                ratio = (judge["median_seconds"] or math.inf) / (rival["median_seconds"] or traffic.seconds)
                told = {"argo": f"{kind}, {which}: {rival['condition']}", "median_seconds": rival["median_seconds"]}
                bench.tell(
                    {"harm": name, "against": told, "time_ratio_at_most": round(ratio, 3), "false_alarms": [false, rival["false_alarms"]]}
                )
                if bar and rival["median_seconds"] is not None:
                    bench.hold(f"{name}: {ratio:.2f} of the time of Argo's template ({which}), at most 0.5", ratio <= 0.5)
        if bar:
            bench.hold(f"{name}: found within the hour in half of the cases", judge["median_seconds"] is not None)


def draws(bench: Bench) -> None:
    """How near the reference router's draws are to the weights, and whether a conversation stays where it is."""
    count = 100_000
    for weight in (1, 5, 25, 50, 90):
        keys = [f"conversation-{number}" for number in range(count)]
        below = [lies_below(point("weight", "c" * 64, key), weight) for key in keys]
        alone = sum(lies_below(point("weight", "c" * 64, None), weight) for _ in range(count))
        again = sum(lies_below(point("weight", "c" * 64, key), weight) == before for key, before in zip(keys, below, strict=True))
        risen = sum(
            lies_below(point("weight", "c" * 64, key), min(100, weight + 5)) >= before for key, before in zip(keys, below, strict=True)
        )
        off = [round(abs(got / count - weight / 100), 5) for got in (sum(below), alone)]
        bench.tell(
            {"weight": weight, "of": count, "off_by_key_and_at_random": off, "sticky": again / count, "stays_when_it_rises": risen / count}
        )
        bench.hold(f"weight {weight}: off by {max(off):.2%}, at most 0.5 %", max(off) <= 0.005)
        bench.hold(f"weight {weight}: every conversation stays", again == risen == count)


def powers(bench: Bench) -> None:
    """What is found within an hour, by traffic and weight."""
    for rate, weight in ((1.0, 5), (1.0, 25), (10.0, 5), (10.0, 25), (50.0, 5), (50.0, 25)):
        for name, harm in (
            ("errors", {"more_errors": 0.01}),
            ("errors x 5", {"more_errors": 0.05}),
            ("latency x 1.2", {"slower": 1.2}),
            ("latency x 1.5", {"slower": 1.5}),
        ):
            runs = bench.runs(Traffic(rate=rate, weight=weight, **harm), 40, 200_000)
            bench.tell(
                {"power": name, "requests_per_second": rate, "weight": weight, "of": len(runs), **times([one.judge for one in runs])}
            )
        runs = bench.runs(Traffic(rate=rate, weight=weight), 40, 300_000)
        bench.tell(
            {"power": "none", "requests_per_second": rate, "weight": weight, "of": len(runs), "said": Counter(one.outcome for one in runs)}
        )


def main() -> int:
    """Measure all; 1 where a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the canaries")
    parser.add_argument("--power", action="store_true", help="how long it takes by traffic and weight, too")
    options = parser.parse_args()
    bench, begin = Bench(quick=options.quick), time.monotonic()
    draws(bench)
    harmed_canaries(bench, honest_canaries(bench))
    if options.power:
        powers(bench)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text("".join(json.dumps(line) + "\n" for line in bench.lines))
    print(f"Wrote {RESULTS} after {time.monotonic() - begin:.0f} s.", file=sys.stderr)
    for bar in bench.missed:
        print(f"Missed: {bar}", file=sys.stderr)
    return 1 if bench.missed else 0


if __name__ == "__main__":
    sys.exit(main())
