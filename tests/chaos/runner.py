"""Goes through all points, several sites at a time."""

from __future__ import annotations

import queue
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from sandbox.serving import LoopThread
from tests.chaos.by_argo import BY_ARGO, ByArgo, argo_faults
from tests.chaos.faults import approval_faults, release_faults
from tests.chaos.happenings import Machines
from tests.chaos.lane import Lane, open_lane
from tests.chaos.legs import Zygote
from tests.chaos.points import Point
from tests.chaos.rehearsed import Rehearsed
from tests.chaos.scenarios import SCENARIOS, First, Gate, Over, Result, Scenario
from tests.chaos.swept import SWEPT
from tests.chaos.worked import Worked, worker_faults

#: Points that one site goes through: its history stays short, and the last sites end at about the same time.
CHUNK = 14


@dataclass(frozen=True, kw_only=True)
class Placed:
    """A point, and the scenario in which it is reached."""

    scenario: type[Scenario]
    point: Point

    @property
    def alone(self) -> bool:
        """Whether no other site may be used meanwhile."""
        return self.point.happening is not None and self.point.happening.alone


Tell = Callable[[Result], None]


class Runner:
    """Runs points on sites of one world.

    Args:
        machines: The world, and what may happen to it.
        deployments: The Prefect deployments of the flows.
        zygote: Where legs come from.
        loop: Where proxies serve.
        home: Prefect's home of all legs.
        lanes: Sites at the same time.
    """

    def __init__(
        self,
        machines: Machines,
        deployments: Mapping[str, UUID],
        zygote: Zygote,
        loop: LoopThread,
        home: Path,
        lanes: int,
    ) -> None:
        self._machines = machines
        self._deployments = deployments
        self._zygote = zygote
        self._loop = loop
        self._home = home
        self._lanes = lanes

    def _lane(self) -> AbstractContextManager[Lane]:
        return open_lane(self._machines, self._deployments, self._zygote, self._loop, self._home)

    def points(self, only: Sequence[str]) -> list[Placed]:
        """The points whose names contain one of these texts: what is killed, from undisturbed runs, and what else happens.

        A text with which a scenario's name begins, or that begins with one, or is of a happening, saves the other scenarios' undisturbed
        runs.
        """
        happenings = [Placed(scenario=Over, point=point) for point in release_faults()]
        happenings += [Placed(scenario=Gate, point=point) for point in approval_faults()]
        happenings += [Placed(scenario=ByArgo, point=point) for point in argo_faults()]
        happenings += [Placed(scenario=Worked, point=point) for point in worker_faults()]
        scenarios = [*SCENARIOS.values(), Rehearsed, *SWEPT.values(), *BY_ARGO.values()]
        to_record: dict[type[Scenario], None] = {}
        for text in only:
            named = [each for each in scenarios if text.startswith(f"{each.name}/") or (text and each.name.startswith(text))]
            happens = text and any(text in placed.point.name for placed in happenings)
            to_record |= dict.fromkeys(named or ([] if happens else scenarios))
        with ThreadPoolExecutor(self._lanes) as pool:
            found = [placed for each in pool.map(self._record, to_record) for placed in each]
        return [placed for placed in [*found, *happenings] if any(text in placed.point.name for text in only)]

    def _record(self, scenario: type[Scenario]) -> list[Placed]:
        with self._lane() as lane:
            return [Placed(scenario=scenario, point=point) for point in scenario(lane).points()]

    def run(self, points: Sequence[Placed]) -> list[Result]:
        """The points' results, in the points' order."""
        results: dict[str, Result] = {}
        said = threading.Lock()

        def tell(result: Result) -> None:
            with said:
                results[result.point] = result
                held = f"broken: {'; '.join(result.invariants.values())}" if result.invariants else "all hold"
                print(f"[{len(results)}/{len(points)}] {result.point}: {result.outcome}, {result.seconds:.0f} s, {held}", flush=True)

        self._serve([placed for placed in points if not placed.alone], self._lanes, tell)
        self._serve([placed for placed in points if placed.alone], 1, tell)
        return [results[placed.point.name] for placed in points]

    def _serve(self, points: Sequence[Placed], lanes: int, tell: Tell) -> None:
        work: queue.SimpleQueue[list[Placed]] = queue.SimpleQueue()
        for scenario in dict.fromkeys(placed.scenario for placed in points):
            mine = [placed for placed in points if placed.scenario is scenario]
            size = 1 if scenario is First else CHUNK
            for begin in range(0, len(mine), size):
                work.put(mine[begin : begin + size])

        def serve() -> None:
            while True:
                try:
                    chunk = work.get_nowait()
                except queue.Empty:
                    return
                while chunk:
                    chunk = self._some(chunk, tell)

        with ThreadPoolExecutor(lanes) as pool:
            for served in [pool.submit(serve) for _ in range(lanes)]:
                served.result()

    def _some(self, chunk: list[Placed], tell: Tell) -> list[Placed]:
        """Try points on one site until one leaves something broken; the rest."""
        left = list(chunk)
        try:
            with self._lane() as lane:
                scenario = left[0].scenario(lane)
                while left:
                    result = scenario.try_out(left[0].point)
                    del left[0]
                    tell(result)
                    if result.invariants or isinstance(scenario, First):
                        break
        except Exception as exc:  # noqa: BLE001  # whatever the harness trips over is a point that was not seen to hold
            traceback.print_exc()
            if left:
                tell(Result(point=left[0].point.name, outcome=type(exc).__name__, invariants={"harness": str(exc)[:300]}, seconds=0.0))
                del left[0]
        return left
