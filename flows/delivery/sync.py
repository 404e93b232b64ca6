"""Whether Argo CD has brought a commit about, what to ask it for meanwhile, and when it never will.

Health is no part of it: Argo CD calls a Kubernetes Deployment degraded while weights load for longer than its deadline, and the pods are
judged where the rollout is watched.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from blocks.facts.argocd import Application, ArgoOperation
from blocks.wording import one_line
from flows.delivery.application import SyncPolicy, compared_commit, position, quoted, revision_of

#: Seconds between two refreshes that are asked for while Argo CD has compared something else.
REFRESH_SECONDS = 10.0

#: How long Argo CD has to begin a sync by itself once it has seen the difference; it does so at the end of that very comparison.
AUTOMATED_SECONDS = 15.0

#: How long Argo CD may fail to compare: a Git server restarts in that time, and a broken chart never gets better.
COMPARISON_SECONDS = 60.0

#: Seconds since the sync before, at least, for each sync that is asked for; after the last one Argo CD's own words stand. A fault that
#: passes within these is not worth a person's time.
SYNC_PAUSES_SECONDS = (0.0, 10.0, 30.0)

#: Operations that are ended at most.
MAX_TERMINATIONS = 2


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
        message: Why, and what to do.
        withdraw: Whether an operation for this commit is still to come, which must not change the cluster once it was given up.
    """

    message: str
    withdraw: bool = False


SyncStep = Literal["done", "wait", "refresh", "sync", "terminate"]


def next_sync_step(
    seen: Application,
    commit: str,
    policy: SyncPolicy,
    asked: Asked,
    *,
    waited_seconds: float,
    limit_seconds: float,
    same: Collection[str] = (),
    left: Sequence[str] | None = None,
) -> SyncStep | Stalled:
    """What to do about an Application that is fit, to have exactly this commit in place.

    Args:
        seen: The Application as it is now.
        commit: The commit to bring about, in full.
        policy: How.
        asked: What was asked for so far, this look included (`noted`).
        waited_seconds: How long it has been waited for.
        limit_seconds: How long it may take.
        same: Other commits of the repository that are known to hold the very same for this Application.
        left: Where the cluster differs from the commit beyond what may differ, object and field a line, although it was synced
            (`is_synced_and_differs`); none where that is not known.
    """
    operation = seen.operation
    in_place = _is_in_place(seen, commit, policy, same) or (bool(policy.ignored) and left is not None and not left)
    # In place, and yet an operation that runs or is still to come may bring something else.
    if in_place and not (seen.requested or (operation is not None and operation.running)):
        return "done"
    if waited_seconds > limit_seconds:
        return Stalled(message=_overdue(seen, commit, policy, limit_seconds), withdraw=_is_to_come(seen, commit, policy))
    if operation is not None and operation.running:
        return _running(seen, operation, commit, policy, asked, waited_seconds)
    if seen.requested or seen.refreshing:
        return "wait"
    # Twice, as the first may have met something that was about to end anyway.
    if left and asked.syncs >= (1 if policy.automated else 2):
        return Stalled(message=_rewritten(seen, commit, left))
    if asked.failing_since is not None and waited_seconds - asked.failing_since >= COMPARISON_SECONDS:
        return Stalled(message=f"{_named(seen)} cannot be compared with Git: {_complaint(seen)}.")
    # Conditions are of the last comparison: only after a refresh are they about what is there now.
    if seen.conditions.get("InvalidSpecError") and asked.refreshed is not None:
        return Stalled(message=f"{_named(seen)} is refused by Argo CD: {_complaint(seen)}.")
    if _wants_sync(seen, commit, policy, asked, waited_seconds, same):
        return _sync(seen, commit, asked, waited_seconds)
    # By itself Argo CD looks at Git every three minutes only.
    if asked.refreshed is None or waited_seconds - asked.refreshed >= REFRESH_SECONDS:
        return "refresh"
    return "wait"


def is_synced_and_differs(seen: Application, commit: str, policy: SyncPolicy, same: Collection[str] = ()) -> bool:
    """Whether Argo CD has applied all of the commit, and its objects are different all the same."""
    operation = seen.operation
    return (
        operation is not None
        and operation.phase == "Succeeded"
        and operation.whole
        and revision_of(operation.revisions, seen, policy) == commit
        and _is_known(seen, commit, policy, same)
        and seen.sync_status == "OutOfSync"
        and not seen.requested
        and not seen.refreshing
    )


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


