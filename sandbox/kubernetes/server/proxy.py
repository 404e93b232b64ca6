"""Requests that are passed on: to a service's endpoint, to a pod, and to the node agent for a container's log.

Bodies stream both ways unbuffered. Not emulated: upgraded connections (exec, attach, port-forward, WebSockets), and the rewriting of
links in HTML.
"""

from __future__ import annotations

import random
import re
from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import urlencode

import httpx

from sandbox.kubernetes.admission.requests import Request, Target
from sandbox.kubernetes.admission.store import Store
from sandbox.kubernetes.meta import errors
from sandbox.kubernetes.meta.errors import ApiError
from sandbox.kubernetes.meta.values import dig

_HOP_BY_HOP = {"connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailers", "transfer-encoding", "upgrade"}
# Credentials for the API server are not for the program behind it.
_KEPT_BACK = {*_HOP_BY_HOP, "authorization", "host", "content-length"}
_LOG_OPTIONS = ("follow", "previous", "tailLines", "timestamps", "limitBytes", "sinceSeconds", "sinceTime")


class Proxy:
    """Finds where a request goes on to, and opens the connection."""

    def __init__(self, store: Store) -> None:
        self._store = store
        # A stream may be silent for long, and what runs in a pod, or a kubelet, has no certificate that anyone signed.
        # No connection is kept: one that a dying pod closes at the wrong moment would look like a refusal of the next.
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
        options: dict[str, Any] = {"timeout": None, "verify": False, "trust_env": False, "limits": limits}
        self._client = httpx.AsyncClient(**options)

    async def close(self) -> None:
        """Close what is still open."""
        await self._client.aclose()

    def address(self, target: Target) -> str:
        """The URL, without path, that a service's, pod's or node's proxy leads to.

        Raises:
            ApiError: 404 if it does not exist; 503 if nothing serves it.
        """
        match target.resource.key:
            case "/services":
                return self._service_address(target)
            case "/pods":
                return self._pod_address(target)
            case _:
                return self._node_address(target.name)

    def _service_address(self, target: Target) -> str:
        """Where a Service leads, by its Endpoints: slices are not looked at, and an address must be a pod's (service/storage, 1.36)."""
        scheme, name, port = _split(target.name)
        if scheme not in ("http", "https"):
            raise errors.bad_request(f'invalid service request "{target.name}"')
        service = self._store.get("/services", target.namespace, name)
        if port.isdecimal():
            if service is None:
                raise errors.not_found("services", "", name)
            named = [item for item in dig(service, "spec", "ports", default=[]) if str(item["port"]) == port]
            if not named:
                raise errors.service_unavailable(f'no service port {port} found for service "{name}"')
            port = named[0].get("name", "")
        endpoints = self._store.get("/endpoints", target.namespace, name)
        if endpoints is None:
            raise errors.not_found("services", "", name)
        subsets = endpoints.get("subsets") or []
        if not subsets:
            raise errors.service_unavailable(f'no endpoints available for service "{name}"')
        found = [
            (address["ip"], item["port"])
            for subset in subsets
            for item in subset.get("ports") or ()
            if item.get("name", "") == port
            for address in subset.get("addresses") or ()
            if self._is_a_pods(target.namespace, address)
        ]
        if not found:
            raise errors.service_unavailable(f'no endpoints available for service "{target.name}"')
        address, number = random.choice(found)  # noqa: S311 - spreads load, guards nothing
        return f"{scheme}://{address}:{number}"

    def _is_a_pods(self, namespace: str, address: Mapping[str, Any]) -> bool:
        reference = address.get("targetRef") or {}
        pod = self._store.get("/pods", namespace, reference.get("name", "")) if reference.get("namespace") == namespace else None
        return pod is not None and address["ip"] in [item["ip"] for item in dig(pod, "status", "podIPs", default=[])]

    def _pod_address(self, target: Target) -> str:
        scheme, name, port = _split(target.name)
        pod = self._store.get("/pods", target.namespace, name)
        if pod is None:
            raise errors.not_found("pods", "", name)
        address = dig(pod, "status", "podIP")
        if not address:
            raise errors.bad_request("address not allowed")
        ports = [item["containerPort"] for container in pod["spec"]["containers"] for item in container.get("ports", ())]
        return f"{scheme}://{address}:{port or (ports[0] if ports else 80)}"

    def _node_address(self, name: str) -> str:
        node = self._store.get("/nodes", "", name.partition(":")[0])
        if node is None:
            raise errors.not_found("nodes", "", name)
        addresses = {item["type"]: item["address"] for item in dig(node, "status", "addresses", default=[])}
        port = dig(node, "status", "daemonEndpoints", "kubeletEndpoint", "Port")
        if "InternalIP" not in addresses or not port:
            raise errors.service_unavailable(f"node {name} has no address for its agent")
        return f"https://{addresses['InternalIP']}:{port}"

    def log_url(self, request: Request, target: Target) -> str:
        """The node agent's URL of a container's log; empty for a pod that is on no node yet.

        Raises:
            ApiError: 404 for the pod; 400 if the container is not named and not the only one, or not there.
        """
        pod = self._store.get("/pods", target.namespace, target.name)
        if pod is None:
            raise errors.not_found("pods", "", target.name)
        _check_options(request, target.name)
        names = [item["name"] for field in ("initContainers", "containers") for item in pod["spec"].get(field, ())]
        container = request.query.get("container", "")
        if not container:
            main = [item["name"] for item in pod["spec"]["containers"]]
            if len(main) > 1:
                raise errors.bad_request(f"a container name must be specified for pod {target.name}, choose one of: [{' '.join(names)}]")
            container = main[0]
        if container not in names:
            raise errors.bad_request(f"container {container} is not valid for pod {target.name}")
        node = pod["spec"].get("nodeName")
        if not node:
            return ""
        options = {name: request.query[name] for name in _LOG_OPTIONS if name in request.query}
        path = f"/containerLogs/{target.namespace}/{target.name}/{container}"
        return self._node_address(node) + path + (f"?{urlencode(options)}" if options else "")

    async def open(self, method: str, url: str, headers: Mapping[str, str], body: AsyncIterator[bytes] | None) -> httpx.Response:
        """Send the request on and return the answer, whose body is still to be read and which is to be closed.

        Raises:
            ApiError: 503; nothing listens there, or the connection broke.
        """
        passed = {name: value for name, value in headers.items() if name.lower() not in _KEPT_BACK}
        request = self._client.build_request(method, url, headers=passed, content=body)
        try:
            return await self._client.send(request, stream=True)
        except httpx.TransportError as exc:
            raise errors.service_unavailable(f"error trying to reach service: {_words(exc, request.url)}") from exc

    async def log_error(self, response: httpx.Response) -> ApiError:
        """The node agent's refusal to show a log, as an error of the API."""
        text = (await response.aread()).decode(errors="replace").strip()
        reasons = {400: "BadRequest", 404: "NotFound"}
        return ApiError(response.status_code, reasons.get(response.status_code, "InternalError"), text)


