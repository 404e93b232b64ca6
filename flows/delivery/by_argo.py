"""Delivery by Git and Argo CD: how a candidate gets to a cluster, back to it, and away from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from blocks.argocd import Argo
from blocks.cluster import Cluster
from blocks.errors import PipelineError, Transient
from blocks.gitops import GitOps
from blocks.helm import Helm
from flows.delivery import git_files
from flows.delivery.application import SYNC_SECONDS, sync_policy
from flows.delivery.argocd import require_application, sync
from flows.delivery.engines import Engines, Rearrange, engines_of, with_beside
from flows.delivery.git import commit, commit_engines, commit_leaving, commit_removal, commit_rollback, or_by_hand
from flows.delivery.git_files import Commit
from flows.delivery.live import left_different
from flows.delivery.move import DeliveredRevision, Move
from flows.delivery.provenance import Provenance
from flows.naming import release_name
from flows.spec import Environment


@dataclass(frozen=True, kw_only=True)
class ByArgo:
    """The flow commits, and Argo CD goes where Git says."""

    argo: Argo
    repository: GitOps
    helm: Helm
    cluster: Cluster
    environment: Environment

    def shown(self, model: str) -> str:
        """What carries the model's candidate there, for messages."""
        return f"Argo CD Application {release_name(model, self.environment.name)}"

    def carried(self, model: str) -> str | None:
        """The fingerprint that it carries, or will; none if it carries none. By Git, which the cluster follows."""
        with self.repository.client() as git, git.checkout() as tree:
            return git_files.promoted(tree.read(f"{git_files.folder(model, self.environment.name)}/{git_files.RELEASE}"))

    def engines(self, model: str) -> Engines:
        """Both candidates that it carries, or will, and where they lie. By Git, which the cluster follows."""
        where = git_files.folder(model, self.environment.name)
        with self.repository.client() as git, git.checkout() as tree:
            if git_files.promoted(tree.read(f"{where}/{git_files.RELEASE}")) is None:
                return Engines(serving=None)
            return engines_of(git_files.values_of(tree.read(f"{where}/{git_files.VALUES}")))

    def deliver(self, move: Move) -> DeliveredRevision:
        """Have the cluster run the candidate, which may be new there; does not wait for pods."""
        return self._change(move, commit)

    def roll_back(self, move: Move) -> DeliveredRevision:
        """Have the cluster run the candidate as it did before; does not wait for pods."""
        return self._change(move, commit_rollback)

    def deliver_beside(self, move: Move) -> DeliveredRevision:
        """Have the cluster run the candidate beside what serves, which stays as it is; does not wait for pods."""
        return self.rearrange(move, with_beside, "try")

    def rearrange(self, move: Move, rearrange: Rearrange, verb: str) -> DeliveredRevision:
        """Have the cluster go on with what it runs in another order; `verb` says in the commit which."""
        return self._change(move, partial(commit_engines, rearrange=rearrange, verb=verb))

    def leave(self, model: str, fingerprint: str, provenance: Provenance) -> None:
        """Take the candidate away from beside what serves; or if the endpoint leads to it, back to what stands beside it. No pod starts.

        Where it is not there, or alone, nothing is changed.
        """
        sha = commit_leaving(self.repository, self.helm, self.environment, model, fingerprint, provenance)
        if sha is not None:
            application, namespace = release_name(model, self.environment.name), self.environment.argocd_namespace
            wanted = sync_policy(self.environment, model, self.repository.url, provenance.requester)
            left = partial(left_different, self.repository, self.helm, self.cluster, self.environment, model, sha)
            sync(self.argo, application, namespace, sha, wanted, SYNC_SECONDS, self._holds_same(model, sha), left)

    def remove(self, model: str, fingerprint: str, provenance: Provenance) -> None:
        """Commit that nothing is released there, and have Argo CD take away what is; where Git says another candidate, it stays."""
        sha = commit_removal(self.repository, model, self.environment.name, fingerprint, provenance)
        if sha is not None:
            application, namespace = release_name(model, self.environment.name), self.environment.argocd_namespace
            wanted = sync_policy(self.environment, model, self.repository.url, provenance.requester, empties=True)
            with or_by_hand(application, namespace, sha):
                sync(self.argo, application, namespace, sha, wanted, SYNC_SECONDS, self._holds_same(model, sha))

    def _change(self, move: Move, change: Callable[..., str]) -> DeliveredRevision:
        """Commit, and have Argo CD go to that very commit."""
        candidate, application, namespace = move.candidate, move.plan.helm_release, self.environment.argocd_namespace
        wanted = sync_policy(self.environment, candidate.model, self.repository.url, move.requester)
        says = Commit(
            candidate=candidate,
            environment=self.environment,
            plan=move.plan,
            run_id=move.run_id,
            requester=move.requester,
            reason=move.reason,
        )
        try:
            require_application(self.argo, application, namespace, wanted)
            sha = change(self.repository, self.helm, move.registry, says)
        except Transient:
            raise  # the branch may have it
        except PipelineError as exc:
            # Up to the push nothing outside was changed, so what serves there goes on serving.
            if exc.untouched is None:
                exc.untouched = True
            raise
        # Outside of the block above: from the push on Argo CD may act, and no error can say that nothing was touched.
        left = partial(left_different, self.repository, self.helm, self.cluster, self.environment, candidate.model, sha)
        sync(self.argo, application, namespace, sha, wanted, SYNC_SECONDS, self._holds_same(candidate.model, sha), left)
        return DeliveredRevision(git_commit=sha)

    def _holds_same(self, model: str, sha: str) -> Callable[[str], bool]:
        return partial(_hold_the_same, self.repository, git_files.folder(model, self.environment.name), sha)


def _hold_the_same(repository: GitOps, folder: str, one: str, other: str) -> bool:
    with repository.client() as git:
        return git.holds_same(folder, one, other)