def stepped(asked: Asked, step: SyncStep, waited_seconds: float) -> Asked:
    """What was asked for, after this step was done."""
    match step:
        case "refresh":
            return replace(asked, refreshed=waited_seconds)
        case "sync":
            return replace(asked, syncs=asked.syncs + 1, synced=waited_seconds)
        case "terminate":
            return replace(asked, terminations=asked.terminations + 1)
    return asked


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
        # A sync of a few resources, or a dry run, has not brought the commit about.
        and operation.whole
        and revision_of(operation.revisions, seen, policy) == commit
        and None not in (operation.finished_at, seen.reconciled_at)
        # `Synced` of a comparison before the sync says nothing of it. Argo CD's clock, whole seconds, on both sides.
        and seen.reconciled_at >= operation.finished_at  # type: ignore[operator]  # neither is None
    )


def _sync(seen: Application, commit: str, asked: Asked, waited: float) -> SyncStep | Stalled:
    if asked.syncs == len(SYNC_PAUSES_SECONDS):
        said = quoted(seen.operation.message) if seen.operation is not None else ""
        why = said or _complaint(seen) or "Argo CD gives no reason"
        return Stalled(message=f"{_named(seen)} was asked {asked.syncs} times to sync to {_short(commit)}, in vain: {why}.")
    pause = SYNC_PAUSES_SECONDS[asked.syncs]
    return "sync" if asked.synced is None or waited - asked.synced >= pause else "wait"


def _running(
    seen: Application, operation: ArgoOperation, commit: str, policy: SyncPolicy, asked: Asked, waited: float
) -> SyncStep | Stalled:
    since = asked.operation_since
    if operation.phase == "Terminating" or since is None or waited - since <= policy.operation_limit_seconds:
        return "wait"
    if asked.terminations < MAX_TERMINATIONS:
        return "terminate"
    return Stalled(
        message=f"{_named(seen)} does not end its operation within {policy.operation_limit_seconds:.0f} s, "
        f"although it was ended and begun anew: {quoted(operation.message) or 'it gives no reason'}.",
        withdraw=_is_to_come(seen, commit, policy),
    )


def _is_to_come(seen: Application, commit: str, policy: SyncPolicy) -> bool:
    operation = seen.operation
    return operation is not None and operation.phase in ("Pending", "Running") and revision_of(operation.revisions, seen, policy) == commit


def _wants_sync(seen: Application, commit: str, policy: SyncPolicy, asked: Asked, waited: float, same: Collection[str]) -> bool:
    """Whether a sync must be asked for, now that none is under way."""
    operation = seen.operation
    tried = operation is not None and revision_of(operation.revisions, seen, policy) == commit and operation.whole
    if tried and operation is not None and operation.phase in ("Failed", "Error"):
        return True  # Argo CD does not try a commit again by itself that it failed with
    if policy.automated and policy.empties:
        # Not before Argo CD knows the commit: it would put back at once what the branch said when it looked last.
        return _is_known(seen, commit, policy, same) and (not tried or _is_late(asked, waited))
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
        return f"{late}: its operation is {operation.phase.lower()} ({quoted(operation.message) or 'no reason given'})."
    if seen.requested or seen.refreshing:
        asked = "operation" if seen.requested else "refresh"
        return f"{late}: Argo CD did not come to the {asked} that it was asked for; see whether its application controller runs."
    if complaint := _complaint(seen):
        return f"{late}: {complaint}."
    known = compared_commit(seen, policy)
    if known and known != commit:
        target = seen.sources[position(seen, policy) or 0].target or "the default branch"
        return f"{late}, but {_short(known)}: it follows {target}; see whether the commit is on it and still its newest."
    different = f" ({', '.join(seen.out_of_sync)})" if seen.out_of_sync else ""
    return f"{late}: it is {seen.sync_status or 'not compared yet'}{different}; see what else changes those objects."


def _rewritten(seen: Application, commit: str, left: Sequence[str]) -> str:
    more = f", and {len(left) - 1} more" if len(left) > 1 else ""
    return (
        f"{_named(seen)} applied {_short(commit)}, and something on the cluster changes what it applied: {one_line(left[0], 200)}{more}; "
        "look for an admission webhook or a controller that writes it, and stop it, say in Git what it says, or list the field in "
        "ignore_differences of the environment (docs/gitops.md)."
    )


def _named(seen: Application) -> str:
    return f"The Argo CD Application {seen.name} in {seen.namespace}"


def _complaint(seen: Application) -> str:
    """The error that Argo CD tells of, the most telling one; empty where there is none. It also tells of what is only a warning."""
    order = ("InvalidSpecError", "ComparisonError", "SyncError")
    errors = {kind: message for kind, message in seen.conditions.items() if kind.endswith("Error")}
    kind = next((kind for kind in order if kind in errors), next(iter(errors), ""))
    return f"{kind}: {quoted(errors[kind])}" if kind else ""


def _short(commit: str) -> str:
    return commit[:12]
