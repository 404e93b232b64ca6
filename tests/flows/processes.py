"""Executes a run in a process of its own, as a worker does, so that it can be killed."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from prefect.client.schemas.objects import FlowRun
from prefect.settings import PREFECT_HOME, PREFECT_LOCAL_STORAGE_PATH, get_current_settings

from flows.spec.load import ROOT
from tests.support.waiting import HANGS_SECONDS

_EXECUTE = """
import asyncio, importlib, sys
from prefect.client.orchestration import get_client
from prefect.flow_engine import run_flow

name = sys.argv[2]
flow = getattr(importlib.import_module(f"flows.{name}"), name)
with get_client(sync_client=True) as client:
    flow_run = client.read_flow_run(sys.argv[1])
asyncio.run(run_flow(flow, flow_run=flow_run, return_type="state"))
"""


@contextmanager
def executed(run: FlowRun, flow: str = "release", **settings: str) -> Iterator[subprocess.Popen[bytes]]:
    """A run of the flow of that name that a process of its own executes; whatever happens, the process does not outlive the block."""
    with _process([sys.executable, "-c", _EXECUTE, str(run.id), flow], settings) as process:
        yield process


@contextmanager
def watched(run: FlowRun, **settings: str) -> Iterator[subprocess.Popen[bytes]]:
    """The same by Prefect's own command, which watches over the run's process as a worker does, and calls the flow's hooks."""
    # In a folder of its own, which is empty: the runner copies it.
    command = [sys.executable, "-m", "prefect", "flow-run", "execute", str(run.id)]
    with tempfile.TemporaryDirectory() as folder, _process(command, settings, Path(folder)) as process:
        yield process


@contextmanager
def _process(command: list[str], settings: Mapping[str, str], folder: Path = ROOT) -> Iterator[subprocess.Popen[bytes]]:
    environment = {
        **os.environ,
        "PREFECT_API_URL": str(get_current_settings().api.url),
        "PREFECT_HOME": str(PREFECT_HOME.value()),
        "PREFECT_LOCAL_STORAGE_PATH": str(PREFECT_LOCAL_STORAGE_PATH.value()),
        **settings,
    }
    with subprocess.Popen(command, env=environment, cwd=folder, stdin=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()


def until(condition: Callable[[], bool], process: subprocess.Popen[bytes] | None = None) -> None:
    """Wait for the condition, while the process runs."""
    deadline = time.monotonic() + HANGS_SECONDS
    while not condition():
        assert process is None or process.poll() is None, "it ended before"
        assert time.monotonic() < deadline
        threading.Event().wait(0.05)
