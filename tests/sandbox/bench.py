"""What the tests of the stand-in cluster share: a namespace on a cluster, small pods, and waiting for outcomes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

import httpx

from sandbox.kubernetes.cluster import Cluster
from sandbox.kubernetes.meta.client import DEPLOYMENTS, EVENTS, PODS, Collection
from sandbox.kubernetes.meta.errors import ApiError
from sandbox.kubernetes.meta.kubeconfig import read_kubeconfig
from sandbox.kubernetes.node import AgentOptions, Image
from sandbox.serving import LoopThread
from tests.support.waiting import until

Object = dict[str, Any]

WEB = """
import http.server, os, pathlib
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        flag = pathlib.Path(os.environ["HOME"], self.path.strip("/"))
        self.send_response(500 if flag.is_file() else 200)
        self.end_headers()
    def log_message(self, *args):
        pass
http.server.HTTPServer((os.environ["SANDBOX_POD_IP"], 8000), Handler).serve_forever()
"""
"""Answers 200 to everything, and 500 to the path of a file that exists in its home."""

IMAGES = {
    "sh": Image(command=("sh", "-c")),
    "web": Image(command=(sys.executable, "-c", WEB)),
    "python": Image(command=(sys.executable, "-c")),
}
QUICK = AgentOptions(settle_seconds=0.1, restart_backoff_seconds=0.2, retry_seconds=0.2, lease_seconds=0.3, memory_check_seconds=0.1)


class Bench:
    """One namespace of a cluster, driven through the API."""

    def __init__(self, cluster: Cluster, loop: LoopThread, namespace: str) -> None:
        self.cluster = cluster
        self.namespace = namespace
        self._loop = loop
        self._client = cluster.server.local_client("test")
        self.request("POST", "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})

    def request(self, method: str, path: str, body: Any = None, *, query: Mapping[str, str] | None = None, patch: str = "") -> Object:
        content_type = f"application/{patch}-patch+json" if patch else "application/json"
        return self._loop.run(self._client.request(method, path, body=body, query=query, content_type=content_type))

    def create(self, collection: Collection, name: str, **content: Any) -> Object:
        body = {"apiVersion": collection.api_version, "kind": collection.kind, "metadata": {"name": name}, **content}
        return self.request("POST", collection.within(self.namespace), body)

    def get(self, collection: Collection, name: str) -> Object:
        return self.request("GET", collection.one(self.namespace, name))

    def find(self, collection: Collection, name: str) -> Object | None:
        try:
            return self.get(collection, name)
        except ApiError as exc:
            if exc.code == 404:
                return None
            raise

    def list(self, collection: Collection, selector: str = "") -> list[Object]:
        return list(self.request("GET", collection.within(self.namespace), query={"labelSelector": selector})["items"])

    def patch(self, collection: Collection, name: str, body: Object) -> Object:
        return self.request("PATCH", collection.one(self.namespace, name), body, patch="merge")

    def delete(self, collection: Collection, name: str, **options: Any) -> None:
        self.request("DELETE", collection.one(self.namespace, name), {"apiVersion": "v1", "kind": "DeleteOptions", **options})

    def events(self, name: str, reason: str) -> list[str]:
        """Messages of the events of one reason about one object."""
        found = self.list(EVENTS)
        return [event["message"] for event in found if event["involvedObject"]["name"] == name and event["reason"] == reason]

    def wait(self, collection: Collection, name: str, wanted: Callable[[Object], Any]) -> Object:
        """Wait until the object is as wanted."""
        return wait_for(lambda: (item := self.find(collection, name)) and wanted(item) and item, lambda: self.find(collection, name))

    def wait_gone(self, collection: Collection, name: str) -> None:
        wait_for(lambda: self.find(collection, name) is None, lambda: self.find(collection, name))

    def pod(self, name: str, *arguments: str, image: str = "sh", container: Mapping[str, Any] | None = None, **spec: Any) -> Object:
        """Create a pod with one container `c`."""
        return self.create(PODS, name, spec=pod_spec(*arguments, image=image, container=container, **spec))

    def container(self, name: str) -> Object:
        """The status of a pod's only container."""
        statuses = (self.get(PODS, name).get("status") or {}).get("containerStatuses")
        return statuses[0] if statuses else {}

    def wait_container(self, name: str, wanted: Callable[[Object], Any]) -> Object:
        return wait_for(lambda: (status := self.container(name)) and wanted(status) and status, lambda: self.container(name))

    def deployment(self, name: str, *arguments: str, replicas: int = 1, image: str = "sh", **spec: Any) -> Object:
        """Create a Deployment whose pods carry the label `app`."""
        template = {"metadata": {"labels": {"app": name}}, "spec": pod_spec(*(arguments or ("sleep 100",)), image=image)}
        content = {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": template, **spec}
        return self.create(DEPLOYMENTS, name, spec=content)

    def logs(self, name: str, **query: str) -> str:
        """The log of a pod's only container, as the API server passes it on."""
        access = read_kubeconfig(self.cluster.kubeconfig)
        path = f"{access.url}{PODS.one(self.namespace, name, 'log')}"
        return httpx.get(path, params=query, headers=access.headers(), verify=access.tls(), trust_env=False).text


def pod_spec(*arguments: str, image: str = "sh", container: Mapping[str, Any] | None = None, **spec: Any) -> Object:
    """The spec of a pod with one container `c` that tolerates every node and has no grace to speak of."""
    body = {"name": "c", "image": image, "imagePullPolicy": "IfNotPresent", **({"args": list(arguments)} if arguments else {})}
    return {
        "containers": [{**body, **(container or {})}],
        "tolerations": [{"operator": "Exists"}],
        "terminationGracePeriodSeconds": 1,
        **spec,
    }


def wait_for(found: Callable[[], Any], show: Callable[[], object] = str) -> Any:
    """Poll until the result is true and return it; what never becomes true is shown as it is."""
    return until(found, show, pause_seconds=0.01)


def conditions(item: Object) -> dict[str, Object]:
    """The conditions of an object by type."""
    return {entry["type"]: entry for entry in (item.get("status") or {}).get("conditions") or []}
