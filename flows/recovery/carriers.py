"""What carries a candidate on the cluster, for whoever cleans up after a run: a Helm release, or Git and an Argo CD Application."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from blocks.argocd import Argo
from blocks.gitops import GitOps
from blocks.helm import Helm
from flows.delivery import git_files
from flows.delivery.application import SYNC_SECONDS, sync_policy
from flows.delivery.git_files import Provenance
from flows.delivery.tasks.argocd import sync
from flows.delivery.tasks.git import commit_removal, or_by_hand
from flows.naming import release_name
from flows.spec import Environment


class Carrier(Protocol):
    """What carries a model's candidate in an environment."""

    def shown(self, model: str) -> str:
        """What it is called, for messages."""

    def carried(self, model: str) -> str | None:
        """The candidate that it carries, or will; none if it carries none."""

    def remove(self, model: str, fingerprint: str, run_id: str, reason: str) -> None:
        """Take the candidate away, unless it carries another one; to be called again if it did not come to its end.

        Raises:
            PipelineError: Something cannot be reached or refuses.
        """


@dataclass(frozen=True, kw_only=True)
class ByHelm:
    """A Helm release."""

    helm: Helm
    environment: Environment

    def shown(self, model: str) -> str:
        """See `Carrier`."""
        return f"Helm release {release_name(model, self.environment.name)}"

    def carried(self, model: str) -> str | None:
        """See `Carrier`; by Helm's newest revision, which it writes before it touches anything."""
        with self.helm.client() as charts:
            newest = charts.current(release_name(model, self.environment.name), self.environment.namespace)
        return newest.fingerprint if newest is not None else None

    def remove(self, model: str, fingerprint: str, run_id: str, reason: str) -> None:
        """See `Carrier`."""
        if self.carried(model) == fingerprint:
            with self.helm.client() as charts:
                charts.uninstall(release_name(model, self.environment.name), self.environment.namespace)


@dataclass(frozen=True, kw_only=True)
class ByArgo:
    """An Argo CD Application, which goes where Git says."""

    argo: Argo
    repository: GitOps
    environment: Environment

    def shown(self, model: str) -> str:
        """See `Carrier`."""
        return f"Argo CD Application {release_name(model, self.environment.name)}"

    def carried(self, model: str) -> str | None:
        """See `Carrier`; by Git, which the cluster follows."""
        with self.repository.client() as git, git.checkout() as tree:
            return git_files.promoted(tree.read(f"{git_files.folder(model, self.environment.name)}/{git_files.RELEASE}"))

    def remove(self, model: str, fingerprint: str, run_id: str, reason: str) -> None:
        """See `Carrier`."""
        environment = self.environment
        # Nobody waits here for a merge: the next call finds the proposal.
        repository = self.repository.model_copy(update={"merge_timeout_seconds": self.repository.poll_seconds})
        sha = commit_removal.fn(repository, model, environment.name, fingerprint, Provenance(run_id=run_id, reason=reason))
        if sha is not None:
            application, namespace = release_name(model, environment.name), environment.argocd_namespace
            wanted = sync_policy(environment, model, self.repository.url, "", empties=True)
            with or_by_hand(application, namespace, sha):
                sync.fn(self.argo, application, namespace, sha, wanted, SYNC_SECONDS)
