"""What was seen of registry, cluster, Helm, nodes and Prefect, at one moment; no I/O here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from blocks.facts import JobState, Pod
from blocks.facts.registry import RegistryPath
from flows.recovery.orphans import EndedRun


@dataclass(frozen=True, kw_only=True)
class EntryFact:
    """An entry of the registry."""

    model: str
    environment: str
    status: str
    fingerprint: str | None
    last_checked_at: datetime | None = None
    hub_revision: str = ""


@dataclass(frozen=True, kw_only=True)
class LockFact:
    """A lock that somebody holds, and for how long it has been silent."""

    model: str
    environment: str
    run_id: str
    silent_seconds: float


@dataclass(frozen=True, kw_only=True)
class UnfinishedFact:
    """What a run began and has not ended: the id of the event, the run, the place; and whether it has failed and was not put right."""

    event_id: int
    run_id: str
    model: str
    environment: str
    fingerprint: str
    failed: bool = False


@dataclass(frozen=True, kw_only=True)
class RequestFact:
    """A request for approval that is open, by the id of its event."""

    event_id: int
    run_id: str
    model: str
    environment: str


@dataclass(frozen=True, kw_only=True)
class CanaryFact:
    """A canary that is open.

    Attributes:
        run_id: The run that began it.
        model: Of which model.
        environment: Where.
        phase: Where it is.
        weight: Percent of the requests that it should get.
        until: When its step, or its time of being warm, ends.
        current_requests: Requests that its judge has seen the candidate that serves answer; None if it has not said.
        canary_requests: The same of the canary.
    """

    run_id: str
    model: str
    environment: str
    phase: str
    weight: int = 0
    until: datetime | None = None
    current_requests: int | None = None
    canary_requests: int | None = None

    @property
    def about(self) -> str:
        """Its place, for people."""
        return f"{self.model} in {self.environment}"

    @property
    def of_run(self) -> tuple[str, str, str]:
        """Its run and its place."""
        return self.run_id, self.model, self.environment


@dataclass(frozen=True, kw_only=True)
class ScrubFact:
    """What the last scrub of a node found."""

    environment: str
    node: str
    at: datetime
    corrupt: int
    snapshots: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class SuspendedFact:
    """A run that waits for a form."""

    run_id: str
    name: str


@dataclass(frozen=True, kw_only=True)
class ReleaseFact:
    """A Helm release as `helm list` shows it."""

    name: str
    status: str


@dataclass(frozen=True, kw_only=True)
class EnvironmentFacts:
    """What was seen of one environment's namespace.

    Attributes:
        namespace: The namespace.
        by_helm: Whether the flow runs Helm; Argo CD makes no Helm releases.
        releases: Its Helm releases.
        deployments: Names of the chart's Kubernetes Deployments.
        set_by_others: By their names, what others set in them beside Helm, as a sentence; those in which nobody did are left out.
        pods: The chart's pods.
        jobs: Slipway's Jobs on nodes.
        ready_nodes: Nodes that match the selector, are ready and take pods.
        problem: Why it could not be looked at; empty if it could.
    """

    namespace: str
    by_helm: bool = True
    releases: tuple[ReleaseFact, ...] = ()
    deployments: tuple[str, ...] = ()
    set_by_others: Mapping[str, str] = field(default_factory=dict)
    pods: tuple[Pod, ...] = ()
    jobs: tuple[JobState, ...] = ()
    ready_nodes: int = 1
    problem: str = ""


@dataclass(frozen=True, kw_only=True)
class DriftFact:
    """Something of an entry that Argo CD delivers which is not as it was recorded.

    Attributes:
        model: The model.
        environment: Where.
        kind: `application`, `git` or `live` (see `flows.delivery.drift`), or `unseen`: it could not be looked at.
        message: What, and the first line of the difference.
        application: The Application's name.
        argocd_namespace: Where it lies.
        hub_revision: The hub commit that is on record.
        git_commit: The commit with which it was delivered.
    """

    model: str
    environment: str
    kind: str
    message: str
    application: str
    argocd_namespace: str
    hub_revision: str
    git_commit: str | None


@dataclass(frozen=True, kw_only=True)
class WantedDeployment:
    """A Prefect deployment as `prefect.yaml` has it, or as Prefect shows it.

    Attributes:
        entrypoint: The flow.
        description: What the UI shows.
        work_pool: Where its runs go.
        crons: Its schedules.
        parameters: Names of the flow's parameters.
        concurrency_limit: Runs that Prefect lets go on at a time; none without a limit.
        active: Whether its schedules are on.
    """

    entrypoint: str
    description: str
    work_pool: str
    crons: tuple[str, ...] = ()
    parameters: frozenset[str] = frozenset()
    concurrency_limit: int | None = None
    active: bool = True


@dataclass(frozen=True, kw_only=True)
class PrefectFacts:
    """What this checkout wants of Prefect, and what is there.

    Attributes:
        wanted: Prefect deployments by name.
        deployed: Those that are there, of these names.
        pools: Work pools that are there, and whether each is paused.
        workers: Workers of each pool that give signs of life.
        automations_wanted: Names of the automations.
        automations: Names of those that are there.
        blocks_wanted: Blocks, as `type/name`.
        blocks: Those that are there.
    """

    wanted: Mapping[str, WantedDeployment] = field(default_factory=dict)
    deployed: Mapping[str, WantedDeployment] = field(default_factory=dict)
    pools: Mapping[str, bool] = field(default_factory=dict)
    workers: Mapping[str, int] = field(default_factory=dict)
    automations_wanted: frozenset[str] = frozenset()
    automations: frozenset[str] = frozenset()
    blocks_wanted: frozenset[str] = frozenset()
    blocks: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Facts:
    """All of it.

    Attributes:
        now: When it was looked at.
        registry: What lies on the way to the registry; None if there is no block of it.
        migrations_missing: Migrations that were not applied.
        entries: All entries.
        locks: Locks that are held.
        orphaned_runs: What runs began and did not end; those that are under way are among them.
        requests: Requests for approval that wait.
        runs: What Prefect says of every run that one of these names, by its id.
        suspended: Runs of release that wait for a form.
        canaries: Those that are open.
        scrubs: The last scrub of each node.
        drifts: What has drifted where Argo CD delivers.
        environments: What was seen of each, by name.
        prefect: What was seen of Prefect.
    """

    now: datetime
    registry: RegistryPath | None = None
    migrations_missing: tuple[str, ...] = ()
    entries: tuple[EntryFact, ...] = ()
    locks: tuple[LockFact, ...] = ()
    orphaned_runs: tuple[UnfinishedFact, ...] = ()
    requests: tuple[RequestFact, ...] = ()
    runs: Mapping[str, EndedRun] = field(default_factory=dict)
    suspended: tuple[SuspendedFact, ...] = ()
    canaries: tuple[CanaryFact, ...] = ()
    scrubs: tuple[ScrubFact, ...] = ()
    drifts: tuple[DriftFact, ...] = ()
    environments: Mapping[str, EnvironmentFacts] = field(default_factory=dict)
    prefect: PrefectFacts = PrefectFacts()
