"""Container images as local commands."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sandbox.forks import Forks


@dataclass(frozen=True, kw_only=True)
class Image:
    """What stands in for an image.

    Attributes:
        command: Plays the ENTRYPOINT: a container's `command` replaces it, its `args` follow it.
        env: Environment variables that the image brings.
        forks: Where `command` is `python -m PROGRAM`, an interpreter that has imported it: each container is a fork of that.
    """

    command: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    forks: Forks | None = None


def repository(reference: str) -> str:
    """An image reference without its tag and digest: `host:5000/a/b:v1@sha256:…` is `host:5000/a/b`."""
    name = reference.partition("@")[0]
    path, slash, last = name.rpartition("/")
    return f"{path}{slash}{last.partition(':')[0]}"


def canonical(reference: str) -> str:
    """The reference as a container runtime writes it, with registry and tag."""
    name, at, digest = reference.partition("@")
    first = name.split("/")[0]
    if "/" not in name:
        name = f"docker.io/library/{name}"
    elif "." not in first and ":" not in first and first != "localhost":
        name = f"docker.io/{name}"
    if not at and ":" not in name.rpartition("/")[2]:
        name += ":latest"
    return f"{name}{at}{digest}"


def image_id(reference: str) -> str:
    """The resolved identity of an image: its digest as given, or one made from its name."""
    digest = reference.partition("@")[2] or f"sha256:{hashlib.sha256(canonical(reference).encode()).hexdigest()}"
    return f"{repository(canonical(reference))}@{digest}"


def not_found_message(reference: str) -> str:
    """What the container runtime says about an image that is not there."""
    name = canonical(reference)
    text = f'failed to pull and unpack image "{name}": failed to resolve reference "{name}": {name}: not found'
    return f"rpc error: code = NotFound desc = {text}"


def invalid_name(reference: str) -> str | None:
    """What the kubelet says about a reference that is none; nothing where it is one."""
    if re.fullmatch(r"[a-z0-9]+([._:/-]+[a-z0-9]+)*(:[A-Za-z0-9_.-]+)?(@sha256:[0-9a-f]{64})?", reference):
        return None
    # What stands before the first slash is a registry if it does not look like a part of a name.
    first, _, rest = reference.partition("/")
    name = (rest if rest and (first != first.lower() or re.search(r"[.:]", first)) else reference).partition(":")[0]
    why = f"invalid reference format: repository name ({name}) must be lowercase" if name != name.lower() else "invalid reference format"
    return f'Failed to apply default image tag "{reference}": couldn\'t parse image name "{reference}": {why}'


def load_images(path: Path) -> dict[str, Image]:
    """Read a table of images: JSON, repository → {"command": […], "env": {…}}.

    Raises:
        ValueError: The file does not hold such a table.
    """
    try:
        table = json.loads(path.read_text())
        return {name: Image(command=tuple(entry["command"]), env=dict(entry.get("env") or {})) for name, entry in table.items()}
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as exc:
        raise ValueError(f'{path}: each image needs a "command" list ({exc})') from exc
