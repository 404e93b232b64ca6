"""The memory limits of containers: whoever uses more than its limit is killed, as by the kernel's out-of-memory killer.

Not emulated: the kernel kills at the very allocation; here a container may pass its limit for as long as one check takes to come.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from sandbox.kubernetes.meta.values import quantity
from sandbox.kubernetes.node.container import Container


def resident_bytes(pid: int) -> int:
    """The resident memory of a process and its descendants."""
    try:
        own: int = psutil.Process(pid).memory_info().rss
        children = _children(pid)
    except psutil.NoSuchProcess:
        return 0
    return own + sum(map(resident_bytes, children))


def _children(pid: int) -> list[int]:
    """The process's children.

    Raises:
        psutil.NoSuchProcess: It is gone.
    """
    try:
        # psutil reads every process of the machine to find them: for each container twice a second, a tenth of what the sandbox took.
        return [int(child) for thread in Path(f"/proc/{pid}/task").iterdir() for child in (thread / "children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return [child.pid for child in psutil.Process(pid).children()]


async def enforce(containers: Callable[[], Iterable[Container]], every_seconds: float) -> None:
    """Compare what each container uses with its limit, until cancelled."""
    while True:
        await asyncio.sleep(every_seconds)
        for container in list(containers()):
            limit = container.memory_limit
            if limit is not None and container.process is not None and resident_bytes(container.process.pid) > quantity(limit):
                container.out_of_memory()
