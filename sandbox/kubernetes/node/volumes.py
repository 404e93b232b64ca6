"""A pod's volumes as folders: hostPath, emptyDir, Secret, ConfigMap, downward API, projected ones, and claims of local volumes.

Not emulated: updates of mounted Secrets, ConfigMaps and tokens while the pod runs, size limits and memory-backed emptyDirs, owners
and groups (`fsGroup`), CSI and network volumes (they stay unmounted, with an event that says so).
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from sandbox.kubernetes.meta.api import Client
from sandbox.kubernetes.meta.client import CLAIMS, SERVICE_ACCOUNTS, VOLUMES, Object
from sandbox.kubernetes.meta.errors import ApiError
from sandbox.kubernetes.meta.values import dig
from sandbox.kubernetes.node.mounts import Mount, expand
from sandbox.kubernetes.node.references import MissingReference, contents, field, resource

DEFAULT_MODE = 0o644
TOKEN_SECONDS = 3600
#: What the kubelet writes itself, it mounts read-only whatever the pod says.
_ALWAYS_READ_ONLY = {"secret", "configMap", "downwardAPI", "projected"}


class VolumeFailed(Exception):
    """A volume cannot be mounted; the message is the kubelet's."""


@dataclass(frozen=True, kw_only=True)
class Volume:
    """A volume as it lies on the node.

    Attributes:
        local: Its folder.
        read_only: Whether containers can only read it.
        sealed: Whether it is mounted read-only on the node itself, so that the kubelet can make no folder in it either.
    """

    local: Path
    read_only: bool
    sealed: bool = False


class Volumes:
    """Makes the volumes of one pod.

    Args:
        client: Where Secrets, ConfigMaps and tokens come from.
        disk: The folder that plays the node's file system.
        folder: The pod's own folder.
        allocatable: What the node has to give, for `resourceFieldRef`.
    """

    def __init__(self, client: Client, *, disk: Path, folder: Path, allocatable: Mapping[str, str]) -> None:
        self._client = client
        self._disk = disk
        self._folder = folder
        self._allocatable = allocatable

    async def realise(self, pod: Object) -> dict[str, Volume]:
        """Make all volumes; return where each is.

        Raises:
            VolumeFailed: One of them cannot be had now.
        """
        found = {}
        for volume in pod["spec"].get("volumes") or []:
            try:
                if (claim := volume.get("persistentVolumeClaim")) is not None:
                    found[volume["name"]] = await self._claimed(pod["metadata"]["namespace"], claim)
                else:
                    found[volume["name"]] = Volume(
                        local=await self._realise(pod, volume), read_only=bool(volume.keys() & _ALWAYS_READ_ONLY)
                    )
            except (MissingReference, ApiError, OSError) as exc:
                reason = exc.message if isinstance(exc, ApiError) else str(exc)
                raise VolumeFailed(f'MountVolume.SetUp failed for volume "{volume["name"]}" : {reason}') from exc
        return found

    async def _realise(self, pod: Object, volume: Object) -> Path:
        if (source := volume.get("hostPath")) is not None:
            return self._host_path(source)
        folder = self._folder / "volumes" / str(volume["name"])
        folder.mkdir(parents=True, exist_ok=True)
        if "emptyDir" in volume:
            return folder
        if (projected := volume.get("projected")) is not None:
            mode = projected.get("defaultMode", DEFAULT_MODE)
            for source in projected.get("sources") or []:
                await self._project(pod, folder, source, mode)
            return folder
        source = {kind: volume[kind] for kind in ("secret", "configMap", "downwardAPI") if kind in volume}
        if not source:
            raise MissingReference(f"volumes of this kind are not emulated: {', '.join(sorted(set(volume) - {'name'}))}")
        await self._project(pod, folder, source, next(iter(source.values())).get("defaultMode", DEFAULT_MODE))
        return folder

    async def _claimed(self, namespace: str, source: Object) -> Volume:
        claim = await self._client.request("GET", CLAIMS.one(namespace, source["claimName"]))
        bound = await self._client.request("GET", VOLUMES.one("", claim["spec"]["volumeName"]))
        read_only = bool(source.get("readOnly")) or "ro" in bound["spec"].get("mountOptions", ())
        if (path := dig(bound, "spec", "local", "path")) is not None:
            local = self._disk / str(path).lstrip("/")
            if not local.exists():
                name = bound["metadata"]["name"]
                raise VolumeFailed(f'MountVolume.NewMounter initialization failed for volume "{name}" : path "{path}" does not exist')
            return Volume(local=local, read_only=read_only, sealed=read_only)
        if "hostPath" in bound["spec"]:
            return Volume(local=self._host_path(bound["spec"]["hostPath"]), read_only=read_only)
        raise MissingReference("persistent volumes of this kind are not emulated: only local and hostPath")

    def _host_path(self, source: Object) -> Path:
        path = self._disk / str(source["path"]).lstrip("/")
        kind = source.get("type") or ""
        if kind == "FileOrCreate":
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        elif kind in ("", "DirectoryOrCreate") and not path.exists():
            # Without a type the container runtime makes the folder, and the kubelet checks nothing.
            path.mkdir(parents=True)
        checks: dict[str, tuple[Callable[[], bool], str]] = {
            "Directory": (path.is_dir, "a directory"),
            "DirectoryOrCreate": (path.is_dir, "a directory"),
            "File": (path.is_file, "a file"),
            "FileOrCreate": (path.is_file, "a file"),
            "Socket": (path.is_socket, "a socket"),
            "CharDevice": (path.is_char_device, "a character device"),
            "BlockDevice": (path.is_block_device, "a block device"),
        }
        if kind in checks and not checks[kind][0]():
            raise MissingReference(f"hostPath type check failed: {source['path']} is not {checks[kind][1]}")
        return path

    async def _project(self, pod: Object, folder: Path, source: Object, mode: int) -> None:
        namespace = pod["metadata"]["namespace"]
        if (token := source.get("serviceAccountToken")) is not None:
            _write(folder / token["path"], (await self._token(pod, token)).encode(), mode)
        for kind, word in (("secret", "secret"), ("configMap", "configmap")):
            if (wanted := source.get(kind)) is None:
                continue
            name = wanted.get("secretName") or wanted["name"]
            entries = await contents(self._client, word, namespace, name, optional=bool(wanted.get("optional")))
            if entries is not None:
                _write_entries(folder, entries, kind, wanted, mode)
        for item in (source.get("downwardAPI") or {}).get("items") or []:
            if "fieldRef" in item:
                value = field(pod, item["fieldRef"]["fieldPath"])
            else:
                value = resource(pod, pod["spec"]["containers"][0], item["resourceFieldRef"], self._allocatable)
            _write(folder / item["path"], value.encode(), item.get("mode", mode))

    async def _token(self, pod: Object, wanted: Object) -> str:
        metadata = pod["metadata"]
        reference = {"apiVersion": "v1", "kind": "Pod", "name": metadata["name"], "uid": metadata["uid"]}
        spec: Object = {"expirationSeconds": wanted.get("expirationSeconds", TOKEN_SECONDS), "boundObjectRef": reference}
        if wanted.get("audience"):
            spec["audiences"] = [wanted["audience"]]
        account = pod["spec"].get("serviceAccountName") or "default"
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        answer = await self._client.request("POST", SERVICE_ACCOUNTS.one(metadata["namespace"], account, "token"), body=body)
        return str(answer["status"]["token"])


