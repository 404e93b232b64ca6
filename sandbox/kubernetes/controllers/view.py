"""What a controller sees and does: shared local copies of collections, and writes that show in them at once."""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import Coroutine
from typing import Any

from sandbox.kubernetes.admission.informer import Informer
from sandbox.kubernetes.controllers.events import EventRecorder
from sandbox.kubernetes.controllers.objects import controller_of, is_deleting, owner_reference
from sandbox.kubernetes.controllers.queue import FIRST_RETRY_SECONDS, LAST_RETRY_SECONDS, WorkQueue
from sandbox.kubernetes.meta.api import Client
from sandbox.kubernetes.meta.client import Collection, Object
from sandbox.kubernetes.meta.errors import ApiError
from sandbox.kubernetes.meta.selectors import matches_labels, selector_requirements


class View:
    """The cluster as all controllers see it.

    Because a write is put into the local copy before the watch reports it, a controller that runs twice in a row never creates
    the same pod twice; Kubernetes keeps counts of expected events for the same purpose.

    Args:
        client: The API server.
        patience_seconds: The longest wait before what failed is tried again, where people do not want to wait as long as Kubernetes does.
    """

    def __init__(self, client: Client, *, patience_seconds: float = LAST_RETRY_SECONDS) -> None:
        self.client = client
        self.patience_seconds = patience_seconds
        self._informers: dict[str, Informer] = {}
        self._recorders: list[EventRecorder] = []

    def informer(self, collection: Collection) -> Informer:
        """The shared local copy of a collection over all namespaces."""
        if collection.everywhere not in self._informers:
            self._informers[collection.everywhere] = Informer(self.client, collection)
        return self._informers[collection.everywhere]

    def recorder(self, component: str, *, action: str | None = None) -> EventRecorder:
        """A teller of events in the name of a component."""
        recorder = EventRecorder(self.client, component, action=action)
        self._recorders.append(recorder)
        return recorder

    def loops(self) -> list[Coroutine[Any, Any, None]]:
        """What must run for the copies to stay fresh and the events to be written."""
        return [informer.run() for informer in self._informers.values()] + [recorder.run() for recorder in self._recorders]

    async def synced(self) -> None:
        """Wait until every collection was read once."""
        await asyncio.gather(*(informer.synced.wait() for informer in self._informers.values()))

    async def create(self, collection: Collection, namespace: str, body: Object) -> Object:
        """Create an object."""
        return self._seen(collection, await self.client.request("POST", collection.within(namespace), body=body))

    async def replace(self, collection: Collection, item: Object, subresource: str = "") -> Object:
        """Replace an object or its subresource; 409 if it changed meanwhile."""
        metadata = item["metadata"]
        path = collection.one(metadata.get("namespace", ""), metadata["name"], subresource)
        return self._seen(collection, await self.client.request("PUT", path, body=item))

    async def patch(self, collection: Collection, item: Object, patch: Object, subresource: str = "", *, kind: str = "merge") -> Object:
        """Patch an object or its subresource with a `merge` or `strategic-merge` patch."""
        metadata = item["metadata"]
        path = collection.one(metadata.get("namespace", ""), metadata["name"], subresource)
        content_type = f"application/{kind}-patch+json"
        return self._seen(collection, await self.client.request("PATCH", path, body=patch, content_type=content_type))

    async def delete(self, collection: Collection, item: Object, *, propagation: str = "Background") -> None:
        """Delete this very object (by uid); one that is gone already is no error."""
        metadata = item["metadata"]
        body = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": propagation,
            "preconditions": {"uid": metadata["uid"]},
        }
        try:
            answer = await self.client.request("DELETE", collection.one(metadata.get("namespace", ""), metadata["name"]), body=body)
        except ApiError as exc:
            # 409: the name is another object's by now, as its uid says.
            if exc.code not in (404, 409):
                raise
            self.informer(collection).drop(item)
            return
        if answer.get("kind") == collection.kind and "deletionTimestamp" in answer["metadata"]:
            self._seen(collection, answer)
        else:
            self.informer(collection).drop(item)

    def _seen(self, collection: Collection, item: Object) -> Object:
        if item.get("kind") == collection.kind:
            self.informer(collection).put(item)
        return item


class Controller(ABC):
    """A controller: a queue of keys and what to do with one of them. Subclasses subscribe in their constructor."""

    #: The wait before a key that failed is tried again, at first and at most.
    retry_seconds = (FIRST_RETRY_SECONDS, LAST_RETRY_SECONDS)

    def __init__(self, view: View) -> None:
        self.view = view
        first, most = self.retry_seconds
        self.queue = WorkQueue(self.reconcile, retry_seconds=(min(first, view.patience_seconds), min(most, view.patience_seconds)))

    @abstractmethod
    async def reconcile(self, key: str) -> float | None:
        """Bring one object towards what it asks for; return after how many seconds to look again, or None."""

    def watch(self, collection: Collection) -> None:
        """Reconcile the objects of a collection whenever they change."""

        def changed(old: Object | None, new: Object | None) -> None:
            item = new or old
            if item is not None:
                self.queue.add(f"{item['metadata'].get('namespace', '')}/{item['metadata']['name']}")

        self.view.informer(collection).subscribe(changed)

    def watch_dependents(self, collection: Collection, owner_kind: str) -> None:
        """Reconcile the owner whenever one of its dependents changes."""

        def changed(old: Object | None, new: Object | None) -> None:
            for item in (old, new):
                reference = controller_of(item) if item is not None else None
                if item is not None and reference is not None and reference["kind"] == owner_kind:
                    self.queue.add(f"{item['metadata']['namespace']}/{reference['name']}")

        self.view.informer(collection).subscribe(changed)


async def owned(view: View, owner: Object, collection: Collection) -> list[Object]:
    """The objects that the owner controls, after adopting those that match its selector and that nobody controls."""
    requirements = selector_requirements(owner["spec"]["selector"])
    found = []
    for item in view.informer(collection).list(owner["metadata"]["namespace"]):
        controller = controller_of(item)
        if controller is not None and controller["uid"] == owner["metadata"]["uid"]:
            found.append(item)
        elif controller is None and not is_deleting(item) and matches_labels(requirements, item):
            with contextlib.suppress(ApiError):
                found.append(await _adopt(view, owner, collection, item))
    return found


async def _adopt(view: View, owner: Object, collection: Collection, item: Object) -> Object:
    references = [*(item["metadata"].get("ownerReferences") or []), owner_reference(owner)]
    return await view.patch(collection, item, {"metadata": {"uid": item["metadata"]["uid"], "ownerReferences": references}})
