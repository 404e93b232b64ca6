"""Who owns which field: `managedFields` on every write, and server-side apply with its conflicts. Pure: objects given are not changed.

Not emulated: conversion between versions of a resource, the folding of many old managers into `ancient-changes`, and taking over the
fields of client-side apply.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sandbox.kubernetes.meta.errors import ApiError
from sandbox.kubernetes.meta.fieldsets import Path, as_text, children, compare, element_of, fields_of, from_json, to_json, tracked
from sandbox.kubernetes.meta.schemas import ANY, Type
from sandbox.kubernetes.meta.values import clone

JSON = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Manager:
    """One owner of fields.

    Attributes:
        name: The field manager.
        operation: `Apply`, or `Update` for every other write.
        api_version: The version that the fields are written in.
        subresource: The subresource written through, or empty.
    """

    name: str
    operation: str
    api_version: str
    subresource: str = ""

    def describe(self) -> str:
        """The manager as it stands in a conflict."""
        text = f'"{self.name}"'
        if self.subresource:
            text += f' with subresource "{self.subresource}"'
        return text if self.operation == "Apply" else f"{text} using {self.api_version}"


@dataclass(kw_only=True)
class _Entry:
    fields: set[Path]
    time: str


_Owners = dict[Manager, _Entry]


def _read(obj: Mapping[str, Any] | None) -> _Owners:
    owners: _Owners = {}
    for entry in (obj or {}).get("metadata", {}).get("managedFields", ()):
        manager = Manager(
            name=entry.get("manager", ""),
            operation=entry["operation"],
            api_version=entry["apiVersion"],
            subresource=entry.get("subresource", ""),
        )
        owners[manager] = _Entry(fields=from_json(entry.get("fieldsV1", {})), time=entry.get("time", ""))
    return owners


def _write(obj: JSON, owners: _Owners) -> JSON:
    entries = []
    for manager, entry in sorted(owners.items(), key=lambda item: (item[0].operation != "Apply", item[1].time)):
        if entry.fields:
            written = {
                "manager": manager.name,
                "operation": manager.operation,
                "apiVersion": manager.api_version,
                "time": entry.time,
                "fieldsType": "FieldsV1",
                "fieldsV1": to_json(entry.fields),
            }
            entries.append({**written, "subresource": manager.subresource} if manager.subresource else written)
    metadata = {key: value for key, value in obj["metadata"].items() if key != "managedFields"}
    return {**obj, "metadata": {**metadata, "managedFields": entries} if entries else metadata}


def _in_reach(paths: set[Path], manager: Manager, status_apart: bool) -> set[Path]:
    """Only the fields that a write through this subresource can set; the others were put back to what they were."""
    if manager.subresource == "status":
        return {path for path in paths if path[0] in ("f:status", "f:metadata")}
    return {path for path in paths if path[0] != "f:status"} if status_apart else paths


def track_update(before: JSON | None, after: JSON, kind: Type, manager: Manager, *, time: str, status_apart: bool) -> JSON:
    """The object with `managedFields` after a write that is not an apply: what it changed belongs to its manager alone.

    Args:
        before: The object before the write; None when it is created.
        after: The object as written; its own `managedFields` count where it has some, and one empty entry clears them
            (apimachinery/pkg/util/managedfields/internal/fieldmanager.go, decodeLiveOrNew).
        kind: The object's type.
        manager: Who writes.
        time: Now.
        status_apart: Whether the resource keeps its status for a subresource.
    """
    given = after["metadata"].get("managedFields")
    owners = {} if given == [{}] else _read(after if given else before)
    difference = compare(tracked(before or {}), tracked(after), kind)
    changed = _in_reach(difference.added | difference.modified, manager, status_apart)
    for other, entry in owners.items():
        lost = difference.removed if other == manager else difference.removed | changed
        entry.fields -= lost
    if changed:
        mine = owners.setdefault(manager, _Entry(fields=set(), time=time))
        if not changed <= mine.fields:
            mine.time = time
        mine.fields |= changed
    return _write(after, owners)


def apply(live: JSON, config: JSON, kind: Type, manager: Manager, *, time: str, status_apart: bool, force: bool) -> JSON:
    """The object with a configuration applied by a manager, and with `managedFields` that say so.

    Fields that the manager applied before and no longer names are removed, unless someone else owns them too.

    Raises:
        ApiError: 409; others own fields that would change, and `force` is not set.
    """
    owners = _read(live)
    claimed = _in_reach(fields_of(tracked(config), kind), manager, status_apart)
    dropped = owners[manager].fields - claimed if manager in owners else set()
    others = {other: entry for other, entry in owners.items() if other != manager}
    kept = claimed.union(*(entry.fields for entry in others.values()))
    merged = _merge(clone(live), config, kind)
    merged["metadata"]["managedFields"] = live.get("metadata", {}).get("managedFields", [])
    # Items before what is in them: an item that lost its key could not be found any more.
    for path in sorted(dropped - kept, key=len):
        if not _is_key(path) and not any(other[: len(path)] == path for other in kept):
            _remove(merged, path, kind, kept)
    difference = compare(tracked(live), tracked(merged), kind)
    changed = difference.added | difference.modified
    conflicts = [(other, path) for other, entry in others.items() for path in sorted(entry.fields & changed)]
    if conflicts and not force:
        raise _conflict(conflicts)
    for entry in others.values():
        entry.fields -= changed | difference.removed
    if manager not in owners or owners[manager].fields != claimed:
        owners[manager] = _Entry(fields=claimed, time=time)
    return _write(merged, owners)


def _conflict(conflicts: list[tuple[Manager, Path]]) -> ApiError:
    causes = [
        {"reason": "FieldManagerConflict", "message": f"conflict with {manager.describe()}", "field": as_text(path)}
        for manager, path in conflicts
    ]
    if len(conflicts) == 1:
        text = f"1 conflict: {causes[0]['message']}: {causes[0]['field']}"
    else:
        lines = []
        for name in sorted({manager.describe() for manager, _ in conflicts}):
            lines.append(f"conflicts with {name}:")
            lines += [f"- {as_text(path)}" for manager, path in conflicts if manager.describe() == name]
        text = f"{len(conflicts)} conflicts: " + "\n".join(lines)
    return ApiError(409, "Conflict", f"Apply failed with {text}", details={"causes": causes})


def _merge(live: Any, config: Any, kind: Type) -> Any:
    if isinstance(config, dict) and isinstance(live, dict) and not kind.atomic:
        merged = dict(live)
        for key, value in config.items():
            merged[key] = _merge(live[key], value, kind.child(key) or ANY) if key in live else clone(value)
        return merged
    if isinstance(config, list) and isinstance(live, list) and kind.kind in ("keyed", "set"):
        return _merge_list(live, config, kind)
    return clone(config)


def _merge_list(live: list[Any], config: list[Any], kind: Type) -> list[Any]:
    """The items in the configuration's order; those that only the live list has stay behind the ones they followed."""
    there = {element_of(item, kind): item for item in live}
    named = {element_of(item, kind) for item in config}
    waiting = list(there)
    result = []
    for item in config:
        element = element_of(item, kind)
        if element in there:
            while waiting and waiting[0] != element and waiting[0] not in named:
                result.append(there[waiting.pop(0)])
            if element in waiting:
                waiting.remove(element)
            result.append(_merge(there[element], item, kind.items()))
        else:
            result.append(clone(item))
    return result + [there[element] for element in waiting if element not in named]


