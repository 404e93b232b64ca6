"""Has Argo CD bring a commit about, and knows when it never will."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

from blocks.argocd import Argo, ArgoClient
from blocks.errors import ApplicationUnfit, ClusterConflict, SyncStalled
from blocks.facts.argocd import Application
from flows.delivery.application import SyncPolicy, compared_commit, unfit, wanted_revisions
from flows.delivery.sync import Asked, Stalled, SyncStep, is_synced_and_differs, next_sync_step, noted, stepped
from flows.runtime.tasks import looks, step


def _never(commit: str) -> bool:
    return False


@step
def require_application(argo: Argo, application: str, namespace: str, wanted: SyncPolicy) -> None:
    """Make sure, before anything is committed, that the Application delivers this model to this environment.

    Raises:
        ApplicationUnfit: It does not exist, points elsewhere, or syncs when it must not.
        ClusterUnreachable: The cluster did not answer.
    """
    with argo.client() as client:
        _look(client, application, namespace, wanted)


@step
def sync(
    argo: Argo,
    application: str,
    namespace: str,
    commit: str,
    wanted: SyncPolicy,
    limit_seconds: int,
    same: Callable[[str], bool] = _never,
    left: Callable[[Application], Sequence[str] | None] | None = None,
) -> None:
    """Wait until the Application has exactly this commit in place, and ask Argo CD for what that takes.

    Idempotent: an Application that has it in place is left alone, and an operation that runs is waited for.

    Args:
        argo: Where Argo CD's Applications lie.
        application: The Application's name; also that of the Helm release that it renders.
        namespace: The namespace that the Application lies in.
        commit: The commit, in full.
        wanted: What the Application must be, and how it is brought there.
        limit_seconds: How long it may take.
        same: Tells whether another commit holds the very same for this Application: on a branch that many models share, Argo CD may
            come to a later one first. Without it, only the commit itself counts.
        left: Tells where the cluster differs from the commit beyond what may differ. Without it, Argo CD's own word counts.

    Raises:
        ApplicationUnfit: It does not exist, points elsewhere, or syncs when it must not.
        SyncStalled: Argo CD does not bring it about; the message says why in its words.
        ClusterUnreachable: The cluster did not answer.
    """
    asked, known, differs = Asked(), _Known(same), _Left(left)
    with argo.client() as client:
        for waited in looks(limit_seconds, partial(client.wait_for_application, namespace, application)):
            seen = _look(client, application, namespace, wanted)
            # Kept in this process alone: one that comes after a kill asks anew, and Argo CD finds the commit there or not.
            asked = noted(asked, seen, waited)
            same_here = known.like(compared_commit(seen, wanted), commit)
            step = next_sync_step(
                seen,
                commit,
                wanted,
                asked,
                waited_seconds=waited,
                limit_seconds=limit_seconds,
                same=same_here,
                left=differs.of(seen) if is_synced_and_differs(seen, commit, wanted, same_here) else None,
            )
            if step == "done":
                return
            if isinstance(step, Stalled):
                # Otherwise it would change the cluster after this run has said that it failed.
                if step.withdraw:
                    with suppress(ClusterConflict):  # it ended, or began, by itself
                        client.terminate(seen)
                raise SyncStalled(step.message, application=application, namespace=namespace, commit=commit)
            with suppress(ClusterConflict):  # it changed since: the next look decides anew
                _do(client, step, seen, commit, wanted)
                asked = stepped(asked, step, waited)
    # The last look is after the limit: it finds the commit in place, or that it stalled.
    raise SyncStalled(f"The Argo CD Application {application} in {namespace} was not watched to its end; run the release again.")


def _look(client: ArgoClient, application: str, namespace: str, wanted: SyncPolicy) -> Application:
    seen = client.application(namespace, application)
    why = unfit(seen, application, namespace, wanted)
    if seen is None or why:
        raise ApplicationUnfit(why, application=application, namespace=namespace)
    return seen


def _do(client: ArgoClient, step: SyncStep, seen: Application, commit: str, wanted: SyncPolicy) -> None:
    match step:
        case "refresh":
            client.refresh(seen)
        case "sync":
            client.request_sync(seen, wanted_revisions(seen, commit, wanted), prune=wanted.prune, requester=wanted.requester)
        case "terminate":
            client.terminate(seen)


class _Left:
    """Looks where the cluster differs, once for each version of the Application."""

    def __init__(self, left: Callable[[Application], Sequence[str] | None] | None) -> None:
        self._left = left
        self._version = ""
        self._found: Sequence[str] | None = None

    def of(self, seen: Application) -> Sequence[str] | None:
        """Where the cluster differs; none where nobody can tell."""
        if self._left is None:
            return None
        if self._version != seen.version:
            self._version, self._found = seen.version, self._left(seen)
        return self._found


class _Known:
    """Remembers which commits hold the same, so that each is asked about once."""

    def __init__(self, same: Callable[[str], bool]) -> None:
        self._same = same
        self._answers: dict[str, bool] = {}

    def like(self, other: str, commit: str) -> set[str]:
        """The other commit, if it holds the same as this one."""
        if other in ("", commit):
            return set()
        if other not in self._answers:
            self._answers[other] = self._same(other)
        return {other} if self._answers[other] else set()
