"""Whether what runs is what Helm rendered: the live object against a server-side dry run of the same manifest. Facts in, findings out.

An apply takes back what somebody changed of the fields that it sets, and leaves what somebody added beside them (`kubectl set env`): each
field has an owner, by the object's `managedFields`. Defaults have none, and what admission webhooks write into an apply is the applier's.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flows.delivery.drift import Drift, is_same, pointers_of, shown, without
from flows.spec import Environment, IgnoredDifference
from flows.text.quantities import listed

#: How Helm 4 calls itself to the API server (`fieldManager`).
HELM = "helm"

#: A field's place as `managedFields` has it: `f:spec`, `k:{"name":"vllm"}`, ….
Path = tuple[str, ...]

#: A client that does not say what it is called.
_UNNAMED = "somebody without a name"

#: `kubectl rollout restart` leaves this; it changes nothing of what runs.
_HARMLESS = "f:kubectl.kubernetes.io/restartedAt"


@dataclass(frozen=True, kw_only=True)
class Added:
    """A field that somebody set beside what the chart renders, and that an apply leaves alone.

    Attributes:
        path: Its place.
        place: The same for people: `.spec.template.spec.containers[vllm].env[FOO]`.
        manager: Who set it, as the client called itself.
    """

    path: Path
    place: str
    manager: str


@dataclass(frozen=True, kw_only=True)
class Release:
    """How a Helm release differs from what it rendered to.

    Attributes:
        changed: What the next apply takes back by itself, as lines.
        added: What it leaves, by object as that is.
    """

    changed: tuple[str, ...] = ()
    added: tuple[tuple[Mapping[str, Any], tuple[Added, ...]], ...] = ()

    @property
    def differs(self) -> bool:
        """Whether anything does."""
        return bool(self.changed or self.added)

    @property
    def lines(self) -> tuple[str, ...]:
        """All of it: object, field, and who set it where that is known."""
        more = [f"{shown_name(live)} {one.place} was set by {one.manager}" for live, fields in self.added for one in fields]
        return shown((*more, *self.changed))

    @property
    def owners(self) -> tuple[str, ...]:
        """Who added fields, as clients call themselves."""
        return tuple(sorted({one.manager for _, fields in self.added for one in fields}))


def as_helm_applies(document: Mapping[str, Any], release: str, namespace: str) -> dict[str, Any]:
    """A rendered object with what Helm adds to each that it applies (helm/pkg/action/validate.go, setMetadataVisitor; Helm 4.1)."""
    metadata = document.get("metadata") or {}
    labels = {**(metadata.get("labels") or {}), "app.kubernetes.io/managed-by": "Helm"}
    owner = {"meta.helm.sh/release-name": release, "meta.helm.sh/release-namespace": namespace}
    return {**document, "metadata": {**metadata, "labels": labels, "annotations": {**(metadata.get("annotations") or {}), **owner}}}


def added(applied: Mapping[str, Any], ignored: Sequence[IgnoredDifference]) -> tuple[Added, ...]:
    """What an apply leaves of others' fields.

    Args:
        applied: The object as a dry run of the apply leaves it, with its `managedFields`.
        ignored: Fields that may differ.
    """
    entries = _entries(applied)
    helms = {path for entry in entries if entry.get("manager") == HELM for path in _paths(entry.get("fieldsV1") or {})}
    pointers = pointers_of(applied, ignored)
    found: dict[Path, Added] = {}
    for entry in entries:
        if entry.get("manager") == HELM:
            continue
        own = {path for path in _paths(entry.get("fieldsV1") or {}) if path not in helms and path[-1] != _HARMLESS}
        for path in sorted(own):
            # The whole of what is new, and not each field in it. The key of an item is Helm's as long as the item is.
            if any(path[:depth] in found for depth in range(1, len(path))) or _is_key_of_helms(path, helms):
                continue
            place, pointer = _place(path, applied)
            # A part of what is new may differ: then the rest of it is looked at, field by field.
            opened = any(one.startswith(f"{pointer}/") for one in pointers) and any(
                len(other) > len(path) and other[: len(path)] == path for other in own
            )
            if not opened and not any(f"{pointer}/".startswith(f"{one}/") for one in pointers):
                found[path] = Added(path=path, place=place, manager=str(entry.get("manager") or _UNNAMED))
    return tuple(found.values())


def changed(applied: Mapping[str, Any], live: Mapping[str, Any], ignored: Sequence[IgnoredDifference]) -> tuple[str, ...]:
    """What an apply would change of the live object, as lines.

    Args:
        applied: The object as a dry run of the apply leaves it.
        live: The object as it is.
        ignored: Fields that may differ.
    """
    return tuple(_differences(_compared(without(applied, ignored)), _compared(without(live, ignored)), ""))


def handed_over(live: Mapping[str, Any], fields: Sequence[Added]) -> list[dict[str, Any]] | None:
    """The live object's `managedFields` with these fields as Helm's own, which its next apply then removes; none if Helm never applied it.

    Removing them one by one would be a rollout of its own; a change of owner is none.
    """
    entries = copy.deepcopy(list((live.get("metadata") or {}).get("managedFields") or ()))
    ours = [entry for entry in entries if (entry.get("manager"), entry.get("operation")) == (HELM, "Apply") and not _apart(entry)]
    helms = next(iter(ours), None)
    if helms is None:
        return None
    taken = tuple(one.path for one in fields)
    own = set(_paths(helms["fieldsV1"]))
    for entry in entries:
        if entry is not helms and not _apart(entry):
            theirs = set(_paths(entry.get("fieldsV1") or {}))
            moved = {path for path in theirs if any(path[: len(top)] == top for top in taken)}
            own |= moved
            entry["fieldsV1"] = _tree(theirs - moved)
    helms["fieldsV1"] = _tree(own)
    return [entry for entry in entries if entry.get("fieldsV1")]


def drift_of(found: Release, where: str, environment: Environment) -> tuple[Drift, ...]:
    """The same as a finding; none if nothing differs.

    Args:
        found: How it differs.
        where: Model and environment, for the message.
        environment: By whose policy.
    """
    if not found.differs:
        return ()
    cure = (
        "release it again, which takes that back"
        if environment.drift.changes == "take_back"
        else "release it again, which takes back what was changed, and remove what was added by hand"
    )
    message = (
        f"{where} does not run as Helm rendered it ({listed(found.lines, 2)}): {cure}, "
        "or name the fields in ignore_differences of the environment's file."
    )
    return (Drift(kind="rendered", message=message, difference=found.lines),)


def shown_name(document: Mapping[str, Any]) -> str:
    """An object for people: `Deployment/NAME`."""
    return f"{document['kind']}/{document['metadata']['name']}"


def _apart(entry: Mapping[str, Any]) -> bool:
    """Whether it was written through a subresource: a status, or an autoscaler's number of replicas."""
    return bool(entry.get("subresource"))


