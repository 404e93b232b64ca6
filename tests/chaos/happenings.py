"""What goes wrong beside the run: a server that is gone for a while, a machine that restarts."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from sandbox.prefect import Prefect
from sandbox.world import World
from tests.chaos.points import ARGO, Happening

if TYPE_CHECKING:
    from tests.chaos.proxy import Proxy

#: How long a node agent is gone, in seconds.
AGENT_GONE = 2.0


@dataclass
class Machines:
    """Makes things happen.

    Attributes:
        world: The world.
        prefect: The Prefect server, where it is the harness's own.
    """

    world: World
    prefect: Prefect | None = None
    _under_way: list[threading.Thread] = field(default_factory=list)

    def happen(self, what: Happening, proxies: Mapping[str, Proxy]) -> None:
        """Begin it; what takes a while ends by itself, see `wait`."""
        if what.to in proxies:
            proxies[what.to].go()
            self._later(lambda: (time.sleep(what.seconds), proxies[what.to].come()))
        elif what.to == "PostgreSQL":
            self.world.postgres.restart()
        elif what.to == "Prefect server":
            self._later(self._restart_prefect)
        elif what.to == "node agent":
            self._later(self._restart_agent)
        elif what.to in ARGO:
            self._later(partial(self._break_argo, what))
        else:
            raise ValueError(what.to)

    def wait(self) -> None:
        """Wait until everything is there again."""
        while self._under_way:
            self._under_way.pop().join()

    def _later(self, do: object) -> None:
        thread = threading.Thread(target=do, name="happening", daemon=True)  # type: ignore[arg-type]
        self._under_way.append(thread)
        thread.start()

    def _break_argo(self, what: Happening) -> None:
        faults = self.world.start_argo().faults
        faults.down, faults.stuck = what.to == "is gone", what.to == "is stuck"
        time.sleep(what.seconds)
        faults.clear()

    def _restart_prefect(self) -> None:
        assert self.prefect is not None
        self.prefect.server.close()
        self.prefect.start()

    def _restart_agent(self) -> None:
        for agent in self.world.cluster.nodes:
            with suppress(TimeoutError):
                agent.stop()
        time.sleep(AGENT_GONE)
        for agent in self.world.cluster.nodes:
            agent.start()
