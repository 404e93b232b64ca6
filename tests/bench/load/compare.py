"""Whether the load generator measures right: the same servers measured by it and by its peers, in turns, each on the same one core.

`make bench-verify` prints the figures and writes them as JSON lines to `build/bench-verify.json`. The server answers each request a fixed
time after it came, on the other core, so that what a client adds is what differs. Figures are medians over rounds, ratios medians of each
round's own.

wrk is a peer only where the server is even. It corrects what it measured for coordinated omission: it adds the requests that an open loop
would have sent while a slow answer was waited for. Where latencies scatter, as an engine's do, its percentiles answer another question: the
last line shows it and judges nothing. There the peer is guidellm, a client that was made for engines (`make engine` installs it).
"""

from __future__ import annotations

import json
import shutil
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.bench.load.clients import GUIDELLM, Figures, guidellm, ours, wrk
from tests.bench.load.server import AT_ONCE, CONSTANT, LIKE_AN_ENGINE, Case, served

RESULTS = Path("build") / "bench-verify.json"
#: guidellm takes 20 s of CPU time for its imports each time.
ROUNDS, ROUNDS_OF_GUIDELLM = 9, 3

# What the project promises.
WITHIN = 0.05
WITHIN_OF_GUIDELLM = 0.015
REQUESTS_PER_SECOND = 500

Line = dict[str, object]


def compare(case: Case, peer: Callable[[Case, int], Figures], rounds: int) -> Line:
    """One line: medians over rounds in which both measured in turns."""
    with served(case) as port:
        taken = [(ours(case, port), peer(case, port)) for _ in range(rounds)]
    mine, theirs = zip(*taken, strict=True)
    name = peer.__name__
    line: Line = {"case": case.name, "peer": name, "rounds": rounds}
    for figure in ("p50_seconds", "p95_seconds"):
        line |= {figure: _median(mine, figure), f"{name}_{figure}": _median(theirs, figure)}
        # Of each round by itself: what else the machine does changes from round to round, and slows both clients of one.
        ratios = [getattr(own, figure) / getattr(other, figure) for own, other in taken]
        line[figure.replace("seconds", "ratio")] = round(statistics.median(ratios), 4)
    rate = "requests_per_second"
    return {**line, rate: round(_median(mine, rate)), f"{name}_{rate}": round(_median(theirs, rate))}


def _median(figures: tuple[Figures, ...], name: str) -> float:
    return round(statistics.median(getattr(one, name) for one in figures), 6)


def within(line: Line, limit: float) -> Line:
    """The line with whether both percentiles agree so far."""
    return {**line, "holds": all(abs(float(str(line[name])) - 1) <= limit for name in ("p50_ratio", "p95_ratio"))}


def lines() -> list[Callable[[], Line]]:
    """What is measured, one after another."""
    even = [lambda case=case: within(compare(case, wrk, ROUNDS), WITHIN) for case in CONSTANT]
    made_for_engines = [
        lambda case=case: within(compare(case, guidellm, ROUNDS_OF_GUIDELLM), WITHIN_OF_GUIDELLM) for case in LIKE_AN_ENGINE
    ]

    def at_once() -> Line:
        line = compare(AT_ONCE, wrk, ROUNDS)
        return {**line, "holds": float(str(line["requests_per_second"])) >= REQUESTS_PER_SECOND}

    def corrected() -> Line:
        return {**compare(LIKE_AN_ENGINE[-1], wrk, 1), "note": "corrected for coordinated omission: no peer"}

    if not GUIDELLM.exists():
        print(f"No {GUIDELLM}, so it is not compared with; `make engine` installs it.", file=sys.stderr)
        made_for_engines = []
    return [*even, at_once, *made_for_engines, corrected]


def main() -> int:
    """Measure all cases; 1 where a promise is not kept."""
    missing = [name for name in ("wrk", "taskset") if shutil.which(name) is None]
    if missing:
        package = "wrk" if missing[0] == "wrk" else "util-linux"
        print(f"{missing[0]} is not installed: on Debian, apt-get install {package}.", file=sys.stderr)
        return 1
    begin, told = time.monotonic(), []
    for measure in lines():
        told.append(measure())
        print(json.dumps(told[-1]), flush=True)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text("".join(json.dumps(line) + "\n" for line in told))
    print(f"Wrote {RESULTS} after {time.monotonic() - begin:.0f} s.", file=sys.stderr)
    return 0 if all(line.get("holds", True) for line in told) else 1


if __name__ == "__main__":
    sys.exit(main())
