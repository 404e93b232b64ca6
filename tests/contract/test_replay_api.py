"""Every exchange recorded from a real API server, sent to the stand-in in the same order."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from sandbox.kubernetes.controllers import ControllerManager
from sandbox.kubernetes.server import ApiServer
from sandbox.serving import LoopThread
from tests.contract.comparison import differences, normal, without
from tests.contract.played_node import PlayedNode

RECORDING = Path(__file__).resolve().parents[3] / "shared" / "kubernetes" / "api.jsonl"
EXCHANGES: list[dict[str, Any]] = [json.loads(line) for line in RECORDING.read_text().splitlines()] if RECORDING.exists() else []
SETTLE_SECONDS = 8.0

# What is not compared, by the exchange's note, and why.
STATUS_IN_PASSING = ("status", "metadata.annotations", "metadata.managedFields")
NOT_COMPARED: dict[str, tuple[str, ...]] = {
    # The controllers were in the middle of their work: what they had written by then is chance.
    "apply forced": STATUS_IN_PASSING,
    "apply that drops a field it owned": STATUS_IN_PASSING,
    # One ConfigMap fewer is left: the recorded cluster adds one to each namespace for OpenShift.
    "paged list": ("metadata.remainingItemCount",),
    # The recorded API server sets these on tokens and reviews, which are not stored; nobody reads them.
    "token request": ("metadata.managedFields",),
    "subject access review": ("metadata.managedFields",),
    # Owners of a status that the sandbox's controllers write in fewer or other steps; that they own it is compared in unit tests.
    "deployment after the controllers ran": ("metadata.managedFields",),
    "replica sets": ("items.metadata.managedFields", "items.metadata.generation", "items.status.observedGeneration"),
    "pods": ("items.metadata.managedFields",),
    "finished job": ("metadata.managedFields",),
    "failed job": ("metadata.managedFields",),
    "pod of the failed job": ("items.metadata.managedFields",),
}
# Resources of the recorded cluster that the sandbox does not serve: nothing that Slipway runs or talks about uses them.
NOT_SERVED = {"componentstatuses", "podtemplates", "controllerrevisions", "ipaddresses", "servicecidrs", "servicecidrs/status"}
SUBRESOURCES_NOT_SERVED = ("attach", "exec", "portforward", "ephemeralcontainers", "resize", "proxy")


@dataclass(kw_only=True)
class Replay:
    """What the stand-in answered to each exchange."""

    codes: list[int]
    bodies: list[Any]
    content_types: list[str]


@pytest.fixture(scope="module")
def replay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replay]:
    if not EXCHANGES:
        pytest.skip("the recordings are not on this machine (../shared/kubernetes)")
    with LoopThread() as loop:
        server = ApiServer(tmp_path_factory.mktemp("api"), loop)
        server.start()
        controllers = ControllerManager(server.local_client())
        node = PlayedNode(server.local_client("OpenAPI-Generator"), "gpu-1", {"cpu": "16", "memory": "64Gi", "pods": "110"})
        loop.run(node.start())
        loop.run(controllers.start())
        try:
            yield Player(server).play()
        finally:
            loop.run(node.stop())
            loop.run(controllers.close())
            server.close()


class Player:
    """Sends the exchanges; a read is repeated until it answers as recorded, for what controllers do takes a moment."""

    def __init__(self, server: ApiServer) -> None:
        admin = yaml.safe_load(server.admin_kubeconfig.read_text())["users"][0]["user"]["token"]
        self._client = httpx.Client(base_url=server.url, verify=server.ssl_context(), headers={"user-agent": "python-httpx"})
        self._tokens = {"admin": admin, "unauthorized": "no-such-token"}

    def play(self) -> Replay:
        replay = Replay(codes=[], bodies=[], content_types=[])
        for exchange in EXCHANGES:
            code, body, content_type = self._watch(exchange) if "events" in exchange else self._exchange(exchange)
            replay.codes.append(code)
            replay.bodies.append(body)
            replay.content_types.append(content_type)
            if exchange["note"] == "token request":
                self._tokens["forbidden"] = body["status"]["token"]
        return replay

    def _exchange(self, exchange: dict[str, Any]) -> tuple[int, Any, str]:
        deadline = time.monotonic() + (SETTLE_SECONDS if exchange.get("method") == "GET" else 0)
        while True:
            response = self._send(exchange)
            answer = response.status_code, response.json(), response.headers["content-type"]
            if time.monotonic() >= deadline or not list(compare(exchange, *answer[:2])):
                return answer
            threading.Event().wait(0.05)

    def _send(self, exchange: dict[str, Any]) -> httpx.Response:
        token = self._tokens.get(exchange["note"], self._tokens["admin"])
        headers = {"authorization": f"Bearer {token}"}
        if exchange.get("content_type") and exchange.get("request") is not None:
            headers["content-type"] = exchange["content_type"]
        if "accept" in exchange:
            headers["accept"] = exchange["accept"]
        content = json.dumps(exchange["request"]).encode() if exchange.get("request") is not None else None
        return self._client.request(exchange.get("method", "GET"), exchange["path"], headers=headers, content=content)

    def _watch(self, exchange: dict[str, Any]) -> tuple[int, Any, str]:
        configmaps = "/api/v1/namespaces/rawtest/configmaps"
        headers = {"authorization": f"Bearer {self._tokens['admin']}"}
        # The recorded watch took four seconds; a bookmark comes two seconds before the end, so three are enough.
        path = exchange["path"].replace("...", configmaps).replace("timeoutSeconds=4", "timeoutSeconds=3")
        wanted = len(normal(exchange["events"]))
        events: list[Any] = []
        with self._client.stream("GET", path, headers=headers, timeout=10) as response:
            for line in response.iter_lines():
                events.append(json.loads(line))
                if "initial-events-end" in line:
                    self._client.post(configmaps, headers=headers, json={"metadata": {"name": "b"}}).raise_for_status()
                    self._client.delete(f"{configmaps}/b", headers=headers).raise_for_status()
                if len(events) == wanted:
                    break
        return response.status_code, events, response.headers["content-type"]


def compare(exchange: dict[str, Any], code: int, body: Any) -> Iterator[str]:
    """How an answer differs from the recorded one."""
    if exchange["note"] == "namespace gone or terminating" and code == 404:
        return
    if exchange["code"] != code:
        yield f"code: recorded {exchange['code']}, {code} here: {body}"
        return
    if exchange["note"] == "discovery":
        yield from compare_discovery(exchange["path"], exchange["response"], body)
    elif exchange["note"] == "aggregated discovery":
        yield from compare_aggregated(exchange["response"], body)
    elif exchange["note"] == "events":
        yield from compare_events(exchange["response"], body)
    else:
        ignored = NOT_COMPARED.get(exchange["note"], ())
        recorded = exchange["events"] if "events" in exchange else exchange["response"]
        yield from differences(normal(without(recorded, ignored)), normal(without(body, ignored)))


def compare_discovery(path: str, recorded: Any, body: Any) -> Iterator[str]:
    """What is served is described as recorded, and what is not is known not to be."""
    if path == "/version":
        yield from differences({key: recorded[key] for key in ("major", "minor")}, {key: body[key] for key in ("major", "minor")})
        yield from differences(sorted(recorded), sorted(body))
    elif path == "/api":
        yield from differences(recorded["versions"], body["versions"])
    elif path == "/apis":
        theirs = {group["name"]: group["preferredVersion"] for group in recorded["groups"]}
        for group in body["groups"]:
            yield from differences(theirs.get(group["name"]), group["preferredVersion"], group["name"])
    elif path == "/openapi/v3":
        yield from (f"{prefix} was not recorded" for prefix in body["paths"] if prefix not in recorded["paths"])
        for prefix, entry in body["paths"].items():
            if not re.fullmatch(rf"/openapi/v3/{prefix}\?hash=[0-9A-F]+", entry["serverRelativeURL"]):
                yield f"{prefix}: {entry}"
    else:
        theirs = {
            entry["name"]: {key: value for key, value in entry.items() if key != "storageVersionHash"} for entry in recorded["resources"]
        }
        ours = {entry["name"]: entry for entry in body["resources"]}
        for name in sorted({*theirs, *ours}):
            if name not in ours and (name in NOT_SERVED or name.rpartition("/")[2] in SUBRESOURCES_NOT_SERVED):
                continue
            yield from differences(theirs.get(name), ours.get(name), name)


def compare_aggregated(recorded: Any, body: Any) -> Iterator[str]:
    """Each group, version and resource that is served is described as recorded."""
    theirs = {(group["metadata"]["name"], version["version"]): version for group in recorded["items"] for version in group["versions"]}
    for group in body["items"]:
        for version in group["versions"]:
            known = {item["resource"]: item for item in theirs[(group["metadata"]["name"], version["version"])]["resources"]}
            for resource in version["resources"]:
                yield from differences(_described(known.get(resource["resource"], {})), _described(resource), resource["resource"])


def _described(resource: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in resource.items() if key != "subresources"}


def compare_events(recorded: Any, body: Any) -> Iterator[str]:
    """The same kinds of events, with the same fields; which come first depends on random names."""
    if len(body["items"]) != len(recorded["items"]) or not body["metadata"].get("continue"):
        yield f"a page of {len(body['items'])} events, metadata {body['metadata']}"
    shapes = {event["reason"]: _shape(event) for event in recorded["items"]}
    for event in body["items"]:
        if event["reason"] in shapes:
            yield from differences(shapes[event["reason"]], _shape(event), event["reason"])


def _shape(event: Any) -> dict[str, Any]:
    present = sorted(key for key, value in event.items() if value not in (None, "", {}))
    return {"fields": present, "kind": event["involvedObject"]["kind"], "type": event["type"], "about": sorted(event["involvedObject"])}


# One test for all: each worker of a parallel run would send the whole history again for its share of many small ones.
@pytest.mark.skipif(not EXCHANGES, reason="the recordings are not on this machine (../shared/kubernetes)")
def test_every_exchange_is_answered_as_recorded(replay: Replay) -> None:
    # Given the exchanges with a real API server, and the same ones with the stand-in
    # When each answer is compared, but for what differs from run to run
    different = {}
    for number, (exchange, code, body) in enumerate(zip(EXCHANGES, replay.codes, replay.bodies, strict=True)):
        if found := list(compare(exchange, code, body)):
            different[f"{number} {exchange['note']}"] = found
    # Then all are the same
    assert different == {}


@pytest.mark.skipif(not EXCHANGES, reason="the recordings are not on this machine (../shared/kubernetes)")
def test_nothing_is_left_out_that_was_not_recorded() -> None:
    # Given the notes of all exchanges
    notes = {exchange["note"] for exchange in EXCHANGES}
    # Then what is left out of comparisons names only exchanges that exist
    assert set(NOT_COMPARED) <= notes
