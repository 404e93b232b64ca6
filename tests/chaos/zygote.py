"""Executes flow runs, each in a process of its own, as a worker does: `python -m tests.chaos.zygote`, one order a line.

Prefect and the flows are imported once; each leg is a fork of this process, and the leader of a process group (what it starts, such as
helm, belongs to it, as to a pod). What happens is told in lines of JSON: a leg began, its tasks and steps begin and end, it ended.
Nothing of the pipeline is changed for this: Prefect offers hooks on tasks to everybody, and Python its audit events, which steps emit.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import json
import os
import pkgutil
import select
import signal
import sys
import traceback
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect import Task
from prefect.client.orchestration import get_client
from prefect.context import TaskRunContext
from prefect.exceptions import Pause
from prefect.flow_engine import run_flow
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
    PREFECT_HOME,
    PREFECT_LOCAL_STORAGE_PATH,
    temporary_settings,
)

import flows
from flows.rehearse import rehearse
from flows.release import release
from flows.rollback import rollback
from flows.sweep import sweep
from tests.chaos.clock import follow

FLOWS = {flow.name: flow for flow in (release, rollback, rehearse, sweep)}

#: Seconds between two looks at whether a leg has ended.
LOOK_SECONDS = 0.02


def main() -> None:
    """Take orders until standard input closes; whatever still runs then is killed."""
    legs: dict[int, int] = {}
    gc.freeze()
    _tell(ready=True)
    pending = b""
    while True:
        readable, _, _ = select.select([0], [], [], LOOK_SECONDS)
        if readable:
            data = os.read(0, 65536)
            if not data:
                break
            *orders, pending = (pending + data).split(b"\n")
            for line in orders:
                order = json.loads(line)
                legs[_fork(order)] = order["leg"]
        for pid in list(legs):
            if os.waitpid(pid, os.WNOHANG)[0]:
                _tell(leg=legs.pop(pid), ended=True)
    for pid in legs:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)


def _fork(order: dict[str, Any]) -> int:
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        os.setsid()
        log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        tell = os.dup(1)
        for stream in (1, 2):
            os.dup2(log, stream)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.environ.update(order["environment"])
        _hook(order, tell)
        follow(Path(order["clock"]))
        _tell_on(tell, leg=order["leg"], pid=os.getpid())
        _execute(order)
        status = 0
    except BaseException:  # noqa: BLE001  # a fork must not go on as the zygote
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _execute(order: dict[str, Any]) -> None:
    home = Path(order["home"])
    updates = {
        PREFECT_API_URL: order["api"],
        PREFECT_HOME: home,
        # As with a pod: what a process keeps beside the registry is gone with it.
        PREFECT_LOCAL_STORAGE_PATH: home / "storage" / f"{order['run']}-{os.getpid()}",
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None,
    }
    with temporary_settings(updates):
        with get_client(sync_client=True) as client:
            flow_run = client.read_flow_run(UUID(order["run"]))
        with contextlib.suppress(Pause):
            asyncio.run(run_flow(FLOWS[order["flow"]], flow_run=flow_run, return_type="state"))  # type: ignore[arg-type]


def _hook(order: dict[str, Any], tell: int) -> None:
    """Have tasks and steps say when they begin and end; at the boundary that the order names, it ends as by the out-of-memory killer."""
    die: str | None = order["die"]

    def at(moment: str) -> Any:
        def hook(task: Task[..., Any], run: Any, state: Any) -> None:
            pass_by(f"{moment} {task.name}", task.name)

        return hook

    def pass_by(boundary: str, task: str) -> None:
        _tell_on(tell, leg=order["leg"], boundary=boundary, task=task)
        if boundary == die:
            os.killpg(0, signal.SIGKILL)

    def on_step(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "slipway.step":
            within = TaskRunContext.get()
            pass_by(" ".join(arguments), within.task.name if within is not None else "")

    sys.addaudithook(on_step)
    for task in all_tasks():
        task.on_running(at("begin"))
        task.on_completion(at("end"))


def all_tasks() -> list[Task[..., Any]]:
    """Every task of the pipeline."""
    names = [
        module.name
        for module in pkgutil.walk_packages(flows.__path__, "flows.")
        if not module.name.startswith("flows.cli") and not module.name.endswith("__main__")
    ]
    modules = [importlib.import_module(name) for name in names]
    return list({id(value): value for module in modules for value in vars(module).values() if isinstance(value, Task)}.values())


def _tell(**facts: Any) -> None:
    _tell_on(1, **facts)


def _tell_on(stream: int, **facts: Any) -> None:
    # One write of less than PIPE_BUF: lines of several processes do not mix.
    os.write(stream, json.dumps(facts).encode() + b"\n")


if __name__ == "__main__":
    main()
