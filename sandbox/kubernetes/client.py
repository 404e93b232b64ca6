"""The Kubernetes API over HTTP, and local copies of its collections that follow a watch.

`HttpClient` speaks to any API server that a kubeconfig reaches. `Informer` works on either client, so controllers and node agents
do not know whether the server is in their own process.

Not emulated: protobuf, rate limits of a client, and what `kubeconfig.py` leaves out.
"""

from __future__ import annotations

import asyncio
import json
import random
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from sandbox.kubernetes.api import Client
from sandbox.kubernetes.errors import ApiError
from sandbox.kubernetes.kubeconfig import read_kubeconfig

Object = dict[str, Any]
"""A Kubernetes object as decoded JSON."""

Listener = Callable[[Object | None, Object | None], None]
"""Called with the object before and after a change; None where it did not exist."""

AGENT = "slipway-sandbox"
"""The name of a client that was given none."""

WATCH_SECONDS = 290
"""How long one watch may last before it is asked for again; API servers end watches after five to ten minutes anyway."""


@dataclass(frozen=True, kw_only=True)
class Collection:
    """Where the objects of one kind live: the prefix of their API group and the plural of their kind."""

    prefix: str
    plural: str
    api_version: str
    kind: str
    namespaced: bool = True

    @property
    def everywhere(self) -> str:
        """Path of the collection over all namespaces."""
        return f"{self.prefix}/{self.plural}"

    def within(self, namespace: str) -> str:
        """Path of the collection in one namespace."""
        return f"{self.prefix}/namespaces/{namespace}/{self.plural}" if self.namespaced else self.everywhere

    def one(self, namespace: str, name: str, subresource: str = "") -> str:
        """Path of one object or of a subresource of it."""
        return f"{self.within(namespace)}/{name}" + (f"/{subresource}" if subresource else "")


def _core(plural: str, kind: str, *, namespaced: bool = True) -> Collection:
    return Collection(prefix="/api/v1", plural=plural, api_version="v1", kind=kind, namespaced=namespaced)


def _group(group: str, plural: str, kind: str) -> Collection:
    return Collection(prefix=f"/apis/{group}", plural=plural, api_version=group, kind=kind)


PODS = _core("pods", "Pod")
NODES = _core("nodes", "Node", namespaced=False)
SERVICES = _core("services", "Service")
ENDPOINTS = _core("endpoints", "Endpoints")
SECRETS = _core("secrets", "Secret")
CONFIG_MAPS = _core("configmaps", "ConfigMap")
SERVICE_ACCOUNTS = _core("serviceaccounts", "ServiceAccount")
EVENTS = _core("events", "Event")
DEPLOYMENTS = _group("apps/v1", "deployments", "Deployment")
REPLICA_SETS = _group("apps/v1", "replicasets", "ReplicaSet")
JOBS = _group("batch/v1", "jobs", "Job")
ENDPOINT_SLICES = _group("discovery.k8s.io/v1", "endpointslices", "EndpointSlice")
LEASES = _group("coordination.k8s.io/v1", "leases", "Lease")
DISRUPTION_BUDGETS = _group("policy/v1", "poddisruptionbudgets", "PodDisruptionBudget")


class HttpClient:
    """A client over HTTP(S) with a bearer token or a certificate; the same interface as the in-process one.

    Args:
        url: The API server's address.
        token: The bearer token; none is sent when it is None.
        tls: How to check the server's certificate, and the client's own one.
        agent: The client's name; field ownership is recorded under it.
    """

    def __init__(self, url: str, *, token: str | None = None, tls: ssl.SSLContext | None = None, agent: str = AGENT) -> None:
        self.url = url
        headers = {"Accept": "application/json", "User-Agent": agent}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        self._http = httpx.AsyncClient(
            base_url=url,
            headers=headers,
            verify=tls if tls is not None else ssl.create_default_context(),
            timeout=httpx.Timeout(30.0),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=8),
            trust_env=False,
        )

    @classmethod
    def from_kubeconfig(cls, path: Path, *, agent: str = AGENT) -> HttpClient:
        """Open a client for the current context of a kubeconfig.

        Raises:
            ValueError: The file has no usable current context.
        """
        access = read_kubeconfig(path)
        return cls(access.url, token=access.token, tls=access.tls(), agent=agent)

    async def request(
        self, method: str, path: str, *, query: Mapping[str, str] | None = None, body: Any = None, content_type: str = "application/json"
    ) -> Object:
        """Send one request and return the decoded answer.

        Raises:
            ApiError: The server answered with a status of 400 or above.
            httpx.HTTPError: It could not be reached.
        """
        content = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": content_type} if content is not None else {}
        response = await self._http.request(method, path, params=dict(query or {}), content=content, headers=headers)
        if response.status_code >= 400:
            raise _api_error(response)
        answer: Object = response.json() if response.content else {}
        return answer

    async def watch(self, path: str, *, query: Mapping[str, str] | None = None) -> AsyncIterator[Object]:
        """Yield the decoded events of a watch until the server ends it.

        Raises:
            ApiError: The server refused the watch.
            httpx.HTTPError: The connection failed.
        """
        parameters = {**(query or {}), "watch": "true"}
        timeout = httpx.Timeout(30.0, read=WATCH_SECONDS + 30)
        async with self._http.stream("GET", path, params=parameters, timeout=timeout) as response:
            if response.status_code >= 400:
                await response.aread()
                raise _api_error(response)
            async for line in response.aiter_lines():
                if line:
                    yield json.loads(line)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()


