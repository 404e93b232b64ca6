"""A cluster as the recorded one was: controllers at work, and one node that is only played."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from sandbox.kubernetes.controllers import ControllerManager
from sandbox.kubernetes.meta.client import HttpClient
from sandbox.kubernetes.meta.kubeconfig import Access, read_kubeconfig
from sandbox.kubernetes.server.server import ApiServer
from sandbox.serving import LoopThread
from tests.contract.played_node import PlayedNode
from tests.support.outside import Outside
from tests.support.waiting import HANGS_SECONDS

NODE = "gpu-1"
#: The name under which the recorded node's changes are owned.
AGENT = "OpenAPI-Generator"


@dataclass(frozen=True, kw_only=True)
class RecordedCluster:
    """How to reach it, as a user who may do everything."""

    kubeconfig: Path
    access: Access


@contextmanager
def recorded_cluster(folder: Path, outside: Outside | None, namespace: str, capacity: dict[str, str]) -> Iterator[RecordedCluster]:
    """Start one, or take the outside one, where it must be as empty as the recorded one was.

    Args:
        folder: Where the sandbox's server keeps its files.
        outside: The outside cluster, if one is to be tested.
        namespace: The namespace that the recording makes; on an outside cluster it is deleted at the end.
        capacity: What the played node claims to have.
    """
    with LoopThread() as loop:
        if outside is None:
            server = ApiServer(folder, loop)
            server.start()
            controllers = ControllerManager(server.local_client())
            node = PlayedNode(server.local_client(AGENT), NODE, capacity)
            loop.run(node.start())
            loop.run(controllers.start())
            try:
                yield RecordedCluster(kubeconfig=server.admin_kubeconfig, access=read_kubeconfig(server.admin_kubeconfig))
            finally:
                loop.run(node.stop())
                loop.run(controllers.close())
                server.close()
            return
        access = read_kubeconfig(outside.kubeconfig)
        with httpx.Client(
            base_url=access.url, verify=access.tls(), headers=access.headers(), trust_env=False, timeout=HANGS_SECONDS
        ) as http:
            _skip_unless_empty(http, namespace)
            client = loop.run(_connect(outside.kubeconfig))
            node = PlayedNode(client, NODE, capacity)
            loop.run(node.start())
            try:
                yield RecordedCluster(kubeconfig=outside.kubeconfig, access=access)
            finally:
                http.delete(f"/api/v1/namespaces/{namespace}")
                _wait_until_gone(http, f"/api/v1/namespaces/{namespace}")
                loop.run(node.stop())
                http.delete(f"/api/v1/nodes/{NODE}")
                loop.run(client.close())


def _skip_unless_empty(http: httpx.Client, namespace: str) -> None:
    nodes = [item["metadata"]["name"] for item in http.get("/api/v1/nodes").json()["items"]]
    if nodes:
        pytest.skip(f"the recorded cluster had one node, which was played; this one has {', '.join(nodes)}")
    if http.get(f"/api/v1/namespaces/{namespace}").status_code != 404:
        pytest.skip(f"the recording makes the namespace {namespace}, and this cluster has one already")


def _wait_until_gone(http: httpx.Client, path: str) -> None:
    """Pods in the namespace end only as long as their node is played."""
    deadline = time.monotonic() + HANGS_SECONDS
    while http.get(path).status_code != 404 and time.monotonic() < deadline:
        time.sleep(0.1)


async def _connect(kubeconfig: Path) -> HttpClient:
    return HttpClient.from_kubeconfig(kubeconfig, agent=AGENT)
