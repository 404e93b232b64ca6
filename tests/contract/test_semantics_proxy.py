"""What the API server passes on: requests to services and pods, and the logs of containers."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from sandbox.kubernetes.meta.certificates import certificate_files, self_signed
from sandbox.serving import HttpServer, LoopThread
from tests.contract.conftest import Api
from tests.support.waiting import HANGS_SECONDS


class Backend:
    """A program that says what it was asked, streams when told to, and plays a node agent's log."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.left = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        if scope["path"].startswith("/stream"):
            await self._stream(receive, send)
            return
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        seen = {"method": scope["method"], "path": scope["path"], "query": scope["query_string"].decode(), "body": body.decode()}
        text = json.dumps({**seen, "headers": headers}).encode()
        code = 418 if scope["path"] == "/teapot" else 400 if scope["path"].endswith("/waiting") else 200
        await send({"type": "http.response.start", "status": code, "headers": [(b"x-backend", b"yes")]})
        await send({"type": "http.response.body", "body": text})

    async def _stream(self, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        await send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})
        leaving = asyncio.ensure_future(receive())
        going = asyncio.ensure_future(self.go_on.wait())
        await asyncio.wait({leaving, going}, return_when=asyncio.FIRST_COMPLETED)
        if leaving.done():
            self.left.set()
            going.cancel()
            return
        leaving.cancel()
        await send({"type": "http.response.body", "body": b"data: 2\n\n"})


@pytest.fixture
def backend(api_loop: LoopThread, reachable_address: str) -> Iterator[tuple[Backend, HttpServer]]:
    """The program as a pod would serve it."""
    program = Backend()
    server = HttpServer(program, api_loop, host=reachable_address)
    server.start()
    yield program, server
    server.close()


@pytest.fixture
def agent(api_loop: LoopThread, reachable_address: str) -> Iterator[HttpServer]:
    """The program as a node agent serves it."""
    with certificate_files(self_signed("kubelet")) as files:
        server = HttpServer(Backend(), api_loop, host=reachable_address, certificate=files)
    server.start()
    yield server
    server.close()


def publish(api: Api, name: str, host: str, port: int) -> None:
    """A service with one ready endpoint: a pod's address, or the API server does not go there."""
    api.made("services", {"metadata": {"name": name}, "spec": {"ports": [{"name": "http", "port": 80, "targetPort": port}]}})
    api.made("pods", {"metadata": {"name": f"{name}-1"}, "spec": {"containers": [{"name": "c", "image": "i"}]}})
    api.patch("pods", f"{name}-1/status", {"status": {"podIP": host, "podIPs": [{"ip": host}]}})
    target = {"kind": "Pod", "namespace": api.namespace, "name": f"{name}-1"}
    subset = {"addresses": [{"ip": host, "targetRef": target}], "ports": [{"name": "http", "port": port}]}
    api.made("endpoints", {"metadata": {"name": name}, "subsets": [subset]})


def test_request_reaches_the_service_without_its_credentials(api: Api, backend: tuple[Backend, HttpServer]) -> None:
    # Given a service with an endpoint
    publish(api, "s", backend[1].host, backend[1].port)
    # When something is posted to it through the API server
    response = api.http.post(api.path("services", "s:http/proxy/a/b"), params={"q": "1 2"}, content=b"hello")
    # Then the program got it whole, but not the token
    seen = response.json()
    assert (seen["method"], seen["path"], seen["query"], seen["body"]) == ("POST", "/a/b", "q=1+2", "hello")
    assert "authorization" not in seen["headers"]
    assert response.headers["x-backend"] == "yes"


def test_answer_of_the_program_comes_back_as_it_is(api: Api, backend: tuple[Backend, HttpServer]) -> None:
    publish(api, "s", backend[1].host, backend[1].port)
    assert api.http.get(api.path("services", "s:80/proxy/teapot")).status_code == 418
    redirect = api.http.get(api.path("services", "s:80/proxy"))
    assert (redirect.status_code, redirect.headers["location"]) == (301, api.path("services", "s:80/proxy/"))


def test_events_come_one_by_one_and_the_end_reaches_the_program(
    api: Api, api_loop: LoopThread, backend: tuple[Backend, HttpServer]
) -> None:
    program, server = backend
    publish(api, "s", server.host, server.port)
    # When a stream is read whose second event waits for us
    with api.http.stream("GET", api.path("services", "s:80/proxy/stream"), timeout=HANGS_SECONDS) as response:
        lines = response.iter_lines()
        # Then the first is here before the second is sent
        assert next(lines) == "data: 1"
        api_loop.loop.call_soon_threadsafe(program.go_on.set)
        assert [line for line in lines if line] == ["data: 2"]
    # When a reader leaves early
    program.go_on.clear()
    with api.http.stream("GET", api.path("services", "s:80/proxy/stream"), timeout=HANGS_SECONDS) as response:
        next(response.iter_lines())
    # Then the program notices
    api_loop.run(asyncio.wait_for(program.left.wait(), HANGS_SECONDS))


