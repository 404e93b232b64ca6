"""The application controller: watches Applications and what they deploy, compares, syncs, and says so in their status.

It begins with nothing but an API server: it makes the definitions of Applications and projects, the namespace and the default project.
Not emulated: Applications outside of its namespace, ApplicationSets, notifications, webhooks of Git servers, several clusters, metrics,
Argo CD's own API and its users; whoever may patch an Application may sync it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from sandbox.argocd.automation import Automated, automated_sync
from sandbox.argocd.comparison import Comparer, Comparison
from sandbox.argocd.definitions import DEFINITIONS, GROUP, VERSION
from sandbox.argocd.live import Live, listed_reference, owner_of, reference_of
from sandbox.argocd.operations import Faults, Operations, is_running
from sandbox.argocd.projects import DEFAULT, invalid
from sandbox.argocd.rendering import Renderer
from sandbox.argocd.repositories import Repositories
from sandbox.argocd.status import compared_to, conditions, difference, health, revisions_for, revisions_in
from sandbox.argocd.windows import may_sync
from sandbox.kubernetes.admission.informer import Informer, key_of
from sandbox.kubernetes.controllers.queue import WorkQueue
from sandbox.kubernetes.meta.api import Client
from sandbox.kubernetes.meta.client import Collection, Object
from sandbox.kubernetes.meta.errors import ApiError
from sandbox.kubernetes.meta.values import dig, now, parse_time

REFRESH = "argocd.argoproj.io/refresh"
FINALIZER = "resources-finalizer.argocd.argoproj.io"
APPLICATIONS = Collection(prefix=f"/apis/{GROUP}/{VERSION}", plural="applications", api_version=f"{GROUP}/{VERSION}", kind="Application")
PROJECTS = Collection(prefix=f"/apis/{GROUP}/{VERSION}", plural="appprojects", api_version=f"{GROUP}/{VERSION}", kind="AppProject")
_DEFINITIONS_PATH = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_DOWN_SECONDS = 0.1


class ApplicationController:
    """One controller on one cluster.

    Args:
        client: The API server, as a user who may do everything.
        folder: Where repositories are kept.
        namespace: Where Applications and projects lie.
        poll_seconds: How old a comparison may be before the repositories are asked again.

    Attributes:
        faults: What it is asked to do wrong.
        repositories: The Git repositories that it knows.
    """

    def __init__(self, client: Client, folder: Path, *, namespace: str = "argocd", poll_seconds: float = 180.0) -> None:
        self.faults = Faults()
        self.repositories = Repositories(folder)
        self._client = client
        self._namespace = namespace
        self._poll_seconds = poll_seconds
        self._live = Live(client)
        self._comparer = Comparer(Renderer(self.repositories), self._live)
        self._operations = Operations(self._comparer, self._live, self.faults, self._save, self._read)
        self._queue = WorkQueue(self._reconcile)
        self._applications = Informer(client, APPLICATIONS)
        self._watched: dict[str, Informer] = {}
        #: Applications to compare although nothing of theirs says so: `True` with what their branches stand for now.
        self._marked: dict[str, bool] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._made: list[str] = []

    async def start(self) -> None:
        """Make what Argo CD's installation makes, and begin; returns once all Applications were read."""
        await self._ensure("/api/v1/namespaces", {"metadata": {"name": self._namespace}})
        for definition in DEFINITIONS:
            await self._ensure(_DEFINITIONS_PATH, definition)
        await self._ensure(PROJECTS.within(self._namespace), DEFAULT)
        self._applications.subscribe(self._application_changed)
        self._run(self._applications.run())
        await self._applications.synced.wait()
        self._run(self._queue.run())

    async def close(self) -> None:
        """Stop, and take away what was made at the start. Safe to call twice."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        while self._made:
            with contextlib.suppress(ApiError, httpx.HTTPError):
                await self._client.request("DELETE", self._made.pop())

    def _run(self, loop: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(loop)
        task.add_done_callback(_tell)
        self._tasks.append(task)

    async def _ensure(self, path: str, body: Object) -> None:
        """Create an object unless it is there."""
        while True:
            try:
                await self._client.request("POST", path, body=body)
            except ApiError as exc:
                if exc.code == 404:  # a definition takes a moment until it is served
                    await asyncio.sleep(0.1)
                    continue
                if exc.code != 409:
                    raise
            else:
                self._made.append(f"{path}/{body['metadata']['name']}")
            return

    def _application_changed(self, before: Object | None, after: Object | None) -> None:
        if after is not None and after["metadata"]["namespace"] == self._namespace:
            self._queue.add(key_of(after))

    def _object_changed(self, before: Object | None, after: Object | None) -> None:
        for item in (before, after):
            if item is not None and (owner := owner_of(item)):
                key = f"{self._namespace}/{owner}"
                self._marked.setdefault(key, False)
                self._queue.add(key)

    async def _reconcile(self, key: str) -> float | None:
        if self.faults.down:
            return _DOWN_SECONDS
        app = self._applications.get(key)
        if app is None:
            self._marked.pop(key, None)
            return None
        await asyncio.sleep(self.faults.slow_seconds)
        app = await self._read(app)
        if "deletionTimestamp" in app["metadata"]:
            return await self._delete(app)
        project = await self._project(app)
        trouble = invalid(app, project)
        if app.get("operation") or is_running(app):
            again = await self._operations.advance(app, f"InvalidSpecError: {trouble}" if trouble else "", project)
            if again is None:
                self._marked[key] = True
            due = await self._refresh(await self._read(app), key, trouble, project)
            return due if again is None else min(again, due)
        return await self._refresh(app, key, trouble, project)

    async def _refresh(self, app: Object, key: str, trouble: str, project: Object | None) -> float:
        """Compare if it is time to; after how many seconds it is again."""
        asked = REFRESH in (app["metadata"].get("annotations") or {})
        age = self._age(app)
        stale = asked or age >= self._poll_seconds or compared_to(app) != dig(app, "status", "sync", "comparedTo")
        marked = self._marked.pop(key, None)
        if not stale and marked is None:
            return self._poll_seconds - age
        # Where only objects have changed, the commit that was compared last is compared again.
        latest, began, known = stale or bool(marked), now(), revisions_in(dig(app, "status", "sync", default={}))
        wanted = [] if latest else known
        compared = Comparison(status="Unknown") if trouble else await self._comparer.compare(app, wanted, fresh=stale)
        time = datetime.now(UTC)
        held = project is not None and not may_sync(app, project, time, asked=False)
        following = Automated() if held else automated_sync(app, compared, time)
        before: Object = app.get("status") or {}
        complaints = {"InvalidSpecError": trouble, "ComparisonError": compared.error, "SyncError": following.complaint}
        status: Object = {
            "sync": {
                "status": compared.status,
                "comparedTo": compared_to(app),
                **revisions_for(app, compared.revisions or known),
            },
            "health": health(app, compared.health),
            "conditions": conditions(app, complaints) or None,
            "controllerNamespace": self._namespace,
        }
        if latest:
            status["reconciledAt"] = began
        if not trouble and not compared.error:
            status["resources"] = compared.resources
            status["sourceType"] = "Helm"
        patch: Object = {"metadata": {}, "status": difference(before, {**before, **status})}
        if asked:
            patch["metadata"]["annotations"] = {REFRESH: None}
        if following.operation is not None:
            patch["metadata"]["resourceVersion"] = app["metadata"]["resourceVersion"]  # somebody may have asked for another meanwhile
            patch["operation"] = following.operation
            patch["status"]["operationState"] = None
        await self._save(app, patch)
        await self._watch(compared)
        if following.again_seconds is not None:
            self._marked.setdefault(key, False)
            return following.again_seconds
        return self._poll_seconds

    def _age(self, app: Object) -> float:
        compared = dig(app, "status", "reconciledAt")
        return (datetime.now(UTC) - parse_time(compared)).total_seconds() if compared else self._poll_seconds

    async def _watch(self, compared: Comparison) -> None:
        """Hear of changes of all kinds that Applications have."""
        for target in compared.targets:
            collection = await self._live.collection(reference_of(target))
            if collection.everywhere not in self._watched:
                informer = self._watched[collection.everywhere] = Informer(self._client, collection)
                informer.subscribe(self._object_changed)
                self._run(informer.run())

    async def _delete(self, app: Object) -> float | None:
        """Delete what the Application has, if its finalizer says so, and then let it go."""
        finalizers = app["metadata"].get("finalizers") or []
        if FINALIZER not in finalizers:
            return None
        left = 0
        for fields in dig(app, "status", "resources", default=[]):
            reference = listed_reference(fields)
            found = await self._live.get(reference)
            if found is not None and owner_of(found) == app["metadata"]["name"]:
                left += 1
                await self._live.delete(reference)
        if left:
            return _DOWN_SECONDS
        await self._save(app, {"metadata": {"finalizers": [entry for entry in finalizers if entry != FINALIZER] or None}})
        return None

    async def _project(self, app: Object) -> Object | None:
        try:
            return await self._client.request("GET", PROJECTS.one(self._namespace, app["spec"]["project"]))
        except ApiError as exc:
            if exc.code != 404:
                raise
            return None

    async def _read(self, app: Object) -> Object:
        return await self._client.request("GET", APPLICATIONS.one(self._namespace, app["metadata"]["name"]))

    async def _save(self, app: Object, patch: Object) -> Object:
        path = APPLICATIONS.one(self._namespace, app["metadata"]["name"])
        saved = await self._client.request("PATCH", path, body=patch, content_type="application/merge-patch+json")
        self._applications.put(saved)
        return saved


def _tell(task: asyncio.Task[None]) -> None:
    """Say it at once if the controller itself is broken: everybody else would only see that nothing happens."""
    if not task.cancelled() and (exc := task.exception()) is not None:
        message = "Argo CD's stand-in stopped"
        asyncio.get_running_loop().call_exception_handler({"message": message, "exception": exc, "task": task})
