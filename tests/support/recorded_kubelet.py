"""The recordings of a real kubelet (`../shared/kubernetes/kubelet.jsonl`, Kubernetes 1.36.2): a scene's objects at each second.

The recorder's containers are called as it liked; here the one that stands for the engine and the one that stands for the check of the
weights have the chart's names, as what is read of them depends on that.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from blocks.facts.cluster import CHECK_WEIGHTS, ENGINE
from blocks.kubernetes_api import Document

RECORDING = Path(__file__).parents[2].parent / "shared/kubernetes/kubelet.jsonl"

_NAMES = {"main": ENGINE, "web": ENGINE, "check": CHECK_WEIGHTS}
_LISTS = ("initContainers", "containers", "initContainerStatuses", "containerStatuses")


@dataclass
class Moment:
    """The scene after one change.

    Attributes:
        seconds: Since the scene began.
        kind: Kind of what changed; for an event, of what it is about.
        name: Its name.
        objects: Everything there is, by kind and name.
    """

    seconds: float
    kind: str
    name: str
    objects: dict[tuple[str, str], Document] = field(repr=False)
    said: dict[tuple[str, str], dict[str, Document]] = field(repr=False)

    def events(self, kind: str, name: str) -> list[Document]:
        """The events about an object."""
        return list(self.said.get((kind, name), {}).values())

    def of_kind(self, kind: str) -> list[Document]:
        """All objects of a kind."""
        return [one for (of, _), one in self.objects.items() if of == kind]


@cache
def _scenes() -> dict[str, list[dict[str, Any]]]:
    scenes: dict[str, list[dict[str, Any]]] = {}
    for line in RECORDING.read_text(encoding="utf-8").splitlines():
        said = json.loads(line, object_hook=Document)
        scenes.setdefault(said["scene"], []).append(said)
    return scenes


def scenes() -> list[str]:
    """The scenes that have objects; none where the recordings are not on this machine."""
    return [name for name, lines in _scenes().items() if any("type" in line for line in lines)] if RECORDING.exists() else []


def moments(scene: str) -> Iterator[Moment]:
    """The scene, change by change; `objects` is one dictionary that goes on changing."""
    objects: dict[tuple[str, str], Document] = {}
    said: dict[tuple[str, str], dict[str, Document]] = defaultdict(dict)
    for line in _scenes()[scene]:
        if line.get("type") not in ("ADDED", "MODIFIED", "DELETED"):
            continue
        key = line["kind"], line["object"]["metadata"]["name"]
        before = objects.pop(key, None)
        now = _named(_merged(before, line["object"]) if before is not None and line["type"] != "ADDED" else Document(line["object"]))
        if line["type"] != "DELETED":
            objects[key] = now
        about = key
        if line["kind"] == "Event":
            about = _about(now)
            said[about][key[1]] = now
        yield Moment(line["t"], *about, objects, said)


def _merged(before: Document, change: Document) -> Document:
    """The recorder kept of each change what differs: parts of metadata and spec, and the status whole, or `=` for the same."""
    merged = Document({**before, **change})
    for part in ("metadata", "spec", "involvedObject"):
        merged[part] = Document({**(before.get(part) or {}), **(change.get(part) or {})})
    merged["status"] = before.get("status") if change.get("status") in (None, "=") else change["status"]
    return merged


def _about(event: Document) -> tuple[str, str]:
    about = event["involvedObject"]
    return about.get("kind", ""), about.get("name", "")


def _named(one: Document) -> Document:
    if one.get("involvedObject"):
        message = one.get("message") or ""
        for recorded, charts in _NAMES.items():
            message = message.replace(f"Container {recorded} failed", f"Container {charts} failed")
        return Document({**one, "message": message})
    parts = {}
    for part in ("spec", "status"):
        inner = one.get(part)
        if isinstance(inner, Document) and any(name in inner for name in _LISTS):
            renamed = {name: [_called(container) for container in inner[name]] for name in _LISTS if name in inner}
            parts[part] = Document({**inner, **renamed})
    return Document({**one, **parts})


def _called(container: Document) -> Document:
    return Document({**container, "name": _NAMES.get(container["name"], container["name"])})
