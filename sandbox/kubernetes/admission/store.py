"""Where the objects are: resource versions, a bounded history, and the watches on it.

Objects in the store are never changed in place; a reader may keep one, and must copy it before changing it.
Nothing is written to disk: the cluster's memory ends with its process.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from sandbox.kubernetes.meta.errors import expired

JSON = dict[str, Any]
Key = tuple[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """One change of one object.

    Attributes:
        revision: The resource version that the change made.
        resource: Whose object it is, as `group/plural`.
        key: The object's namespace and name.
        before: The object before, or None if it was created.
        after: The object after, or None if it was deleted.
    """

    revision: int
    resource: str
    key: Key
    before: JSON | None
    after: JSON | None


class Subscription:
    """The changes of one resource since it was made, as they come."""

    def __init__(self, store: Store, resource: str) -> None:
        self._store = store
        self._resource = resource
        self._queue: asyncio.Queue[Change | None] = asyncio.Queue()

    def push(self, change: Change) -> None:
        """Hand on one change."""
        self._queue.put_nowait(change)

    def end(self) -> None:
        """Let the reader see the end."""
        self._queue.put_nowait(None)

    async def next(self) -> Change | None:
        """The next change, or None when the watch is to end."""
        return await self._queue.get()

    def close(self) -> None:
        """Receive nothing any more."""
        self._store.unsubscribe(self._resource, self)


class Store:
    """All objects of the cluster with their history.

    Args:
        history: How many changes are kept for watches that resume; older ones answer 410.
    """

    def __init__(self, history: int = 10_000) -> None:
        self.revision = 1
        self._objects: dict[str, dict[Key, JSON]] = {}
        self._history: deque[Change] = deque(maxlen=history)
        self._subscriptions: dict[str, set[Subscription]] = {}
        self._compacted = 0
        self._reactions: list[Callable[[Change], None]] = []

    def react(self, reaction: Callable[[Change], None]) -> None:
        """Call a function after every change, before the request that made it is answered."""
        self._reactions.append(reaction)

    def get(self, resource: str, namespace: str, name: str) -> JSON | None:
        """The object, or None."""
        return self._objects.get(resource, {}).get((namespace, name))

    def objects(self, resource: str, namespace: str = "") -> Iterator[JSON]:
        """The objects of a resource by namespace and name; of one namespace if it is given."""
        for (object_namespace, _), obj in sorted(self._objects.get(resource, {}).items(), key=lambda item: item[0]):
            if not namespace or object_namespace == namespace:
                yield obj

    def objects_at(self, resource: str, revision: int) -> dict[Key, JSON]:
        """The objects of a resource as they were at an earlier revision.

        Raises:
            ApiError: 410; that revision is older than the history.
        """
        self.check_revision(revision)
        objects = dict(self._objects.get(resource, {}))
        for change in reversed(self._history):
            if change.revision <= revision:
                break
            if change.resource == resource:
                if change.before is None:
                    objects.pop(change.key, None)
                else:
                    objects[change.key] = change.before
        return objects

    def put(self, resource: str, namespace: str, name: str, obj: JSON) -> JSON:
        """Store the object under a new resource version, which is written into it, and tell the watches."""
        obj["metadata"]["resourceVersion"] = str(self.revision + 1)
        objects = self._objects.setdefault(resource, {})
        before = objects.get((namespace, name))
        objects[(namespace, name)] = obj
        self._record(resource, (namespace, name), before, obj)
        return obj

    def delete(self, resource: str, namespace: str, name: str) -> JSON:
        """Remove the object and tell the watches; return it with the resource version of its deletion."""
        gone = self._objects[resource].pop((namespace, name))
        last = {**gone, "metadata": {**gone["metadata"], "resourceVersion": str(self.revision + 1)}}
        self._record(resource, (namespace, name), last, None)
        return last

    def _record(self, resource: str, key: Key, before: JSON | None, after: JSON | None) -> None:
        self.revision += 1
        if len(self._history) == self._history.maxlen:
            self._compacted = self._history[0].revision
        change = Change(revision=self.revision, resource=resource, key=key, before=before, after=after)
        self._history.append(change)
        for subscription in tuple(self._subscriptions.get(resource, ())):
            subscription.push(change)
        for reaction in self._reactions:
            reaction(change)

    def check_revision(self, revision: int) -> None:
        """Refuse a revision that the history does not reach back to.

        Raises:
            ApiError: 410.
        """
        if revision < self._compacted:
            raise expired(f"too old resource version: {revision} ({self._compacted})")

    def compact(self) -> None:
        """Forget the history, as etcd does from time to time: watches from before now answer 410."""
        self._history.clear()
        self._compacted = self.revision

    def subscribe(self, resource: str, since: int | None) -> Subscription:
        """The changes of a resource after a revision; from now on without one.

        Raises:
            ApiError: 410; the revision is older than the history.
        """
        subscription = Subscription(self, resource)
        if since is not None:
            self.check_revision(since)
            for change in self._history:
                if change.resource == resource and change.revision > since:
                    subscription.push(change)
        self._subscriptions.setdefault(resource, set()).add(subscription)
        return subscription

    def unsubscribe(self, resource: str, subscription: Subscription) -> None:
        """Stop telling a subscription."""
        self._subscriptions.get(resource, set()).discard(subscription)

    def end_subscriptions(self, resource: str | None = None) -> None:
        """End the open watches: of one resource that is no longer served, or all when the server closes."""
        for name, subscriptions in self._subscriptions.items():
            if resource is None or name == resource:
                for subscription in tuple(subscriptions):
                    subscription.end()
