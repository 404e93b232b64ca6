"""Local copies of collections that follow a watch.

They work on either client, so controllers and node agents do not know whether the server is in their own process.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping

import httpx

from sandbox.kubernetes.meta.api import Client
from sandbox.kubernetes.meta.client import WATCH_SECONDS, Collection, Object
from sandbox.kubernetes.meta.errors import ApiError

Listener = Callable[[Object | None, Object | None], None]
"""Called with the object before and after a change; None where it did not exist."""


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
