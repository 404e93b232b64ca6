"""What goes wrong beside the run: a server that is gone for a while, a machine that restarts, a clock that jumps."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from sandbox.prefect import Prefect
from sandbox.world import World
from tests.chaos.points import Happening

if TYPE_CHECKING:
    from tests.chaos.proxy import Proxy

#: How long a node agent is gone, in seconds.
AGENT_GONE = 2.0

#: Where Debian's `faketime` keeps its library.
FAKETIME = tuple(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))


@dataclass
class Machines:
    """Makes things happen.

    Attributes:
        world: The world.
        prefect: The Prefect server, where it is the harness's own.
        clock: The file that the clock of legs follows, where `faketime` is installed.
    """

    world: World
    prefect: Prefect | None = None
    clock: Path | None = None
    _under_way: list[threading.Thread] = field(default_factory=list)

    @property
    def clock_environment(self) -> Mapping[str, str]:
        """The environment of processes whose clock can jump; their own stopwatches (the monotonic clock) go right, as on a machine."""
        assert self.clock is not None
        return {
            "LD_PRELOAD": str(FAKETIME[0]),
            "FAKETIME_TIMESTAMP_FILE": str(self.clock),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }

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
        elif what.to == "clock":
            self.set_clock(what.seconds)
        else:
            raise ValueError(what.to)

    def wait(self) -> None:
        """Wait until everything is there again."""
        while self._under_way:
            self._under_way.pop().join()

    def set_clock(self, seconds: float) -> None:
        """Set the clock of legs so many seconds ahead."""
        if self.clock is not None:
            self.clock.write_text(f"{seconds:+.0f}\n")

    def _later(self, do: object) -> None:
        thread = threading.Thread(target=do, name="happening", daemon=True)  # type: ignore[arg-type]
        self._under_way.append(thread)
        thread.start()

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
