"""The two back ends of delivery, Helm, and Git with Argo CD: how a candidate gets to a cluster, back to it, and away from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from blocks.argocd import Argo
from blocks.errors import HelmConflict, HelmStuck, PipelineError, Transient
from blocks.facts import HelmRevision
from blocks.facts.kinds import EventKind
from blocks.gitops import GitOps
from blocks.helm import Helm
from flows.delivery import git_files
from flows.delivery.application import SYNC_SECONDS, sync_policy
from flows.delivery.argocd import require_application, sync
from flows.delivery.git import commit, commit_removal, commit_rollback, or_by_hand
from flows.delivery.git_files import Commit, Provenance
from flows.delivery.helm import repair_release, roll_back_release, uninstall, upgrade_release
from flows.delivery.move import DeliveredRevision, Move
from flows.naming import release_name
from flows.record.tasks import note
from flows.runtime.blocks import Blocks
from flows.spec import Environment

#: A killed operation and fields that somebody else owns: each may be in the way once, and the second may show only when the first is gone.
_OBSTACLES = 2


@dataclass(frozen=True, kw_only=True)
class ByHelm:
    """The flow runs Helm."""

    helm: Helm
    environment: Environment

    def shown(self, model: str) -> str:
        """What carries the model's candidate there, for messages."""
        return f"Helm release {release_name(model, self.environment.name)}"

    def carried(self, model: str) -> str | None:
        """The fingerprint that it carries, or will; none if it carries none. Helm writes its newest revision before it touches anything."""
        with self.helm.client() as charts:
            newest = charts.current(release_name(model, self.environment.name), self.environment.namespace)
        return newest.fingerprint if newest is not None else None

    def deliver(self, move: Move) -> DeliveredRevision:
        """Have the cluster run the candidate, which may be new there; does not wait for pods."""
        return self._change(move, upgrade_release)

    def roll_back(self, move: Move) -> DeliveredRevision:
        """Have the cluster run the candidate as it did before; does not wait for pods."""
        return self._change(move, roll_back_release)

    def remove(self, model: str, fingerprint: str, provenance: Provenance) -> None:
        """Take away what the candidate's Helm release made; one that carries another candidate stays."""
        if self.carried(model) == fingerprint:
            uninstall(self.helm, release_name(model, self.environment.name), self.environment.namespace)

    def _change(self, move: Move, change: Callable[..., HelmRevision]) -> DeliveredRevision:
        """Change the Helm release; what a killed operation left, or somebody did beside Helm, is recorded and put right first."""
        environment, release, force_conflicts = self.environment, move.plan.helm_release, False
        for _ in range(_OBSTACLES):
            try:
                return _of_helm(change(self.helm, move.candidate, environment, move.plan, force_conflicts))
            # On record before it is repaired: the repair may be what is killed next.
            except HelmStuck as exc:
                note(move.registry, move.candidate, environment, EventKind.HELM_STUCK, {"found": exc.message}, move.run_id)
                repair = repair_release(self.helm, release, environment.namespace, move.candidate.fingerprint)
                if repair is not None:
                    detail = {"done": repair.message, "kind": repair.kind}
                    note(move.registry, move.candidate, environment, EventKind.HELM_UNSTUCK, detail, move.run_id)
            except HelmConflict as exc:
                # The release's fields are the chart's to say; whoever changed them can read here that, and why, it is so no longer.
                detail = {"found": exc.message, **exc.facts}
                note(move.registry, move.candidate, environment, EventKind.FIELDS_TAKEN_BACK, detail, move.run_id)
                force_conflicts = True
        # With both obstacles gone, what is in the way now is for people: no third one is cleared.
        return _of_helm(change(self.helm, move.candidate, environment, move.plan, force_conflicts))


def _of_helm(revision: HelmRevision) -> DeliveredRevision:
    return DeliveredRevision(helm_revision=revision.revision)


@dataclass(frozen=True, kw_only=True)
class ByArgo:
    """The flow commits, and Argo CD goes where Git says."""

    argo: Argo
    repository: GitOps
    helm: Helm
    environment: Environment

    def shown(self, model: str) -> str:
        """What carries the model's candidate there, for messages."""
        return f"Argo CD Application {release_name(model, self.environment.name)}"

    def carried(self, model: str) -> str | None:
        """The fingerprint that it carries, or will; none if it carries none. By Git, which the cluster follows."""
        with self.repository.client() as git, git.checkout() as tree:
            return git_files.promoted(tree.read(f"{git_files.folder(model, self.environment.name)}/{git_files.RELEASE}"))

    def deliver(self, move: Move) -> DeliveredRevision:
        """Have the cluster run the candidate, which may be new there; does not wait for pods."""
        return self._change(move, commit)

    def roll_back(self, move: Move) -> DeliveredRevision:
        """Have the cluster run the candidate as it did before; does not wait for pods."""
        return self._change(move, commit_rollback)

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
        sync(self.argo, application, namespace, sha, wanted, SYNC_SECONDS, self._holds_same(candidate.model, sha))
        return DeliveredRevision(git_commit=sha)

    def _holds_same(self, model: str, sha: str) -> Callable[[str], bool]:
        return partial(_hold_the_same, self.repository, git_files.folder(model, self.environment.name), sha)


def _hold_the_same(repository: GitOps, folder: str, one: str, other: str) -> bool:
    with repository.client() as git:
        return git.holds_same(folder, one, other)


def back_end(blocks: Blocks, environment: Environment) -> ByHelm | ByArgo:
    """What delivers to the environment: the one place that asks which it is."""
    # Blocks were loaded by `delivery` of the environment: these two are there only where it says argocd.
    if blocks.argocd is None:
        return ByHelm(helm=blocks.helm, environment=environment)
    return ByArgo(argo=blocks.argocd.argo, repository=blocks.argocd.gitops, helm=blocks.helm, environment=environment)


def without_waiting(delivery: ByHelm | ByArgo) -> ByHelm | ByArgo:
    """The same for a caller that does not wait until people have merged a proposal: its next call finds it."""
    if isinstance(delivery, ByHelm):
        return delivery
    repository = delivery.repository
    return replace(delivery, repository=repository.model_copy(update={"merge_timeout_seconds": repository.poll_seconds}))
