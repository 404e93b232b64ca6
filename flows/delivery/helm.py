"""Makes the environment's Helm release carry the candidate."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from blocks.errors import HelmRejected, PipelineError
from blocks.facts import HelmRevision
from blocks.facts.helm import carried_before, merged
from blocks.helm import Helm, HelmClient, values_digest
from flows.delivery.engines import (
    Engines,
    Rearrange,
    engines_of,
    in_slot,
    only,
    restarted,
    restarts_what_serves,
    without,
)
from flows.delivery.pending import Repair, choose_repair, require_idle
from flows.delivery.values import chart_values
from flows.placement.assess import ReleasePlan
from flows.runtime.tasks import step
from flows.spec import Candidate, Environment


@step
def upgrade_release(
    helm: Helm, candidate: Candidate, environment: Environment, plan: ReleasePlan, force_conflicts: bool, *, anew: bool = False
) -> HelmRevision:
    """Make the environment's Helm release carry the candidate's values; return the Helm revision in place.

    Idempotent: a release that already carries these values is left alone.

    Args:
        helm: Where.
        candidate: What.
        environment: For whom.
        plan: Under which names.
        force_conflicts: Whether fields that the chart sets are taken from whoever changed them outside of Helm.
        anew: Whether to apply it though it carries these values: what runs is not what they render to.

    Raises:
        HelmBusy: Another operation holds the release.
        HelmStuck: An operation on it was killed.
        HelmUnreachable: The cluster did not answer.
        HelmConflict: Somebody else owns fields that the chart sets.
        HelmRejected: The chart or its values are wrong; retrying cannot help.
    """
    with helm.client() as client:
        current = client.current(plan.helm_release, environment.namespace)
        # Helm would refuse anyway, but with the same words for an operation that lives and for one that was killed.
        require_idle(current, datetime.now(UTC), client.dead_after_seconds)
        values = _alone(client, candidate, environment, plan, current)
        # By all values and not by the fingerprint: the environment's own are no part of that, and may have changed.
        # Only `deployed`: a revision that failed carries these values, too, though not all of it was applied.
        if current is not None and not anew and current.status == "deployed" and current.values_sha256 == values_digest(values):
            return current
        # No --wait and no --rollback-on-failure: a stalled rollout must stay visible for diagnosis, and going back is a
        # decision of its own.
        with untouched_if_same(client, plan.helm_release, environment.namespace, current):
            return client.upgrade(plan.helm_release, environment.namespace, values, force_conflicts=force_conflicts)


def _alone(
    client: HelmClient, candidate: Candidate, environment: Environment, plan: ReleasePlan, current: HelmRevision | None
) -> dict[str, Any]:
    """The candidate's values where it is the only one, in the slot of what serves: in the other one, that would go before this is up."""
    values = merged(client.environment_values(environment.name), chart_values(candidate, environment, plan))
    return in_slot(values, engines_of(current.values).slot if current is not None and current.status != "uninstalled" else "a")


@step
def rearrange_release(
    helm: Helm,
    candidate: Candidate,
    environment: Environment,
    plan: ReleasePlan,
    force_conflicts: bool,
    *,
    anew: bool = False,
    rearrange: Rearrange,
) -> HelmRevision:
    """Have the release go on with its engines in another order; return the Helm revision in place.

    Idempotent: a release that has these values already is left alone. Arguments and errors as of `upgrade_release`.

    Raises:
        HelmRejected: Besides, there is no release, or what serves would start again by the chart as it is now.
    """
    release, namespace = plan.helm_release, environment.namespace
    with helm.client() as client:
        current = client.current(release, namespace)
        require_idle(current, datetime.now(UTC), client.dead_after_seconds)
        if current is None or current.fingerprint is None:
            raise HelmRejected(f"There is no Helm release {release} in {namespace} that a candidate could stand beside.")
        wanted = merged(client.environment_values(environment.name), chart_values(candidate, environment, plan))
        values = rearrange(current.values, wanted, client.default_values())
        if not anew and current.status == "deployed" and current.values_sha256 == values_digest(values):
            return current
        _require_no_restart(client, release, namespace, values)
        with untouched_if_same(client, release, namespace, current):
            return client.upgrade(release, namespace, values, force_conflicts=force_conflicts)


@step
def leave_release(helm: Helm, release: str, namespace: str, fingerprint: str) -> None:
    """Have the release go on without the candidate, where another one is there as well. Errors as of `upgrade_release`."""
    with helm.client() as client:
        current = client.current(release, namespace)
        require_idle(current, datetime.now(UTC), client.dead_after_seconds)
        values = without(current.values, fingerprint) if current is not None and current.status != "uninstalled" else None
        if values is not None:
            _require_no_restart(client, release, namespace, values)
            # Only what the chart renders, and nobody else's: what others own of it is taken back as far as Helm must.
            client.upgrade(release, namespace, values, force_conflicts=True)


