"""Whether Argo CD has brought a commit about, what to ask it for meanwhile, and when it never will.

Health is no part of it: Argo CD calls a Kubernetes Deployment degraded while weights load for longer than its deadline, and the pods are
judged where the rollout is watched.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from blocks.argo_facts import Application, ApplicationSource, ArgoOperation

#: Seconds between two refreshes that are asked for while Argo CD has compared something else.
REFRESH_SECONDS = 10.0

#: How long Argo CD has to begin a sync by itself once it has seen the difference; it does so at the end of that very comparison.
AUTOMATED_SECONDS = 15.0

#: How long Argo CD may fail to compare: a Git server restarts in that time, and a broken chart never gets better.
COMPARISON_SECONDS = 60.0

#: Seconds since the sync before, at least, for each sync that is asked for; after the last one Argo CD's own words stand. A fault that
#: passes within these is not worth a person's time.
SYNC_PAUSES_SECONDS = (0.0, 10.0, 30.0)

#: A scheme, and who one is there.
_SCHEME = re.compile(r"^(?:[a-z+]+://)?(?:[^/@]*@)?")

#: A host with its port, or as SSH's short form writes it before the path.
_HOST = re.compile(r"^([^/:]+):(?:\d+/|/?)")

#: Whatever stands before the host of an address: it may hold a password.
_CREDENTIALS = re.compile(r"(://)[^/\s@]+@")

#: Operations that are ended at most.
MAX_TERMINATIONS = 2


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
        operation_limit_seconds: How long one operation may run before it is ended and tried again. It takes seconds, unless the
            Application has sync waves or hooks that wait for the model to load.
    """

    repository: str
    values_file: str
    namespace: str
    automated: bool
    requester: str
    prune: bool = True
    operation_limit_seconds: float = 300.0


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What was asked for so far, and since when something is as it is; seconds of the wait. A new process begins with an empty one.

    Attributes:
        refreshed: When the last refresh was asked for.
        syncs: How many syncs were asked for.
        synced: When the last of them was.
        terminations: How many operations were ended.
        operation: The start of the operation that was seen running last.
        operation_since: When it was first seen running.
        failing_since: When Argo CD was first seen failing to compare.
        differs_since: When it was first seen out of sync, with nothing done about it.
    """

    refreshed: float | None = None
    syncs: int = 0
    synced: float | None = None
    terminations: int = 0
    operation: datetime | None = None
    operation_since: float | None = None
    failing_since: float | None = None
    differs_since: float | None = None


@dataclass(frozen=True, kw_only=True)
class Stalled:
    """It does not go on.

    Attributes:
        sentence: Why, and what to do.
        withdraw: Whether an operation for this commit is still to come, which must not change the cluster once it was given up.
    """

    sentence: str
    withdraw: bool = False


Step = Literal["done", "wait", "refresh", "sync", "terminate"]


def unfit(seen: Application | None, application: str, namespace: str, policy: SyncPolicy) -> str:
    """Why the Application cannot be what delivers this model here, as a sentence; empty where it can."""
    if seen is None:
        return f"There is no Argo CD Application {application} in {namespace}: create it as docs/gitops.md shows."
    here = f"The Argo CD Application {application} in {namespace}"
    if seen.deleting:
        return f"{here} is being deleted: wait until it is gone, and create it anew."
    if position(seen, policy) is None:
        found = _quoted(", ".join(source.repository for source in seen.sources if source.repository)) or "nothing"
        return f"{here} follows {found} and not {_quoted(policy.repository)}: correct its spec.source.repoURL."
    reader = next((source for source in seen.sources if _reads(source, seen, policy)), None)
    if reader is None:
        return f"{here} does not read {policy.values_file} of {_quoted(policy.repository)}: add it to its source's helm.valueFiles."
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


def next_step(
    seen: Application,
    commit: str,
    policy: SyncPolicy,
    asked: Asked,
    *,
    waited_seconds: float,
    limit_seconds: float,
    same: Collection[str] = (),
) -> Step | Stalled:
    """What to do about an Application that is fit, to have exactly this commit in place.

    Args:
        seen: The Application as it is now.
        commit: The commit to bring about, in full.
        policy: How.
        asked: What was asked for so far, this look included (`noted`).
        waited_seconds: How long it has been waited for.
        limit_seconds: How long it may take.
        same: Other commits of the repository that are known to hold the very same for this Application.
    """
    operation = seen.operation
    in_place = _is_in_place(seen, commit, policy, same)
    if in_place and not (seen.requested or (operation is not None and operation.running)):
        return "done"
    if waited_seconds > limit_seconds:
        return Stalled(sentence=_overdue(seen, commit, policy, limit_seconds), withdraw=_is_to_come(seen, commit, policy))
    if operation is not None and operation.running:
        return _running(seen, operation, commit, policy, asked, waited_seconds)
    if seen.requested or seen.refreshing:
        return "wait"
    if asked.failing_since is not None and waited_seconds - asked.failing_since >= COMPARISON_SECONDS:
        return Stalled(sentence=f"{_named(seen)} cannot be compared with Git: {_complaint(seen)}.")
    if seen.conditions.get("InvalidSpecError") and asked.refreshed is not None:
        return Stalled(sentence=f"{_named(seen)} is refused by Argo CD: {_complaint(seen)}.")
    if _wants_sync(seen, commit, policy, asked, waited_seconds, same):
        return _sync(seen, commit, asked, waited_seconds)
    if asked.refreshed is None or waited_seconds - asked.refreshed >= REFRESH_SECONDS:
        return "refresh"
    return "wait"


def noted(asked: Asked, seen: Application, waited_seconds: float) -> Asked:
    """What was asked for, with what this look adds: since when an operation runs, a comparison fails, or a difference stays."""
    operation = seen.operation
    running = operation is not None and operation.running
    if running and operation is not None and (asked.operation_since is None or asked.operation != operation.started_at):
        asked = replace(asked, operation=operation.started_at, operation_since=waited_seconds)
    elif not running:
        asked = replace(asked, operation=None, operation_since=None)
    return replace(
        asked,
        failing_since=_since(asked.failing_since, "ComparisonError" in seen.conditions, waited_seconds),
        differs_since=_since(asked.differs_since, seen.sync_status == "OutOfSync" and not running and not seen.requested, waited_seconds),
    )


def _since(before: float | None, holds: bool, waited: float) -> float | None:
    if not holds:
        return None
    return waited if before is None else before


def stepped(asked: Asked, step: Step, waited_seconds: float) -> Asked:
    """What was asked for, after this step was done."""
    match step:
        case "refresh":
            return replace(asked, refreshed=waited_seconds)
        case "sync":
            return replace(asked, syncs=asked.syncs + 1, synced=waited_seconds)
        case "terminate":
            return replace(asked, terminations=asked.terminations + 1)
    return asked


def wanted_revisions(seen: Application, commit: str, policy: SyncPolicy) -> tuple[str, ...]:
    """What to sync each source to: the commit for the one in its repository, and what they follow for the others."""
    return tuple(commit if _is_repository(source, policy) else source.target for source in seen.sources)


def compared_commit(seen: Application, policy: SyncPolicy) -> str:
    """The commit of the policy's repository that Argo CD has compared with; empty before it has."""
    return _revision(seen.revisions, seen, policy)


