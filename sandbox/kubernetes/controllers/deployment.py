"""The Deployment controller: replaces the pods of one template by those of another, and keeps the old ReplicaSets to go back to.

Not emulated: the deprecated rollback subresource.
"""

from __future__ import annotations

from sandbox.kubernetes.controllers import rollout
from sandbox.kubernetes.controllers.deployment_status import created, failed_to_create, found, next_look_seconds, paused, status_of
from sandbox.kubernetes.controllers.objects import is_controlled_by, is_deleting, is_finished, owner_reference
from sandbox.kubernetes.controllers.view import Controller, View, owned
from sandbox.kubernetes.meta.client import DEPLOYMENTS, PODS, REPLICA_SETS, Object
from sandbox.kubernetes.meta.errors import ApiError
from sandbox.kubernetes.meta.values import clone, dig


class DeploymentController(Controller):
    """Drives ReplicaSets so that each Deployment's pods follow its template."""

    def __init__(self, view: View) -> None:
        super().__init__(view)
        self._events = view.recorder("deployment-controller")
        self.watch(DEPLOYMENTS)
        self.watch_dependents(REPLICA_SETS, "Deployment")
        view.informer(PODS).subscribe(self._pod_changed)

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        """Recreate waits until the last old pod is gone, which no ReplicaSet's status tells in time."""
        if old is None or new is not None:
            return
        for reference in old["metadata"].get("ownerReferences") or []:
            replica_set = self.view.informer(REPLICA_SETS).get(f"{old['metadata']['namespace']}/{reference['name']}")
            for owner in (replica_set or {"metadata": {}})["metadata"].get("ownerReferences") or []:
                self.queue.add(f"{old['metadata']['namespace']}/{owner['name']}")

    async def reconcile(self, key: str) -> float | None:
        """Make one Deployment's next step and write its status."""
        stored = self.view.informer(DEPLOYMENTS).get(key)
        if stored is None:
            return None
        deployment = clone(stored)
        sets = sorted(await owned(self.view, deployment, REPLICA_SETS), key=lambda item: str(item["metadata"]["creationTimestamp"]))
        if not is_deleting(deployment):
            sets = await self._advance(deployment, sets)
        return await self._write_status(deployment, sets)

    async def _advance(self, deployment: Object, sets: list[Object]) -> list[Object]:
        conditions = dig(deployment, "status", "conditions", default=[])
        deployment.setdefault("status", {})["conditions"] = paused(conditions, is_paused=bool(deployment["spec"].get("paused")))
        new = self._current(deployment, sets)
        # Scaled in the middle of a rollout: first each ReplicaSet gets its share of the new number, then the rollout goes on.
        if deployment["spec"].get("paused") or self._was_scaled(deployment, sets):
            if new is not None:
                new = await self._note_revision(deployment, new, sets)
            return await self._rescale(deployment, self._replace(sets, new))
        old = [item for item in sets if new is None or item["metadata"]["uid"] != new["metadata"]["uid"]]
        if dig(deployment, "spec", "strategy", "type") == "Recreate":
            old = [await self._scale(deployment, item, 0) for item in old]
            if self._still_running(old):
                return [*old, *([new] if new is not None else [])]
        if new is None:
            new = await self._create(deployment, sets)
        else:
            new = await self._note_revision(deployment, new, sets)
            new = await self._scale(deployment, new, rollout.new_size(deployment, new, [*old, new]))
        if dig(deployment, "spec", "strategy", "type") != "Recreate":
            sizes = rollout.old_sizes(deployment, new, old)
            old = [await self._scale(deployment, item, sizes.get(item["metadata"]["name"], rollout.replicas(item))) for item in old]
        return [*await self._forget_history(deployment, old), new]

    def _current(self, deployment: Object, sets: list[Object]) -> Object | None:
        """The oldest ReplicaSet with the Deployment's template; after a rollback that is one that exists already."""
        template = deployment["spec"]["template"]
        return next((item for item in sets if rollout.same_template(item["spec"]["template"], template)), None)

    @staticmethod
    def _replace(sets: list[Object], new: Object | None) -> list[Object]:
        return [new if new is not None and item["metadata"]["uid"] == new["metadata"]["uid"] else item for item in sets]

    @staticmethod
    def _was_scaled(deployment: Object, sets: list[Object]) -> bool:
        wanted = str(rollout.replicas(deployment))
        # The number of before is kept by nobody else.
        noted = [dig(item, "metadata", "annotations", default={}).get(rollout.DESIRED_REPLICAS) for item in sets if rollout.replicas(item)]
        return any(note is not None and note != wanted for note in noted)

    async def _rescale(self, deployment: Object, sets: list[Object]) -> list[Object]:
        active = [item for item in sets if rollout.replicas(item)]
        if len(active) > 1:
            sizes = rollout.proportional_sizes(deployment, active)
        else:
            target = active[0] if active else self._current(deployment, sets)
            sizes = {target["metadata"]["name"]: rollout.replicas(deployment)} if target is not None else {}
        return [await self._scale(deployment, item, sizes.get(item["metadata"]["name"], rollout.replicas(item))) for item in sets]

    def _still_running(self, old: list[Object]) -> bool:
        pods = self.view.informer(PODS)
        return any(is_controlled_by(pod, item) and not is_finished(pod) for item in old for pod in pods.list(item["metadata"]["namespace"]))

    async def _create(self, deployment: Object, sets: list[Object]) -> Object:
        collisions = int(dig(deployment, "status", "collisionCount", default=0))
        digest = rollout.template_hash(deployment["spec"]["template"], collisions)
        template = clone(deployment["spec"]["template"])
        template.setdefault("metadata", {}).setdefault("labels", {})[rollout.HASH_LABEL] = digest
        selector = clone(deployment["spec"]["selector"])
        selector.setdefault("matchLabels", {})[rollout.HASH_LABEL] = digest
        metadata = deployment["metadata"]
        name = f"{metadata['name']}-{digest}"
        size = rollout.new_size(deployment, None, sets)
        number = max((rollout.revision(item) for item in sets), default=0) + 1
        annotations = self._copied_annotations(deployment) | self._size_notes(deployment) | {rollout.REVISION: str(number)}
        body = {
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "metadata": {
                "name": name,
                "namespace": metadata["namespace"],
                "labels": template["metadata"]["labels"],
                "annotations": annotations,
                "ownerReferences": [owner_reference(deployment)],
            },
            "spec": {"replicas": size, "selector": selector, "template": template}
            | ({"minReadySeconds": deployment["spec"]["minReadySeconds"]} if deployment["spec"].get("minReadySeconds") else {}),
        }
        conditions = deployment["status"]["conditions"]
        try:
            new = await self.view.create(REPLICA_SETS, metadata["namespace"], body)
        except ApiError as exc:
            if exc.code == 409:
                # Another template has this hash, or the local copy lags; both look better with the next count.
                deployment["status"]["collisionCount"] = collisions + 1
            else:
                deployment["status"]["conditions"] = failed_to_create(conditions, exc.message)
                message = f'Failed to create new replica set "{name}": {exc.message}'
                self._events.tell(deployment, "Warning", "ReplicaSetCreateError", message)
            await self._write_status(deployment, sets)
            raise
        if size:
            self._events.tell(deployment, "Normal", "ScalingReplicaSet", f"Scaled up replica set {name} from 0 to {size}")
        deployment["status"]["conditions"] = created(conditions, name)
        await self._annotate(deployment, number)
        return new

    async def _note_revision(self, deployment: Object, new: Object, sets: list[Object]) -> Object:
        """Make an existing ReplicaSet the newest revision, noting the number it had before."""
        highest = max((rollout.revision(item) for item in sets if item is not new), default=0)
        old_number = rollout.revision(new)
        annotations = dict(dig(new, "metadata", "annotations", default={}))
        wanted = annotations | self._copied_annotations(deployment) | self._size_notes(deployment)
        number = old_number if old_number > highest else highest + 1
        if number != old_number:
            wanted[rollout.REVISION] = str(number)
            history = annotations.get(rollout.REVISION_HISTORY)
            wanted[rollout.REVISION_HISTORY] = f"{history},{old_number}" if history else str(old_number)
        if wanted != annotations:
            new = await self.view.patch(REPLICA_SETS, new, {"metadata": {"annotations": wanted}})
        if dig(deployment, "metadata", "annotations", default={}).get(rollout.REVISION) != str(number):
            await self._annotate(deployment, number)
            deployment["status"]["conditions"] = found(deployment["status"]["conditions"], new["metadata"]["name"])
        return new

    async def _annotate(self, deployment: Object, number: int) -> None:
        written = await self.view.patch(DEPLOYMENTS, deployment, {"metadata": {"annotations": {rollout.REVISION: str(number)}}})
        deployment["metadata"] = written["metadata"]

    @staticmethod
    def _copied_annotations(deployment: Object) -> dict[str, str]:
        annotations = dig(deployment, "metadata", "annotations", default={})
        return {key: value for key, value in annotations.items() if key not in rollout.NOT_COPIED}

    @staticmethod
    def _size_notes(deployment: Object) -> dict[str, str]:
        wanted = rollout.replicas(deployment)
        return {rollout.DESIRED_REPLICAS: str(wanted), rollout.MAX_REPLICAS: str(wanted + rollout.fenceposts(deployment)[0])}

    async def _scale(self, deployment: Object, replica_set: Object, size: int) -> Object:
        before = rollout.replicas(replica_set)
        notes = self._size_notes(deployment)
        annotations = dig(replica_set, "metadata", "annotations", default={})
        stale_notes = before and any(annotations.get(key) != value for key, value in notes.items())
        if size == before and not stale_notes:
            return replica_set
        patch = {"metadata": {"annotations": notes}} | ({"spec": {"replicas": size}} if size != before else {})
        scaled = await self.view.patch(REPLICA_SETS, replica_set, patch)
        if size != before:
            way = "up" if size > before else "down"
            message = f"Scaled {way} replica set {replica_set['metadata']['name']} from {before} to {size}"
            self._events.tell(deployment, "Normal", "ScalingReplicaSet", message)
        return scaled

    async def _forget_history(self, deployment: Object, old: list[Object]) -> list[Object]:
        limit = deployment["spec"].get("revisionHistoryLimit", 10)
        idle = [item for item in old if not rollout.replicas(item) and not rollout.counted([item], "replicas") and not is_deleting(item)]
        too_old = sorted(idle, key=rollout.revision)[: max(0, len(idle) - limit)]
        for item in too_old:
            await self.view.delete(REPLICA_SETS, item)
        return [item for item in old if item not in too_old]

    async def _write_status(self, deployment: Object, sets: list[Object]) -> float | None:
        new = self._current(deployment, sets)
        status = status_of(deployment, sets, new)
        stored = self.view.informer(DEPLOYMENTS).get(f"{deployment['metadata']['namespace']}/{deployment['metadata']['name']}")
        if stored is not None and status != stored.get("status"):
            await self.view.replace(DEPLOYMENTS, {**deployment, "status": status}, "status")
        return next_look_seconds(deployment, status)
