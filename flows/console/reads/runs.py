"""Flow runs as Prefect tells them: which there are, where they stand, what they do, and what they log."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from blocks.wording import many_lines, one_line
from flows.runtime.prefect_api import PrefectApi
from flows.text.markdown import text_of

#: Flows whose runs people ask about.
FLOWS = ("release", "rollback", "rehearse", "plan", "revalidate")

#: Runs of a page, and lines of a log.
RUNS, LINES = 30, 200

#: Prefect's types of states that are ends.
_FINAL = ("COMPLETED", "FAILED", "CANCELLED", "CRASHED")

#: How Prefect begins what it says of a task that failed; what comes behind it is ours.
_EXCEPTION = "Task run encountered an exception "

#: Prefect's levels of a log (those of Python's `logging`).
_LEVELS = ((50, "critical"), (40, "error"), (30, "warning"), (20, "info"))


@dataclass(frozen=True, kw_only=True)
class Run:
    """A flow run.

    Attributes:
        run_id: Its id.
        name: Its name, for example `release tiny main`.
        flow: The flow's name; empty where it was not asked for.
        state: The state's name, as Prefect shows it.
        kind: The state's type, in Prefect's words (`RUNNING`, `PAUSED`, …).
        message: What the state says: of one that failed, why.
        final: Whether it has ended.
        suspended: Whether it waits for a person.
        model: Whose it is; empty where its parameters name none.
        revision: Branch, tag or commit that was asked for; empty where none was.
        environments: Those that were asked for; empty for all.
        asked_by: Who asked for it: only a claim where the command line says so.
        created_at: When it was asked for.
        started_at: When it began; None before.
        ended_at: When it ended; None before.
    """

    run_id: str
    name: str
    flow: str
    state: str
    kind: str
    message: str
    final: bool
    suspended: bool
    model: str
    revision: str
    environments: tuple[str, ...]
    asked_by: str
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class Task:
    """A task run: a box of the run's graph, with its name, its state (name and type), what that says, and its times."""

    name: str
    state: str
    kind: str
    message: str
    started_at: datetime | None
    ended_at: datetime | None
    attempts: int


@dataclass(frozen=True, kw_only=True)
class Fetch:
    """How far a node is with the weights: percent, and the node's own word for it, with bytes."""

    key: str
    percent: float
    message: str


@dataclass(frozen=True, kw_only=True)
class LogLine:
    """A line of a run's log."""

    at: datetime
    level: str
    message: str


@dataclass(frozen=True, kw_only=True)
class RunPage:
    """Runs, the latest first, and where the next page begins: None if this is the last one."""

    runs: tuple[Run, ...]
    next_offset: int | None


def read_runs(prefect: PrefectApi, *, flows: Sequence[str] = FLOWS, offset: int = 0, limit: int = RUNS) -> RunPage:
    """Two requests: the flows by name, and a page of their runs.

    Raises:
        SpecInvalid: Prefect cannot be asked.
    """
    of_these = {"name": {"any_": list(flows)}}
    names = {str(flow["id"]): str(flow["name"]) for flow in prefect.filtered("flows", flows=of_these)}
    found = prefect.filtered("flow_runs", flows=of_these, sort="EXPECTED_START_TIME_DESC", limit=limit, offset=offset)
    runs = tuple(run_of(each, names.get(str(each.get("flow_id")), "")) for each in found)
    return RunPage(runs=runs, next_offset=offset + limit if len(found) == limit else None)


def read_run(prefect: PrefectApi, run_id: str) -> Run | None:
    """The run; None if Prefect does not know it, or the id is none.

    Raises:
        SpecInvalid: Prefect cannot be asked.
    """
    if not is_id(run_id):
        return None
    found = prefect.get(f"/flow_runs/{run_id}")
    if found is None:
        return None
    flow = prefect.get(f"/flows/{found['flow_id']}") or {}
    return run_of(found, str(flow.get("name", "")))