def _entries(document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [entry for entry in (document.get("metadata") or {}).get("managedFields") or () if not _apart(entry)]


def _paths(tree: Mapping[str, Any], path: Path = ()) -> Iterator[Path]:
    """The fields of a `fieldsV1`, but for the object's own metadata and its status; `.` marks one that others lie in."""
    for element, below in tree.items():
        if element == "." or (not path and element in ("f:metadata", "f:status")):
            continue
        here = (*path, element)
        if not below or "." in below:
            yield here
        yield from _paths(below, here)


def _tree(paths: set[Path]) -> dict[str, Any]:
    root: dict[str, Any] = {}
    for path in sorted(paths):
        node = root
        for depth, element in enumerate(path):
            if path[:depth] in paths:
                node.setdefault(".", {})
            node = node.setdefault(element, {})
    return root


def _is_key_of_helms(path: Path, helms: set[Path]) -> bool:
    """Whether it is the field that an item of Helm's is known by."""
    return len(path) > 1 and path[:-1] in helms and path[-2].startswith("k:") and path[-1][2:] in json.loads(path[-2][2:])


def _place(path: Path, document: Any) -> tuple[str, str]:
    """A field's place for people, and as a JSON pointer."""
    text, pointer, here = "", "", document
    for element in path:
        kind, _, key = element.partition(":")
        if kind == "f":
            text, pointer = f"{text}.{key}", f"{pointer}/{key.replace('~', '~0').replace('/', '~1')}"
            here = here.get(key) if isinstance(here, Mapping) else None
        else:
            items = here if isinstance(here, list) else []
            number = int(key) if kind == "i" else next((n for n, item in enumerate(items) if _is_item(item, kind, key)), len(items))
            name = ",".join(str(value) for value in json.loads(key).values()) if kind == "k" else key.strip('"')
            text, pointer = f"{text}[{name}]", f"{pointer}/{number}"
            here = items[number] if number < len(items) else None
    return text, pointer


def _is_item(item: Any, kind: str, key: str) -> bool:
    wanted = json.loads(key)
    return item == wanted if kind == "v" else isinstance(item, Mapping) and all(item.get(name) == value for name, value in wanted.items())


def _compared(document: Mapping[str, Any]) -> dict[str, Any]:
    """What of an object is compared: all but what the API server keeps there itself."""
    metadata = document.get("metadata") or {}
    own = {key: metadata.get(key) or {} for key in ("labels", "annotations")}
    return {**{key: value for key, value in document.items() if key not in ("metadata", "status", "kind", "apiVersion")}, "metadata": own}


def _differences(wanted: Any, live: Any, place: str) -> Iterator[str]:
    if isinstance(wanted, Mapping) and isinstance(live, Mapping):
        for key in sorted({*wanted, *live}):
            yield from _differences(wanted.get(key), live.get(key), f"{place}.{key}")
    elif isinstance(wanted, list) and isinstance(live, list):
        ours, theirs = _by_name(wanted), _by_name(live)
        for key in sorted({*ours, *theirs}):
            yield from _differences(ours.get(key), theirs.get(key), f"{place}[{key}]")
    elif not is_same(wanted, live) and not place.endswith(_HARMLESS[2:]):
        if wanted is None:
            yield f"{place} was added"
        elif live is None:
            yield f"{place} was removed"
        else:
            yield f"{place} is {live!r}, rendered {wanted!r}"


def _by_name(items: Sequence[Any]) -> dict[str, Any]:
    """Items of a list by their name where all have one, by their number otherwise."""
    named = {str(item["name"]): item for item in items if isinstance(item, Mapping) and item.get("name")}
    return named if len(named) == len(items) else {str(number): item for number, item in enumerate(items)}
