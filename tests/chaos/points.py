"""Where runs are killed: derived from what an undisturbed run was seen to do, so that the list follows the code."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tests.chaos.trap import Moment, Noted

#: What is not the same in every run but for the first time: signs of life, and the progress that a Job shows while it works.
UNSTEADY = ("registry keep_lock", "Prefect POST artifacts", "PATCH configmaps")

#: From so many requests on, a task that writes nothing is killed in its middle, too.
MIDDLE_FROM = 4

#: Writes without an effect: Prefect is told the run's name and estimates; two of Helm's objects beside the Service, which is one like them.
WITHOUT_EFFECT = ("Prefect PATCH flow_runs/ID", "helm PATCH serviceaccounts", "helm PATCH networkpolicies")

#: Requests of helm at which it is left alive when the run that started it is killed: the record is written, the objects are, all is.
ORPHAN_AT = ("helm POST secrets", "helm PATCH deployments", "helm PUT release record")


#: What Argo CD's application controller does wrong, in words: it does nothing, or its operations do not end.
ARGO = ("is gone", "is stuck")


@dataclass(frozen=True, kw_only=True)
class Happening:
    """Something that goes wrong beside the run, and is mended.

    Attributes:
        to: A server behind a proxy (`cluster`, `registry`, `hub`, `prefect`, `Git`), a machine, the clock, Argo CD, or somebody who pushes.
        seconds: For how long, or by how much.
    """

    to: str
    seconds: float

    @property
    def alone(self) -> bool:
        """Whether every site suffers."""
        return self.to in ("PostgreSQL", "Prefect server", "node agent", *ARGO)

    @property
    def message(self) -> str:
        """What happens, for the table."""
        if self.to == "clock":
            return f"clock {abs(self.seconds):.0f} s {'ahead' if self.seconds > 0 else 'back'}"
        if self.to in ARGO:
            return f"Argo CD {self.to} for {self.seconds:.0f} s"
        if self.to == "another push":
            return "another push comes first"
        if self.alone:
            return f"{self.to} restarted"
        return f"{self.to} gone for {self.seconds:.0f} s"


@dataclass(frozen=True, kw_only=True)
class Point:
    """One place in a run: a task boundary, or a request. The leg is killed there, unless something else happens.

    Attributes:
        name: `scenario/task/where`.
        leg: Which leg of the run, from 1; 0 is while it waits for people.
        die: The task boundary.
        what: The request; None is any.
        number: The how-manieth.
        moment: Before or after it.
        task: In this task only.
        group: Whether what the leg started (helm) is killed with it.
        happening: What happens instead of a kill.
    """

    name: str
    leg: int = 1
    die: str | None = None
    what: str | None = None
    number: int = 1
    moment: Moment = "before"
    task: str | None = None
    group: bool = True
    happening: Happening | None = None


def points_of(scenario: str, noted: Sequence[Noted], boundaries: Sequence[str], *, leg: int = 1, tasks: Sequence[str] = ()) -> list[Point]:
    """The points of one leg, in the order in which the run reaches them.

    After a write and before the next one of the same task is one point: what is outside is the same, and what the process knew is lost.

    Args:
        scenario: What their names begin with.
        noted: What the leg asked, in order.
        boundaries: `begin TASK` and `end TASK`, in order.
        leg: Which leg it was.
        tasks: Only these tasks (with what happens outside of tasks as `""`); empty is all.
    """
    points: list[Point] = []
    order = list(dict.fromkeys(["", *(boundary.partition(" ")[2] for boundary in boundaries)]))
    times = Counter(each.what for each in noted)
    for task in order:
        if tasks and task not in tasks:
            continue
        here = [each for each in noted if each.task == task]
        writes = [each for each in here if _counts(each)]
        place = f"{scenario}/{task.replace(' ', '_') or 'run'}"
        if task:
            points.append(Point(name=f"{place}/begins", leg=leg, die=f"begin {task}"))
        points += _at(writes, place, leg, times)
        if not writes and len(here) >= MIDDLE_FROM:
            points.append(Point(name=f"{place}/in its middle", leg=leg, number=len(here) // 2, task=task))
        if task and task == order[-1]:  # the others end where the next one begins
            points.append(Point(name=f"{place}/ends", leg=leg, die=f"end {task}"))
    return points


def _counts(each: Noted) -> bool:
    return each.writes and each.what not in WITHOUT_EFFECT and (each.what not in UNSTEADY or each.number == 1)


def _at(writes: Sequence[Noted], place: str, leg: int, times: Mapping[str, int]) -> Iterator[Point]:
    """The points around the writes of one task."""

    def shown(each: Noted) -> str:
        return f"{each.what} {each.number}" if times[each.what] > 1 else each.what

    for number, each in enumerate(writes):
        when = f"between {shown(writes[number - 1])} and" if number else "before"
        yield Point(name=f"{place}/{when} {shown(each)}", leg=leg, what=each.what, number=each.number)
        if each.what in ORPHAN_AT:
            yield Point(name=f"{place}/before {shown(each)}, helm lives on", leg=leg, what=each.what, number=each.number, group=False)
    if writes:
        last = writes[-1]
        yield Point(name=f"{place}/after {shown(last)}", leg=leg, what=last.what, number=last.number, moment="after")
