"""Local copies of collections, the HTTP client, and the arithmetic of rollouts."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from sandbox.kubernetes.admission.informer import Informer
from sandbox.kubernetes.controllers.rollout import fenceposts, old_sizes, template_hash
from sandbox.kubernetes.meta.client import NODES, PODS, HttpClient
from sandbox.kubernetes.meta.errors import ApiError
from sandbox.serving import LoopThread
from tests.sandbox.bench import Bench
from tests.support.waiting import HANGS_SECONDS

Object = dict[str, Any]


def pod(name: str, version: int, uid: str = "") -> Object:
    return {"metadata": {"namespace": "n", "name": name, "uid": uid or name, "resourceVersion": str(version)}}


class Scripted:
    """A server whose lists and watches are written down beforehand; after the last watch nothing happens any more."""

    def __init__(self, lists: list[list[Object]], watches: list[list[Object] | Exception]) -> None:
        self.asked: list[str] = []
        self._lists = iter(lists)
        self._versions = itertools.count(100, 100)
        self._watches = iter(watches)

    async def request(
        self, method: str, path: str, *, query: Mapping[str, str] | None = None, body: Any = None, content_type: str = ""
    ) -> Object:
        self.asked.append("list")
        return {"metadata": {"resourceVersion": str(next(self._versions))}, "items": next(self._lists)}

    async def watch(self, path: str, *, query: Mapping[str, str] | None = None) -> AsyncIterator[Object]:
        self.asked.append(f"watch {(query or {})['resourceVersion']}")
        script = next(self._watches, None)
        if script is None:
            await asyncio.Event().wait()
        if isinstance(script, Exception):
            raise script
        for event in script or []:
            yield event


def follow(server: Scripted, asked: int) -> tuple[Informer, list[tuple[str | None, str | None]]]:
    """Run an informer until the server was asked so many times; return it and the changes that it told of, as versions."""
    told: list[tuple[str | None, str | None]] = []

    def version(item: Object | None) -> str | None:
        return None if item is None else f"{item['metadata']['name']}@{item['metadata']['resourceVersion']}"

    async def run() -> Informer:
        informer = Informer(server, PODS)
        informer.subscribe(lambda old, new: told.append((version(old), version(new))))
        task = asyncio.create_task(informer.run())
        async with asyncio.timeout(HANGS_SECONDS):
            while len(server.asked) < asked:
                await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return informer

    return asyncio.run(run()), told


def test_a_watch_that_ends_goes_on_where_it_was() -> None:
    first = [{"type": "ADDED", "object": pod("b", 101)}, {"type": "BOOKMARK", "object": pod("", 150)}]
    server = Scripted([[pod("a", 1)]], [first, [{"type": "MODIFIED", "object": pod("a", 160)}]])

    informer, told = follow(server, 4)

    assert server.asked == ["list", "watch 100", "watch 150", "watch 160"]
    assert told == [(None, "a@1"), (None, "b@101"), ("a@1", "a@160")]
    assert {item["metadata"]["name"] for item in informer.list("n")} == {"a", "b"}


@pytest.mark.parametrize(
    "end", [[{"type": "ERROR", "object": {"code": 410}}], ApiError(410, "Expired", "too old resource version"), OSError("reset")]
)
def test_an_expired_or_broken_watch_lists_again_and_notices_what_went_meanwhile(end: Any) -> None:
    server = Scripted([[pod("a", 1), pod("b", 2)], [pod("b", 2), pod("c", 3)]], [end])

    informer, told = follow(server, 4)

    assert server.asked == ["list", "watch 100", "list", "watch 200"]
    assert told == [(None, "a@1"), (None, "b@2"), (None, "c@3"), ("a@1", None)]
    assert {item["metadata"]["name"] for item in informer.list()} == {"b", "c"}


def test_own_writes_are_seen_at_once_and_older_news_ignored() -> None:
    informer = Informer(Scripted([], []), PODS)
    informer.put(pod("a", 5))

    informer.put(pod("a", 4))
    assert informer.get("n/a") == pod("a", 5)
    informer.drop(pod("a", 5))
    informer.put(pod("a", 6))
    assert informer.get("n/a") is None
    informer.put(pod("a", 7, uid="another"))
    assert informer.get("n/a") == pod("a", 7, uid="another")


def test_the_http_client_speaks_to_the_server_of_a_kubeconfig(bench: Bench, loop: LoopThread) -> None:
    async def use() -> tuple[int, str, str]:
        client = HttpClient.from_kubeconfig(bench.cluster.kubeconfig)
        try:
            nodes = await client.request("GET", NODES.everywhere)
            async for event in client.watch(NODES.everywhere, query={"timeoutSeconds": "5"}):
                first = event["type"]
                break
            with pytest.raises(ApiError) as caught:
                await client.request("GET", PODS.one(bench.namespace, "none"))
            return len(nodes["items"]), first, str(caught.value)
        finally:
            await client.close()

    assert loop.run(use()) == (1, "ADDED", '404 NotFound: pods "none" not found')


def test_a_kubeconfig_without_a_context_is_named(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text("apiVersion: v1\nkind: Config\ncontexts: []\n")

    with pytest.raises(ValueError, match=r"config: no usable current context"):
        HttpClient.from_kubeconfig(path)


@pytest.mark.parametrize(
    ("replicas", "surge", "unavailable", "expected"),
    [(3, "25%", "25%", (1, 0)), (10, "25%", "25%", (3, 2)), (4, 0, 0, (0, 1)), (1, 0, 1, (0, 1)), (1, "100%", "0%", (1, 0))],
)
def test_surge_rounds_up_and_unavailability_down(replicas: int, surge: Any, unavailable: Any, expected: tuple[int, int]) -> None:
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}

    assert fenceposts({"spec": {"replicas": replicas, "strategy": strategy}}) == expected


def test_unhealthy_old_pods_go_before_healthy_ones() -> None:
    def replica_set(name: str, replicas: int, available: int) -> Object:
        metadata = {"name": name, "creationTimestamp": f"2026-01-0{name[-1]}T00:00:00Z"}
        return {"metadata": metadata, "spec": {"replicas": replicas}, "status": {"availableReplicas": available}}

    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 1}}
    deployment = {"spec": {"replicas": 4, "strategy": strategy}}

    sizes = old_sizes(deployment, replica_set("new-3", 1, 0), [replica_set("old-1", 3, 3), replica_set("old-2", 1, 0)])

    assert sizes == {"old-1": 3, "old-2": 0}


def test_the_hash_of_a_template_depends_on_it_and_on_collisions() -> None:
    hashes = {template_hash({"a": 1}, 0), template_hash({"a": 2}, 0), template_hash({"a": 1}, 1)}

    assert len(hashes) == 3
    assert template_hash({"a": 1, "b": 2}, 0) == template_hash({"b": 2, "a": 1}, 0)
