"""Where runs are killed: derived from what an undisturbed run was seen to do, so that the list follows the code."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile

from tests.chaos.trap import Begun, Moment, Noted

#: What is not the same in every run but for the first time: what a Job shows while it works.
UNSTEADY = ("Prefect POST artifacts", "PATCH configmaps")

#: From so many reads on before it writes, a task is killed in their middle instead of when it begins.
MIDDLE_FROM = 4

#: Writes without an effect: signs of life; Prefect is told the run's name and estimates; two of Helm's objects beside the Service, which is
#: one like them.
WITHOUT_EFFECT = ("registry keep_lock", "Prefect PATCH flow_runs/ID", "helm PATCH serviceaccounts", "helm PATCH networkpolicies")

#: What begins so is written to a database, where nothing goes on by itself after it.
AT_REST = ("COMMIT ", "registry ", "Prefect ")

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
    """One place in a run: a task's beginning, or a request. The leg is killed there, unless something else happens.

    Attributes:
        name: `scenario/task/where`.
        leg: Which leg of the run, from 1; 0 is while it waits for people.
        die: The task's beginning.
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


def points_of(
    scenario: str, seen: Sequence[Noted | Begun], *, leg: int = 1, steps: Sequence[str] = (), since: str = "", only: Sequence[str] = ()
) -> list[Point]:
    """The points of one leg, in the order in which the run reaches them: one for each state of the world that a death can leave.

    Before a write all earlier ones are done, and what the process knew of them is lost: that is one point, whatever was read in between.
    Where a task ends and somebody else goes on (a Job, pods, Argo CD), the world changes by itself: its last write has a point after it,
    too, as has the leg's; and each task has one when it begins, or in the middle of what it reads before it writes.

    Args:
        scenario: What their names begin with.
        seen: What the leg began and asked, in order.
        leg: Which leg it was.
        steps: Only these tasks and steps (with what the run does before all of them as `""`); empty is all.
        since: Only from the first beginning of this one on, or from the first of these writes on.
        only: Only these writes; empty is all.
    """
    begun = [each for each in seen if isinstance(each, Begun)]
    start = next(place for place, each in enumerate(seen) if not since or since == (each.step if isinstance(each, Begun) else each.what))
    times = Counter(each.what for each in seen if isinstance(each, Noted))
    writes = [each for each in seen if isinstance(each, Noted) and _counts(each)]
    points: list[Point] = []
    for place, each in list(enumerate(seen))[start:]:
        if steps and each.step not in steps:
            continue
        where = f"{scenario}/{each.step.replace(' ', '_') or 'run'}"
        if isinstance(each, Begun):
            # What ran before is not killed when it begins: that would be the earlier one.
            if each.step == each.task and not only and next(one for one in begun if one.step == each.step) is each:
                points.append(_entered(each, seen[place + 1 :], where, leg))
        elif each in writes and (not only or each.what in only):
            following = next(iter(writes[writes.index(each) + 1 :]), None)
            goes_on = not each.what.startswith(AT_REST) and following is not None and following.task != each.task
            points += _around(each, where, leg, times, last=following is None or goes_on)
    return points


def _counts(each: Noted) -> bool:
    return each.writes and each.what not in WITHOUT_EFFECT and (each.what not in UNSTEADY or each.number == 1)


def _entered(task: Begun, later: Sequence[Noted | Begun], where: str, leg: int) -> Point:
    """The point at a task's beginning, or in the middle of what it reads before it writes, if that is much."""
    mine = takewhile(lambda each: each.task == task.task, later)
    read = list(takewhile(lambda each: not _counts(each), (each for each in mine if isinstance(each, Noted))))
    if len(read) >= MIDDLE_FROM:
        return Point(name=f"{where}/in its middle", leg=leg, number=len(read) // 2, task=task.task)
    return Point(name=f"{where}/begins", leg=leg, die=f"begin {task.task}")


def _around(each: Noted, where: str, leg: int, times: Mapping[str, int], *, last: bool) -> Iterator[Point]:
    """The points around a write."""
    shown = f"{each.what} {each.number}" if times[each.what] > 1 else each.what
    yield Point(name=f"{where}/before {shown}", leg=leg, what=each.what, number=each.number)
    if each.what in ORPHAN_AT:
        yield Point(name=f"{where}/before {shown}, helm lives on", leg=leg, what=each.what, number=each.number, group=False)
    if last:
        yield Point(name=f"{where}/after {shown}", leg=leg, what=each.what, number=each.number, moment="after")
