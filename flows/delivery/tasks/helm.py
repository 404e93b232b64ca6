"""Makes the environment's Helm release carry the candidate."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

from prefect import task

from blocks.errors import HelmRejected, PipelineError
from blocks.facts import HelmRevision
from blocks.helm import Helm, HelmClient, values_digest
from flows.delivery.pending import require_idle
from flows.delivery.values import chart_values, merged
from flows.placement.assess import ReleasePlan
from flows.runtime.tasks import OBSERVES
from flows.spec import Candidate, Environment


@task(task_run_name="deploy {environment.name}", **OBSERVES)
def deploy(helm: Helm, candidate: Candidate, environment: Environment, plan: ReleasePlan, take_back: bool) -> HelmRevision:
    """Make the environment's Helm release carry the candidate's values; return the Helm revision in place.

    Idempotent: a release that already carries these values is left alone.

    Args:
        helm: Where.
        candidate: What.
        environment: For whom.
        plan: Under which names.
        take_back: Whether fields that the chart sets are taken from whoever changed them outside of Helm.

    Raises:
        HelmBusy: Another operation holds the release; retried.
        HelmStuck: An operation on it was killed.
        HelmUnreachable: The cluster did not answer; retried.
        HelmConflict: Somebody else owns fields that the chart sets.
        HelmRejected: The chart or its values are wrong; retrying cannot help.
    """
    with helm.client() as client:
        current = client.current(plan.helm_release, environment.namespace)
        require_idle(current, datetime.now(UTC), client.dead_after_seconds)
        values = merged(client.environment_values(environment.name), chart_values(candidate, environment, plan))
        if current is not None and current.status == "deployed" and current.values_sha256 == values_digest(values):
            return current
        # No --wait and no --rollback-on-failure: a stalled rollout must stay visible for diagnosis, and going back is a
        # decision of its own.
        with untouched_if_same(client, plan.helm_release, environment.namespace, current):
            return client.upgrade(plan.helm_release, environment.namespace, values, take_back=take_back)


@contextmanager
def untouched_if_same(client: HelmClient, release: str, namespace: str, before: HelmRevision | None) -> Iterator[None]:
    """Say with a refusal (as the fact `untouched`) that nothing was changed, where Helm has made no new revision of it."""
    try:
        yield
    except HelmRejected as exc:
        with suppress(PipelineError):  # then it cannot be told
            exc.facts["untouched"] = client.current(release, namespace) == before
        raise
