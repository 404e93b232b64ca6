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

from sandbox.kubernetes.meta.kubeconfig import Access
from tests.contract.comparison import differences, normal, without
from tests.contract.recorded_cluster import recorded_cluster
from tests.support.outside import Outside

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
    serves_more: bool


@pytest.fixture(scope="module")
def replay(outside: Outside | None, tmp_path_factory: pytest.TempPathFactory) -> Replay:
    if not EXCHANGES:
        pytest.skip("the recordings are not on this machine (../shared/kubernetes)")
    capacity = {"cpu": "16", "memory": "64Gi", "pods": "110"}
    with recorded_cluster(tmp_path_factory.mktemp("api"), outside, "rawtest", capacity) as cluster:
        return Player(cluster.access, serves_more=outside is not None).play()


class Player:
    """Sends the exchanges; a read is repeated until it answers as recorded, for what controllers do takes a moment."""

    def __init__(self, access: Access, *, serves_more: bool) -> None:
        self._serves_more = serves_more
        self._admin = access.headers()
        options: dict[str, Any] = {"base_url": access.url, "headers": {"user-agent": "python-httpx"}, "trust_env": False, "timeout": 15}
        self._client = httpx.Client(verify=access.tls(), **options)
        # A user's certificate would count more than another user's token.
        self._others = httpx.Client(verify=access.tls(anonymous=True), **options)
        self._tokens = {"unauthorized": "no-such-token"}

    def play(self) -> Replay:
        replay = Replay(codes=[], bodies=[], content_types=[], serves_more=self._serves_more)
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
            if time.monotonic() >= deadline or not list(compare(exchange, *answer[:2], serves_more=self._serves_more)):
                return answer
            threading.Event().wait(0.05)

    def _send(self, exchange: dict[str, Any]) -> httpx.Response:
        token = self._tokens.get(exchange["note"])
        client, headers = (self._client, dict(self._admin)) if token is None else (self._others, {"authorization": f"Bearer {token}"})
        if exchange.get("content_type") and exchange.get("request") is not None:
            headers["content-type"] = exchange["content_type"]
        if "accept" in exchange:
            headers["accept"] = exchange["accept"]
        content = json.dumps(exchange["request"]).encode() if exchange.get("request") is not None else None
        return client.request(exchange.get("method", "GET"), exchange["path"], headers=headers, content=content)

    def _watch(self, exchange: dict[str, Any]) -> tuple[int, Any, str]:
        configmaps = "/api/v1/namespaces/rawtest/configmaps"
        headers = self._admin
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


def compare(exchange: dict[str, Any], code: int, body: Any, *, serves_more: bool) -> Iterator[str]:
    """How an answer differs from the recorded one.

    Args:
        exchange: The recorded exchange.
        code: The status of the answer.
        body: Its body.
        serves_more: Whether the server may serve kinds that the recorded one did not: an outside one may, the sandbox's may not.
    """
    if exchange["note"] == "namespace gone or terminating" and code == 404:
        return
    if exchange["code"] != code:
        yield f"code: recorded {exchange['code']}, {code} here: {body}"
        return
    if serves_more and exchange["note"] in ("discovery", "aggregated discovery"):
        body = shared_part(exchange["response"], body)
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


def shared_part(recorded: Any, body: Any) -> Any:
    """A discovery document without the groups, versions and resources that the recorded one lacks."""
    if isinstance(body, list):
        named = {_identity(item): item for item in recorded}
        return [shared_part(named[_identity(item)], item) for item in body if _identity(item) in named]
    if not isinstance(body, dict) or not isinstance(recorded, dict):
        return body
    return {
        key: {name: entry for name, entry in value.items() if name in recorded.get(key, ())}
        if key == "paths"
        else shared_part(recorded[key], value)
        if key in ("groups", "items", "versions", "resources") and isinstance(recorded.get(key), list)
        else value
        for key, value in body.items()
    }


def _identity(item: Any) -> str:
    if not isinstance(item, dict):
        return str(item)
    return str(item.get("resource") or item.get("version") or item.get("name") or item["metadata"]["name"])


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
        if found := list(compare(exchange, code, body, serves_more=replay.serves_more)):
            different[f"{number} {exchange['note']}"] = found
    # Then all are the same
    assert different == {}


@pytest.mark.skipif(not EXCHANGES, reason="the recordings are not on this machine (../shared/kubernetes)")
def test_nothing_is_left_out_that_was_not_recorded() -> None:
    # Given the notes of all exchanges
    notes = {exchange["note"] for exchange in EXCHANGES}
    # Then what is left out of comparisons names only exchanges that exist
    assert set(NOT_COMPARED) <= notes
