"""How a candidate gets to an environment's cluster, and how an environment goes back: the one place that knows the ways."""

from __future__ import annotations

from functools import partial

from prefect import Task

from blocks.errors import HelmConflict, HelmStuck, PipelineError, Transient
from blocks.facts import HelmRevision
from blocks.gitops import GitOps
from flows.delivery import git_files
from flows.delivery.application import SYNC_SECONDS, sync_policy
from flows.delivery.move import UNTOUCHED, DeliveredRevision, Move
from flows.delivery.tasks.argocd import require_application, sync
from flows.delivery.tasks.git import commit, commit_removal, commit_rollback, or_by_hand
from flows.delivery.tasks.helm import deploy, repair_release, roll_back_release, uninstall
from flows.record.tasks import note
from flows.runtime.blocks import ArgoBlocks
from flows.runtime.tasks import run

#: A killed operation and fields that somebody else owns: each may be in the way once, and the second may show only when the first is gone.
_OBSTACLES = 2


async def deliver(move: Move) -> DeliveredRevision:
    """Have the cluster run the candidate, which may be new there; does not wait for pods."""
    if move.blocks.argocd is not None:
        return await _by_argocd(move, move.blocks.argocd, commit)
    return await _by_helm(move, deploy)


async def roll_back(move: Move) -> DeliveredRevision:
    """Have the cluster run the candidate as it did before; does not wait for pods."""
    if move.blocks.argocd is not None:
        return await _by_argocd(move, move.blocks.argocd, commit_rollback)
    return await _by_helm(move, roll_back_release)


async def remove(move: Move) -> None:
    """Take away what the candidate's Helm release or Application made; what another candidate made stays.

    Raises:
        PipelineError: It cannot be taken away; the message says what is left.
    """
    if move.blocks.argocd is not None:
        await _empty(move, move.blocks.argocd)
    else:
        await run(uninstall, move.blocks.helm, move.planned.helm_release, move.environment.namespace)


async def _empty(move: Move, following: ArgoBlocks) -> None:
    """Commit that nothing is released there, and have Argo CD take away what is."""
    environment, candidate, application = move.environment, move.candidate, move.planned.helm_release
    provenance = git_files.Provenance(run_id=move.run_id, requester=move.requester, reason=move.reason)
    sha = await run(commit_removal, following.gitops, candidate.model, environment.name, candidate.fingerprint, provenance)
    if sha is not None:
        wanted = sync_policy(environment, candidate.model, following.gitops.url, move.requester, empties=True)
        same = partial(_hold_the_same, following.gitops, git_files.folder(candidate.model, environment.name), sha)
        with or_by_hand(application, environment.argocd_namespace, sha):
            await run(sync, following.argo, application, environment.argocd_namespace, sha, wanted, SYNC_SECONDS, same)


async def _by_argocd(move: Move, following: ArgoBlocks, change: Task[..., str]) -> DeliveredRevision:
    """Commit, and have Argo CD go to that very commit."""
    environment, candidate, planned = move.environment, move.candidate, move.planned
    application, namespace = planned.helm_release, environment.argocd_namespace
    wanted = sync_policy(environment, candidate.model, following.gitops.url, move.requester)
    wish = git_files.Change(
        candidate=candidate,
        environment=environment,
        plan=planned,
        run_id=move.run_id,
        requester=move.requester,
        reason=move.reason,
    )
    try:
        await run(require_application, following.argo, application, namespace, wanted)
        sha = await run(change, following.gitops, move.blocks.helm, move.registry, wish)
    except Transient:
        raise  # the branch may have it
    except PipelineError as exc:
        exc.facts.setdefault(UNTOUCHED, not exc.facts.get("branch_changed", False))
        raise
    same = partial(_hold_the_same, following.gitops, git_files.folder(candidate.model, environment.name), sha)
    await run(sync, following.argo, application, namespace, sha, wanted, SYNC_SECONDS, same)
    return DeliveredRevision(git_commit=sha)


def _hold_the_same(repository: GitOps, folder: str, one: str, other: str) -> bool:
    with repository.client() as git:
        return git.holds_same(folder, one, other)


async def _by_helm(move: Move, change: Task[..., HelmRevision]) -> DeliveredRevision:
    """Change the Helm release; what a killed operation left, or somebody did beside Helm, is recorded and put right first."""
    blocks, environment, release = move.blocks, move.environment, move.planned.helm_release
    overwrite = False
    for _ in range(_OBSTACLES):
        try:
            return _of_helm(await run(change, blocks.helm, move.candidate, environment, move.planned, overwrite))
        except HelmStuck as exc:
            await run(note, move.registry, move.candidate, environment, "helm_stuck", {"found": exc.message}, move.run_id)
            repair = await run(repair_release, blocks.helm, release, environment.namespace, move.candidate.fingerprint)
            if repair is not None:
                detail = {"done": repair.message, "kind": repair.kind}
                await run(note, move.registry, move.candidate, environment, "helm_unstuck", detail, move.run_id)
        except HelmConflict as exc:
            # The release's fields are the chart's to say; whoever changed them can read here that, and why, it is so no longer.
            await run(
                note, move.registry, move.candidate, environment, "fields_taken_back", {"found": exc.message, **exc.facts}, move.run_id
            )
            overwrite = True
    return _of_helm(await run(change, blocks.helm, move.candidate, environment, move.planned, overwrite))


def _of_helm(revision: HelmRevision) -> DeliveredRevision:
    return DeliveredRevision(helm_revision=revision.revision)
