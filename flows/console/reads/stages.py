"""A run as the pipeline that it is: for each environment its steps in order, and how far each is. Pure.

Prefect's graph has a box for each task; their names say which step of which environment they are (`task_run_name` in the rooms' tasks).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from blocks.facts.kinds import EventKind
from blocks.facts.registry import Event
from flows.console.reads.runs import Run, Task

#: How far a step is. `unreached` is one that comes no more: the run has ended before it.
StepState = Literal["to come", "running", "waiting", "retrying", "done", "failed", "cancelled", "skipped", "unreached"]

#: The steps of an environment, in order; the gate is there where people are asked.
STEPS = ("plan", "gate", "prefetch", "deploy", "rollout", "verify", "record")

#: Beginnings of the names of task runs, and whose step they are.
_VERBS = {
    "plan the way back of": "plan",
    "plan": "plan",
    "approve": "gate",
    "prefetch": "prefetch",
    "deploy": "deploy",
    "roll back": "deploy",
    "remove": "deploy",
    "rollout": "rollout",
    "verify": "verify",
    "record": "record",
}
_NAME = re.compile(rf"(?P<verb>{'|'.join(_VERBS)}) \S+ (?:to|in|for|from) (?P<environment>\S+)")
_SKIPPED = re.compile(r"skip (?P<environment>\S+):")

_STATES: Mapping[str, StepState] = {
    "RUNNING": "running",
    "PENDING": "running",
    "SCHEDULED": "retrying",
    "PAUSED": "waiting",
    "COMPLETED": "done",
    "FAILED": "failed",
    "CRASHED": "failed",
    "CANCELLED": "cancelled",
    "CANCELLING": "cancelled",
}


@dataclass(frozen=True, kw_only=True)
class Step:
    """A step in an environment.

    Attributes:
        name: One of `STEPS`.
        state: How far it is.
        message: What it says: of one that failed, why; of a gate, who was asked or who agreed.
        started_at: When it began; None before, and of a gate that nobody had to pass.
        ended_at: When it ended.
        attempts: How often it was tried.
    """

    name: str
    state: StepState
    message: str = ""
    started_at: datetime | None = None
    ended_at: datetime | None = None
    attempts: int = 0

    def seconds(self, now: datetime) -> float | None:
        """How long it took, or has taken until now; None before it began."""
        return max(0.0, ((self.ended_at or now) - self.started_at).total_seconds()) if self.started_at is not None else None


@dataclass(frozen=True, kw_only=True)
class Lane:
    """The steps of an environment, in order; `back` if they take it back to what served before."""

    environment: str
    steps: tuple[Step, ...]
    back: bool = False

    @property
    def busy(self) -> bool:
        """Whether its pods come up or are measured now."""
        return any(step.name in ("rollout", "verify") and step.state in ("running", "retrying") for step in self.steps)

    @property
    def state(self) -> StepState:
        """How far the environment is: the first step that is not done says it."""
        return next((step.state for step in self.steps if step.state not in ("done", "skipped")), "done")


def lanes_of(
    run: Run, tasks: Sequence[Task], events: Sequence[Event], environments: Sequence[str], gated: Sequence[str]
) -> tuple[Lane, ...]:
    """The lanes of a run, in the order of promotion; those that lead back come behind the environment that they lead back.

    Args:
        run: The run.
        tasks: Its task runs, in the order of their begin.
        events: Its events in the registry, the oldest first.
        environments: Those that it goes through.
        gated: Those of them that ask people first.
    """
    forward: dict[str, dict[str, Step]] = {name: {} for name in environments}
    back: dict[str, dict[str, Step]] = {}
    skipped = set()
    for task in tasks:
        if (found := _SKIPPED.match(task.name)) is not None:
            skipped.add(found["environment"])
            continue
        if (found := _NAME.match(task.name)) is None:
            continue
        environment, verb = found["environment"], found["verb"]
        if verb == "plan the way back of":
            back.setdefault(environment, {})
        lane = back.get(environment, forward.setdefault(environment, {}))
        name = _VERBS[verb]
        lane[name] = _step(name, task)
    lanes = []
    for environment, steps in forward.items():
        if environment in skipped and "record" not in steps:
            lanes.append(Lane(environment=environment, steps=tuple(Step(name=name, state="skipped") for name in STEPS if name != "gate")))
        elif steps or environment not in back:
            gate = _gate(environment, events, steps.get("gate"))
            names = [name for name in STEPS if name != "gate" or gate.started_at is not None or environment in gated]
            ordered = [gate if name == "gate" else steps.get(name) or Step(name=name, state="to come") for name in names]
            lanes.append(Lane(environment=environment, steps=_ended(ordered, run)))
        if environment in back:
            ordered = [back[environment].get(name) or Step(name=name, state="to come") for name in STEPS if name != "gate"]
            lanes.append(Lane(environment=environment, steps=_ended(ordered, run), back=True))
    return tuple(lanes)


def _step(name: str, task: Task) -> Step:
    state = _STATES.get(task.kind, "to come")
    message = task.message if state in ("failed", "retrying", "cancelled") else ""
    return Step(name=name, state=state, message=message, started_at=task.started_at, ended_at=task.ended_at, attempts=task.attempts)


def _gate(environment: str, events: Sequence[Event], passed: Step | None) -> Step:
    """How far the gate is, by the registry: a run that waits has no box in the graph."""
    step = Step(name="gate", state="to come")
    for event in events:
        if event.environment != environment:
            continue
        detail, at = event.detail, event.occurred_at
        match event.kind:
            case EventKind.APPROVAL_REQUESTED:
                step = Step(name="gate", state="waiting", message="people are asked", started_at=at)
            case EventKind.APPROVED:
                step = replace(step, message=f"{event.actor} approved")
            case EventKind.APPROVAL_FROZEN:
                step = replace(step, message=f"approved, and frozen until {detail.get('until')}")
            case EventKind.APPROVAL_GRANTED:
                approvers = detail.get("approvers")
                who = ", ".join(map(str, approvers)) if isinstance(approvers, list) else ""
                step = replace(step, state="done", message=f"approved by {who}", ended_at=at)
            case EventKind.REJECTED:
                step = replace(step, state="failed", message=f"{event.actor} rejected it: {detail.get('reason')}", ended_at=at)
            case EventKind.APPROVAL_EXPIRED:
                step = replace(step, state="failed", message="nobody decided in time", ended_at=at)
            case EventKind.APPROVAL_VOID:
                step = replace(step, state="failed", message=str(detail.get("why") or "the request is void"), ended_at=at)
            case EventKind.APPROVAL_LAPSED:
                step = replace(step, state="waiting", message=str(detail.get("why") or "it does not hold any longer"), ended_at=None)
    if step.started_at is None and passed is not None:
        return passed
    return step


def _ended(steps: Sequence[Step], run: Run) -> tuple[Step, ...]:
    """The steps of a run that has ended: what has not begun comes no more, and what ran has stopped with it."""
    if not run.final:
        return tuple(steps)
    stopped: StepState = "cancelled" if run.kind == "CANCELLED" else "failed"
    return tuple(
        replace(step, state="unreached")
        if step.state == "to come"
        else replace(step, state=stopped)
        if step.state in ("running", "retrying", "waiting")
        else step
        for step in steps
    )
