"""One API server for the session, and a namespace for each test."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import yaml

from sandbox.kubernetes.server import ApiServer
from sandbox.serving import LoopThread

_NUMBERS = itertools.count(1)


class Api:
    """Requests to the server as one user, in one namespace."""

    def __init__(self, server: ApiServer, loop: LoopThread, namespace: str, token: str) -> None:
        self.server = server
        self.loop = loop
        self.namespace = namespace
        self._others: list[Api] = []
        self.http = httpx.Client(
            base_url=server.url, verify=server.ssl_context(), headers={"authorization": f"Bearer {token}", "user-agent": "tester"}
        )

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

    def acting_as(self, token: str) -> Api:
        """The same namespace with another user's token."""
        other = Api(self.server, self.loop, self.namespace, token)
        self._others.append(other)
        return other

    def close(self) -> None:
        """Close the connections, also of the other users."""
        for api in (*self._others, self):
            api.http.close()


@pytest.fixture(scope="session")
def api_loop() -> Iterator[LoopThread]:
    with LoopThread() as loop:
        yield loop


@pytest.fixture(scope="session")
def api_server(api_loop: LoopThread, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    server = ApiServer(tmp_path_factory.mktemp("api-server"), api_loop)
    server.start()
    yield server
    server.close()


@pytest.fixture
def api(api_server: ApiServer, api_loop: LoopThread) -> Iterator[Api]:
    token = yaml.safe_load(api_server.admin_kubeconfig.read_text())["users"][0]["user"]["token"]
    api = Api(api_server, api_loop, f"test-{next(_NUMBERS)}", token)
    assert api.http.post("/api/v1/namespaces", json={"metadata": {"name": api.namespace}}).status_code == 201
    yield api
    api.close()