def position(seen: Application, policy: SyncPolicy) -> int | None:
    """Which of the Application's sources is in the policy's repository; none if none is."""
    return next((index for index, source in enumerate(seen.sources) if _is_repository(source, policy)), None)


def _is_repository(source: ApplicationSource, policy: SyncPolicy) -> bool:
    return not source.chart and _plain(source.repository) == _plain(policy.repository)


def _plain(repository: str) -> str:
    """A repository's host and path: Argo CD may read by SSH what we write by HTTPS, as somebody else."""
    return _HOST.sub(r"\1/", _SCHEME.sub("", repository.strip().lower())).rstrip("/").removesuffix(".git")


def _reads(source: ApplicationSource, seen: Application, policy: SyncPolicy) -> bool:
    """Whether the source renders a chart with the policy's values file, of its own repository or of one that it refers to."""
    refs = {other.ref for other in seen.sources if other.ref and _is_repository(other, policy)}
    for file in source.value_files:
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


def _revision(revisions: tuple[str, ...], seen: Application, policy: SyncPolicy) -> str:
    """The one of the revisions that is the policy's repository's; empty where there is none."""
    index = position(seen, policy) if seen.multiple else 0
    return revisions[index] if index is not None and index < len(revisions) else ""


def _is_in_place(seen: Application, commit: str, policy: SyncPolicy, same: Collection[str]) -> bool:
    if seen.sync_status != "Synced":
        return False
    if _is_known(seen, commit, policy, same):
        return True
    # The branch may be further by now, for other models: what was synced is ours, and nothing that is there differs from the branch.
    operation = seen.operation
    return (
        operation is not None
        and operation.phase == "Succeeded"
        and operation.whole
        and _revision(operation.revisions, seen, policy) == commit
        and None not in (operation.finished_at, seen.reconciled_at)
        and seen.reconciled_at >= operation.finished_at  # type: ignore[operator]  # neither is None
    )


