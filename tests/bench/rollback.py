"""How long a rollback takes: Slipway's, beside `helm rollback --wait` and one completion, which is what people do by hand.

`make bench-rollback` prints the figures and writes them as JSON lines to `build/bench-rollback.json`. Both go back and forward between
the same two candidates, in turns, on the sandbox with a spare GPU. The start of the engine, of which neither can save
anything, is measured at each of Slipway's rollbacks: from the pod's first sight to its being ready. Figures are medians over all turns.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench.sited import bench_site, report

if TYPE_CHECKING:
    from tests.flows.conftest import Site

TURNS = 4
RESULTS = Path("build") / "bench-rollback.json"
ENVIRONMENT = "development"

# What the project promises, beyond the engine's start.
PIPELINE_SECONDS = 5.0

#: Between two looks at the pods.
LOOK_SECONDS = 0.05

#: A question, and what the second revision's answer to it was changed to.
PROMPT = "The capital of Japan is"

Line = dict[str, object]


class EngineStart:
    """Watches a site's pods: how long the first new one takes until it is ready."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._known = {pod.name for pod in site.pods(ENVIRONMENT)}
        self._done = threading.Event()
        self.seconds: float | None = None

    def _look(self) -> None:
        seen: dict[str, float] = {}
        while not self._done.wait(LOOK_SECONDS):
            for pod in self._site.pods(ENVIRONMENT):
                if pod.name not in self._known:
                    began = seen.setdefault(pod.name, time.perf_counter())
                    if pod.ready and self.seconds is None:
                        self.seconds = time.perf_counter() - began

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Look at the pods while the block runs."""
        thread = threading.Thread(target=self._look, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._done.set()
            thread.join()


def by_slipway(site: Site, *, own_process: bool) -> tuple[float, float]:
    """One rollback by the flow: its seconds, and those of the engine's start.

    Args:
        site: Where.
        own_process: With an interpreter of its own, as a worker starts one; else in this process, which has imported everything.
    """
    from prefect.states import Pending

    from flows.rollback import rollback

    run = site.start(rollback, model=site.model, environment=ENVIRONMENT, reason="measured", actor="benchmark")
    engine = EngineStart(site)
    with engine.watched():
        began = time.perf_counter()
        if own_process:
            site.client.set_flow_run_state(run.id, Pending())
            engine_of_run = [sys.executable, "-m", "prefect.engine", str(run.id)]
            subprocess.run(engine_of_run, check=True, stdin=subprocess.DEVNULL, capture_output=True)
        else:
            site.leg(rollback, run)
        seconds = time.perf_counter() - began
    state = site.client.read_flow_run(run.id).state
    assert state is not None
    assert state.is_completed(), state.message
    assert engine.seconds is not None
    return seconds, engine.seconds


def by_hand(site: Site, helm: str) -> float:
    """One `helm rollback --wait` to the revision before, and a completion: the seconds."""
    namespace = f"{ENVIRONMENT}-{site.name}"
    kubeconfig = ["--kubeconfig", str(site.world.cluster.kubeconfig), "--namespace", namespace]
    (release,) = json.loads(subprocess.check_output([helm, "list", "--output", "json", *kubeconfig]))
    before = site.ask(PROMPT)
    began = time.perf_counter()
    subprocess.run([helm, "rollback", release["name"], "--wait", "--timeout", "5m", *kubeconfig], check=True, capture_output=True)
    answer = site.ask(PROMPT)
    seconds = time.perf_counter() - began
    assert answer != before, f"{helm} changed nothing: {answer}"
    return seconds


def measure(site: Site) -> Iterator[Line]:
    """Two candidates, and all turns between them."""
    from sandbox import models
    from sandbox.helm import helm_executable

    for knowledge in (models.Knowledge(), models.Knowledge().but(Japan="Kyoto")):
        site.publish(knowledge=knowledge)
        released = site.release(ENVIRONMENT)
        assert released.is_completed(), released.message
    helm = str(helm_executable())
    here, alone, hand, engines = [], [], [], []
    for turn in range(TURNS + 1):
        print(f"turn {turn} of {TURNS} ...", file=sys.stderr, flush=True)
        # Each goes back and forward, so that the registry and the cluster agree again before the next one.
        one = [by_slipway(site, own_process=own) for own in (False, False, True, True)]
        two = [by_hand(site, helm) for _ in range(2)]
        if turn:  # the first one warms up
            here += [seconds - engine for seconds, engine in one[:2]]
            alone += [seconds - engine for seconds, engine in one[2:]]
            engines += [engine for _, engine in one]
            hand += two
    runs = 2 * TURNS
    engine = statistics.median(engines)
    yield line("engine start", engine, runs=2 * runs)
    yield line("rollback beyond the engine's start", statistics.median(here), runs=runs, at_most=PIPELINE_SECONDS)
    yield line("the same, with the start of an interpreter and all imports", statistics.median(alone), runs=runs)
    yield line("helm rollback --wait and a completion, beyond the engine's start", statistics.median(hand) - engine, runs=runs)
    whole = statistics.median(here) + engine
    yield line(
        "whole rollback", whole, runs=runs, peer=round(statistics.median(hand), 3), times_peer=round(whole / statistics.median(hand), 2)
    )


def line(name: str, seconds: float, **more: object) -> Line:
    """One figure; `met` says whether it keeps what is promised, if something is."""
    bar = more.get("at_most")
    met = {} if bar is None else {"met": seconds <= float(str(bar))}
    return {"name": name, "value": round(seconds, 3), "unit": "seconds", **more, **met}


def main() -> int:
    """Measure, print and write; 1 if a promise is not kept."""
    with bench_site() as site:
        return report(measure(site), RESULTS)


if __name__ == "__main__":
    sys.exit(main())
