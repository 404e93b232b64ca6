"""One thing that is inconsistent, and what mends it."""

from __future__ import annotations

from dataclasses import dataclass

from flows.recovery.orphans import Orphaned


@dataclass(frozen=True, kw_only=True)
class CleanUp:
    """Clean up after a run that is over, as the sweep does: `begun` is the id of the event with which it began."""

    begun: int
    why: Orphaned


@dataclass(frozen=True, kw_only=True)
class FreeLock:
    """Give back the lock of a run that is over."""

    model: str
    environment: str
    run_id: str


@dataclass(frozen=True, kw_only=True)
class CloseRequest:
    """Call a request for approval void whose run is over."""

    request: int
    why: str


@dataclass(frozen=True, kw_only=True)
class DeleteJob:
    """End a Job on a node whose run is over."""

    environment: str
    name: str


@dataclass(frozen=True, kw_only=True)
class Unstick:
    """Make a Helm release usable whose operation was killed; `wanted` is the candidate that it should carry."""

    model: str
    environment: str
    release: str
    wanted: str | None


@dataclass(frozen=True, kw_only=True)
class WakeRun:
    """Have a suspended run look at its gate by itself."""

    run_id: str


@dataclass(frozen=True, kw_only=True)
class StartRun:
    """Start a run that only looks, and moves entries by what it sees."""

    deployment: str


@dataclass(frozen=True, kw_only=True)
class ApplyAutomations:
    """Make or update the automations of `deployments/automations`."""


#: What `--fix` may do. Each of these looks again before it acts, may be repeated, and takes nothing away that serves.
Remedy = CleanUp | FreeLock | CloseRequest | DeleteJob | Unstick | WakeRun | StartRun | ApplyAutomations


@dataclass(frozen=True, kw_only=True)
class Symptom:
    """Something that does not fit together.

    Attributes:
        kind: Its kind, one word for scripts.
        about: What it concerns.
        message: What is seen.
        command: What a person types (or does) to mend it.
        remedy: What `--fix` does; none where a person must decide.
    """

    kind: str
    about: str
    message: str
    command: str
    remedy: Remedy | None = None


#: What a person types where `--fix` mends it.
FIX = "slipway doctor --fix"
