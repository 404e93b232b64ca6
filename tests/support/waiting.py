"""Waiting for what is to be so.

A limit of a test is for what hangs, and for nothing else: what takes a second on an idle machine may take a minute where twenty processes
share it, and is as right there. That something is quick is told by what was asked, or by a slower way that takes longer than any machine.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

#: After this nothing comes any more. pytest's own limit is longer, so that a test that hangs says what it waited for.
HANGS_SECONDS = 240.0

Found = TypeVar("Found")


def until(found: Callable[[], Found], story: Callable[[], object] = str, *, pause_seconds: float = 0.02) -> Found:
    """Ask until the answer is true, and return it.

    Args:
        found: What is asked.
        story: What is shown if it never is.
        pause_seconds: From one question to the next.

    Raises:
        AssertionError: It hangs.
    """
    deadline = time.monotonic() + HANGS_SECONDS
    while not (result := found()):
        assert time.monotonic() < deadline, f"it never came: {story()}"
        threading.Event().wait(pause_seconds)
    return result