def _require_no_restart(client: HelmClient, release: str, namespace: str, values: Mapping[str, Any]) -> None:
    """Refuse values by which pods of a candidate that stays would start again, as by a chart with another pod template."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "values.json"
        file.write_text(json.dumps(values), encoding="utf-8")
        after = client.rendered(release, namespace, client.chart, file)
    if restarted(client.manifest(release, namespace), after):
        raise HelmRejected(restarts_what_serves(f"Helm release {release}"))


@contextmanager
def untouched_if_same(client: HelmClient, release: str, namespace: str, before: HelmRevision | None) -> Iterator[None]:
    """Say with a refusal that nothing was changed, where Helm has made no new revision of it."""
    try:
        yield
    except HelmRejected as exc:
        with suppress(PipelineError):  # then it cannot be told
            # Helm writes a revision's record before it touches anything else.
            exc.untouched = client.current(release, namespace) == before
        raise


@step
def roll_back_release(
    helm: Helm, candidate: Candidate, environment: Environment, plan: ReleasePlan, force_conflicts: bool, *, anew: bool = False
) -> HelmRevision:
    """Make the environment's Helm release what it was when it carried the candidate; return the Helm revision in place.

    Idempotent: a release that already carries the fingerprint is left alone. Arguments as of `upgrade_release`.

    Raises:
        HelmBusy: Another operation holds the release.
        HelmStuck: An operation on it was killed.
        HelmConflict: Somebody else owns fields that the chart sets.
        HelmRejected: No Helm revision that carried the candidate is kept.
    """
    release, namespace = plan.helm_release, environment.namespace
    with helm.client() as client:
        newest = client.current(release, namespace)
        require_idle(newest, datetime.now(UTC), client.dead_after_seconds)
        present = engines_of(newest.values) if newest is not None and newest.status != "uninstalled" else Engines(serving=None)
        if newest is not None and newest.status == "deployed" and newest.fingerprint == candidate.fingerprint and present.beside is None:
            return client.rollback(release, namespace, newest.revision, force_conflicts=force_conflicts) if anew else newest
        if newest is not None and present.beside is not None and candidate.fingerprint in (present.serving, present.beside):
            # It is up: the endpoint leads to it, and what stood beside it goes.
            values = only(newest.values, candidate.fingerprint)
            with untouched_if_same(client, release, namespace, newest):
                return client.upgrade(release, namespace, values, force_conflicts=force_conflicts)
        # Where nothing changed since the plan, it has found it; each look at a revision is a process of its own.
        known = newest is not None and newest == plan.newest
        carrying = plan.carrying if known else carried_before(client.revisions(release, namespace), candidate.fingerprint)
        if carrying is None:
            raise HelmRejected(
                f"Helm release {release} keeps no revision with candidate {candidate.short}: release its hub revision "
                f"{candidate.commit} again instead."
            )
        before = engines_of(carrying.values)
        if before.beside is not None or (present.serving is not None and before.slot != present.slot):
            # Helm would bring back what stood beside it, or have all pods go before those of the other slot are up.
            values = in_slot({**carrying.values, "rollout": {"strategy": plan.strategy}}, present.slot)
            with untouched_if_same(client, release, namespace, newest):
                return client.upgrade(release, namespace, values, force_conflicts=force_conflicts)
        if plan.strategy == "recreate" and carrying.strategy != "recreate" and newest is not None and newest.status != "uninstalled":
            # The revision's own strategy would wait for GPUs that the present pods hold. Its history is kept, so that it can come back.
            client.uninstall(release, namespace, keep_history=True)
        with untouched_if_same(client, release, namespace, newest):
            return client.rollback(release, namespace, carrying.revision, force_conflicts=force_conflicts)


@step
def repair_release(helm: Helm, release: str, namespace: str, wanted: str | None) -> Repair | None:
    """Finish, take back or remove what a killed operation left; what was done, or none if nothing was stuck.

    To be called by the run that holds the lock. Killed itself, it leaves another pending operation, which the next call clears.

    Args:
        helm: Where.
        release: The Helm release.
        namespace: Its namespace.
        wanted: Fingerprint of the candidate that it is to carry next; none if it is to go.

    Raises:
        HelmUnreachable: The cluster did not answer.
        HelmConflict: Somebody else owns fields that the chart sets; the release is no longer stuck then.
        HelmRejected: Helm refused.
    """
    with helm.client() as client:
        repair = choose_repair(tuple(client.revisions(release, namespace)), wanted)
        if repair is None:
            return None
        # Not `helm upgrade`, which a pending operation refuses; `helm rollback` clears it, even to the pending revision itself.
        if repair.revision is not None:
            client.rollback(release, namespace, repair.revision)
        else:
            # One that was uninstalling may be `recreate` on its way back (above): that needs the history.
            client.uninstall(release, namespace, keep_history=repair.was.status == "uninstalling")
        return repair


@step
def uninstall(helm: Helm, release: str, namespace: str) -> None:
    """Remove the Helm release with all that it made, stuck or not; one that is not there is left alone.

    Raises:
        HelmUnreachable: The cluster did not answer.
        HelmRejected: Helm refused.
    """
    with helm.client() as client:
        client.uninstall(release, namespace)