def _check_options(request: Request, pod: str) -> None:
    """Refuse numbers that no log has.

    Raises:
        ApiError: 422.
    """
    for name, least, words in (("limitBytes", 1, "greater than 0"), ("tailLines", 0, "greater than or equal to 0")):
        text = request.query.get(name)
        if text is not None and re.fullmatch(r"-?\d+", text) and int(text) < least:
            cause = errors.Cause(field=name, reason="FieldValueInvalid", message=f"Invalid value: {text}: must be {words}")
            raise errors.invalid("PodLogOptions", "", pod, [cause])


def _split(name: str) -> tuple[str, str, str]:
    """The scheme, name and port of `[scheme:]name[:port]`."""
    parts = name.split(":")
    if len(parts) == 3:
        return parts[0] or "http", parts[1], parts[2]
    return "http", parts[0], parts[1] if len(parts) == 2 else ""


def _words(exc: httpx.TransportError, url: httpx.URL) -> str:
    where = f"{url.host}:{url.port or 80}"
    if isinstance(exc, httpx.ConnectError):
        return f"dial tcp {where}: connect: connection refused"
    if isinstance(exc, httpx.TimeoutException):
        return f"dial tcp {where}: i/o timeout"
    if isinstance(exc, httpx.ReadError):
        return f"read tcp {where}: read: connection reset by peer"
    return "EOF"


def response_headers(response: httpx.Response) -> list[tuple[bytes, bytes]]:
    """The headers of an answer that go back to the client: all but those about the connection itself."""
    return [(name, value) for name, value in response.headers.raw if name.lower().decode() not in _HOP_BY_HOP]
