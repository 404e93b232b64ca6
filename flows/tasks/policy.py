"""How tasks behave in Prefect: what is retried, what a resumed run does not do again, how results are kept."""

from __future__ import annotations

import asyncio
import contextvars
import hashlib
import logging
import os
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, is_dataclass
from functools import partial
from typing import Any, ParamSpec, TypedDict, TypeVar

from prefect import Task
from prefect.blocks.core import Block
from prefect.cache_policies import NO_CACHE, CachePolicy
from prefect.client.schemas.objects import State, TaskRun
from prefect.context import TaskRunContext
from prefect.serializers import JSONSerializer, prefect_json_object_decoder, prefect_json_object_encoder
from pydantic import TypeAdapter

from blocks.errors import PipelineError, Transient
from flows.spec import Candidate, Environment
from flows.tasks.waiting import ABANDONED

P = ParamSpec("P")
R = TypeVar("R")

#: The dataclasses whose tasks are asked once for each run. They are kept by name, so that moving a class does not break runs that wait.
_RESULT_TYPES: dict[str, type[Any]] = {kind.__name__: kind for kind in (Candidate,)}
_MARK = "__slipway__"


def encode(value: Any) -> Any:
    """Make a task's result JSON-able."""
    if is_dataclass(value) and not isinstance(value, type) and type(value).__name__ in _RESULT_TYPES:
        return {_MARK: type(value).__name__, "value": asdict(value)}
    return prefect_json_object_encoder(value)


def decode(data: dict[str, Any]) -> Any:
    """The result that `encode` made JSON-able."""
    if _MARK in data:
        return TypeAdapter(_RESULT_TYPES[data[_MARK]]).validate_python(data["value"])
    return prefect_json_object_decoder(data)


#: Keeps task results as JSON: readable, and no code is loaded from them.
RESULTS: JSONSerializer[Any] = JSONSerializer(object_encoder=f"{__name__}.encode", object_decoder=f"{__name__}.decode")


def may_answer_otherwise(task: Task[..., Any], run: TaskRun, state: State[Any]) -> bool:
    """Whether Prefect should try the task again: only after `Transient` errors."""
    return isinstance(getattr(state.data, "result", state.data), Transient)


def once_per_run(context: TaskRunContext, parameters: Mapping[str, Any]) -> str:
    """A cache key that a resumed run finds again, in a new process and after the task's source has changed.

    It is the flow run, the task and a hash of what the task is about (results are files, and a reason is longer than a file's name may
    be); blocks are how, not what, and stay out.
    """
    about = "/".join(_about(value) for value in parameters.values() if not isinstance(value, Block))
    return f"{context.task_run.flow_run_id}/{context.task.name}/{hashlib.sha256(about.encode()).hexdigest()}"


def _about(value: Any) -> str:
    if isinstance(value, Candidate):
        return value.fingerprint
    if isinstance(value, Environment):
        return value.name
    if isinstance(value, (str, int)) or value is None:
        return str(value)
    return type(value).__name__  # a measured duration, a plan or a verdict is of the run: it does not tell two calls apart


class _Options(TypedDict):
    retries: int
    retry_delay_seconds: list[float]
    retry_jitter_factor: float
    retry_condition_fn: Any
    result_serializer: JSONSerializer[Any]


def _retry_delays() -> list[float]:
    """Seconds before each retry: what `SLIPWAY_RETRY_SECONDS` says, or 50 s in all (an API server's restart)."""
    return [float(delay) for delay in os.environ.get("SLIPWAY_RETRY_SECONDS", "1,4,15,30").split(",")]


_RETRIES: _Options = {
    "retries": len(_retry_delays()),
    "retry_delay_seconds": _retry_delays(),
    "retry_jitter_factor": 0.3,
    "retry_condition_fn": may_answer_otherwise,
    "result_serializer": RESULTS,
}


class _Once(_Options):
    persist_result: bool
    cache_key_fn: Any


class _Always(_Options):
    persist_result: bool
    cache_policy: CachePolicy


#: For tasks whose answer must stay what it was when the run began, whatever the world says when it is resumed: asked once for each run.
ONCE: _Once = {**_RETRIES, "persist_result": True, "cache_key_fn": once_per_run}

#: For all others, which look at the world before they touch it: retried when transient, always done again. A result that was kept would
#: have a run that is resumed or retried believe what is no longer so.
OBSERVES: _Always = {**_RETRIES, "persist_result": False, "cache_policy": NO_CACHE}


class _SentencesOnly(logging.Filter):
    """Takes the traceback from log records of our own errors: their sentence says what is wrong and what to do."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and isinstance(record.exc_info[1], PipelineError):
            record.exc_info = None
            record.exc_text = None
        return True


for _name in ("prefect.task_runs", "prefect.flow_runs"):
    logging.getLogger(_name).addFilter(_SentencesOnly())


#: Tasks that run at the same time. They wait most of the time; asyncio's own pool has four threads and one for each core, and would have
#: the seventh node wait for the first.
_THREADS = ThreadPoolExecutor(64, thread_name_prefix="task")


async def run(task: Task[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run a task in a thread beside the flow's event loop, so that the run's heartbeats go on while it waits.

    A run that is told to end (cancelled, or its node is drained) does not wait for it, and what it waits for ends within seconds.
    """
    context, abandoned = contextvars.copy_context(), threading.Event()
    context.run(ABANDONED.set, abandoned)
    try:
        return await asyncio.get_running_loop().run_in_executor(_THREADS, partial(context.run, task.__call__, *args, **kwargs))
    except asyncio.CancelledError:
        abandoned.set()
        raise
