"""Every technical error that a block may raise, in one tree.

PipelineError
├── Transient            the world may answer otherwise soon: the only errors that are retried
│   ├── ClusterUnreachable, HelmUnreachable, HubUnreachable, EndpointUnreachable, RegistryUnreachable, HealthCacheUnreachable
│   ├── PrefectUnreachable  Prefect's API, while a run reads what people gave it
│   ├── GitUnreachable, GitConflict  others push faster than we do
│   ├── ClusterConflict  somebody else changed the object first
│   └── HelmBusy         another operation holds the Helm release
├── Rejected             technical and final: the run is errored
│   ├── ClusterRejected, HubRejected, EndpointRejected, RegistryRejected, HealthCacheRejected
│   ├── HelmRejected     and its children HelmNotFound, HelmConflict, HelmStuck
│   ├── GitRejected      the repository, its branch or its forge refuses
│   ├── SnapshotCorrupt  bytes on a node are not those of the manifest
│   ├── NodeRejected     a node's disk cannot be used
│   ├── ApplicationUnfit the Argo CD Application is missing, or is not what the environment needs
│   ├── SyncStalled      Argo CD does not bring the commit about
│   ├── Unforeseen       a step ended in an error that is none of these
│   └── RolloutStalled   carries a diagnosis
└── Refusal              our own no: the run is failed (`flows.errors`)
"""

from __future__ import annotations

from typing import Any

from blocks.wording import one_line, said


class PipelineError(Exception):
    """One clear sentence, and the facts behind it.

    Args:
        message: A sentence that names the thing and says what to do. What looks like a secret in it is taken out, as it quotes others.
        facts: What a program may want to read (JSON-able); without secrets, too.

    Attributes:
        untouched: Whether it came before anything outside was changed, so that what serves goes on serving; none if that is not known.
    """

    untouched: bool | None = None

    def __init__(self, message: str, **facts: Any) -> None:
        self.message = one_line(message)
        self.facts: dict[str, Any] = {name: said(value) for name, value in facts.items()}
        super().__init__(self.message)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.message, self.facts), {"untouched": self.untouched}

    def __str__(self) -> str:
        return self.message


def _rebuild(kind: type[PipelineError], message: str, facts: dict[str, Any]) -> PipelineError:
    return kind(message, **facts)


class Transient(PipelineError):
    """The world may answer otherwise soon; tasks retry these and no others."""


class ClusterUnreachable(Transient):
    """The Kubernetes API server did not answer, or answered that it is overloaded."""


class HelmUnreachable(Transient):
    """Helm could not reach the cluster."""


class HubUnreachable(Transient):
    """The hub did not answer, or asked for patience."""


class EndpointUnreachable(Transient):
    """The model's endpoint could not be connected to."""


class RegistryUnreachable(Transient):
    """PostgreSQL could not be reached."""


class HealthCacheUnreachable(Transient):
    """Redis could not be reached."""


class PrefectUnreachable(Transient):
    """Prefect's API did not answer, or is too busy."""


class GitUnreachable(Transient):
    """The Git repository, or the forge that holds it, did not answer."""


class GitConflict(Transient):
    """Others push to the branch faster than we do."""


class ClusterConflict(Transient):
    """The object was changed by somebody else between reading and writing."""


class HelmBusy(Transient):
    """Another operation holds the Helm release."""


class Rejected(PipelineError):
    """Technical and final: retrying cannot help, and the run is errored."""


class ClusterRejected(Rejected):
    """The Kubernetes API server understood the request and refused it."""


class HelmRejected(Rejected):
    """The chart or its values are wrong, or the cluster refuses what they render."""


class HelmNotFound(HelmRejected):
    """There is no such Helm release, or no such revision of it."""


class HelmConflict(HelmRejected):
    """Somebody else owns fields that the chart sets; `facts` has the owners and the fields."""


class HelmStuck(HelmRejected):
    """An operation on the Helm release was killed, and nobody will end it."""


class HubRejected(Rejected):
    """The repository, revision or file does not exist, or may not be read with this token."""


class EndpointRejected(Rejected):
    """The endpoint answered something that is not vLLM's HTTP."""


class RegistryRejected(Rejected):
    """PostgreSQL refused the statement."""


class HealthCacheRejected(Rejected):
    """Redis refused, or its client is not installed."""


class GitRejected(Rejected):
    """The repository, its branch or its forge refuses, or somebody else changed the very files."""


class SnapshotCorrupt(Rejected):
    """Bytes that were fetched are not those of the manifest."""


class NodeRejected(Rejected):
    """A node's disk cannot be read or written."""


class RolloutStalled(Rejected):
    """The rollout does not go on; `facts` carry the diagnosis."""


class ApplicationUnfit(Rejected):
    """The Argo CD Application does not exist, points elsewhere, or syncs when it must not."""


class SyncStalled(Rejected):
    """Argo CD does not bring the commit about; the message says what it says itself."""


class Unforeseen(Rejected):
    """A step ended in an error that nobody foresaw; the message names both, and the run's log has all of it.

    Of the error it has the class alone: what it says may be a stranger's words, or a secret.
    """
