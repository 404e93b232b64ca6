"""Reading collections: selectors, pages, consistent reads, and watches with bookmarks and initial events."""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from sandbox.kubernetes.admission.requests import Request, Target
from sandbox.kubernetes.admission.store import JSON, Change, Store, Subscription
from sandbox.kubernetes.meta import errors
from sandbox.kubernetes.meta.errors import ApiError
from sandbox.kubernetes.meta.selectors import FieldTerm, Requirement, matches_labels, parse_fields, parse_labels
from sandbox.kubernetes.meta.values import clone

BOOKMARK_SECONDS = 60.0
Show = Callable[[JSON], JSON]


class Filter:
    """Which objects of a collection a request means."""

    def __init__(self, request: Request, target: Target) -> None:
        self.namespace = target.namespace
        self._name = target.name
        self._labels: Sequence[Requirement] = parse_labels(request.query.get("labelSelector", ""))
        self._fields: Sequence[FieldTerm] = parse_fields(request.query.get("fieldSelector", ""), _fields(target))

    def matches(self, obj: JSON | None) -> bool:
        """Whether the object is meant."""
        if obj is None or (self.namespace and obj["metadata"].get("namespace") != self.namespace):
            return False
        if self._name and obj["metadata"]["name"] != self._name:
            return False
        return matches_labels(self._labels, obj) and all(term.matches(obj) for term in self._fields)


def _fields(target: Target) -> tuple[str, ...]:
    if target.resource.namespaced or target.resource.fields != ("metadata.name", "metadata.namespace"):
        return target.resource.fields
    return ("metadata.name",)


def list_objects(store: Store, request: Request, target: Target, show: Show) -> JSON:
    """The answer to a list request.

    Raises:
        ApiError: 400 for a selector or token that cannot be read; 410 for one that is too old.
    """
    resource, query = target.resource, request.query
    wanted = Filter(request, target)
    limit = int(query.get("limit") or 0)
    revision, after = store.revision, ("", "")
    if token := query.get("continue"):
        revision, after = _read_token(token)
    elif query.get("resourceVersionMatch") == "Exact":
        revision = int(query["resourceVersion"])
    objects = store.objects_at(resource.key, revision) if revision < store.revision else None
    candidates = store.objects(resource.key, target.namespace) if objects is None else (objects[key] for key in sorted(objects))
    found = [obj for obj in candidates if wanted.matches(obj) and (not token or _key(obj) > after)]
    metadata: JSON = {"resourceVersion": str(revision)}
    if limit and len(found) > limit:
        metadata["continue"] = _write_token(revision, _key(found[limit - 1]))
        # The API server does not count what is left when a selector is set: it would have to read all of it.
        if not query.get("labelSelector") and not query.get("fieldSelector"):
            metadata["remainingItemCount"] = len(found) - limit
        found = found[:limit]
    items = [_as_item(show(obj), resource.custom) for obj in found]
    return {"kind": f"{resource.kind}List", "apiVersion": resource.api_version, "metadata": metadata, "items": items}


def _key(obj: JSON) -> tuple[str, str]:
    return obj["metadata"].get("namespace", ""), obj["metadata"]["name"]


def _as_item(obj: JSON, custom: bool) -> JSON:
    # Items of built-in lists do not repeat their kind; those of custom resources do.
    return obj if custom else {key: value for key, value in obj.items() if key not in ("kind", "apiVersion")}


def _write_token(revision: int, key: tuple[str, str]) -> str:
    start = json.dumps({"v": "meta.k8s.io/v1", "rv": revision, "start": list(key)}, separators=(",", ":"))
    return base64.urlsafe_b64encode(start.encode()).rstrip(b"=").decode()


def _read_token(token: str) -> tuple[int, tuple[str, str]]:
    try:
        value = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        return int(value["rv"]), (str(value["start"][0]), str(value["start"][1]))
    except (binascii.Error, ValueError, KeyError, IndexError, TypeError) as exc:
        raise errors.bad_request(f"continue key is not valid: {exc}") from exc


