"""What else goes wrong while a run goes on, and is mended: the places, by hand; each happening is tried where it hurts."""

from __future__ import annotations

from tests.chaos.points import Happening, Point

#: How long a server is gone, in seconds: longer than most of the tasks' first waits.
SHORT, LONG = 3.0, 30.0

#: How far the clock jumps, in seconds: more than a lock, a Helm operation or a one-time code lives.
JUMP = 2 * 3600.0

START, ROLLOUT = {"what": "helm PATCH deployments"}, {"task": "rollout", "number": 2}


def release_faults() -> list[Point]:
    """Points in the middle of a release over another one."""
    return [
        _point("cluster", "while it plans", what="GET nodes"),
        _point("cluster", "while a Job fetches", what="GET jobs", number=3),
        _point("cluster", "while helm upgrades", what="helm PATCH services"),
        _point("cluster", "while helm closes its record", what="helm PUT release record", number=2),
        _point("cluster", "while pods start", **ROLLOUT),
        _point("cluster", "while it is verified", task="verify", number=9),
        _point("cluster", "before it deploys", seconds=LONG, what="helm GET secrets"),
        _point("registry", "before the lock is taken", what="COMMIT take_lock"),
        _point("registry", "before it says that it was", what="COMMIT take_lock", after=True),
        _point("registry", "while it is recorded as deploying", what="COMMIT add_entry"),
        _point("registry", "while it is recorded as ready", what="COMMIT ready_entry"),
        _point("registry", "before it says that it is ready", what="COMMIT ready_entry", after=True),
        _point("registry", "before the lock is given back", what="registry free_lock"),
        _point("hub", "while it resolves", what="hub GET", number=3),
        _point("hub", "while a Job fetches", what="hub HEAD"),
        _point("prefect", "while progress is shown", task="prefetch", what="Prefect POST artifacts"),
        _point("prefect", "while the verdict is shown", task="verify", what="Prefect POST artifacts"),
        _point("prefect", "before the run's end", what="Prefect POST flow_runs/ID/set_state", number=2),
        _point("prefect", "before it says that the run has ended", what="Prefect POST flow_runs/ID/set_state", number=2, after=True),
        _point("clock", "while pods start", seconds=JUMP, **ROLLOUT),
        _point("clock", "while pods start", seconds=-JUMP, **ROLLOUT),
        _point("PostgreSQL", "while helm upgrades", seconds=0, **START),
        _point("Prefect server", "while helm upgrades", seconds=0, **START),
        _point("node agent", "while pods start", seconds=0, **ROLLOUT),
    ]


def approval_faults() -> list[Point]:
    """Points while a run waits for people."""
    return [
        _point(to, "while a run waits for people", seconds=seconds, leg=0)
        for to, seconds in (("PostgreSQL", 0.0), ("Prefect server", 0.0), ("clock", 60.0), ("clock", -60.0))
    ]


def _point(
    to: str,
    when: str,
    *,
    seconds: float = SHORT,
    what: str | None = None,
    task: str | None = None,
    number: int = 1,
    after: bool = False,
    leg: int = 1,
) -> Point:
    happening = Happening(to=to, seconds=seconds)
    return Point(
        name=f"{happening.message}/{when}",
        leg=leg,
        what=what,
        task=task,
        number=number,
        moment="after" if after else "before",
        happening=happening,
    )
