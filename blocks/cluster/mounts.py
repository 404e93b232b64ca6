"""What pods mount of their nodes."""

from __future__ import annotations

from blocks.cluster.connection import Connection


class Mounts(Connection):
    """Reads the volumes of pods."""

    def host_paths(self, node: str) -> tuple[str, ...]:
        """The node's own folders that pods on it mount, those of all namespaces; pods that have ended mount nothing any more."""
        listed = self._call(self._core.list_pod_for_all_namespaces, field_selector=f"spec.nodeName={node}").items
        pods = [pod for pod in listed if pod.status.phase not in ("Succeeded", "Failed")]
        return tuple(volume.host_path.path for pod in pods for volume in pod.spec.volumes or () if volume.host_path is not None)
