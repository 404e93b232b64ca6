"""Binds persistent volume claims to the volumes that were made for them.

Not emulated: claims that name no volume and no volume names them (they stay pending, as where there is no storage class), provisioning,
reclaiming, and the protection of claims and volumes that are in use from deletion.
"""

from __future__ import annotations

from sandbox.kubernetes.admission.informer import key_of
from sandbox.kubernetes.controllers.view import Controller, View
from sandbox.kubernetes.meta.client import CLAIMS, VOLUMES, Object
from sandbox.kubernetes.meta.values import clone, dig, quantity


class VolumeController(Controller):
    """Keeps each claim and the volume that it is for in agreement; a volume whose claim is gone is released, and nobody's any more."""

    def __init__(self, view: View) -> None:
        super().__init__(view)
        self.watch(CLAIMS)
        view.informer(VOLUMES).subscribe(self._volume_changed)
        view.informer(CLAIMS).subscribe(self._claim_changed)

    def _volume_changed(self, old: Object | None, new: Object | None) -> None:
        if new is None:
            return
        reference = dig(new, "spec", "claimRef", default={})
        if reference:
            self.queue.add(f"{reference.get('namespace', '')}/{reference.get('name', '')}")
        for claim in self.view.informer(CLAIMS).list():
            if dig(claim, "spec", "volumeName") == new["metadata"]["name"]:
                self.queue.add(key_of(claim))
        if not reference and "phase" not in (new.get("status") or {}):
            self.queue.add(key_of(new))

    def _claim_changed(self, old: Object | None, new: Object | None) -> None:
        if new is None and old is not None and (name := dig(old, "spec", "volumeName")):
            self.queue.add(f"/{name}")

    async def reconcile(self, key: str) -> float | None:
        """Bind one claim, or write down how a volume without one stands."""
        if key.startswith("/"):
            await self._settle(self.view.informer(VOLUMES).get(key))
            return None
        claim = self.view.informer(CLAIMS).get(key)
        if claim is None or dig(claim, "status", "phase") == "Bound":
            return None
        volume = next((item for item in self.view.informer(VOLUMES).list() if _is_for(item, claim)), None)
        if volume is None or not _satisfies(volume, claim):
            return None
        metadata = claim["metadata"]
        reference = {key: metadata[key] for key in ("namespace", "name", "uid", "resourceVersion")}
        reference |= {"apiVersion": "v1", "kind": "PersistentVolumeClaim"}
        spec = {**volume["spec"], "claimRef": reference}
        # The volume first, as in Kubernetes: stopped in between, the claim finds its volume again by `claimRef`.
        volume = await self.view.replace(VOLUMES, {**clone(volume), "spec": spec})
        await self.view.patch(VOLUMES, volume, {"status": {"phase": "Bound"}}, "status")
        annotations = {"pv.kubernetes.io/bind-completed": "yes"}
        await self.view.patch(CLAIMS, claim, {"metadata": {"annotations": annotations}, "spec": {"volumeName": volume["metadata"]["name"]}})
        status = {"phase": "Bound", "accessModes": volume["spec"]["accessModes"], "capacity": volume["spec"]["capacity"]}
        await self.view.patch(CLAIMS, claim, {"status": status}, "status")
        return None

    async def _settle(self, volume: Object | None) -> None:
        if volume is None:
            return
        reference = dig(volume, "spec", "claimRef", default={})
        phase = "Available"
        if reference.get("uid"):
            claim = self.view.informer(CLAIMS).get(f"{reference['namespace']}/{reference['name']}")
            phase = "Bound" if claim is not None and claim["metadata"]["uid"] == reference["uid"] else "Released"
        if dig(volume, "status", "phase") != phase:
            await self.view.patch(VOLUMES, volume, {"status": {"phase": phase}}, "status")


def _is_for(volume: Object, claim: Object) -> bool:
    """Whether one of them names the other."""
    reference, metadata = dig(volume, "spec", "claimRef", default={}), claim["metadata"]
    if wanted := dig(claim, "spec", "volumeName"):
        return bool(volume["metadata"]["name"] == wanted)
    return bool((reference.get("namespace"), reference.get("name")) == (metadata["namespace"], metadata["name"]))


def _satisfies(volume: Object, claim: Object) -> bool:
    """Whether the volume is free for this very claim, and is what it asks for."""
    reference, metadata = dig(volume, "spec", "claimRef", default={}), claim["metadata"]
    if reference and (reference.get("namespace"), reference.get("name")) != (metadata["namespace"], metadata["name"]):
        return False
    if reference.get("uid", metadata["uid"]) != metadata["uid"]:
        return False
    has, wants = volume["spec"], claim["spec"]
    return (
        set(wants.get("accessModes", ())) <= set(has.get("accessModes", ()))
        and wants.get("storageClassName", "") == has.get("storageClassName", "")
        and quantity(dig(wants, "resources", "requests", "storage", default="0")) <= quantity(dig(has, "capacity", "storage", default="0"))
    )