def _is_key(path: Path) -> bool:
    """Whether the path is of a field that identifies the item it stands in; such a field goes only with its item."""
    return len(path) > 1 and path[-2].startswith("k:") and path[-1][2:] in json.loads(path[-2][2:])


def _remove(obj: JSON, path: Path, kind: Type, kept: set[Path]) -> None:
    """Take a path out of an object, and the containers that are empty then, unless they are owned themselves."""
    parents: list[tuple[Any, Type]] = []
    value: Any = obj
    for element in path:
        parents.append((value, kind))
        inner = children(value, kind)
        if inner is None or element not in inner:
            return
        value, kind = inner[element]
    for depth in range(len(path) - 1, -1, -1):
        parent, parent_kind = parents[depth]
        element = path[depth]
        if isinstance(parent, list):
            replacement: Any = [item for item in parent if element_of(item, parent_kind) != element]
        else:
            replacement = {key: item for key, item in parent.items() if key != element[2:]}
        if depth == 0:
            obj.clear()
            obj.update(replacement)
            return
        _put(parents[depth - 1], path[depth - 1], replacement)
        parents[depth] = (replacement, parent_kind)
        if replacement or any(other[:depth] == path[:depth] for other in kept) or depth == 1:
            return


def _put(parent: tuple[Any, Type], element: str, replacement: Any) -> None:
    container, kind = parent
    if isinstance(container, list):
        for position, item in enumerate(container):
            if element_of(item, kind) == element:
                container[position] = replacement
    else:
        container[element[2:]] = replacement
