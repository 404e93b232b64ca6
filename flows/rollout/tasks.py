"""Watches the rollout until the candidate's pods serve, or until it is clear why they never will."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Literal

from blocks.cluster import Cluster, ClusterClient
from blocks.errors import PipelineError, RolloutStalled, Transient
from blocks.facts import Pod, Rollout
from blocks.facts.cluster import INSTANCE
from flows.naming import release_name
from flows.rollout.diagnosis import Diagnosis, diagnosis_of, diagnosis_page, is_of
from flows.rollout.judge import Restarts, judge_rollout
from flows.runtime.artifacts import show_page
from flows.runtime.tasks import looks, step
from flows.spec import Candidate, Environment
from flows.text.markdown import md


def await_rollout(
    cluster: Cluster, candidate: Candidate, environment: Environment, engine: str, limit_seconds: int, service: str = ""
) -> tuple[Pod, ...]:
    """Wait until every pod of the engine serves the candidate, and return these pods. Reads only.

    Args:
        cluster: Where.
        candidate: What.
        environment: For whom.
        engine: Its Kubernetes Deployment.
        limit_seconds: How long to wait.
        service: The Service that must send to it, where that has another name.

    Raises:
        RolloutStalled: It does not go on; the message says why, and the facts carry the diagnosis.
        ClusterUnreachable: The cluster did not answer.
    """
    restarts = Restarts()
    with cluster.client() as client:
        for waited in looks(limit_seconds, partial(client.rollouts.wait, environment.namespace, engine)):
            seen = client.rollouts.get(environment.namespace, engine, service)
            if seen is None:
                raise RolloutStalled(f"The Kubernetes Deployment {engine} in {environment.namespace} is gone; run the release again.")
            judged = _judged(client, seen, candidate, environment, restarts, waited, limit_seconds)
            if judged == "complete":
                return tuple(pod for pod in seen.pods if pod.ready and is_of(pod, candidate.label))
            if isinstance(judged, Diagnosis):
                raise _stalled(judged, engine, environment)
    # The last look is after the limit: it finds the rollout complete or stalled.
    raise RolloutStalled(f"The rollout of {engine} in {environment.name} was not watched to its end; run the release again.")


@contextmanager
def shows_diagnosis(model: str, where: str) -> Iterator[None]:
    """Show why a step failed, with its box, where there is a diagnosis to be made of it.

    Args:
        model: The model.
        where: Model and environment, for the title.
    """
    try:
        yield
    except PipelineError as exc:
        # One that is tried again may be gone then.
        if not isinstance(exc, Transient) and (found := diagnosis_of(exc)) is not None:
            key = f"{release_name(model, 'release')}-diagnosis"
            show_page(key, diagnosis_page(found, where), md("Why it does not go on, and what to do"))
        raise


def serving_engine(cluster: Cluster, environment: Environment, service: str) -> str:
    """The engine that the Service leads to: its Kubernetes Deployment, and the instance label of its pods.

    Raises:
        ClusterUnreachable: The cluster did not answer.
    """
    with cluster.client() as client:
        return client.rollouts.engine_of(environment.namespace, service) or service


@step
def ready_pods(cluster: Cluster, environment: Environment, service: str) -> tuple[Pod, ...]:
    """The pods that the Service sends to and that are ready.

    Raises:
        ClusterUnreachable: The cluster did not answer.
    """
    with cluster.client() as client:
        pods = client.pods.list(environment.namespace, {INSTANCE: client.rollouts.engine_of(environment.namespace, service) or service})
    return tuple(pod for pod in pods if pod.ready)


def _stalled(diagnosis: Diagnosis, engine: str, environment: Environment) -> RolloutStalled:
    said = f"{diagnosis.message}. {diagnosis.remedy}"
    return RolloutStalled(f"The rollout of {engine} in {environment.name} stalled ({diagnosis.category}): {said}", **diagnosis.document())


def _judged(
    client: ClusterClient,
    seen: Rollout,
    candidate: Candidate,
    environment: Environment,
    restarts: Restarts,
    waited: float,
    limit_seconds: float,
) -> Literal["progressing", "complete"] | Diagnosis:
    label = candidate.label
    mine = [pod for pod in seen.pods if pod.labels.get("slipway.dev/candidate") == label and not pod.terminating]
    unsettled = restarts.unsettled(mine, waited)
    waiting = [pod for pod in mine if not pod.ready or pod in unsettled]
    troubles = [client.pods.trouble(environment.namespace, pod) for pod in waiting]
    # Nodes explain pods that do not come up: while all do, the API server is not asked.
    nodes = client.nodes.list(environment.node_selector) if waiting else ()
    return judge_rollout(
        seen,
        label,
        waited,
        limit_seconds,
        troubles=troubles,
        nodes=nodes,
        gpus_wanted=candidate.engine.gpus,
        settled=not unsettled,
    )
