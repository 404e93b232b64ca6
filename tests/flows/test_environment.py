"""A release with nothing but the rights of the environment's own service account."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from kubernetes.client import CoreV1Api, RbacAuthorizationV1Api
from kubernetes.config import new_client_from_config

from blocks.cluster import Cluster
from blocks.endpoint import Endpoint
from blocks.helm import Helm
from flows.naming import release_name
from flows.spec.load import ROOT
from sandbox.helm import helm_executable
from sandbox.kubernetes.admission.access import User
from sandbox.kubernetes.admission.requests import Request, action, parse_path
from sandbox.kubernetes.cluster import Cluster as SandboxCluster
from sandbox.kubernetes.meta.resources import Registry
from tests.flows.conftest import Site
from tests.support.environments import CHART, account_kubeconfig, helm, remove_environments

#: Rights that a release in which nothing goes wrong, and which changes nothing that was there, has no use for: why they are granted.
FOR_OTHER_DAYS = {
    ("delete", "jobs"): "a Job that failed, or must be run anew",
    ("watch", "jobs"): "a Job that takes longer than a look",
    ("list", "jobs"): "a watch that has to begin anew",
    ("list", "events"): "a diagnosis",
    ("list", "deployments"): "a watch that has to begin anew",
    ("watch", "deployments"): "a rollout that takes longer than a look",
    ("get", "configmaps"): "a chat template that is there already",
    ("delete", "configmaps"): "a chat template that goes; a Job that is made anew",
}


#: Kinds that the chart makes only where a value asks for them; tests/charts tell that each of them is one.
ON_REQUEST = {"poddisruptionbudgets", "horizontalpodautoscalers", "scaledobjects", "ingresses", "httproutes"}


@dataclass
class Worker:
    """A worker with the token of development's service account, and two environments that were installed by helm."""

    user: str
    helm: Helm
    development: str
    production: str


@pytest.fixture
def worker(site: Site, tmp_path: Path) -> Iterator[Worker]:
    kubeconfig, control = site.world.cluster.kubeconfig, f"slipway-{site.name}"
    places = {name: f"{name}-{site.name}-own" for name in ("development", "production")}
    for name, namespace in places.items():
        arguments = ["install", name, str(CHART), "--namespace", control, "--create-namespace", "--set", f"namespace={namespace}"]
        proxied = ["--set", "deployer.serviceProxy=true", "--set-json", 'networkPolicy.controlPlane=["127.0.0.0/8"]']
        helm(kubeconfig, *arguments, *proxied)
    token = account_kubeconfig(kubeconfig, control, "development-deployer", tmp_path)
    blocks = f"{site.blocks}-worker"
    Cluster(kubeconfig=token).save(blocks)
    block = Helm(kubeconfig=token, chart=ROOT / "charts" / "vllm-deployment", executable=str(helm_executable()))
    block.save(blocks)
    Endpoint(via="service-proxy", kubeconfig=token).save(blocks)
    site.edit("environments/development.yaml", namespace=places["development"], blocks=blocks)
    site.edit("environments/production.yaml", namespace=places["production"], blocks=blocks, after=None, approval={})
    yield Worker(user=f"system:serviceaccount:{control}:development-deployer", helm=block, **places)
    remove_environments(kubeconfig, [*places.values(), control])


def test_a_worker_of_development_releases_there_with_what_it_is_granted_and_not_in_production(site: Site, worker: Worker) -> None:
    ended = site.release()

    assert ended.is_completed(), ended.message
    assert site.statuses() == {"development": "ready"}

    refused = site.release("production")

    assert refused.name == "Errored"
    assert refused.message is not None
    assert "is forbidden" in refused.message
    assert f'in the namespace "{worker.production}"' in refused.message
    assert site.statuses() == {"development": "ready"}
    with new_client_from_config(str(site.world.cluster.kubeconfig)) as api:
        assert CoreV1Api(api).list_namespaced_secret(worker.production).items == []
        rules = RbacAuthorizationV1Api(api).read_namespaced_role("deployer", worker.development).rules
    # when Helm goes back, and takes away what it made, as after an operation that was killed
    name = release_name(site.model, "development")
    with worker.helm.client() as client:
        assert client.rollback(name, worker.development, 1).revision == 2
        client.uninstall(name, worker.development)
        assert client.current(name, worker.development) is None
    # then the role grants nothing that it did not use, but for what only other days need
    granted = {(verb, resource) for rule in rules for verb in rule.verbs for resource in rule.resources if resource not in ON_REQUEST}
    cluster = site.world.cluster
    if isinstance(cluster, SandboxCluster):  # an outside one keeps no log of requests
        assert granted - used(cluster, worker) <= FOR_OTHER_DAYS.keys()


def used(cluster: SandboxCluster, worker: Worker) -> set[tuple[str, str]]:
    """Verb and resource of each request that the worker made in development."""
    registry, found = Registry(), set()
    for exchange in list(cluster.server.exchanges):
        if exchange.user != worker.user or f"/namespaces/{worker.development}/" not in exchange.path:
            continue
        request = Request(method=exchange.method, path=exchange.path, query=exchange.query, user=User(name=worker.user))
        made: Any = action(request, parse_path(exchange.path, registry))
        found.add((made.verb, f"{made.resource}/{made.subresource}" if made.subresource else made.resource))
        if exchange.method == "PATCH" and exchange.code == 201:  # an apply that made the object
            found.add(("create", made.resource))
    return found
