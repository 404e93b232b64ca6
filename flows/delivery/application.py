"""What the Argo CD Application of a model in an environment must be, and which of its sources and revisions are ours."""

from __future__ import annotations

import re
from dataclasses import dataclass

from blocks.facts.argocd import Application, ApplicationSource
from flows.delivery import git_files
from flows.spec import Environment, IgnoredDifference

#: How long Argo CD may take until a commit is in place. Weights load after that; the rest of the five minutes of a rollback is theirs.
SYNC_SECONDS = 180

#: A scheme, and who one is there.
_SCHEME = re.compile(r"^(?:[a-z+]+://)?(?:[^/@]*@)?")

#: A host with its port, or as SSH's short form writes it before the path.
_HOST = re.compile(r"^([^/:]+):(?:\d+/|/?)")

#: Whatever stands before the host of an address: it may hold a password.
_CREDENTIALS = re.compile(r"(://)[^/\s@]+@")


@dataclass(frozen=True, kw_only=True)
class SyncPolicy:
    """What the Application of a model in an environment must be, and how it is brought to a commit.

    Attributes:
        repository: The Git repository that the commit is in.
        values_file: The file in it that holds the model's values.
        namespace: Where the Application must deploy to.
        automated: Whether Argo CD is to sync it by itself; otherwise it may only sync when it is asked.
        requester: Who asks, as Argo CD shows it.
        prune: Whether what Git no longer has is deleted.
        ignored: Fields in which the cluster may differ from the commit.
        empties: Whether the commit takes everything away. Argo CD does not do that by itself (`allowEmpty`), so it is asked for everywhere.
        operation_limit_seconds: How long one operation may run before it is ended and tried again. It takes seconds, unless the
            Application has sync waves or hooks that wait for the model to load.
    """

    repository: str
    values_file: str
    namespace: str
    automated: bool
    requester: str
    prune: bool = True
    ignored: tuple[IgnoredDifference, ...] = ()
    empties: bool = False
    operation_limit_seconds: float = 300.0


def sync_policy(environment: Environment, model: str, repository: str, requester: str, *, empties: bool = False) -> SyncPolicy:
    """What the model's Application must be there. An environment that asks people first is synced only when the flow asks for it."""
    return SyncPolicy(
        repository=repository,
        values_file=f"{git_files.folder(model, environment.name)}/{git_files.VALUES}",
        namespace=environment.namespace,
        automated=not environment.approval.required,
        requester=requester or "slipway",
        ignored=environment.ignore_differences,
        empties=empties,
    )


def by_hand(application: str, namespace: str, commit: str) -> str:
    """What a person types to have the Application brought to a commit, where the flow could not."""
    sync = f'{{"operation": {{"initiatedBy": {{"username": "NAME"}}, "sync": {{"revision": "{commit}", "prune": true}}}}}}'
    return f"kubectl patch application -n {namespace} {application} --type merge -p '{sync}'"


def unfit(seen: Application | None, application: str, namespace: str, policy: SyncPolicy) -> str:
    """Why the Application cannot be what delivers this model here, as a sentence; empty where it can."""
    if seen is None:
        return f"There is no Argo CD Application {application} in {namespace}: create it as docs/gitops.md shows."
    here = f"The Argo CD Application {application} in {namespace}"
    if seen.deleting:
        return f"{here} is being deleted: wait until it is gone, and create it anew."
    if position(seen, policy) is None:
        found = quoted(", ".join(source.repository for source in seen.sources if source.repository)) or "nothing"
        return f"{here} follows {found} and not {quoted(policy.repository)}: correct its spec.source.repoURL."
    reader = next((source for source in seen.sources if _reads(source, seen, policy)), None)
    if reader is None:
        return f"{here} does not read {policy.values_file} of {quoted(policy.repository)}: add it to its source's helm.valueFiles."
    # Argo CD calls the Helm release after the Application, unless it is told another name.
    if (reader.release_name or seen.name) != application:
        return f"{here} renders the Helm release {reader.release_name} and not {application}: correct its helm.releaseName."
    if seen.destination_namespace != policy.namespace:
        wrong = seen.destination_namespace or "no namespace"
        return f"{here} deploys to {wrong} and not to {policy.namespace}: correct its spec.destination.namespace."
    if policy.automated and not seen.automated:
        return f"{here} does not sync by itself, as it must here: set its spec.syncPolicy.automated."
    if seen.automated and not policy.automated:
        return f"{here} syncs by itself, and may only do so when a release asks for it here: remove its spec.syncPolicy.automated."
    return ""


def wanted_revisions(seen: Application, commit: str, policy: SyncPolicy) -> tuple[str, ...]:
    """What to sync each source to: the commit for the one in its repository, and what they follow for the others."""
    return tuple(commit if _is_repository(source, policy) else source.target for source in seen.sources)


def compared_commit(seen: Application, policy: SyncPolicy) -> str:
    """The commit of the policy's repository that Argo CD has compared with; empty before it has."""
    return revision_of(seen.revisions, seen, policy)


def position(seen: Application, policy: SyncPolicy) -> int | None:
    """Which of the Application's sources is in the policy's repository; none if none is."""
    return next((index for index, source in enumerate(seen.sources) if _is_repository(source, policy)), None)


def _is_repository(source: ApplicationSource, policy: SyncPolicy) -> bool:
    # A source that names a chart is a Helm repository, even at the same address.
    return not source.chart and _plain(source.repository) == _plain(policy.repository)


def _plain(repository: str) -> str:
    """A repository's host and path: Argo CD may read by SSH what we write by HTTPS, as somebody else."""
    return _HOST.sub(r"\1/", _SCHEME.sub("", repository.strip().lower())).rstrip("/").removesuffix(".git")


def _reads(source: ApplicationSource, seen: Application, policy: SyncPolicy) -> bool:
    """Whether the source renders a chart with the policy's values file, of its own repository or of one that it refers to."""
    refs = {other.ref for other in seen.sources if other.ref and _is_repository(other, policy)}
    for file in source.value_files:
        # `$ref/path` is how Argo CD has one source read the value files of another.
        if file.startswith("$"):
            ref, _, path = file[1:].partition("/")
            if ref in refs and path == policy.values_file:
                return True
        elif _is_repository(source, policy) and _within(source.path, file) == policy.values_file:
            return True
    return False


def _within(folder: str, file: str) -> str:
    """A value file's path from the repository's root: it is relative to the chart, unless it begins with a slash."""
    parts: list[str] = []
    for part in [*([] if file.startswith("/") else folder.split("/")), *file.split("/")]:
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)


def revision_of(revisions: tuple[str, ...], seen: Application, policy: SyncPolicy) -> str:
    """The one of the revisions that is the policy's repository's; empty where there is none."""
    # With `spec.source` the status has one revision; with `spec.sources` one for each, in their order.
    index = position(seen, policy) if seen.multiple else 0
    return revisions[index] if index is not None and index < len(revisions) else ""


def quoted(text: str) -> str:
    """Words of Argo CD's, or an address, as they may stand in a sentence: on one line, not too long, without a password."""
    text = _CREDENTIALS.sub(r"\1", " ".join(text.split())).rstrip(".")
    return text if len(text) <= 600 else f"{text[:200]} … {text[-400:]}"
