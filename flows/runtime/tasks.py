"""How tasks behave in Prefect: what is retried, and that no result is kept."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import math
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import partial, wraps
from typing import Any, ParamSpec, TypedDict, TypeVar
from uuid import UUID, uuid4

import httpx
from prefect import Task, runtime
from prefect.cache_policies import NO_CACHE, CachePolicy
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import State, TaskRun, TaskRunPolicy, TaskRunResult
from prefect.client.schemas.sorting import TaskRunSort
from prefect.context import FlowRunContext, SyncClientContext, TagsContext
from prefect.exceptions import CancelledRun, MissingContextError, PausedRun, PrefectHTTPStatusError
from prefect.logging import get_run_logger
from prefect.serializers import JSONSerializer
from prefect.states import Pending
from prefect.task_engine import run_task
from prefect.utilities.annotations import quote
from prefect.utilities.callables import get_call_parameters

from blocks.errors import PipelineError, Transient, Unforeseen
from blocks.wording import many_lines
from flows.errors import SpecInvalid

_LOG = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")

#: Keeps what a flow returns as JSON: readable, and no code is loaded from it.
RESULTS: JSONSerializer[Any] = JSONSerializer()


def may_answer_otherwise(task: Task[..., Any], run: TaskRun, state: State[Any]) -> bool:
    """Whether Prefect should try the task again: only after `Transient` errors."""
    return isinstance(getattr(state.data, "result", state.data), Transient)


class _Options(TypedDict):
    retries: int
    retry_delay_seconds: list[float]
    retry_jitter_factor: float
    retry_condition_fn: Any
    persist_result: bool
    cache_policy: CachePolicy


#: No step waits longer before it tries again: whoever watches a run would take it for hanging.
LONGEST_DELAY_SECONDS = 3600


def _retry_delays() -> list[float]:
    """Seconds before each retry: what `SLIPWAY_RETRY_SECONDS` says, or 50 s in all (an API server's restart).

    Raises:
        SpecInvalid: The variable holds anything but seconds.
    """
    said = os.environ.get("SLIPWAY_RETRY_SECONDS", "1,4,15,30")
    try:
        delays = [float(delay) for delay in said.split(",")]
    except ValueError:
        delays = [math.nan]
    if not all(0 <= delay <= LONGEST_DELAY_SECONDS for delay in delays):
        raise SpecInvalid(f"SLIPWAY_RETRY_SECONDS is {said[:100]!r}: give seconds from 0 to {LONGEST_DELAY_SECONDS:,} with commas between.")
    return delays


#: For every task: it looks at the world before it touches it, is retried when transient, and always done again. A result that was kept
#: would have a run that is resumed or retried believe what is no longer so, and a pod takes its disk along: what must stay as it was when
#: a run began is in the registry.
OBSERVES: _Options = {
    "retries": len(_retry_delays()),
    "retry_delay_seconds": _retry_delays(),
    # So that runs which lost the same server do not all come back at the same moment.
    "retry_jitter_factor": 0.3,
    "retry_condition_fn": may_answer_otherwise,
    "persist_result": False,
    "cache_policy": NO_CACHE,
}


class CleanRecords(logging.Filter):
    """What a run logs, to its page in Prefect's UI and everywhere else: without secrets, and of our own errors the sentence alone.

    The sentence says what is wrong and what to do; a traceback is for what nobody foresaw.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Clean the record in its place; it is always logged."""
        record.msg, record.args = many_lines(record.getMessage()), ()
        if record.exc_info and isinstance(record.exc_info[1], PipelineError):
            record.exc_info = record.exc_text = None
        elif record.exc_info and record.exc_info[1] is not None:
            # Formatters take the text that is there before they make one.
            record.exc_text = many_lines("".join(traceback.format_exception(record.exc_info[1])))
        return True


for _name in ("prefect.task_runs", "prefect.flow_runs", __name__):
    logging.getLogger(_name).addFilter(CleanRecords())


#: Tasks that run at the same time. They wait most of the time; asyncio's own pool has four threads and one for each core, and would have
#: the seventh node wait for the first.
_THREADS = ThreadPoolExecutor(64, thread_name_prefix="task")


def step(function: Callable[P, R]) -> Callable[P, R]:
    """Mark what a task, or the run itself, does outside: an observation or a write that may be repeated, and is no box in the graph.

    Its begin and end are audit events (`slipway.step`, moment, name), so that whoever watches the process sees them (`sys.addaudithook`).
    """

    @wraps(function)
    def watched(*args: P.args, **kwargs: P.kwargs) -> R:
        sys.audit("slipway.step", "begin", function.__name__)
        result = function(*args, **kwargs)
        sys.audit("slipway.step", "end", function.__name__)
        return result

    return watched


async def call(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call a function in a thread, as `run` does with a task; where a `Transient` error ends it, again, with the same pauses.

    For what the run asks or keeps between its tasks: nobody looks for it in the graph, and each task run costs requests and events.

    Raises:
        Unforeseen: The function raised an error that is none of ours.
    """

    def named() -> R:
        # In the thread: asyncio would wait for ever for one that ends in a StopIteration.
        with _foreseen(function.__name__, _ENDINGS):
            return patiently(function, *args, **kwargs)

    return await _in_thread(named)


#: By these Prefect ends a run that was cancelled or suspended. (Its other signals, and asyncio's cancelling, are no `Exception`s.)
_ENDINGS = (CancelledRun, PausedRun)

#: Between steps these come from Prefect's own bookkeeping: a run that cannot tell it anything is as good as lost, and is taken up again.
_PREFECT_IS_AWAY = (httpx.TransportError, PrefectHTTPStatusError)


@contextmanager
def foreseen(what: str) -> Iterator[None]:
    """Make an error of ours of whatever else the block raises, so that it goes the way of all others; what is Prefect's goes its own.

    Args:
        what: What is done there, for the message.

    Raises:
        Unforeseen: The block raised something that is none of our errors.
    """
    with _foreseen(what, (*_ENDINGS, *_PREFECT_IS_AWAY)):
        yield


@contextmanager
def _foreseen(what: str, not_ours: tuple[type[Exception], ...]) -> Iterator[None]:
    try:
        yield
    except Exception as exc:
        if isinstance(exc, (PipelineError, *not_ours)):
            raise
        raise unforeseen(exc, what) from exc


def unforeseen(exc: Exception, what: str) -> Unforeseen:
    """The error of ours for one that nobody foresaw, whose traceback is logged here, as it is nowhere else.

    Args:
        exc: What was raised.
        what: What was done then.
    """
    get_run_log().error("%s ended in an error that nobody foresaw.", what, exc_info=exc)
    kind = type(exc).__name__
    return Unforeseen(f"{what} ended in {kind}, an error that nobody foresaw; the run's log has all of it.", step=what, kind=kind)


def get_run_log() -> logging.Logger | logging.LoggerAdapter[Any]:
    """The log of the run, where people look for what it waits for; this module's own outside of one."""
    try:
        return get_run_logger()
    except MissingContextError:
        return _LOG


def patiently(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call a function; where a `Transient` error ends it, again, with the pauses of a task.

    Raises:
        PipelineError: The task that this belongs to was abandoned meanwhile.
    """
    abandoned = ABANDONED.get()
    for pause_seconds in _retry_delays():
        try:
            return function(*args, **kwargs)
        except Transient as exc:
            get_run_log().warning("%s It is tried again in %g s.", exc.message, pause_seconds)
            # An event that nobody sets is a plain sleep.
            if (abandoned or threading.Event()).wait(pause_seconds):
                raise PipelineError("The run was told to end while it waited.") from exc
    return function(*args, **kwargs)


@contextmanager
def one_client() -> Iterator[None]:
    """Have all tasks of a run share one client of Prefect's API: each would make its own, and read all certificate authorities for it."""
    with SyncClientContext():
        yield


#: The task run of the step before: each is drawn behind it, so that the graph is the pipeline and no tangle of whatever values they share.
_BEFORE: ContextVar[UUID | None] = ContextVar("step_before", default=None)


async def go_on_drawing() -> None:
    """Have the next step be drawn behind the last one of an earlier process of this run, so that the graph is one line over a suspension.

    Only the picture is at stake: where Prefect does not say, the line begins anew.
    """
    mine = FlowRunFilter(id=FlowRunFilterId(any_=[UUID(str(runtime.flow_run.id))]))
    with suppress(httpx.HTTPError, PrefectHTTPStatusError):
        async with get_client() as client:
            latest = await client.read_task_runs(flow_run_filter=mine, sort=TaskRunSort.END_TIME_DESC, limit=1)
        if latest:
            _BEFORE.set(latest[0].id)


async def run(task: Task[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run a task in a thread beside the flow's event loop, so that the run's heartbeats go on while it waits.

    A run that is told to end (cancelled, or its node is drained) does not wait for it, and what it waits for ends within seconds.

    Raises:
        Unforeseen: The task raised an error that is none of ours.
    """
    # Quoted: Prefect would look through every file of a candidate for futures, and draw an arrow for each value that it has seen before.
    parameters = get_call_parameters(task.fn, tuple(quote(arg) for arg in args), {name: quote(arg) for name, arg in kwargs.items()})
    begun = _begun(task)
    _BEFORE.set(begun.id)
    state: State[R] = await _in_thread(partial(run_task, task, task_run=begun, parameters=parameters, return_type="state"))
    # Only what the task raised: where the call above raises, it is Prefect that is away.
    with _foreseen(task.name, _ENDINGS):
        # A task that returns a state of its own, as `skip` does, has no data.
        return await state.aresult() if state.data is not None else None  # type: ignore[return-value]


def _begun(task: Task[P, R]) -> TaskRun:
    """The task run as Prefect's engine would make it, behind the step before.

    Made here, the first that Prefect hears of it is that it runs. It would else hear before that it is pending, of each step: an event, and
    a row, which nobody ever sees, as none waits for anything.
    """
    flow_run, before = FlowRunContext.get(), _BEFORE.get()
    pending: State[Any] = Pending()
    return TaskRun(
        id=uuid4(),
        name=task.name,
        flow_run_id=flow_run.flow_run.id if flow_run is not None and flow_run.flow_run is not None else None,
        task_key=task.task_key,
        dynamic_key=str(uuid4()),
        task_version=task.version,
        empirical_policy=TaskRunPolicy(
            retries=task.retries, retry_delay=task.retry_delay_seconds, retry_jitter_factor=task.retry_jitter_factor
        ),
        tags=sorted({*task.tags, *TagsContext.get().current_tags}),
        # Also behind one that failed: what puts things right comes after it.
        task_inputs={} if before is None else {"wait_for": [TaskRunResult(id=before)]},
        expected_start_time=pending.timestamp,
        state_id=pending.id,
        state_type=pending.type,
        state_name=pending.name,
        state=pending,
    )


async def _in_thread(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    context, abandoned = contextvars.copy_context(), threading.Event()
    context.run(ABANDONED.set, abandoned)
    try:
        return await asyncio.get_running_loop().run_in_executor(_THREADS, partial(context.run, function, *args, **kwargs))
    except asyncio.CancelledError:
        abandoned.set()
        raise


#: Longest time between two looks, in seconds: not everything that matters changes the object that is watched.
LONGEST_PAUSE = 3.0


#: Set when nobody waits for the task any longer: its process was told to end, and would otherwise stay until the task is done.
ABANDONED: ContextVar[threading.Event | None] = ContextVar("abandoned", default=None)


def looks(limit_seconds: float, wait: Callable[[float], None], pause_seconds: float = LONGEST_PAUSE) -> Iterator[float]:
    """Yield the seconds waited so far, again and again; one last time after the limit, then end.

    Args:
        limit_seconds: How long to go on.
        wait: Waits until there may be something new to see, as many seconds as it is given at most.
        pause_seconds: Longest time between two looks.

    Raises:
        PipelineError: The task was abandoned.
    """
    begin, abandoned = time.monotonic(), ABANDONED.get()
    while True:
        if abandoned is not None and abandoned.is_set():
            raise PipelineError("The run was told to end while it waited.")
        waited = time.monotonic() - begin
        yield waited
        if waited > limit_seconds:
            return
        wait(pause_seconds)
