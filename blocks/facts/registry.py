"""What the registry gives back: frozen, and free of the database's types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NamedTuple, get_args

Status = Literal["pending", "deploying", "ready", "degraded", "failed", "disabled"]

#: All statuses of an entry, in the order of its life.
STATUSES: tuple[Status, ...] = get_args(Status)


@dataclass(frozen=True, kw_only=True)
class EntryKey:
    """What there is one entry of.

    Attributes:
        organisation: Whose entry it is; None where there is only one.
        model: The name that clients send.
        hub_revision: Commit SHA on the hub.
        environment: Where it is served.
    """

    organisation: str | None = None
    model: str
    hub_revision: str
    environment: str


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A candidate in an environment, with its status.

    Attributes:
        organisation: Whose entry it is; None where there is only one.
        model: The name that clients send.
        hub_revision: Commit SHA on the hub.
        environment: Where it is served.
        namespace: The Kubernetes namespace there.
        endpoint: Host and port that a router sends to.
        status: Only `ready` is routed.
        status_reason: Why it is degraded, failed or disabled.
        disabled_from: The status that it had when a person took it out (`ready` or `degraded`); None otherwise.
        fingerprint: The candidate that serves here or is being deployed.
        helm_revision: Number in `helm history`; None until it is verified, and where Argo CD delivers.
        git_commit: The commit that Argo CD went to; None until it is verified, and where Helm delivers.
        verified_at: When the candidate last passed verification here.
        last_health_check_at: When its endpoint was last looked at.
        created_at: When the entry was made; None in rows that were there before Slipway and hold no time.
        updated_at: When it last changed; health checks do not count.
    """

    organisation: str | None
    model: str
    hub_revision: str
    environment: str
    namespace: str | None
    endpoint: str | None
    status: Status
    status_reason: str | None
    disabled_from: Status | None
    fingerprint: str | None
    helm_revision: int | None
    git_commit: str | None
    verified_at: datetime | None
    last_health_check_at: datetime | None
    created_at: datetime | None
    updated_at: datetime | None

    @property
    def key(self) -> EntryKey:
        """What identifies the entry."""
        return EntryKey(organisation=self.organisation, model=self.model, hub_revision=self.hub_revision, environment=self.environment)


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened; never changed afterwards.

    Attributes:
        id: Order of recording.
        occurred_at: When it happened.
        kind: One of `EventKind`, or a word that a newer version wrote.
        organisation: Whose entry it concerns.
        model: Which model it concerns, if one.
        environment: Where, if somewhere.
        fingerprint: Which candidate, if one.
        run_id: The flow run that did it.
        actor: The person or service that asked for it.
        detail: Facts that differ by kind.
    """

    id: int
    occurred_at: datetime
    kind: str
    organisation: str | None
    model: str | None
    environment: str | None
    fingerprint: str | None
    run_id: str | None
    actor: str | None
    detail: Mapping[str, object]


@dataclass(frozen=True, kw_only=True)
class OpenRequest(Event):
    """A request for approval that waits; `frozen_until` is the end of the freeze that it last met, if it met one."""

    frozen_until: datetime | None


@dataclass(frozen=True, kw_only=True)
class Failure:
    """How a run failed with a candidate in an environment.

    Attributes:
        reason: What the registry keeps as its reason: the kind of the error and its sentence.
        error: The kind of the error alone; None where an older version wrote it, or no error was the cause.
        replaces: Fingerprint of the candidate that held the endpoint when the run began; None if none did.
    """

    reason: str
    error: str | None = None
    replaces: str | None = None


@dataclass(frozen=True, kw_only=True)
class Route:
    """Where requests for a model go, or why they cannot.

    Attributes:
        endpoint: Host and port; None if the model is not routed.
        fingerprint: The candidate there; None if the model is unknown.
        status: The entry's status; None if the model is unknown.
        last_checked_at: When its endpoint was last looked at.
        http_status: What a router answers: 200, 404 (unknown) or 503 (not now).
        message: Why there is no endpoint; a sentence for the caller.
        weight: Percent of the requests that go to the endpoint.
        canary_endpoint: Host and port of a canary; None if there is none that is routed.
        canary_fingerprint: The candidate there.
        canary_weight: Percent of the requests that go there.
        shadow: Percent of the requests to the endpoint that the canary is sent a copy of.
    """

    endpoint: str | None
    fingerprint: str | None
    status: Status | None
    last_checked_at: datetime | None
    http_status: int
    message: str | None
    weight: int = 100
    canary_endpoint: str | None = None
    canary_fingerprint: str | None = None
    canary_weight: int = 0
    shadow: int = 0


@dataclass(frozen=True, kw_only=True)
class TakenOut:
    """That a person took a model out of an environment.

    Attributes:
        reason: Why; routers tell it to their callers.
        actor: Who.
    """

    reason: str | None
    actor: str | None


@dataclass(frozen=True, kw_only=True)
class Checked:
    """An entry that serves, with its last health checks.

    Attributes:
        organisation: Whose.
        model: The name that clients send.
        hub_revision: Commit SHA on the hub.
        environment: Where.
        fingerprint: The candidate.
        status: `ready` or `degraded`.
        window: The last five checks, the latest at the end: `+` good, `-` bad.
    """

    organisation: str | None
    model: str
    hub_revision: str
    environment: str
    fingerprint: str | None
    status: Status
    window: str

    @property
    def key(self) -> EntryKey:
        """What identifies the entry."""
        return EntryKey(organisation=self.organisation, model=self.model, hub_revision=self.hub_revision, environment=self.environment)


@dataclass(frozen=True, kw_only=True)
class Lock:
    """The right to change a model in an environment.

    Attributes:
        model: The name that clients send.
        environment: Where.
        organisation: Whose.
        run_id: The flow run that holds it; None if none does.
        fence: Its number; each taking has a higher one.
        silent_seconds: Time since its holder's last sign of life, when this was read.
    """

    model: str
    environment: str
    organisation: str | None
    run_id: str | None
    fence: int
    silent_seconds: float


@dataclass(frozen=True, kw_only=True)
class Token:
    """By what a machine, or a person at a command line, asks the console; the token itself is known to them alone.

    Attributes:
        id: What it is called where it is looked after.
        label: What it is for.
        acts_as: Whose requests they are: recorded as requester and actor.
        role: `viewer`, `operator` or `admin`.
        models: Names of models it is for, or beginnings of names and a star.
        environments: The same of environments.
        created_at: When it was made.
        created_by: By whom.
        expires_at: Until when it holds.
        revoked_at: Since when it does not.
        revoked_by: Who took it out of use.
        last_used_at: When it was last used, to ten minutes.
    """

    id: str
    label: str
    acts_as: str
    role: str
    models: list[str]
    environments: list[str]
    created_at: datetime
    created_by: str
    expires_at: datetime
    revoked_at: datetime | None
    revoked_by: str | None
    last_used_at: datetime | None


class Verified(NamedTuple):
    """A candidate that an environment can go back to.

    Attributes:
        fingerprint: The candidate.
        helm_revision: The number in `helm history` under which it was verified; None where Argo CD delivered it.
        event: Its latest `ready` event.
    """

    fingerprint: str
    helm_revision: int | None
    event: Event


@dataclass(frozen=True, kw_only=True)
class RegistryServer:
    """What a connection string of the registry leads to, or one of its hosts.

    Attributes:
        address: Host and port, as the string has them.
        problem: Why it cannot be used; empty if it can. The rest is unknown then.
        version: Of PostgreSQL.
        pooled: Whether a pooler lies between.
        standby: Whether it follows a primary.
        takes_writes: Whether it does.
        behind_seconds: Time since the commit of the last transaction that a standby has; None of a primary, and of a standby without any.
        synchronous: Whether a write is acknowledged only when a standby has it.
        open_schema: The registry's schema, quoted as in SQL, if everybody may create something in it; None if not.
    """

    address: str
    problem: str = ""
    version: str = ""
    pooled: bool = False
    standby: bool = False
    takes_writes: bool = False
    behind_seconds: float | None = None
    synchronous: bool = False
    open_schema: str | None = None


@dataclass(frozen=True, kw_only=True)
class RegistryPath:
    """The way to the registry.

    Attributes:
        servers: What the hosts of its connection string are.
        direct: What the direct one is; None if there is none.
        heard: Whether a notice that is given on the one way is heard on the direct one.
    """

    servers: tuple[RegistryServer, ...] = ()
    direct: RegistryServer | None = None
    heard: bool = False
