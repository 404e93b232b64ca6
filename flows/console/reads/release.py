"""One run: the pipeline as it is, what it measured, why it does not go on, and what it says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from blocks.facts import Pod
from blocks.facts.kinds import EventKind
from blocks.facts.registry import Event
from blocks.registry import RegistryClient
from blocks.registry.documents import StoredEvidence
from blocks.strict_json import amount
from flows.console.reads.clusters import Clusters
from flows.console.reads.known import MaySee, Unknown
from flows.console.reads.runs import Fetch, LogLine, Run, read_fetches, read_log, read_run, read_tasks
from flows.console.reads.stages import Lane, lanes_of
from flows.errors import SpecInvalid
from flows.record.phases import in_order
from flows.runtime.prefect_api import PrefectApi
from flows.spec import Deployments, Environment


@dataclass(frozen=True, kw_only=True)
class RunVerdict:
    """A verification of the run: where, of what, what it came to, and the evidence."""

    at: datetime
    environment: str
    fingerprint: str
    outcome: str
    sentence: str
    evidence_sha256: str | None


@dataclass(frozen=True, kw_only=True)
class RunDiagnosis:
    """Why a rollout of the run did not go on, what to do about it, and the words that it was read from.

    Attributes:
        environment: Where.
        category: What kind of trouble it is.
        message: What is wrong.
        remedy: What to do.
        lines: What it was read from.
        evidence_sha256: The document of it.
    """

    environment: str
    category: str
    message: str
    remedy: str
    lines: tuple[str, ...]
    evidence_sha256: str


@dataclass(frozen=True, kw_only=True)
class RunPhases:
    """Where the time of a release into an environment went, in seconds by phase, and what it brought to the nodes."""

    environment: str
    seconds: Mapping[str, float]
    total_seconds: float
    prefetch_bytes: float | None
    event_id: int


@dataclass(frozen=True, kw_only=True)
class ReleaseView:
    """A run.

    Attributes:
        run: The run.
        fingerprint: The candidate that it is about; None before it is known.
        lanes: Its steps by environment.
        fetches: How far the nodes are with the weights; their newest word.
        pods: The pods in the environments that it works in now, by environment.
        verdicts: What it verified, in order.
        diagnoses: Why a rollout did not go on.
        phases: Where the time went, of each environment that it has done.
        request: The gate that waits for people, by its environment; None if none does.
        events: What it recorded, the oldest first.
        log: The last lines of its log; of a run of which the caller may not see all it is not known.
    """

    run: Run
    fingerprint: str | None
    lanes: tuple[Lane, ...]
    fetches: tuple[Fetch, ...]
    pods: Mapping[str, tuple[Pod, ...] | Unknown]
    verdicts: tuple[RunVerdict, ...]
    diagnoses: tuple[RunDiagnosis, ...]
    phases: tuple[RunPhases, ...]
    request: str | None
    events: tuple[Event, ...]
    log: tuple[LogLine, ...] | Unknown


def read_release(
    registry: RegistryClient, prefect: PrefectApi, clusters: Clusters, deployments: Deployments, may_see: MaySee, run_id: str
) -> ReleaseView | None:
    """The run; None if there is none that the caller may see.

    Raises:
        SpecInvalid: Prefect cannot be asked.
        RegistryUnreachable: The registry does not answer.
    """
    run = read_run(prefect, run_id)
    if run is None:
        return None
    recorded = registry.runs.events([run_id])  # some twenty for each environment
    specs = _specs(deployments)
    wanted = environments_of(run, recorded, [each.name for each in specs])
    seen = [name for name in wanted if may_see(run.model, name)]
    if not seen and not may_see(run.model, ""):
        return None
    run = seen_run(run, wanted, may_see)
    events = [event for event in recorded if may_see(event.model or "", event.environment or "")]
    gated = [each.name for each in specs if each.approval.required]
    lanes = tuple(lane for lane in lanes_of(run, read_tasks(prefect, run_id), events, wanted, gated) if lane.environment in seen)
    busy = {lane.environment for lane in lanes if lane.busy}
    # A candidate that waits for people is known before anything is deployed.
    begun = next((event for event in events if event.kind in (EventKind.DEPLOYING, EventKind.APPROVAL_REQUESTED)), None)
    shown = registry.overview.documents({str(e.detail["evidence_sha256"]) for e in events if _is_failure(e)})
    return ReleaseView(
        run=run,
        fingerprint=begun.fingerprint if begun is not None else None,
        lanes=lanes,
        fetches=tuple(each for each in read_fetches(prefect, run_id) if any(each.key.startswith(f"prefetch-{name}-") for name in seen)),
        pods=clusters.pods(run.model, [each for each in specs if each.name in busy]) if busy and not run.final else {},
        verdicts=tuple(_verdict(event) for event in events if event.kind == EventKind.VERIFIED),
        diagnoses=tuple(found for event in events if _is_failure(event) and (found := _diagnosis(event, shown)) is not None),
        phases=tuple(_phases(event) for event in events if event.kind == EventKind.TIMED),
        request=waiting_in(events) if run.suspended else None,
        events=tuple(events),
        log=_all_or(lambda: read_log(prefect, run_id), len(seen) == len(wanted)),
    )


def seen_run(run: Run, wanted: Sequence[str], may_see: MaySee) -> Run:
    """The run as somebody may see it: if not all of its environments, then those alone, and not what it says as a whole."""
    seen = tuple(name for name in wanted if may_see(run.model, name))
    if len(seen) == len(wanted):
        return run
    message = "what it says is of environments, too, that you may not see" if run.message else ""
    return replace(run, message=message, environments=tuple(name for name in run.environments if name in seen))


def environments_of(run: Run, events: Sequence[Event], known: Sequence[str]) -> list[str]:
    """The environments that the run goes through, in the order of promotion; what it went through counts, whatever is known now."""
    wanted = run.environments or (tuple(known) if run.flow in ("release", "plan") else ())
    touched = [event.environment for event in events if event.environment]
    return [
        *(name for name in known if name in wanted or name in touched),
        *dict.fromkeys(n for n in (*wanted, *touched) if n not in known),
    ]


def waiting_in(events: Sequence[Event]) -> str | None:
    """The environment whose gate of the run is open: people are asked, and nothing has closed it."""
    closing = (EventKind.APPROVAL_GRANTED, EventKind.REJECTED, EventKind.APPROVAL_EXPIRED, EventKind.APPROVAL_VOID)
    closed = {event.detail.get("gate") for event in events if event.kind in closing}
    asked = [event for event in events if event.kind == EventKind.APPROVAL_REQUESTED and event.detail.get("gate") not in closed]
    return asked[-1].environment if asked else None


def _specs(deployments: Deployments) -> tuple[Environment, ...]:
    try:
        return deployments.environments()
    except SpecInvalid:  # the registry and Prefect know which there were; only the order is lost
        return ()


def _is_failure(event: Event) -> bool:
    return event.kind == EventKind.FAILED and bool(event.detail.get("evidence_sha256"))


def _verdict(event: Event) -> RunVerdict:
    detail = event.detail
    return RunVerdict(
        at=event.occurred_at,
        environment=event.environment or "",
        fingerprint=event.fingerprint or "",
        outcome=str(detail.get("outcome") or ""),
        sentence=str(detail.get("sentence") or ""),
        evidence_sha256=str(detail["evidence_sha256"]) if detail.get("evidence_sha256") else None,
    )


def _diagnosis(event: Event, shown: Mapping[str, StoredEvidence]) -> RunDiagnosis | None:
    stored = shown.get(str(event.detail.get("evidence_sha256")))
    found = stored.document.get("diagnosis") if stored is not None and stored.kind == "diagnosis" else None
    if stored is None or not isinstance(found, dict):
        return None
    lines = found.get("evidence")
    return RunDiagnosis(
        environment=event.environment or "",
        category=str(found.get("category") or ""),
        message=str(found.get("message") or ""),
        remedy=str(found.get("remedy") or ""),
        lines=tuple(map(str, lines)) if isinstance(lines, list) else (),
        evidence_sha256=stored.sha256,
    )


def _phases(event: Event) -> RunPhases:
    taken = event.detail.get("phases")
    seconds = {str(name): value for name, each in (taken.items() if isinstance(taken, dict) else ()) if (value := amount(each)) is not None}
    return RunPhases(
        environment=event.environment or "",
        seconds=in_order(seconds),
        total_seconds=sum(seconds.values()),
        prefetch_bytes=amount(event.detail.get("prefetch_bytes")),
        event_id=event.id,
    )


def _all_or(read: Callable[[], tuple[LogLine, ...]], allowed: bool) -> tuple[LogLine, ...] | Unknown:
    if not allowed:
        return Unknown(why="the log tells of environments that you may not see")
    return read()
