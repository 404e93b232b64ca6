"""Looks at the cluster and the chart, and says what a release into one environment would do. Creates nothing."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain
from typing import Any, get_args

from prefect import task

from blocks.cluster import Cluster
from blocks.facts.cluster import INSTANCE
from blocks.facts.helm import carried_before, merged
from blocks.helm import Helm
from flows.naming import Slot, engine_name, release_name, slot_of
from flows.placement import assess as rules
from flows.placement.assess import Assessment, ClusterState, ReleasePlan
from flows.placement.capacity import StrategyName
from flows.placement.nodes import takes_pods
from flows.placement.replicas import wanted_replicas
from flows.runtime.artifacts import show_page
from flows.runtime.tasks import OBSERVES, step
from flows.spec import Candidate, Environment, Model
from flows.text.markdown import md


def _assess(cluster: Cluster, helm: Helm, model: Model, candidate: Candidate, environment: Environment) -> Assessment:
    with helm.client() as charts:
        chart_digest = charts.chart_digest()
    return rules.assess(model, candidate, environment, _cluster_state(cluster, helm, candidate, environment), chart_digest)


def _cluster_state(cluster: Cluster, helm: Helm, candidate: Candidate, environment: Environment) -> ClusterState:
    with helm.client() as charts:
        values = merged(merged(charts.default_values(), charts.environment_values(environment.name)), environment.values)
    wanted = wanted_replicas(values, environment)
    release_of = release_name(candidate.model, environment.name)
    with cluster.client() as client:
        nodes = client.nodes.list(environment.node_selector)
        # An upgrade leaves as many pods as the autoscaler has asked for.
        slot = slot_of(client.rollouts.engine_of(environment.namespace, release_of) or release_of, release_of)
        running = client.rollouts.get(environment.namespace, engine_name(release_of, slot)) if wanted.autoscaled else None
        both = (client.pods.list(environment.namespace, {INSTANCE: engine_name(release_of, each)}) for each in get_args(Slot))
        return ClusterState(
            nodes=nodes,
            gpus_taken=client.nodes.gpus_taken([node.name for node in nodes if node.gpus and takes_pods(node, environment)]),
            pods=tuple(chain.from_iterable(both)),
            quotas=client.nodes.gpu_quotas(environment.namespace),
            claims=client.mounts.bound_claims(environment.namespace),
            replicas=max(wanted.least, running.wanted if running is not None else 0),
            grace_seconds=wanted.grace_seconds,
            slot=slot,
        )


@task(task_run_name="plan {candidate.model} for {environment.name}", **OBSERVES)
def assess(cluster: Cluster, helm: Helm, model: Model, candidate: Candidate, environment: Environment) -> Assessment:
    """Say what would happen to the candidate in the environment, with everything that speaks against it. Reads only; never cached.

    Raises:
        ClusterUnreachable: The cluster did not answer; retried.
        ClusterRejected: Something may not be read; the message says what to grant.
    """
    return _assess(cluster, helm, model, candidate, environment)


@task(task_run_name="plan {candidate.model} for {environment.name}", **OBSERVES)
def plan(cluster: Cluster, helm: Helm, model: Model, candidate: Candidate, environment: Environment) -> None:
    """Plan the candidate's release into the environment from what is there now, and show it; refuse what cannot work.

    Raises:
        DoesNotFit: Memory, GPUs, quota or disk are too small for it, or cannot be told.
        PromotionRefused: The chart is no longer the candidate's.
        Refusal: Its licence is not allowed there.
        ClusterUnreachable: The cluster did not answer; retried.
        ClusterRejected: Something may not be read; the message says what to grant.
    """
    from flows.placement.page import preview_page  # not for a way back

    assessment = _assess(cluster, helm, model, candidate, environment)
    page = preview_page(candidate, (), [assessment])
    # Before it may refuse: the page has all that speaks against it, the error the first thing.
    show_page(f"{release_name(model.name, 'plan')}-{environment.name}", page, md("What the release does in {}", environment.name))
    rules.plan_release(assessment)


@step
def plan_release(cluster: Cluster, helm: Helm, model: Model, candidate: Candidate, environment: Environment) -> ReleasePlan:
    """The same plan once more, when the run holds the lock: by then GPUs may be taken. Errors as of `plan`."""
    return rules.plan_release(_assess(cluster, helm, model, candidate, environment))


@task(task_run_name="plan the way back of {candidate.model} in {environment.name}", **OBSERVES)
def plan_rollback(cluster: Cluster, helm: Helm, candidate: Candidate, environment: Environment) -> ReleasePlan:
    """Plan the environment's way back to a candidate that ran there before; its chart is Helm's, not the one that lies here.

    Raises:
        DoesNotFit: No node could run it.
        ClusterUnreachable: The cluster did not answer; retried.
        HelmUnreachable: The cluster did not answer; retried.
    """
    seen = _cluster_state(cluster, helm, candidate, environment)
    with helm.client() as client:
        revisions = client.revisions(release_name(candidate.model, environment.name), environment.namespace)
        newest = next(revisions, None)
        carrying = carried_before(chain([newest] if newest is not None else [], revisions), candidate.fingerprint)
    # One that another candidate stood beside, or in another slot than what serves now, does not come back as it was.
    plain = carrying is not None and not carrying.values.get("beside") and (carrying.values.get("slot") or "a") == seen.slot
    stored: Any = carrying.strategy if carrying is not None and plain else None
    # A Helm revision brings its own number of pods back, whatever the files say now.
    if carrying is not None and carrying.replicas is not None:
        seen = replace(seen, replicas=carrying.replicas)
    # It was written by whichever chart was in use then, and may be a word that is no strategy of ours.
    plan = rules.plan_rollback(candidate, environment, seen, stored if stored in get_args(StrategyName) else None)
    return replace(plan, newest=newest, carrying=carrying)
