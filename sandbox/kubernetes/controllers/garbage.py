"""The garbage collector: what is owned goes when its last owner is gone (background), goes first (foreground), or stays (orphan).

Not emulated: it knows the kinds listed here and leaves dependents of any other kind of owner, such as custom resources, alone.
"""

from __future__ import annotations

from sandbox.kubernetes.admission.informer import key_of
from sandbox.kubernetes.controllers.objects import is_deleting
from sandbox.kubernetes.controllers.view import Controller, View
from sandbox.kubernetes.meta.client import (
    CONFIG_MAPS,
    DEPLOYMENTS,
    DISRUPTION_BUDGETS,
    ENDPOINT_SLICES,
    ENDPOINTS,
    JOBS,
    LEASES,
    NODES,
    PODS,
    REPLICA_SETS,
    SECRETS,
    SERVICE_ACCOUNTS,
    SERVICES,
    Collection,
    Object,
)
from sandbox.kubernetes.meta.errors import ApiError

COLLECTED = (
    PODS,
    REPLICA_SETS,
    DEPLOYMENTS,
    JOBS,
    SERVICES,
    ENDPOINTS,
    ENDPOINT_SLICES,
    CONFIG_MAPS,
    SECRETS,
    SERVICE_ACCOUNTS,
    DISRUPTION_BUDGETS,
    LEASES,
    NODES,
)
_BY_KIND = {(collection.api_version, collection.kind): collection for collection in COLLECTED}
ORPHAN = "orphan"
FOREGROUND = "foregroundDeletion"


class GarbageCollector(Controller):
    """Follows owner references in both directions."""

    def __init__(self, view: View) -> None:
        super().__init__(view)
        self._dependents: dict[str, dict[str, None]] = {}
        for collection in COLLECTED:
            self._follow(collection)

    def _follow(self, collection: Collection) -> None:
        def changed(old: Object | None, new: Object | None) -> None:
            item = new or old
            if item is None:
                return
            handle = f"{collection.everywhere}|{key_of(item)}"
            owners = [reference["uid"] for reference in item["metadata"].get("ownerReferences") or []]
            for uid in owners:
                if new is None:
                    self._dependents.get(uid, {}).pop(handle, None)
                else:
                    self._dependents.setdefault(uid, {})[handle] = None
            if new is None:
                for dependent in self._dependents.pop(item["metadata"]["uid"], {}):
                    self.queue.add(dependent)
                for reference in item["metadata"].get("ownerReferences") or []:
                    self._wake_owner(item, reference)
            elif (owners and old is None) or is_deleting(item):
                self.queue.add(handle)

        self.view.informer(collection).subscribe(changed)

    def _wake_owner(self, item: Object, reference: Object) -> None:
        """An owner in foreground deletion may go once its last dependent is gone."""
        collection = _BY_KIND.get((reference["apiVersion"], reference["kind"]))
        if collection is not None:
            namespace = item["metadata"].get("namespace", "") if collection.namespaced else ""
            self.queue.add(f"{collection.everywhere}|{namespace}/{reference['name']}")

    async def reconcile(self, key: str) -> float | None:
        """Look at one object as an owner that is going, and as a dependent."""
        item = self._item(key)
        if item is None:
            return None
        finalizers = item["metadata"].get("finalizers") or []
        if is_deleting(item):
            if ORPHAN in finalizers:
                await self._orphan(item)
            elif FOREGROUND in finalizers:
                await self._delete_dependents(item)
            return None
        if item["metadata"].get("ownerReferences"):
            await self._check_owners(item)
        return None

    def _item(self, key: str) -> Object | None:
        path, name = key.split("|")
        return next(self.view.informer(collection).get(name) for collection in COLLECTED if collection.everywhere == path)

    def _dependents_of(self, owner: Object) -> list[Object]:
        found = [self._item(handle) for handle in self._dependents.get(owner["metadata"]["uid"], {})]
        return [item for item in found if item is not None]

    async def _orphan(self, owner: Object) -> None:
        for item in self._dependents_of(owner):
            await self._drop_references(item, {owner["metadata"]["uid"]})
        await self._remove_finalizer(owner, ORPHAN)

    async def _delete_dependents(self, owner: Object) -> None:
        blocking = 0
        for item in self._dependents_of(owner):
            reference = next(entry for entry in item["metadata"]["ownerReferences"] if entry["uid"] == owner["metadata"]["uid"])
            blocking += bool(reference.get("blockOwnerDeletion"))
            if not is_deleting(item):
                await self.view.delete(_collection(item), item, propagation="Foreground" if self._dependents_of(item) else "Background")
        if not blocking or not self._dependents_of(owner):
            await self._remove_finalizer(owner, FOREGROUND)

    async def _check_owners(self, item: Object) -> None:
        references = item["metadata"]["ownerReferences"]
        absent = {reference["uid"] for reference in references if await self._is_absent(item, reference)}
        if len(absent) == len(references):
            await self.view.delete(_collection(item), item)
        elif absent:
            await self._drop_references(item, absent)

    async def _is_absent(self, item: Object, reference: Object) -> bool:
        collection = _BY_KIND.get((reference["apiVersion"], reference["kind"]))
        if collection is None:
            return False
        namespace = item["metadata"].get("namespace", "") if collection.namespaced else ""
        known = self.view.informer(collection).get(f"{namespace}/{reference['name']}")
        if known is not None and known["metadata"]["uid"] == reference["uid"]:
            return False
        try:
            # The local copy of the owner's kind may lag behind that of the dependent's, so the server has the last word.
            owner = await self.view.client.request("GET", collection.one(namespace, reference["name"]))
        except ApiError as exc:
            if exc.code == 404:
                return True
            raise
        return bool(owner["metadata"]["uid"] != reference["uid"])

    async def _drop_references(self, item: Object, uids: set[str]) -> None:
        kept = [reference for reference in item["metadata"]["ownerReferences"] if reference["uid"] not in uids]
        # With the uid: an object that was made anew under the name is not meant, and refuses it.
        patch = {"metadata": {"uid": item["metadata"]["uid"], "ownerReferences": kept or None}}
        await self._patch(item, patch)

    async def _remove_finalizer(self, item: Object, name: str) -> None:
        kept = [entry for entry in item["metadata"]["finalizers"] if entry != name]
        # At this version only: the list is replaced as a whole, and with it what somebody added since.
        await self._patch(item, {"metadata": {"finalizers": kept or None, "resourceVersion": item["metadata"]["resourceVersion"]}})

    async def _patch(self, item: Object, patch: Object) -> None:
        try:
            await self.view.patch(_collection(item), item, patch)
        except ApiError as exc:
            if exc.code != 404:
                raise


def _collection(item: Object) -> Collection:
    return _BY_KIND[item["apiVersion"], item["kind"]]
