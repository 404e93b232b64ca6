"""Makes the environment's Helm release carry the candidate."""

from __future__ import annotations

from prefect import task

from blocks.facts import HelmRevision
from blocks.helm import Helm
from flows.plan.release import ReleasePlan
from flows.plan.values import chart_values, merged
from flows.spec import Candidate, Environment
from flows.tasks.policy import OBSERVES


@task(task_run_name="deploy {environment.name}", **OBSERVES)
def deploy(helm: Helm, candidate: Candidate, environment: Environment, plan: ReleasePlan) -> HelmRevision:
    """Make the environment's Helm release carry the candidate's values; return the Helm revision in place.

    Idempotent: a release that already carries the fingerprint is left alone.

    Raises:
        HelmBusy: Another operation holds the release; retried.
        HelmUnreachable: The cluster did not answer; retried.
        HelmRejected: The chart or its values are wrong; retrying cannot help.
    """
    with helm.client() as client:
        current = client.current(plan.helm_release, environment.namespace)
        if current is not None and current.fingerprint == candidate.fingerprint and current.status == "deployed":
            return current
        values = merged(client.environment_values(environment.name), chart_values(candidate, environment, plan))
        # No --wait and no --rollback-on-failure: a stalled rollout must stay visible for diagnosis, and going back is a
        # decision of its own.
        return client.upgrade(plan.helm_release, environment.namespace, values)
