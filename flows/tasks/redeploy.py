"""Takes a Helm release back to the revision that carried a candidate."""

from __future__ import annotations

from prefect import task

from blocks.errors import HelmRejected
from blocks.facts import HelmRevision
from blocks.helm import Helm
from flows.plan.release import ReleasePlan
from flows.spec import Candidate, Environment
from flows.tasks.policy import OBSERVES

#: Revisions that were in place once: what they rendered was accepted by the cluster.
_WERE_IN_PLACE = ("deployed", "superseded")


@task(task_run_name="redeploy {environment.name}", **OBSERVES)
def redeploy(helm: Helm, candidate: Candidate, environment: Environment, plan: ReleasePlan) -> HelmRevision:
    """Make the environment's Helm release what it was when it carried the candidate; return the Helm revision in place.

    Idempotent: a release that already carries the fingerprint is left alone.

    Raises:
        HelmBusy: Another operation holds the release; retried.
        HelmRejected: No Helm revision that carried the candidate is kept.
    """
    with helm.client() as client:
        history = client.history(plan.helm_release, environment.namespace)
        if history and history[-1].fingerprint == candidate.fingerprint and history[-1].status == "deployed":
            return history[-1]
        carrying = [line for line in history if line.fingerprint == candidate.fingerprint and line.status in _WERE_IN_PLACE]
        if not carrying:
            raise HelmRejected(
                f"Helm release {plan.helm_release} keeps no revision with candidate {candidate.short}: release its hub revision "
                f"{candidate.commit} again instead."
            )
        return client.rollback(plan.helm_release, environment.namespace, carrying[-1].revision)
