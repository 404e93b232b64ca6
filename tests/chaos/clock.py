"""A leg's clock, which jumps when the harness says so: the wall clock of its Python; stopwatches (monotonic) go right, as on a machine.

What the leg starts (helm) keeps the right time.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path

import time_machine

#: Seconds between two looks at how far the clock is to be off.
LOOK_SECONDS = 0.02


class Clock:
    """The side of the harness: a file says how many seconds ahead the clock is to be, and one beside it what it is."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.set(0)

    def set(self, seconds: float) -> None:
        """Set the clock of the legs so many seconds ahead, also of one that runs."""
        _followed(self.file).unlink(missing_ok=True)
        _say(self.file, f"{seconds:.0f}")

    def has_been(self, seconds: float) -> bool:
        """Whether a leg's clock has been so far ahead since it was set."""
        followed = _followed(self.file)
        return followed.exists() and followed.read_text() == f"{seconds:.0f}"


def follow(file: Path) -> None:
    """From now on this process's clock is as many seconds ahead as the file says, also when it says something else."""
    said = file.read_text()
    threading.Thread(target=_follow, args=(file, said, _travel(said, None, file)), name="clock", daemon=True).start()


def _follow(file: Path, jumped: str, traveller: time_machine.travel | None) -> None:
    pause = threading.Event()
    while not pause.wait(LOOK_SECONDS):
        said = file.read_text()
        if said != jumped:
            traveller, jumped = _travel(said, traveller, file), said


def _travel(said: str, traveller: time_machine.travel | None, file: Path) -> time_machine.travel | None:
    if traveller is not None:
        traveller.stop()
    if said == "0":
        return None
    away = time_machine.travel(time.time() + float(said))
    away.start()
    _say(_followed(file), said)
    return away


def _followed(file: Path) -> Path:
    return file.with_suffix(".followed")


def _say(file: Path, text: str) -> None:
    beside = file.with_name(f"{file.name}.new")
    beside.write_text(text)
    beside.replace(file)
