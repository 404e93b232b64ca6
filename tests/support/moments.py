"""Does something at a moment of a run in this process: when a step begins or ends, by the audit events that each step makes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NoReturn


@dataclass(kw_only=True)
class Moments:
    """What happens when.

    Attributes:
        on: What is done at a moment (`begin NAME`, `end NAME`), the first time that it comes.
        heard: The moments so far.
    """

    on: dict[str, Callable[[], object]] = field(default_factory=dict)
    heard: list[str] = field(default_factory=list)

    def __call__(self, event: str, arguments: tuple[object, ...]) -> None:
        if event == "slipway.step":
            moment = " ".join(map(str, arguments))
            self.heard.append(moment)
            if (deed := self.on.pop(moment, None)) is not None:
                deed()


_ALL: list[Moments] = []


@contextmanager
def moments() -> Iterator[Moments]:
    """Moments while the block runs."""
    if not _ALL:
        # Nobody can take a hook away again: one stays, and does nothing outside of the block.
        _ALL.append(Moments())
        sys.addaudithook(_ALL[0])
    (heard,) = _ALL
    heard.on, heard.heard = {}, []
    try:
        yield heard
    finally:
        heard.on = {}


def overflow() -> NoReturn:
    """Raise what nobody foresees."""
    raise OverflowError("cannot convert float infinity to integer")
