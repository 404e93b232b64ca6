"""Events: what controllers and node agents tell people about an object, counted when it repeats.

Not emulated: rate limits (a real recorder drops events of a source that is too loud) and the removal of events after an hour.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping

import httpx

from sandbox.kubernetes.controllers.objects import micro_time
from sandbox.kubernetes.meta.api import Client
from sandbox.kubernetes.meta.client import EVENTS, Object
from sandbox.kubernetes.meta.clock import utc_now
from sandbox.kubernetes.meta.errors import ApiError
from sandbox.kubernetes.meta.values import now

REMEMBERED = 4096
"""How many events a recorder remembers, so as to count a repetition instead of writing it again; Kubernetes keeps as many."""

SIMILAR_LIMIT = 10
"""Events that differ in their message alone are combined after ten of them, as in Kubernetes."""


class EventRecorder:
    """Writes events in the background, in order; the teller never waits and never fails.

    Args:
        client: Where to write.
        component: Who tells, e.g. `deployment-controller`.
        host: The node's name, for a kubelet.
        action: Makes it a new-style event with that action, as the scheduler writes them.
    """

    def __init__(self, client: Client, component: str, *, host: str | None = None, action: str | None = None) -> None:
        self._client = client
        self._component = component
        self._host = host
        self._action = action
        self._queue: asyncio.Queue[tuple[Object, str, str, str]] = asyncio.Queue()
        self._written: dict[tuple[str, ...], Object] = {}
        self._similar: dict[tuple[str, ...], int] = {}
        self._numbers = itertools.count()

    def tell(self, about: Object, kind: str, reason: str, message: str, *, field_path: str | None = None) -> None:
        """Record an event.

        Args:
            about: The object it is about.
            kind: `Normal` or `Warning`.
            reason: One word in CamelCase.
            message: The sentence for people.
            field_path: Which part of the object, e.g. `spec.containers{vllm}`.
        """
        metadata = about["metadata"]
        involved = {
            "kind": about["kind"],
            "namespace": metadata.get("namespace"),
            "name": metadata["name"],
            "uid": metadata["uid"],
            "apiVersion": about["apiVersion"],
            "resourceVersion": metadata.get("resourceVersion"),
            "fieldPath": field_path,
        }
        self._queue.put_nowait(({key: value for key, value in involved.items() if value}, kind, reason, message))

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            involved, kind, reason, message = await self._queue.get()
            try:
                await self._write(involved, kind, reason, message)
            except (ApiError, httpx.HTTPError, OSError):
                # An event is news, not state: when its namespace is going away or the server is, it is dropped.
                continue

    async def _write(self, involved: Object, kind: str, reason: str, message: str) -> None:
        similar = (involved["uid"], involved.get("fieldPath", ""), kind, reason)
        if (*similar, message) not in self._written:
            self._similar[similar] = self._similar.get(similar, 0) + 1
        if self._similar.get(similar, 0) > SIMILAR_LIMIT:
            message = f"(combined from similar events): {message}"
            key: tuple[str, ...] = (*similar, "combined")
        else:
            key = (*similar, message)
        if (written := self._written.get(key)) is not None:
            try:
                self._written[key] = await self._repeat(written, message)
                return
            except ApiError as exc:
                # Events go, too: here with their namespace, on a real cluster after an hour. Then it is told anew.
                if exc.code != 404:
                    raise
        if len(self._written) >= REMEMBERED:
            del self._written[next(iter(self._written))]
        namespace = involved.get("namespace", "default")
        self._written[key] = await self._client.request(
            "POST", EVENTS.within(namespace), body=self._event(namespace, involved, kind, reason, message)
        )

    async def _repeat(self, written: Object, message: str) -> Object:
        patch: Object = {"message": message}
        if self._action is None:
            patch |= {"count": (written.get("count") or 1) + 1, "lastTimestamp": now()}
        else:
            count = (written.get("series") or {"count": 1})["count"] + 1
            patch["series"] = {"count": count, "lastObservedTime": micro_time()}
        metadata: Mapping[str, str] = written["metadata"]
        path = EVENTS.one(metadata["namespace"], metadata["name"])
        return await self._client.request("PATCH", path, body=patch, content_type="application/merge-patch+json")

    def _event(self, namespace: str, involved: Object, kind: str, reason: str, message: str) -> Object:
        event: Object = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {
                # The time alone is not unique: of two events in one moment the second would be refused.
                "name": f"{involved['name']}.{int(utc_now().timestamp() * 1_000_000):x}{next(self._numbers):x}",
                "namespace": namespace,
            },
            "involvedObject": involved,
            "reason": reason,
            "message": message,
            "type": kind,
            "reportingComponent": self._component,
        }
        if self._action is not None:
            instance = f"{self._component}-sandbox"
            return event | {"source": {}, "eventTime": micro_time(), "action": self._action, "reportingInstance": instance}
        source = {"component": self._component} | ({"host": self._host} if self._host else {})
        moment = now()
        return event | {
            "source": source,
            "firstTimestamp": moment,
            "lastTimestamp": moment,
            "count": 1,
            "eventTime": None,
            "reportingInstance": self._host or "",
        }
