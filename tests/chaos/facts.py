"""What the invariants judge: what a point is to end in, and what was seen after it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Intended:
    """What a point is to end in.

    Attributes:
        state: The name of the run's final state.
        fingerprint: The candidate that is to serve; None where the run may choose (it is read from the registry).
        commit: The hub revision that is to answer.
        approvals: How many approvals the run used.
        spare_gpu: Whether requests must be answered all the time.
        commits: The commits that the run makes where Argo CD delivers, each by its first word: `promote`, `back`, `remove`.
        ready: How many candidates the run makes ready, one after the other.
        taken_up: How often the sweep has it taken up again; the harness does that for it otherwise, and records nothing.
    """

    state: str = "Completed"
    fingerprint: str | None = None
    commit: str
    approvals: int = 0
    spare_gpu: bool = True
    commits: tuple[str, ...] = ()
    ready: int = 1
    taken_up: int = 0

    @property
    def nothing(self) -> bool:
        """Whether nothing is to be there: what failed was the first."""
        return not self.commit


@dataclass(frozen=True, kw_only=True)
class HelmRecord:
    """A stored revision of a Helm release: its number and status."""

    release: str
    number: int
    status: str


@dataclass(frozen=True, kw_only=True)
class Row:
    """An entry of the registry: candidate, status, and what its endpoint showed when it was asked.

    Attributes:
        fingerprint: The candidate.
        commit: Its hub revision.
        status: The entry's status.
        labels: The candidate labels of the ready pods behind the endpoint.
        roots: What the endpoint's `/v1/models` names as the models' roots; empty if nothing answered.
    """

    fingerprint: str | None
    commit: str
    status: str
    labels: tuple[str, ...] = ()
    roots: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class InArgo:
    """Git and the Argo CD Application that follows it.

    Attributes:
        head: The branch's newest commit.
        promoted: The candidate that it says.
        commits: The run's commits, oldest first, each by its first word and its candidate.
        recorded: The commit that the registry has of the ready row, if there is one.
        delivered: The newest commit that changed the model's folder.
        sync: Argo CD's word for how the cluster is: `Synced` or another one.
        revision: The commit that it has compared with.
        operation: The phase of an operation that has not ended; empty if none runs.
        resources: What it has on the cluster.
    """

    head: str
    promoted: str | None
    commits: tuple[tuple[str, str], ...]
    recorded: str | None
    delivered: str
    sync: str
    revision: str
    operation: str = ""
    resources: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Seen:
    """Everything that the invariants look at."""

    state: str
    message: str
    helm: tuple[HelmRecord, ...]
    helm_release: str
    helm_fingerprint: str | None
    jobs: Mapping[str, str]
    locks: Mapping[str, str]
    rows: tuple[Row, ...]
    kinds: Mapping[str, int]
    twice: tuple[str, ...]
    codes_used: Mapping[str, int]
    broken_chain: str | None
    formless: bool = False
    processes: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()
    asked: int = 0
    argo: InArgo | None = None
