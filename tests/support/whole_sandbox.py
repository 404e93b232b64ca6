"""A whole sandbox for chaos and benchmarks: a real Prefect server, and a world with one node that has room for everything."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sandbox.prefect import Prefect
    from sandbox.world import World


@contextmanager
def whole_sandbox(folder: Path, settings: Mapping[str, str]) -> Iterator[tuple[Prefect, World]]:
    """Start both, and have this process talk to them; nothing may have imported Prefect before, which reads its settings when it is.

    Args:
        folder: Where everything lies.
        settings: More environment variables for this process and its children.
    """
    from sandbox.prefect import SEVERAL_RUNS, Prefect

    caches = {key: str(folder / "helm") for key in ("HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME", "KUBECACHEDIR")}
    prefect = Prefect(folder / "prefect", {**caches, **SEVERAL_RUNS})
    os.environ.update({**prefect.environment, **settings})
    with ExitStack() as stack:
        stack.callback(prefect.close)
        from sandbox.world import NODES, World

        with ThreadPoolExecutor(1) as beside:
            server = beside.submit(prefect.start)
            world = stack.enter_context(World(folder / "world", [replace(NODES[0], gpus=64, cpus=1024, memory_bytes=1 << 44)]))
            server.result()
        yield prefect, world
