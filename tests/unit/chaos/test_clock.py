"""The clock of a chaos run's process jumps when the harness says so, and comes back."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from flows.spec.load import ROOT
from tests.support.waiting import HANGS_SECONDS

PROGRAM = """
import sys, time
from datetime import UTC, datetime
from pathlib import Path
from tests.chaos.clock import Clock, follow

def off():
    return (datetime.now(UTC).timestamp() - began) - (time.monotonic() - stopwatch)

began, stopwatch, clock = time.time(), time.monotonic(), Clock(Path(sys.argv[1]))
clock.set(600)
follow(clock.file)
assert abs(off() - 600) < 60, off()
for wanted in (7200, -7200):
    clock.set(wanted)
    while not clock.has_been(wanted):
        time.sleep(0.01)
    assert abs(off() - wanted) < 60, off()
clock.set(0)
while abs(off()) > 60:
    time.sleep(0.01)
"""


def test_it_jumps_and_stopwatches_do_not(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", PROGRAM, str(tmp_path / "clock")], cwd=ROOT, check=True, timeout=HANGS_SECONDS)
