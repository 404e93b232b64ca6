"""The Kubernetes API over HTTP: any API server that a kubeconfig reaches, and where the objects of each kind live.

Not emulated: protobuf, rate limits of a client, and what `kubeconfig.py` leaves out.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from sandbox.kubernetes.meta.errors import ApiError
from sandbox.kubernetes.meta.kubeconfig import read_kubeconfig

Object = dict[str, Any]
"""A Kubernetes object as decoded JSON."""

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
CLAIMS = _core("persistentvolumeclaims", "PersistentVolumeClaim")
VOLUMES = _core("persistentvolumes", "PersistentVolume", namespaced=False)
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
