"""Looks at Argo CD, Git and the cluster for what is not as it was recorded."""

from __future__ import annotations

from collections.abc import Sequence

from blocks.argocd import Argo
from blocks.cluster import Cluster
from blocks.errors import ClusterRejected, GitRejected, HelmRejected
from blocks.facts.argocd import Application
from blocks.gitops import Checkout, GitOps
from blocks.helm import Helm
from blocks.registry import Entry
from flows.delivery import git_files
from flows.delivery.application import SyncPolicy, sync_policy
from flows.delivery.drift import Drift, InGit, different, drifts, without
from flows.delivery.git_files import CHART, RELEASE, VALUES
from flows.delivery.released import look_at_release
from flows.delivery.rendered import drift_of
from flows.naming import release_name
from flows.runtime.blocks import Blocks
from flows.runtime.tasks import call, step
from flows.spec import Environment


@step
def look_for_drift(
    argo: Argo, repository: GitOps, helm: Helm, cluster: Cluster, entry: Entry, environment: Environment, policy: SyncPolicy
) -> tuple[Drift, ...]:
    """Everything of the model in the environment that is not as it was recorded. Reads only.

    Raises:
        GitUnreachable: The repository did not answer; retried.
        ClusterUnreachable: The cluster did not answer; retried.
        GitRejected: The repository cannot be read.
        ClusterRejected: Applications cannot be read.
    """
    name, where = release_name(entry.model, environment.name), git_files.folder(entry.model, environment.name)
    with argo.client() as applications:
        seen = applications.application(environment.argocd_namespace, name)
    with repository.client() as git, git.checkout() as tree:
        in_git = InGit(
            head=tree.head,
            fingerprint=git_files.promoted(tree.read(f"{where}/{RELEASE}")),
            changed=changed_in_git(tree, where, entry.git_commit),
        )
        live = _live(tree, helm, cluster, where, name, environment, seen.out_of_sync) if seen is not None and seen.out_of_sync else ()
    return drifts(entry, name, environment.argocd_namespace, policy, seen, in_git, live)


def changed_in_git(tree: Checkout, where: str, since: str | None) -> tuple[str, ...]:
    """What is different of what serves since a commit, as lines of a diff; a candidate beside it is no difference."""
    if since is None:
        return ()
    try:
        others = [name for name in (VALUES, RELEASE) if not _same_but_for_beside(tree, f"{where}/{name}", since)]
        tried = bool(git_files.values_of(tree.read(f"{where}/{VALUES}")).get("beside"))
        return tree.changes([f"{where}/{name}" for name in (*others, *(() if tried else (CHART,)))], since) if others or not tried else ()
    # A force push, say: Slipway forces nothing, but people can.
    except GitRejected as exc:  # history was rewritten: that, too, is a difference
        return (f"commit {since[:12]} is not to be had any longer: {exc.message}",)


def _same_but_for_beside(tree: Checkout, path: str, since: str) -> bool:
    """Whether a file says the same of what serves as it did then: a candidate beside it comes and goes by Slipway's own commits."""
    now, then = (git_files.values_of(text) for text in (tree.read(path), tree.read_at(since, path)))
    return bool(now) and {**now, "beside": None} == {**then, "beside": None}


def left_different(
    repository: GitOps, helm: Helm, cluster: Cluster, environment: Environment, model: str, commit: str, seen: Application
) -> tuple[str, ...] | None:
    """How the objects that Argo CD calls different differ from that commit, beyond what the environment ignores; none if nobody can tell.

    Raises:
        GitUnreachable: The repository did not answer.
        ClusterUnreachable: The cluster did not answer.
    """
    name, where = release_name(model, environment.name), git_files.folder(model, environment.name)
    try:
        with repository.client() as git, git.checkout() as tree:
            tree.restore([f"{where}/{VALUES}", f"{where}/{CHART}"], commit)
            return _differences(tree, helm, cluster, where, name, environment, seen.out_of_sync)
    except (GitRejected, HelmRejected, ClusterRejected):  # then Argo CD's own word counts
        return None


def _live(
    tree: Checkout, helm: Helm, cluster: Cluster, where: str, name: str, environment: Environment, out_of_sync: Sequence[str]
) -> tuple[str, ...]:
    try:
        return _differences(tree, helm, cluster, where, name, environment, out_of_sync)
    except (HelmRejected, ClusterRejected) as exc:  # Argo CD says which objects differ; only how they do cannot be told
        return (exc.message,)


def _differences(
    tree: Checkout, helm: Helm, cluster: Cluster, where: str, name: str, environment: Environment, out_of_sync: Sequence[str]
) -> tuple[str, ...]:
    """How the objects that Argo CD calls different differ from what Git renders to, beyond what the environment ignores."""
    with helm.client() as charts:
        rendered = charts.rendered(name, environment.namespace, tree.folder / where / CHART, tree.folder / where / VALUES)
    by_name = {f"{wanted['kind']}/{wanted['metadata']['name']}": wanted for wanted in rendered}
    lines = [f"{shown} is there, and not in Git" for shown in out_of_sync if shown not in by_name]
    ignored = environment.ignore_differences
    with cluster.client() as client:
        for shown in [shown for shown in by_name if shown in out_of_sync]:
            wanted = by_name[shown]
            there = client.documents.get(wanted["apiVersion"], wanted["kind"], environment.namespace, wanted["metadata"]["name"])
            if there is None:
                lines.append(f"{shown} is not there")
            else:
                lines += [f"{shown} {line}" for line in different(without(wanted, ignored), without(there, ignored))]
    return tuple(lines)


async def find_drift(blocks: Blocks, environment: Environment, entry: Entry) -> tuple[Drift, ...]:
    """Everything of a live entry that is not as it was recorded.

    Raises:
        PipelineError: It cannot be told: Git or the cluster cannot be reached or read.
    """
    if blocks.argocd is None:
        release = await call(look_at_release, blocks.helm, blocks.cluster, environment, release_name(entry.model, environment.name))
        return drift_of(release, f"{entry.model} in {environment.name}", environment)
    following = blocks.argocd
    policy = sync_policy(environment, entry.model, following.gitops.url, "")
    found: tuple[Drift, ...] = await call(
        look_for_drift, following.argo, following.gitops, blocks.helm, blocks.cluster, entry, environment, policy
    )
    return found
