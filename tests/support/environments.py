"""Environments as `charts/environment` makes them, many in no time: rendered once, made through the API for each test's namespace."""

from __future__ import annotations

import asyncio
import functools
import json
import subprocess
import tempfile
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from kubernetes.client import CoreV1Api
from kubernetes.config import new_client_from_config

from flows.spec.load import ROOT
from sandbox.helm import helm_executable
from sandbox.kubernetes.meta.api import Client
from sandbox.world import STORE, World

CHART = ROOT / "charts" / "environment"
#: The folder on the nodes that has one for each namespace's compiled code, where a test makes it.
COMPILED = "/var/cache/slipway"

_OURS = {"labelSelector": "app.kubernetes.io/part-of=slipway"}
_NAME, _NAMESPACE = "nameofenvironment", "namespace-of-environment"


def install_environments(world: World, namespaces: Sequence[str]) -> None:
    """Make what pods of these namespaces stand on: the namespace with Pod Security, default limits, volumes and claims.

    Not the rights (a test's user may do everything), nor the quota (a test that wants one has its own), nor network policies (they bind
    nobody here).
    """

    async def install(client: Client) -> None:
        for namespace in namespaces:
            documents = _documents(namespace)
            await client.request("POST", "/api/v1/namespaces", body=documents["Namespace"][0])
            await client.request("POST", f"/api/v1/namespaces/{namespace}/limitranges", body=documents["LimitRange"][0])
            await _claim(client, namespace, documents)
        for namespace in namespaces:
            await _bound(client, namespace)

    _on(world, install)


def claim_volumes(world: World, namespace: str, path: str = STORE) -> None:
    """Make the volumes and claims alone, in a namespace that is there; for another folder of the nodes if one is named."""
    documents = _documents(namespace)
    for volume in documents["PersistentVolume"]:
        volume["spec"]["local"]["path"] = path

    async def claim(client: Client) -> None:
        await _claim(client, namespace, documents)
        await _bound(client, namespace)

    _on(world, claim)


def clear_environments(world: World, ending: str) -> None:
    """Let go of the namespaces with that ending, and of the volumes that were kept for their claims."""

    async def clear(client: Client) -> None:
        for namespace in await _names(client, "/api/v1/namespaces", ending):
            await client.request("DELETE", f"/api/v1/namespaces/{namespace}")
        listed = await client.request("GET", "/api/v1/persistentvolumes", query=_OURS)
        for volume in listed["items"]:
            if volume["spec"]["claimRef"]["namespace"].endswith(ending):
                await client.request("DELETE", f"/api/v1/persistentvolumes/{volume['metadata']['name']}")

    _on(world, clear)


def _on(world: World, work: Callable[[Client], Coroutine[Any, Any, None]]) -> None:
    """By the world's own client: most of a test's requests to its cluster are these, and in its process they cost a fifth."""
    world.loop.run(work(world.cluster.client("tester")))


async def _names(client: Client, path: str, ending: str) -> list[str]:
    items = (await client.request("GET", path))["items"]
    return [item["metadata"]["name"] for item in items if item["metadata"]["name"].endswith(ending)]


async def _claim(client: Client, namespace: str, documents: Mapping[str, Sequence[Any]]) -> None:
    for volume in documents["PersistentVolume"]:
        await client.request("POST", "/api/v1/persistentvolumes", body=volume)
    for claim in documents["PersistentVolumeClaim"]:
        await client.request("POST", f"/api/v1/namespaces/{namespace}/persistentvolumeclaims", body=claim)


async def _bound(client: Client, namespace: str) -> None:
    deadline = time.monotonic() + 50
    while True:
        listed = await client.request("GET", f"/api/v1/namespaces/{namespace}/persistentvolumeclaims")
        if all((claim.get("status") or {}).get("phase") == "Bound" for claim in listed["items"]):
            return
        assert time.monotonic() < deadline, "no controller binds claims on this cluster"
        await asyncio.sleep(0.005)


def remove_environments(kubeconfig: Path, namespaces: Sequence[str]) -> None:
    """Let go of the namespaces of any cluster, and of the volumes that were kept for their claims."""
    with new_client_from_config(str(kubeconfig)) as api:
        core = CoreV1Api(api)
        for namespace in namespaces:
            core.delete_namespace(namespace)
        for volume in core.list_persistent_volume(label_selector="app.kubernetes.io/part-of=slipway").items:
            if volume.spec.claim_ref.namespace in namespaces:
                core.delete_persistent_volume(volume.metadata.name)


def _documents(namespace: str) -> dict[str, list[Any]]:
    """The chart's documents by kind; the environment's name is what the namespace's begins with."""
    text = _rendered().replace(_NAMESPACE, namespace).replace(_NAME, namespace.partition("-")[0])
    documents: dict[str, list[Any]] = json.loads(text)
    return documents


@functools.cache
def _rendered() -> str:
    """The chart's documents by kind, as JSON, with names to be replaced."""
    with tempfile.TemporaryDirectory() as home:
        values = f"namespace={_NAMESPACE},compileCache.path={COMPILED}/{_NAMESPACE}"
        command = [str(helm_executable()), "template", _NAME, str(CHART), "--namespace", "slipway", "--set", values]
        done = subprocess.run(command, env={"HOME": home}, capture_output=True, text=True, check=True, timeout=60)
    found: dict[str, list[Any]] = {}
    for document in yaml.safe_load_all(done.stdout):
        if document["kind"] == "PersistentVolume":  # they are of the second node of `world`, too
            terms = document["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"]
            terms.append({"matchExpressions": [{"key": "pool", "operator": "Exists"}]})
        found.setdefault(document["kind"], []).append(document)
    return json.dumps(found)


def helm(kubeconfig: Path, *arguments: str) -> str:
    """Run the real helm as that kubeconfig's user; what it prints.

    Raises:
        AssertionError: It failed; with what it said.
    """
    with tempfile.TemporaryDirectory() as home:
        command = [str(helm_executable()), *arguments, "--kubeconfig", str(kubeconfig)]
        done = subprocess.run(command, env={"HOME": home}, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def account_kubeconfig(kubeconfig: Path, namespace: str, name: str, folder: Path) -> Path:
    """A kubeconfig with a fresh token of a service account, as `kubectl create token` gives one."""
    with new_client_from_config(str(kubeconfig)) as api:
        issued = CoreV1Api(api).create_namespaced_service_account_token(name, namespace, {"spec": {"expirationSeconds": 3600}})
    document = yaml.safe_load(kubeconfig.read_text())
    document["users"] = [{**user, "user": {"token": issued.status.token}} for user in document["users"]]
    path = folder / f"{namespace}-{name}.kubeconfig"
    path.touch(mode=0o600)
    path.write_text(yaml.safe_dump(document))
    return path
