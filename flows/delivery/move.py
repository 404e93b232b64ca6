"""What a run works with in one environment, and one candidate's move into it."""

from __future__ import annotations

from dataclasses import dataclass, fields

from blocks.registry import Lock, Registry
from flows.placement.assess import ReleasePlan
from flows.runtime.blocks import Blocks
from flows.spec import Candidate, CheckSuite, Environment


@dataclass(frozen=True, kw_only=True)
class Context:
    """What a run works with for one model in one environment.

    Attributes:
        run_id: The flow run.
        registry: Where it is recorded.
        hub_endpoint: Where files come from.
        blocks: The environment's blocks.
        environment: The environment.
        suite: What the model's candidates are asked there.
        requester: Who asked for it; empty where nobody is known.
        reason: Why an environment goes back; empty for a release.
        keep_failed: Whether what fails is to be kept for inspection where nothing served before.
    """

    run_id: str
    registry: Registry
    hub_endpoint: str
    blocks: Blocks
    environment: Environment
    suite: CheckSuite
    requester: str = ""
    reason: str = ""
    keep_failed: bool = False

    def move(self, candidate: Candidate, plan: ReleasePlan, lock: Lock) -> Move:
        """The candidate's move into the environment, by the run that holds the lock there."""
        return Move(**{field.name: getattr(self, field.name) for field in fields(Context)}, candidate=candidate, plan=plan, lock=lock)


@dataclass(frozen=True, kw_only=True)
class Move(Context):
    """One candidate's move into one environment, by one run that holds the lock.

    Attributes:
        candidate: What goes there.
        plan: Names, nodes and deadlines.
        lock: The run's lock of the model in the environment.
    """

    candidate: Candidate
    plan: ReleasePlan
    lock: Lock

    @property
    def where(self) -> str:
        """Model and environment, for messages."""
        return f"{self.candidate.model} in {self.environment.name}"


@dataclass(frozen=True, kw_only=True)
class DeliveredRevision:
    """How the cluster got what it runs; exactly one of the two is set.

    Attributes:
        helm_revision: Number in `helm history`, where the flow runs Helm.
        git_commit: The commit, where Argo CD follows Git.
    """

    helm_revision: int | None = None
    git_commit: str | None = None
