"""What pods mount, and what there is to be mounted."""

from __future__ import annotations

from collections.abc import Mapping

from blocks.kubernetes_api import Document, KubernetesApi, path_of, selector


class Mounts:
    """Reads claims, and the volumes of pods."""

    def __init__(self, api: KubernetesApi) -> None:
        self._api = api

    def bound_claims(self, namespace: str) -> tuple[str, ...]:
        """The names of the namespace's persistent volume claims that have a volume; none where there is no such namespace."""
        listed = self._api.list(path_of(namespace, "persistentvolumeclaims"))
        # A list in a namespace that does not exist is empty, and no error.
        return tuple(claim.metadata.name for claim in listed if claim.status.phase == "Bound")

    def claimed_folders(self, node: str) -> tuple[str, ...]:
        """The folders of persistent volumes that pods on the node mount, as paths below the volume, in all namespaces.

        An engine's pod holds no lock on the node (its own container knows nothing of Slipway, and its init container has ended), but the
        cluster knows what every pod mounts. A pod that is terminating still counts; one that has ended mounts nothing any more.
        """
        listed = self._api.list("/api/v1/pods", fields=f"spec.nodeName={node}")
        return tuple(folder for pod in listed if pod.status.phase not in ("Succeeded", "Failed") for folder in _claimed(pod.spec))

    def claimed_by_node(self, namespace: str, labels: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
        """The same for the pods of one namespace with these labels: the folders that they mount, by the node that they run on."""
        found: dict[str, set[str]] = {}
        for pod in self._api.list(path_of(namespace, "pods"), labels=selector(labels)):
            if pod.spec.nodeName and pod.status.phase not in ("Succeeded", "Failed"):
                found.setdefault(str(pod.spec.nodeName), set()).update(_claimed(pod.spec))
        return {node: tuple(sorted(folders)) for node, folders in found.items()}


def _claimed(pod: Document) -> set[str]:
    claims = {volume.name for volume in pod.volumes or () if volume.persistentVolumeClaim is not None}
    # The chart mounts a snapshot of the node's volume by `subPath`: that is its folder.
    mounts = [mount for container in [*(pod.initContainers or ()), *pod.containers] for mount in container.volumeMounts or ()]
    return {mount.subPath for mount in mounts if mount.name in claims and mount.subPath}