def _api_error(response: httpx.Response) -> ApiError:
    try:
        status = response.json()
    except json.JSONDecodeError:
        status = {"kind": "Status", "status": "Failure", "message": response.text, "code": response.status_code}
    return ApiError.from_status(response.status_code, status)


def key_of(item: Object) -> str:
    """`namespace/name` of an object (`/name` where it has no namespace)."""
    metadata = item["metadata"]
    return f"{metadata.get('namespace', '')}/{metadata['name']}"


def _version(item: Object) -> int:
    return int(item["metadata"].get("resourceVersion") or 0)


class Informer:
    """A local copy of one collection, kept up to date by a watch that survives disconnections and expired versions.

    `put` and `drop` let a controller that has just written see its own write at once, before the watch tells of it; older news
    of the same object is ignored then.

    Args:
        client: Where to read.
        collection: What to read.
        query: Selectors that narrow the collection, e.g. `{"fieldSelector": "spec.nodeName=gpu-1"}`.
    """

    def __init__(self, client: Client, collection: Collection, *, query: Mapping[str, str] | None = None) -> None:
        self.synced = asyncio.Event()
        self._client = client
        self._collection = collection
        self._query = dict(query or {})
        self._objects: dict[str, Object] = {}
        self._gone: dict[str, str] = {}
        self._listeners: list[Listener] = []

    def subscribe(self, listener: Listener) -> None:
        """Have the listener called on every change from now on; it must not block."""
        self._listeners.append(listener)

    def get(self, key: str) -> Object | None:
        """The object of that key (`namespace/name`), if it exists. Treat it as read-only."""
        return self._objects.get(key)

    def list(self, namespace: str | None = None) -> list[Object]:
        """All objects, or those of one namespace. Treat them as read-only."""
        return [item for key, item in self._objects.items() if namespace is None or key.split("/", 1)[0] == namespace]

    def put(self, item: Object) -> None:
        """Take over an object that was read or written elsewhere, unless a newer one is known."""
        key = key_of(item)
        old = self._objects.get(key)
        if self._gone.get(key) == item["metadata"].get("uid") or (old is not None and _same(old, item) and _version(item) < _version(old)):
            return
        self._objects[key] = item
        if old is None or not _same(old, item) or _version(item) != _version(old):
            self._tell(old, item)

    def drop(self, item: Object) -> None:
        """Forget an object that is known to be gone, and any late news of it."""
        key = key_of(item)
        self._gone[key] = str(item["metadata"].get("uid"))
        old = self._objects.get(key)
        if old is not None and _same(old, item):
            del self._objects[key]
            self._tell(old, None)

    async def run(self) -> None:
        """List, then follow, until cancelled."""
        delay_seconds = 0.05
        while True:
            try:
                version: str | None = await self._relist()
                delay_seconds = 0.05
                while version is not None:
                    version = await self._follow(version)
            except (ApiError, httpx.HTTPError, OSError):
                await asyncio.sleep(delay_seconds * random.uniform(0.8, 1.2))  # noqa: S311
                delay_seconds = min(delay_seconds * 2, 5.0)

    async def _relist(self) -> str:
        answer = await self._client.request("GET", self._collection.everywhere, query=self._query)
        self._gone.clear()
        seen = set()
        for item in answer.get("items") or []:
            # Items of a list do not repeat kind and version; everything downstream (events, owner references) needs them.
            item = {"apiVersion": self._collection.api_version, "kind": self._collection.kind, **item}
            seen.add(key_of(item))
            self.put(item)
        for key in [key for key in self._objects if key not in seen]:
            self._tell(self._objects.pop(key), None)
        self.synced.set()
        return str(answer["metadata"]["resourceVersion"])

    async def _follow(self, version: str) -> str | None:
        """Follow one watch to its end; return the version to continue from, or None when it is too old."""
        query = {**self._query, "resourceVersion": version, "allowWatchBookmarks": "true", "timeoutSeconds": str(WATCH_SECONDS)}
        try:
            async for event in self._client.watch(self._collection.everywhere, query=query):
                if event["type"] == "ERROR":
                    return None
                item = event["object"]
                version = item["metadata"]["resourceVersion"]
                if event["type"] == "DELETED":
                    self._remove(item)
                elif event["type"] != "BOOKMARK":
                    self.put(item)
        except ApiError as exc:
            if exc.code == 410:
                return None
            raise
        return version

    def _remove(self, item: Object) -> None:
        key = key_of(item)
        self._gone.pop(key, None)
        old = self._objects.get(key)
        if old is not None and _same(old, item):
            del self._objects[key]
            self._tell(item, None)

    def _tell(self, old: Object | None, new: Object | None) -> None:
        for listener in self._listeners:
            listener(old, new)


def _same(one: Object, other: Object) -> bool:
    return bool(one["metadata"].get("uid") == other["metadata"].get("uid"))