def read_tasks(prefect: PrefectApi, run_id: str) -> tuple[Task, ...]:
    """The run's task runs that have begun, in the order of their begin."""
    found = prefect.every("task_runs", flow_runs={"id": {"any_": [run_id]}}, sort="EXPECTED_START_TIME_ASC")
    tasks = [
        Task(
            name=one_line(str(each["name"])),
            state=str(each.get("state_name") or ""),
            kind=str(each.get("state_type") or ""),
            message=one_line(str((each.get("state") or {}).get("message") or "").removeprefix(_EXCEPTION)),
            started_at=_moment(each.get("start_time")),
            ended_at=_moment(each.get("end_time")),
            attempts=int(each.get("run_count") or 0),
        )
        for each in found
        if each.get("start_time")
    ]
    return tuple(sorted(tasks, key=lambda task: str(task.started_at)))


def read_fetches(prefect: PrefectApi, run_id: str) -> tuple[Fetch, ...]:
    """How far each node is that the run has fetch; a bar that was brought up to date is the newest."""
    wanted = {"flow_run_id": {"any_": [run_id]}, "type": {"any_": ["progress"]}}
    found: dict[str, Fetch] = {}
    for each in prefect.filtered("artifacts", artifacts=wanted, sort="CREATED_DESC"):
        key = str(each.get("key") or "")
        if key.startswith("prefetch-") and key not in found:
            found[key] = Fetch(key=key, percent=_percent(each.get("data")), message=_plain(str(each.get("description") or "")))
    return tuple(found[key] for key in sorted(found))


def read_log(prefect: PrefectApi, run_id: str, *, limit: int = LINES) -> tuple[LogLine, ...]:
    """The last lines of the run's log, the oldest first."""
    found = prefect.filtered("logs", logs={"flow_run_id": {"any_": [run_id]}}, sort="TIMESTAMP_DESC", limit=limit)
    lines = []
    for each in reversed(found):
        level = next((name for least, name in _LEVELS if int(each.get("level") or 0) >= least), "debug")
        at = _moment(each.get("timestamp"))
        if at is not None:
            lines.append(LogLine(at=at, level=level, message=many_lines(str(each.get("message") or ""), 2000)))
    return tuple(lines)


def run_of(found: Mapping[str, Any], flow: str = "") -> Run:
    """The run that Prefect's document tells of."""
    parameters = found.get("parameters") or {}
    state = found.get("state") or {}
    wanted = parameters.get("environments") or ([parameters["environment"]] if parameters.get("environment") else [])
    return Run(
        run_id=str(found["id"]),
        name=one_line(str(found.get("name") or "")),
        flow=flow,
        state=str(found.get("state_name") or "Pending"),
        kind=str(found.get("state_type") or ""),
        message=many_lines(str(state.get("message") or "")),
        final=found.get("state_type") in _FINAL,
        suspended=found.get("state_type") == "PAUSED",
        model=str(parameters.get("model") or ""),
        revision=str(parameters.get("revision") or ""),
        environments=tuple(map(str, wanted)) if isinstance(wanted, list) else (),
        asked_by=str(parameters.get("requester") or parameters.get("actor") or ""),
        created_at=_moment(found.get("created")) or datetime.fromtimestamp(0, UTC),
        started_at=_moment(found.get("start_time")),
        ended_at=_moment(found.get("end_time")),
    )


def is_id(run_id: str) -> bool:
    """Whether it is a run's id, as Prefect writes it."""
    try:
        return str(UUID(run_id)) == run_id
    except ValueError:
        return False


def _moment(value: object) -> datetime | None:
    try:
        return datetime.fromisoformat(str(value)).astimezone(UTC) if value else None
    except ValueError:
        return None


def _percent(data: object) -> float:
    return min(100.0, max(0.0, float(data))) if isinstance(data, (int, float)) else 0.0


def _plain(markdown: str) -> str:
    """What a description said before it was escaped, without the node's name in bold, which is ours."""
    return one_line(re.sub(r"^\*\*(.*?)\*\*", r"\1", str(text_of(markdown))))
