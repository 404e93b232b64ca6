"""Takes a Helm release back to the revision that carried a candidate."""

from __future__ import annotations

from datetime import UTC, datetime

from prefect import task

from blocks.errors import HelmRejected
from blocks.facts import HelmRevision
from blocks.helm import Helm
from flows.delivery.pending import carried_before, require_idle
from flows.delivery.tasks.helm import untouched_if_same
from flows.placement.assess import ReleasePlan
from flows.runtime.tasks import OBSERVES
from flows.spec import Candidate, Environment


@task(task_run_name="redeploy {environment.name}", **OBSERVES)
def redeploy(helm: Helm, candidate: Candidate, environment: Environment, plan: ReleasePlan, take_back: bool) -> HelmRevision:
    """Make the environment's Helm release what it was when it carried the candidate; return the Helm revision in place.

    Idempotent: a release that already carries the fingerprint is left alone. Arguments as of `deploy`.

    Raises:
        HelmBusy: Another operation holds the release; retried.
        HelmStuck: An operation on it was killed.
        HelmConflict: Somebody else owns fields that the chart sets.
        HelmRejected: No Helm revision that carried the candidate is kept.
    """
    release, namespace = plan.helm_release, environment.namespace
    with helm.client() as client:
        revisions = client.revisions(release, namespace)
        newest = next(revisions, None)
        require_idle(newest, datetime.now(UTC), client.dead_after_seconds)
        if newest is not None and newest.status == "deployed" and newest.fingerprint == candidate.fingerprint:
            return newest
        carrying = carried_before(revisions, candidate)
        if carrying is None:
            raise HelmRejected(
                f"Helm release {release} keeps no revision with candidate {candidate.short}: release its hub revision "
                f"{candidate.commit} again instead."
            )
        if plan.strategy == "recreate" and carrying.strategy != "recreate" and newest is not None and newest.status != "uninstalled":
            # The revision's own strategy would wait for GPUs that the present pods hold. Its history is kept, so that it can come back.
            client.uninstall(release, namespace, keep_history=True)
        with untouched_if_same(client, release, namespace, newest):
            return client.rollback(release, namespace, carrying.revision, take_back=take_back)