def test_nothing_behind_the_endpoint_is_said_in_kubernetes_words(api: Api, reachable_address: str) -> None:
    with socket.socket() as free:
        free.bind((reachable_address, 0))
        port = free.getsockname()[1]
    publish(api, "s", reachable_address, port)
    refused = api.http.get(api.path("services", "s:80/proxy/"))
    assert refused.status_code == 503
    assert refused.json()["message"] == f"error trying to reach service: dial tcp {reachable_address}:{port}: connect: connection refused"


def test_port_that_the_service_lacks(api: Api, backend: tuple[Backend, HttpServer]) -> None:
    publish(api, "s", backend[1].host, backend[1].port)
    response = api.http.get(api.path("services", "s:9999/proxy/"))
    assert (response.status_code, response.json()["message"]) == (503, 'no service port 9999 found for service "s"')


def test_a_service_is_reached_by_its_endpoints_and_the_name_of_its_port(api: Api, backend: tuple[Backend, HttpServer]) -> None:
    publish(api, "s", backend[1].host, backend[1].port)

    def said(name: str) -> tuple[int, str]:
        answer = api.http.get(api.path("services", f"{name}/proxy/"))
        return answer.status_code, answer.json().get("message", "")

    assert said("http:s:http") == (200, "")
    # its port has a name, and none was given
    assert said("s") == (503, 'no endpoints available for service "s"')
    assert said("s:nothing") == (503, 'no endpoints available for service "s:nothing"')
    assert said("ftp:s:http") == (400, 'invalid service request "ftp:s:http"')
    assert said("none:80") == (404, 'services "none" not found')
    # a slice alone does not serve, nor does the address of what is no pod
    api.made("services", {"metadata": {"name": "sliced"}, "spec": {"ports": [{"port": 80}]}})
    piece = {"metadata": {"name": "sliced-1", "labels": {"kubernetes.io/service-name": "sliced"}}, "addressType": "IPv4"}
    endpoint = {"addresses": ["192.0.2.7"], "conditions": {"ready": True}}
    api.made("discovery.k8s.io/v1/endpointslices", {**piece, "endpoints": [endpoint], "ports": [{"port": backend[1].port}]})
    assert said("sliced:80") == (404, 'services "sliced" not found')
    api.made("endpoints", {"metadata": {"name": "sliced"}, "subsets": [{"addresses": [{"ip": "192.0.2.7"}], "ports": [{"port": 80}]}]})
    assert said("sliced:80") == (503, 'no endpoints available for service "sliced:80"')


@pytest.mark.parametrize(("name", "value", "least"), [("limitBytes", "0", "0"), ("tailLines", "-1", "or equal to 0")])
def test_a_part_of_a_log_that_cannot_be_is_refused(api: Api, agent: HttpServer, name: str, value: str, least: str) -> None:
    make_pod_on_node(api, agent, "main")
    refused = api.get("pods", "p/log", **{name: value})
    assert (refused.status_code, refused.json()["details"]["causes"][0]["field"]) == (422, name)
    assert refused.json()["message"].endswith(least)


def make_pod_on_node(api: Api, agent: HttpServer, *containers: str) -> None:
    addresses = [{"type": "InternalIP", "address": agent.host}]
    status = {"addresses": addresses, "daemonEndpoints": {"kubeletEndpoint": {"Port": agent.port}}}
    assert api.http.post("/api/v1/nodes", json={"metadata": {"name": api.namespace}, "status": status}).status_code == 201
    spec = {"containers": [{"name": name, "image": "i"} for name in containers], "nodeName": api.namespace}
    api.made("pods", {"metadata": {"name": "p"}, "spec": spec})


def test_log_comes_from_the_node_agent(api: Api, agent: HttpServer) -> None:
    make_pod_on_node(api, agent, "main", "side")
    unnamed = api.get("pods", "p/log")
    unknown = api.get("pods", "p/log", container="none")
    log = api.get("pods", "p/log", container="side", tailLines="5", pretty="true")
    assert unnamed.json()["message"] == "a container name must be specified for pod p, choose one of: [main side]"
    assert unknown.json()["message"] == "container none is not valid for pod p"
    asked = json.loads(log.text)
    assert (asked["path"], asked["query"]) == (f"/containerLogs/{api.namespace}/p/side", "tailLines=5")
    assert log.headers["content-type"].startswith("text/plain")


def test_refusal_of_the_node_agent_becomes_a_status(api: Api, agent: HttpServer) -> None:
    make_pod_on_node(api, agent, "waiting")
    response = api.get("pods", "p/log")
    assert (response.status_code, response.json()["reason"]) == (400, "BadRequest")


def test_pod_is_reached_by_its_own_address(api: Api, backend: tuple[Backend, HttpServer]) -> None:
    api.made("pods", {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}})
    unstarted = api.http.get(api.path("pods", f"p:{backend[1].port}/proxy/x"))
    api.patch("pods", "p/status", {"status": {"podIP": backend[1].host}})
    reached = api.http.get(api.path("pods", f"p:{backend[1].port}/proxy/x"))
    assert unstarted.status_code == 400
    assert reached.json()["path"] == "/x"