def open_watch(store: Store, request: Request, target: Target, show: Show) -> AsyncIterator[JSON]:
    """The events of a watch. What is wrong with the request is raised here, before the first event.

    Raises:
        ApiError: 400, 410 or 422.
    """
    query = request.query
    wanted = Filter(request, target)
    initial = query.get("sendInitialEvents") == "true"
    if initial and query.get("resourceVersionMatch") != "NotOlderThan":
        cause = errors.Cause(
            field="resourceVersionMatch",
            reason="FieldValueForbidden",
            message="Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
        )
        raise errors.invalid("ListOptions", "meta.k8s.io", "", [cause])
    text = query.get("resourceVersion", "")
    if text and not text.isdigit():
        raise errors.bad_request(f"invalid resource version: {text}")
    # Neither asks for history: what is there comes first, as ADDED.
    from_now = text in ("", "0") or initial
    since = store.revision if from_now else int(text)
    current = [obj for obj in store.objects(target.resource.key, target.namespace) if wanted.matches(obj)] if from_now else []
    if not from_now:
        try:
            subscription = store.subscribe(target.resource.key, since)
        except ApiError as error:
            # As the real server: the stream has begun with 200, and 410 is its first event.
            return _only_error(error)
    else:
        subscription = store.subscribe(target.resource.key, None)
    # 0 means no wish. The real server then takes a time of 30 to 60 minutes, at random.
    seconds = float(query.get("timeoutSeconds") or 0) or 1800.0
    bookmarks = query.get("allowWatchBookmarks") == "true"
    return _events(store, target, wanted, show, subscription, current, since, seconds, bookmarks=bookmarks, initial=initial)


async def _only_error(error: ApiError) -> AsyncIterator[JSON]:
    yield {"type": "ERROR", "object": error.status}


async def _events(
    store: Store,
    target: Target,
    wanted: Filter,
    show: Show,
    subscription: Subscription,
    current: list[JSON],
    revision: int,
    seconds: float,
    *,
    bookmarks: bool,
    initial: bool,
) -> AsyncIterator[JSON]:
    with contextlib.closing(subscription):
        for obj in current:
            yield {"type": "ADDED", "object": show(obj)}
        if initial and bookmarks:
            yield _bookmark(target, revision, {"k8s.io/initial-events-end": "true"})
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        bookmark_at = _next_bookmark(loop.time(), deadline)
        while loop.time() < deadline:
            try:
                async with asyncio.timeout_at(min(deadline, bookmark_at if bookmarks else deadline)):
                    change = await subscription.next()
            except TimeoutError:
                if bookmarks and loop.time() < deadline:
                    yield _bookmark(target, store.revision, {})
                bookmark_at = _next_bookmark(loop.time(), deadline)
                continue
            if change is None:
                return
            if (event := _event(change, wanted, show)) is not None:
                yield event


def _next_bookmark(now: float, deadline: float) -> float:
    """Every minute, and two seconds before the watch ends, so that its reader knows where to go on."""
    last = deadline - 2
    return min(now + BOOKMARK_SECONDS, last) if now < last else deadline + 1


def _bookmark(target: Target, revision: int, annotations: dict[str, str]) -> JSON:
    metadata: dict[str, Any] = {"resourceVersion": str(revision), "creationTimestamp": None}
    if annotations:
        metadata["annotations"] = annotations
    return {
        "type": "BOOKMARK",
        "object": {"kind": target.resource.kind, "apiVersion": target.resource.api_version, "metadata": metadata},
    }


def _event(change: Change, wanted: Filter, show: Show) -> JSON | None:
    """The change as this watch sees it: an object that leaves the selection counts as deleted, one that enters as added."""
    was, is_now = wanted.matches(change.before), wanted.matches(change.after)
    if is_now and change.after is not None:
        return {"type": "MODIFIED" if was else "ADDED", "object": show(change.after)}
    if was and change.before is not None:
        last = clone(change.before)
        last["metadata"]["resourceVersion"] = str(change.revision)
        return {"type": "DELETED", "object": show(last)}
    return None