def _write_entries(folder: Path, entries: Mapping[str, bytes], kind: str, wanted: Object, mode: int) -> None:
    if (items := wanted.get("items")) is None:
        for key, value in entries.items():
            _write(folder / key, value, mode)
        return
    for item in items:
        if item["key"] in entries:
            _write(folder / item["path"], entries[item["key"]], item.get("mode", mode))
        elif not wanted.get("optional"):
            whose, key = ("configmap ", "config key") if kind == "configMap" else ("", "secret key")
            raise MissingReference(f"{whose}references non-existent {key}: {item['key']}")


def _write(path: Path, content: bytes, mode: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Left by an earlier attempt, and perhaps not even writable for its owner (0400).
    if path.exists():
        path.chmod(stat.S_IRUSR | stat.S_IWUSR)
    path.write_bytes(content)
    path.chmod(mode)


def mounts_of(container: Object, volumes: Mapping[str, Volume], variables: Mapping[str, str]) -> list[Mount]:
    """The mounts of a container over the pod's volumes; a missing `subPath` is made as a folder.

    Raises:
        MissingReference: The `subPath` is missing on a volume that is mounted read-only.
    """
    mounts = []
    for entry in container.get("volumeMounts") or []:
        volume = volumes[entry["name"]]
        local = volume.local
        sub_path = entry.get("subPath") or expand(entry.get("subPathExpr") or "", variables)
        if sub_path:
            local = local / sub_path
            if not local.exists() and volume.sealed:
                where = f'volumeMount "{entry["name"]}" of container "{container["name"]}"'
                raise MissingReference(f"failed to create subPath directory for {where}")
            if not local.exists():
                local.mkdir(parents=True)
        read_only = bool(entry.get("readOnly")) or volume.read_only
        mounts.append(Mount(mount_path=entry["mountPath"], local=local, read_only=read_only))
    return mounts
