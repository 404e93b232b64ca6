"""A container's environment and command line, from its spec, its image and its mounts."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from sandbox.kubernetes.meta.api import Client
from sandbox.kubernetes.meta.client import Object
from sandbox.kubernetes.node.images import Image
from sandbox.kubernetes.node.mounts import VARIABLE, Rewriter, expand
from sandbox.kubernetes.node.names import resolved
from sandbox.kubernetes.node.process import Command
from sandbox.kubernetes.node.references import MissingReference, contents, field, resource

DEVICES = (Path("/dev"), Path("/proc"))
"""What every container may write to, as in its own file system."""


async def command_of(
    client: Client,
    pod: Object,
    container: Object,
    image: Image,
    *,
    rewriter: Rewriter,
    home: Path,
    allocatable: Mapping[str, str],
    extra: Mapping[str, str],
) -> Command:
    """What to execute for a container.

    Args:
        client: Where Secrets and ConfigMaps are read.
        pod: The pod, with its address in its status.
        container: The container's spec.
        image: What stands in for its image.
        rewriter: Points mount paths at local folders.
        home: The container's own folder: its HOME, and its working directory unless the spec names one that is mounted.
        allocatable: What the node has to give, for `resourceFieldRef`.
        extra: Variables of the node's own making, below the pod's.

    Raises:
        MissingReference: A Secret or ConfigMap that it needs is not there.
    """
    base = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(home),
        "TMPDIR": str(next((mount.local for mount in rewriter.mounts if mount.mount_path.rstrip("/") == "/tmp"), home)),  # noqa: S108
        "HOSTNAME": pod["metadata"]["name"],
        **extra,
        **image.env,
    }
    declared = await _variables(client, pod, container, allocatable)
    given = [*(container.get("command") or []), *(container.get("args") or [])]
    given = [expand(text, declared) for text in given]
    argv = rewritten(await resolved(client, pod["metadata"]["namespace"], given), rewriter)
    if not container.get("command"):
        argv = (*image.command, *argv)  # the image's own command names files of this machine, which no mount hides
    # Only what the pod says has mount paths in it; the image's own values name files of this machine.
    env = {**base, **{key: rewriter.rewrite(value) for key, value in declared.items()}, VARIABLE: rewriter.described()}
    folder = Path(rewriter.rewrite(container["workingDir"])) if container.get("workingDir") else home
    return Command(
        argv=argv,
        env=env,
        folder=folder if folder.is_dir() else home,
        writable=_writable(container, rewriter, home),
        forks=None if container.get("command") else image.forks,
    )


def _writable(container: Object, rewriter: Rewriter, home: Path) -> tuple[Path, ...] | None:
    """Where the container may write; None if nothing that it sees is read-only."""
    fixed_root = bool((container.get("securityContext") or {}).get("readOnlyRootFilesystem"))
    if not fixed_root and not any(mount.read_only for mount in rewriter.mounts):
        return None
    folders = [mount.local for mount in rewriter.mounts if not mount.read_only]
    return (*folders, *DEVICES) if fixed_root else (*folders, home, *DEVICES)


def rewritten(argv: Sequence[str], rewriter: Rewriter) -> tuple[str, ...]:
    """Arguments with their mount paths replaced."""
    return tuple(rewriter.rewrite(text) for text in argv)


async def _variables(client: Client, pod: Object, container: Object, allocatable: Mapping[str, str]) -> dict[str, str]:
    """What the pod itself declares: `envFrom` first, then `env`, where a value may use the names before it."""
    namespace = pod["metadata"]["namespace"]
    variables: dict[str, str] = {}
    for source in container.get("envFrom") or []:
        kind, reference = ("secret", source["secretRef"]) if "secretRef" in source else ("configmap", source["configMapRef"])
        entries = await contents(client, kind, namespace, reference["name"], optional=bool(reference.get("optional")))
        for key, value in (entries or {}).items():
            variables[source.get("prefix", "") + key] = value.decode(errors="replace")
    for entry in container.get("env") or []:
        origin = entry.get("valueFrom")
        if origin is None:
            variables[entry["name"]] = expand(entry.get("value") or "", variables)
        elif "fieldRef" in origin:
            variables[entry["name"]] = field(pod, origin["fieldRef"]["fieldPath"])
        elif "resourceFieldRef" in origin:
            variables[entry["name"]] = resource(pod, container, origin["resourceFieldRef"], allocatable)
        else:
            keyed = await _keyed(client, namespace, origin)
            if keyed is not None:
                variables[entry["name"]] = keyed
    return variables


async def _keyed(client: Client, namespace: str, origin: Object) -> str | None:
    kind, reference = ("secret", origin["secretKeyRef"]) if "secretKeyRef" in origin else ("configmap", origin["configMapKeyRef"])
    optional = bool(reference.get("optional"))
    entries = await contents(client, kind, namespace, reference["name"], optional=optional)
    if entries is None:
        return None
    if reference["key"] in entries:
        return entries[reference["key"]].decode(errors="replace")
    if optional:
        return None
    word = "Secret" if kind == "secret" else "ConfigMap"
    raise MissingReference(f"couldn't find key {reference['key']} in {word} {namespace}/{reference['name']}")
