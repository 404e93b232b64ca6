"""Makes a Helm release usable again whose last operation was killed."""

from __future__ import annotations

from prefect import task

from blocks.helm import Helm
from flows.delivery.pending import Repair, choose_repair
from flows.runtime.tasks import OBSERVES


@task(task_run_name="unstick {release}", **OBSERVES)
def unstick(helm: Helm, release: str, namespace: str, wanted: str | None) -> Repair | None:
    """Finish, take back or remove what a killed operation left; what was done, or none if nothing was stuck.

    To be called by the run that holds the lock. Killed itself, it leaves another pending operation, which the next call clears.

    Args:
        helm: Where.
        release: The Helm release.
        namespace: Its namespace.
        wanted: Fingerprint of the candidate that it is to carry next; none if it is to go.

    Raises:
        HelmUnreachable: The cluster did not answer; retried.
        HelmConflict: Somebody else owns fields that the chart sets; the release is no longer stuck then.
        HelmRejected: Helm refused.
    """
    with helm.client() as client:
        repair = choose_repair(tuple(client.revisions(release, namespace)), wanted)
        if repair is None:
            return None
        if repair.revision is not None:
            client.rollback(release, namespace, repair.revision)
        else:
            client.uninstall(release, namespace, keep_history=repair.was.status == "uninstalling")
        return repair


@task(task_run_name="uninstall {release}", **OBSERVES)
def uninstall(helm: Helm, release: str, namespace: str) -> None:
    """Remove the Helm release with all that it made, stuck or not; one that is not there is left alone.

    Raises:
        HelmUnreachable: The cluster did not answer; retried.
        HelmRejected: Helm refused.
    """
    with helm.client() as client:
        client.uninstall(release, namespace)
