"""All reads of one site, behind one door: what the API and the pages are given."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from datetime import datetime

from fastapi import Request

from blocks.registry import RegistryClient
from blocks.registry.documents import StoredEvidence
from flows.console.reads.clusters import Clusters
from flows.console.reads.fleet import MODELS, Fleet, FleetPage, Wanted, page_of, read_fleet
from flows.console.reads.history import ModelHistory, read_history
from flows.console.reads.known import Fresh, MaySee
from flows.console.reads.nodes import NodesView, read_nodes
from flows.console.reads.record import EVENTS, ProvenEvent, RecordFilter, RecordPage, read_event, read_record
from flows.console.reads.release import ReleaseView, read_release, seen_run
from flows.console.reads.requests import Waiting, may_not_approve, read_waiting
from flows.console.reads.routes import RouteRow, routes_of
from flows.console.reads.runs import FLOWS, RUNS, RunPage, read_runs
from flows.errors import SpecInvalid
from flows.runtime.prefect_api import PrefectApi
from flows.spec import Deployments

#: How old the fleet may be that is shown, in seconds (twice as old while it is read): many who look cost one reading.
FLEET_SECONDS = 4.0

#: How long a page waits for Prefect, in seconds.
PREFECT_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True)
class StoredFor:
    """A document of evidence, and whose it is: a caller who may not see that gets none."""

    stored: StoredEvidence
    model: str
    environment: str


class Reads:
    """What there is to see; safe between threads.

    Where the registry or Prefect cannot be asked, every method raises `RegistryUnreachable` or `SpecInvalid`.

    Args:
        registry: Open; its pool gives each thread a connection.
        prefect: Prefect's API; a page waits five seconds for it.
        deployments: The folder that says what runs where; read anew at each call.
        now: The clock.
    """

    def __init__(self, *, registry: RegistryClient, prefect: PrefectApi, deployments: Deployments, now: Callable[[], datetime]) -> None:
        self._registry = registry
        self._prefect = prefect = prefect.within(PREFECT_SECONDS)
        self._deployments = deployments
        self._now = now
        self._clusters = Clusters(prefect)
        self._fleet = Fresh(self._read_fleet, FLEET_SECONDS)

    def close(self) -> None:
        """Ask nothing any more."""
        self._clusters.close()

    def environments(self) -> tuple[str, ...]:
        """The environments of `deployments/`, in the order of promotion; none where its files are wrong."""
        try:
            return tuple(environment.name for environment in self._deployments.environments())
        except SpecInvalid:
            return ()

    def _read_fleet(self) -> Fleet:
        return read_fleet(self._registry, self.environments())

    def fleet(
        self,
        may_see: MaySee,
        *,
        who: Hashable = None,
        search: str = "",
        status: Wanted = "",
        after: str = "",
        limit: int = MODELS,
    ) -> FleetPage:
        """A page of models by environments; as it was some seconds ago. `who` is all by which `may_see` decides, such as grants."""
        return page_of(self._fleet.get(), may_see, who=who, search=search, status=status, after=after, limit=limit)

    def count_waiting(self, may_see: MaySee, who: Hashable = None) -> int:
        """How many requests for approval wait that the caller may see; as it was some seconds ago."""
        return self._fleet.get().seen(may_see, who).waiting

    def routes(self, may_see: MaySee, *, environment: str = "") -> list[RouteRow]:
        """Where requests go; as it was some seconds ago."""
        return routes_of(self._fleet.get(), may_see, environment=environment)

    def model(self, may_see: MaySee, model: str) -> ModelHistory | None:
        """A model's history; None if the caller may see nothing of it."""
        return read_history(self._registry, model, self.environments(), may_see)

    def runs(self, may_see: MaySee, *, offset: int = 0, limit: int = RUNS, flow: str = "") -> RunPage:
        """Runs that the caller may see, the latest first: of one flow, or of all that people ask about."""
        page = read_runs(self._prefect, flows=[flow] if flow in FLOWS else FLOWS, offset=offset, limit=limit)
        known = self.environments()
        wanted = ((run, run.environments or known) for run in page.runs)
        seen = (seen_run(run, its, may_see) for run, its in wanted if any(may_see(run.model, name) for name in (*its, "")))
        return RunPage(runs=tuple(seen), next_offset=page.next_offset)

    def release(self, may_see: MaySee, run_id: str) -> ReleaseView | None:
        """One run; None if there is none that the caller may see."""
        return read_release(self._registry, self._prefect, self._clusters, self._deployments, may_see, run_id)

    def waiting(self, may_see: MaySee, *, run_id: str | None = None) -> list[Waiting]:
        """What waits for people, the longest first; of one run or of all."""
        return read_waiting(self._registry, self._deployments, may_see, self._now(), run_id=run_id)

    def may_not_approve(self, waiting: Waiting, name: str) -> str | None:
        """Why somebody of that name may not approve it; None if they may."""
        return may_not_approve(waiting, self._deployments, name)

    def nodes(self, may_see: MaySee) -> NodesView:
        """The nodes of the environments that the caller may see."""
        try:
            environments = self._deployments.environments()
        except SpecInvalid:
            environments = ()
        return read_nodes(self._registry, self._clusters, environments, may_see)

    def record(self, may_see: MaySee, wanted: RecordFilter, *, before: int | None = None, limit: int = EVENTS) -> RecordPage:
        """Events, the latest first."""
        # Where a page of what may not be seen ends would say that there is something.
        places = (wanted.environment,) if wanted.environment else (*self._fleet.get().environments, "")
        if wanted.model and not any(may_see(wanted.model, place) for place in places):
            return RecordPage(events=(), before=None)
        return read_record(self._registry, may_see, wanted, before=before, limit=limit)

    def event(self, may_see: MaySee, event_id: int) -> ProvenEvent | None:
        """An event with its proof; None if there is none that the caller may see."""
        return read_event(self._registry, may_see, event_id)

    def evidence(self, may_see: MaySee, sha256: str) -> StoredFor | None:
        """A document by its hash or the beginning of one (eight digits or more); None if there is none that the caller may see.

        Raises:
            RegistryRejected: Several hashes begin so, or the document was altered.
        """
        stored = self._registry.evidence.find(sha256)
        if stored is None:
            return None
        model, environment = self._whose(stored)
        return StoredFor(stored=stored, model=model, environment=environment) if may_see(model, environment) else None

    def _whose(self, stored: StoredEvidence) -> tuple[str, str]:
        """The model and the environment that a document is about; empty where nothing says it: then it is for who may see all models."""
        candidate, run_id = stored.document.get("candidate"), stored.document.get("run_id")
        if isinstance(candidate, dict):
            return str(candidate.get("model") or ""), str(stored.document.get("environment") or "")
        event = self._registry.runs.naming(str(run_id), stored.sha256) if run_id else None
        return (event.model or "", event.environment or "") if event is not None else ("", "")


def reads(request: Request) -> Reads:
    """The reads of the app that the request came to: a FastAPI dependency."""
    found: Reads = request.app.state.reads
    return found
