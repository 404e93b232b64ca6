"""Ends what an agent has started when the agent is gone, however it went.

Runs as a process of its own: `python -I -S watchdog.py`. It reads process group ids from its standard input (`+ID` when a container
starts, `-ID` when it has ended) and kills those that are left when the input ends, which is also what happens when the agent is
killed. One such process serves all containers of an agent.

Not covered: a process that left its group with `setsid`, and a container started in the instant in which its agent was killed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys


def main() -> None:
    """Follow standard input to its end, then kill the groups that are left."""
    # A Ctrl-C in the terminal must not end the watchdog before the agent that it watches.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    groups: set[int] = set()
    for line in sys.stdin:
        group = int(line[1:])
        if line[0] == "+":
            groups.add(group)
        else:
            groups.discard(group)
    for group in groups:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    main()
