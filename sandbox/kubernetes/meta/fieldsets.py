"""Sets of field paths, the way `managedFields` writes them, and the comparison of two objects as such sets.

A path is a tuple of elements: `f:name` for a field, `k:{"name":"c"}` for an item of a keyed list, `v:"x"` for an item of a set.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sandbox.kubernetes.meta.schemas import ANY, Type

Path = tuple[str, ...]

# Fields that are not pointers in Go: they are there, if empty, in every object, so that setting what is inside them does not set them.
_ALWAYS_THERE = {
    f"f:{name}" for name in ("spec", "status", "metadata", "template", "jobTemplate", "strategy", "updateStrategy", "source", "containers")
}
_NOT_TRACKED = ("name", "namespace", "creationTimestamp", "selfLink", "uid", "generation", "managedFields", "resourceVersion")


def element_of(item: Any, kind: Type) -> str:
    """The path element of an item of a keyed list or a set. A missing key `protocol` counts as its default, TCP."""
    if kind.kind != "keyed":
        return "v:" + _compact(item)
    keys = {}
    for key in sorted(kind.keys):
        value = item.get(key, "TCP" if key == "protocol" else None) if isinstance(item, dict) else None
        if value is not None:
            keys[key] = value
    return "k:" + _compact(keys)


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def children(value: Any, kind: Type) -> dict[str, tuple[Any, Type]] | None:
    """What is owned separately inside a value, by path element; None if the value is owned as a whole."""
    if kind.atomic:
        return None
    if isinstance(value, dict) and kind.kind in ("struct", "map", "any"):
        return {f"f:{key}": (item, kind.child(key) or ANY) for key, item in value.items() if item is not None}
    if isinstance(value, list) and kind.kind in ("keyed", "set"):
        items = kind.items()
        return {element_of(item, kind): (item, items) for item in value}
    return None


def tracked(obj: Mapping[str, Any]) -> dict[str, Any]:
    """The part of an object whose fields have owners: all but its type and identity."""
    metadata = {key: value for key, value in obj.get("metadata", {}).items() if key not in _NOT_TRACKED}
    return {"metadata": metadata, **{key: value for key, value in obj.items() if key not in ("apiVersion", "kind", "metadata")}}


def fields_of(value: Any, kind: Type, path: Path = ()) -> set[Path]:
    """The paths that applying a value claims: its leaves, and the items of its keyed lists."""
    inner = children(value, kind)
    if not inner:
        return {path} if path and path != ("f:metadata",) else set()
    found = set()
    for element, (item, item_kind) in inner.items():
        if element.startswith("k:"):
            found.add((*path, element))
        found |= fields_of(item, item_kind, (*path, element))
    return found


def _all_paths(value: Any, kind: Type, path: Path) -> set[Path]:
    inner = children(value, kind)
    if not inner:
        return set() if value == {} and path[-1] in _ALWAYS_THERE else {path}
    found = set() if path[-1] in _ALWAYS_THERE else {path}
    for element, (item, item_kind) in inner.items():
        found |= _all_paths(item, item_kind, (*path, element))
    return found


@dataclass(kw_only=True)
class Difference:
    """The paths in which two objects differ."""

    added: set[Path] = field(default_factory=set)
    modified: set[Path] = field(default_factory=set)
    removed: set[Path] = field(default_factory=set)


def compare(before: Any, after: Any, kind: Type) -> Difference:
    """How the second object differs from the first."""
    difference = Difference()
    _compare(before, after, kind, (), difference)
    return difference


def _compare(before: Any, after: Any, kind: Type, path: Path, difference: Difference) -> None:
    if before == after:
        return
    old, new = children(before, kind), children(after, kind)
    if old is None or new is None:
        difference.modified.add(path)
        return
    for element, (item, item_kind) in new.items():
        if element in old:
            _compare(old[element][0], item, item_kind, (*path, element), difference)
        else:
            difference.added |= _all_paths(item, item_kind, (*path, element))
    for element, (item, item_kind) in old.items():
        if element not in new:
            difference.removed |= _all_paths(item, item_kind, (*path, element))


def to_json(paths: Iterable[Path]) -> dict[str, Any]:
    """The set as `fieldsV1`: nested objects, where `.` marks a path that is a member although others go on from it."""
    members = set(paths)
    root: dict[str, Any] = {}
    for path in sorted(members):
        node = root
        for depth, element in enumerate(path):
            if depth and path[:depth] in members and "." not in node:
                node["."] = {}
            node = node.setdefault(element, {})
    return root


def from_json(fields: Mapping[str, Any]) -> set[Path]:
    """The set that a `fieldsV1` stands for."""
    found: set[Path] = set()
    _collect(fields, (), found)
    return found


def _collect(node: Mapping[str, Any], path: Path, found: set[Path]) -> None:
    if path and (not node or "." in node):
        found.add(path)
    for element, inner in node.items():
        if element != ".":
            _collect(inner, (*path, element), found)


def as_text(path: Path) -> str:
    """The path for people: `.spec.containers[name="c"].image`."""
    text = ""
    for element in path:
        mark, _, value = element.partition(":")
        if mark == "f":
            text += f".{value}"
        elif mark == "k":
            text += "[" + ",".join(f"{key}={_compact(item)}" for key, item in json.loads(value).items()) + "]"
        else:
            text += f"[={value}]"
    return text
