"""One API server for the session, the sandbox's or an outside one, and a namespace for each test."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from sandbox.kubernetes.meta.kubeconfig import Access, read_kubeconfig
from sandbox.kubernetes.server.server import ApiServer
from sandbox.serving import LoopThread
from tests.support.outside import Outside
from tests.support.waiting import HANGS_SECONDS, until

_NUMBERS = itertools.count(1)
_SESSION = uuid.uuid4().hex[:8]


class Api:
    """Requests to the server under test as one user, in one namespace.

    Args:
        access: How to reach the server, and as whom.
        kubeconfig: The same, of the user who may do everything.
        namespace: The namespace.
        server: The server itself, if it is the sandbox's.
    """

    def __init__(self, access: Access, kubeconfig: Path, namespace: str, server: ApiServer | None) -> None:
        self.access = access
        self.kubeconfig = kubeconfig
        self.namespace = namespace
        self._server = server
        self._others: list[Api] = []
        self.http = _client(access, access.headers())

    @property
    def server(self) -> ApiServer:
        """The sandbox's own server, for tests of what only its insides show."""
        if self._server is None:
            pytest.skip("this looks into the API server, and the one under test is not ours")
        return self._server

    def path(self, resource: str, name: str = "") -> str:
        """The path of a resource in this namespace: `pods`, `apps/v1/deployments`."""
        group, _, plural = resource.rpartition("/")
        prefix = f"/apis/{group}" if group else "/api/v1"
        return f"{prefix}/namespaces/{self.namespace}/{plural}" + (f"/{name}" if name else "")

    def create(self, resource: str, body: dict[str, Any], **query: str) -> httpx.Response:
        return self.http.post(self.path(resource), json=body, params=query)

    def made(self, resource: str, body: dict[str, Any]) -> dict[str, Any]:
        response = self.create(resource, body)
        assert response.status_code == 201, response.text
        return dict(response.json())

    def get(self, resource: str, name: str = "", **query: str) -> httpx.Response:
        return self.http.get(self.path(resource, name), params=query)

    def patch(self, resource: str, name: str, body: Any, kind: str = "merge-patch+json", **query: str) -> httpx.Response:
        headers = {"content-type": f"application/{kind}"}
        return self.http.request("PATCH", self.path(resource, name), json=body, headers=headers, params=query)

    def delete(self, resource: str, name: str, **options: Any) -> httpx.Response:
        return self.http.request("DELETE", self.path(resource, name), json=options)

    def acting_as(self, token: str | None) -> Api:
        """The same namespace with another user's token; without any for None."""
        access = Access(url=self.access.url, authority=self.access.authority, token=token, certificate=None)
        other = Api(access, self.kubeconfig, self.namespace, self._server)
        self._others.append(other)
        return other

    def close(self) -> None:
        """Close the connections, also of the other users."""
        for api in (*self._others, self):
            api.http.close()


def _client(access: Access, headers: dict[str, str]) -> httpx.Client:
    return httpx.Client(
        base_url=access.url, verify=access.tls(), headers={**headers, "user-agent": "tester"}, trust_env=False, timeout=HANGS_SECONDS
    )


@pytest.fixture(scope="session")
def api_loop() -> Iterator[LoopThread]:
    """The loop of whatever the tests themselves serve, and of the sandbox's API server."""
    with LoopThread() as loop:
        yield loop


@pytest.fixture(scope="session")
def api_server(outside: Outside | None, api_loop: LoopThread, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer | None]:
    """The sandbox's API server; none when an outside one is tested."""
    if outside is not None:
        yield None
        return
    server = ApiServer(tmp_path_factory.mktemp("api-server"), api_loop)
    server.start()
    yield server
    server.close()


@pytest.fixture
def api(api_server: ApiServer | None, outside: Outside | None) -> Iterator[Api]:
    """A namespace of the test's own, as a user who may do everything; it is deleted at the end."""
    kubeconfig = outside.kubeconfig if outside is not None else api_server.admin_kubeconfig  # type: ignore[union-attr]
    api = Api(read_kubeconfig(kubeconfig), kubeconfig, f"slipway-test-{_SESSION}-{next(_NUMBERS)}", api_server)
    assert api.http.post("/api/v1/namespaces", json={"metadata": {"name": api.namespace}}).status_code == 201
    _wait_until_furnished(api)
    yield api
    # Some of its pods were put on nodes that were never there to end them.
    api.http.request("DELETE", api.path("pods"), json={"gracePeriodSeconds": 0})
    api.http.delete(f"/api/v1/namespaces/{api.namespace}")
    api.http.delete(f"/api/v1/nodes/{api.namespace}")
    api.close()


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until it holds; on a real cluster much takes a moment until every part has heard of it."""
    until(condition, pause_seconds=0.01)


def _wait_until_furnished(api: Api) -> None:
    """Controllers put a service account and the cluster's certificate into a new namespace; the sandbox's server does it at once."""
    until(
        lambda: {api.get("serviceaccounts", "default").status_code, api.get("configmaps", "kube-root-ca.crt").status_code} == {200},
        lambda: "no controllers work on this cluster",
        pause_seconds=0.05,
    )


@pytest.fixture
def reachable_address(outside: Outside | None) -> str:
    """An address of this machine that the API server passes requests on to."""
    if outside is None:
        return "127.0.0.1"
    if outside.address is None:
        pytest.skip("an API server passes nothing on to loopback addresses: SANDBOX_SUBNET names others")
    return outside.address
