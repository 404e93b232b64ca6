"""How far the cluster is from Git, for one Application: what Argo CD's state manager works out.

The difference is that of a server-side apply that is only tried (Argo CD's `ServerSideDiff=true`). Not emulated: `ignoreDifferences`,
and objects that an Application of the same name left behind before the present one was made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from sandbox.argocd.health import health_of, worst
from sandbox.argocd.live import Live, Reference, listed_reference, owner_of, reference_of, wave_of, wish
from sandbox.argocd.rendering import Renderer, sources_of
from sandbox.argocd.repositories import SourceError
from sandbox.kubernetes.meta.client import Object
from sandbox.kubernetes.meta.errors import ApiError
from sandbox.kubernetes.meta.values import dig


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """An Application compared with the cluster.

    Attributes:
        status: `Synced`, `OutOfSync` or `Unknown`.
        revisions: The commit of each source.
        resources: Its objects, as they stand in the Application's status.
        health: The worst health of them.
        targets: What is to be on the cluster, as it is to be applied.
        prunable: What is on the cluster and no longer in Git.
        error: Why it could not be compared; empty if it could.
    """

    status: str
    revisions: list[str] = field(default_factory=list)
    resources: list[Object] = field(default_factory=list)
    health: str = "Unknown"
    targets: list[Object] = field(default_factory=list)
    prunable: list[Reference] = field(default_factory=list)
    error: str = ""


class Comparer:
    """Compares Applications."""

    def __init__(self, renderer: Renderer, live: Live) -> None:
        self._renderer = renderer
        self._live = live

    async def compare(self, app: Object, wanted: Sequence[str], *, fresh: bool) -> Comparison:
        """Compare an Application.

        Args:
            app: The Application.
            wanted: A revision for each source; an empty one stands for what the source follows.
            fresh: Whether the repositories must be asked what that is.
        """
        sources, namespace = sources_of(app["spec"]), app["spec"]["destination"].get("namespace", "")
        try:
            revisions = await self._renderer.revisions(sources, wanted, fresh=fresh)
            manifests = await self._renderer.manifests(app["metadata"]["name"], namespace, sources, revisions)
            targets = [await self._live.prepared(manifest, app["metadata"]["name"], namespace) for manifest in manifests]
        except (SourceError, ApiError) as exc:
            text = exc.message if isinstance(exc, ApiError) else str(exc)
            return Comparison(status="Unknown", error=f"Failed to load target state: {text}")
        resources, healths = [], []
        for target in targets:
            resource, health = await self._compared(target)
            resources.append(resource)
            healths += [health] if health else []
        prunable = await self._prunable(app, targets)
        resources += [{**reference.fields(), "status": "OutOfSync", "requiresPruning": True} for reference in prunable]
        return Comparison(
            status="Synced" if all(resource["status"] == "Synced" for resource in resources) else "OutOfSync",
            revisions=revisions,
            resources=sorted(resources, key=lambda entry: [entry.get(key, "") for key in ("group", "kind", "namespace", "name")]),
            health=worst(healths),
            targets=targets,
            prunable=prunable,
        )

    async def health(self, target: Object) -> tuple[str, str] | None:
        """The health of what is there of an object, and the words for it."""
        live = await self._live.get(reference_of(target))
        return ("Missing", "") if live is None else health_of(live)

    async def _compared(self, target: Object) -> tuple[Object, str]:
        reference = reference_of(target)
        live = await self._live.get(reference)
        resource = {**reference.fields(), "status": "OutOfSync", **({"syncWave": wave} if (wave := wave_of(target)) else {})}
        if live is None:
            return resource, "Missing"
        try:
            wanted = await self._live.apply(target, dry_run=True)
        except ApiError:  # the sync will say why
            wanted = target
        if wish(wanted) == wish(live):
            resource["status"] = "Synced"
        health = health_of(live)
        return resource, health[0] if health else ""

    async def _prunable(self, app: Object, targets: Sequence[Object]) -> list[Reference]:
        """What the Application had before, is still there, and belongs to it."""
        wanted = {(reference.group, reference.kind, reference.namespace, reference.name) for reference in map(reference_of, targets)}
        listed = [
            *dig(app, "status", "resources", default=[]),
            *dig(app, "status", "operationState", "syncResult", "resources", default=[]),
        ]
        found = []
        for reference in sorted({listed_reference(fields) for fields in listed}):
            if (reference.group, reference.kind, reference.namespace, reference.name) in wanted:
                continue
            live = await self._live.get(reference)
            if live is not None and owner_of(live) == app["metadata"]["name"] and "deletionTimestamp" not in live["metadata"]:
                found.append(reference)
        return found
