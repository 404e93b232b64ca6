"""The parts of an Application's status, as Argo CD writes them. Pure."""

from __future__ import annotations

from sandbox.argocd.rendering import sources_of
from sandbox.kubernetes.meta.client import Object
from sandbox.kubernetes.meta.values import dig, now


def revisions_in(place: Object) -> list[str]:
    """The revisions that stand in an operation, its result, or a comparison."""
    return list(place.get("revisions") or ([place["revision"]] if place.get("revision") else []))


def compared_to(app: Object) -> Object:
    """What the Application asks for, as a comparison says what it was made with."""
    spec = app["spec"]
    sources = {"sources": spec["sources"]} if spec.get("sources") else {"source": sources_of(spec)[0]}
    return {**sources, "destination": spec["destination"]}


def revisions_for(app: Object, revisions: list[str]) -> Object:
    """The revisions as a comparison says them: a list only where the Application lists its sources."""
    if app["spec"].get("sources"):
        return {"revisions": revisions}
    return {"revision": revisions[0] if revisions else ""}


def difference(before: Object, after: Object) -> Object:
    """The merge patch that makes the one the other."""
    patch: Object = dict.fromkeys(before.keys() - after.keys())
    for key, value in after.items():
        old = before.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            patch[key] = difference(old, value)
        elif old != value:
            patch[key] = value
    return patch


def health(app: Object, status: str) -> Object:
    """The health, with the time since when it is so."""
    before = dig(app, "status", "health", default={})
    return before if before.get("status") == status else {"status": status, "lastTransitionTime": now()}


def conditions(app: Object, complaints: dict[str, str]) -> list[Object]:
    """The complaints that are not empty, each with the time since when it is made."""
    before = {entry["type"]: entry for entry in dig(app, "status", "conditions", default=[])}
    return [
        before[kind] if before.get(kind, {}).get("message") == message else {"type": kind, "message": message, "lastTransitionTime": now()}
        for kind, message in complaints.items()
        if message
    ]
