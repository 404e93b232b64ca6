"""The memory limits of containers: whoever uses more than its limit is killed, as by the kernel's out-of-memory killer.

Not emulated: the kernel kills at the very allocation; here a container may pass its limit for as long as one check takes to come.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

import psutil  # type: ignore[import-untyped]

from sandbox.kubernetes.meta.values import quantity
from sandbox.kubernetes.node.container import Container


def resident_bytes(pid: int) -> int:
    """The resident memory of a process and its descendants."""
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    total = 0
    for member in family:
        try:
            total += member.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total


async def enforce(containers: Callable[[], Iterable[Container]], every_seconds: float) -> None:
    """Compare what each container uses with its limit, until cancelled."""
    while True:
        await asyncio.sleep(every_seconds)
        for container in list(containers()):
            limit = container.memory_limit
            if limit is not None and container.process is not None and resident_bytes(container.process.pid) > quantity(limit):
                container.out_of_memory()