def _sync(seen: Application, commit: str, asked: Asked, waited: float) -> Step | Stalled:
    if asked.syncs == len(SYNC_PAUSES_SECONDS):
        said = _quoted(seen.operation.message) if seen.operation is not None else ""
        return Stalled(
            sentence=f"{_named(seen)} was asked {asked.syncs} times to sync to {_short(commit)}, in vain: {said or _complaint(seen)}."
        )
    pause = SYNC_PAUSES_SECONDS[asked.syncs]
    return "sync" if asked.synced is None or waited - asked.synced >= pause else "wait"


def _running(seen: Application, operation: ArgoOperation, commit: str, policy: SyncPolicy, asked: Asked, waited: float) -> Step | Stalled:
    since = asked.operation_since
    if operation.phase == "Terminating" or since is None or waited - since <= policy.operation_limit_seconds:
        return "wait"
    if asked.terminations < MAX_TERMINATIONS:
        return "terminate"
    return Stalled(
        sentence=f"{_named(seen)} does not end its operation within {policy.operation_limit_seconds:.0f} s, "
        f"although it was ended and begun anew: {_quoted(operation.message) or 'it gives no reason'}.",
        withdraw=_is_to_come(seen, commit, policy),
    )


def _is_to_come(seen: Application, commit: str, policy: SyncPolicy) -> bool:
    operation = seen.operation
    return operation is not None and operation.phase in ("Pending", "Running") and _revision(operation.revisions, seen, policy) == commit


def _wants_sync(seen: Application, commit: str, policy: SyncPolicy, asked: Asked, waited: float, same: Collection[str]) -> bool:
    """Whether a sync must be asked for, now that none is under way."""
    operation = seen.operation
    tried = operation is not None and _revision(operation.revisions, seen, policy) == commit and operation.whole
    if tried and operation is not None and operation.phase in ("Failed", "Error"):
        return True  # Argo CD does not try a commit again by itself that it failed with
    if not policy.automated:
        # What succeeded only has to be compared once more: the branch that Argo CD remembers may be older than the commit.
        return not tried or (_is_known(seen, commit, policy, same) and _is_late(asked, waited))
    return _is_known(seen, commit, policy, same) and _is_late(asked, waited)


def _is_known(seen: Application, commit: str, policy: SyncPolicy, same: Collection[str]) -> bool:
    """Whether Argo CD has compared with the commit, or with one that holds the same."""
    known = compared_commit(seen, policy)
    return known == commit or known in same


def _is_late(asked: Asked, waited: float) -> bool:
    return asked.differs_since is not None and waited - asked.differs_since >= AUTOMATED_SECONDS


def _overdue(seen: Application, commit: str, policy: SyncPolicy, limit: float) -> str:
    """Why the commit is not in place although the time is up."""
    late = f"{_named(seen)} does not have {_short(commit)} in place after {limit:.0f} s"
    operation = seen.operation
    if operation is not None and operation.running:
        return f"{late}: its operation is {operation.phase.lower()} ({_quoted(operation.message) or 'no reason given'})."
    if seen.requested or seen.refreshing:
        asked = "operation" if seen.requested else "refresh"
        return f"{late}: Argo CD did not come to the {asked} that it was asked for; see whether its application controller runs."
    if seen.conditions:
        return f"{late}: {_complaint(seen)}."
    known = compared_commit(seen, policy)
    if known and known != commit:
        target = seen.sources[position(seen, policy) or 0].target or "the default branch"
        return f"{late}, but {_short(known)}: it follows {target}; see whether the commit is on it and still its newest."
    different = f" ({', '.join(seen.out_of_sync)})" if seen.out_of_sync else ""
    return f"{late}: it is {seen.sync_status or 'not compared yet'}{different}; see what else changes those objects."


def _named(seen: Application) -> str:
    return f"The Argo CD Application {seen.name} in {seen.namespace}"


def _complaint(seen: Application) -> str:
    """What Argo CD complains of, most telling first."""
    order = ("InvalidSpecError", "ComparisonError", "SyncError")
    kind = next((kind for kind in order if kind in seen.conditions), next(iter(seen.conditions), ""))
    return f"{kind}: {_quoted(seen.conditions.get(kind, ''))}"


def _quoted(text: str) -> str:
    """Words of Argo CD's, or an address, as they may stand in a sentence: on one line, not too long, without a password."""
    text = _CREDENTIALS.sub(r"\1", " ".join(text.split())).rstrip(".")
    return text if len(text) <= 600 else f"{text[:200]} … {text[-400:]}"


def _short(commit: str) -> str:
    return commit[:12]
