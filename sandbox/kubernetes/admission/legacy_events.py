"""Events are stored in the core group's form; `events.k8s.io` shows and takes the same objects under other names."""

from __future__ import annotations

from typing import Any

from sandbox.kubernetes.admission.store import JSON

_CORE_TO_NEW = {
    "message": "note",
    "involvedObject": "regarding",
    "reportingComponent": "reportingController",
    "count": "deprecatedCount",
    "firstTimestamp": "deprecatedFirstTimestamp",
    "lastTimestamp": "deprecatedLastTimestamp",
    "source": "deprecatedSource",
}
_NEW_TO_CORE = {new: core for core, new in _CORE_TO_NEW.items()}


def to_core(body: Any) -> Any:
    """An `events.k8s.io/v1` Event, whole or as a patch, under the names of the core group."""
    return _renamed(body, _NEW_TO_CORE, "v1") if isinstance(body, dict) else body


def missing(body: Any) -> list[str]:
    """The fields that a new event of `events.k8s.io/v1` must have and this one has not."""
    given = body if isinstance(body, dict) else {}
    return [field for field in ("eventTime", "reportingController", "reportingInstance", "action", "reason") if not given.get(field)]


def to_new(obj: JSON) -> JSON:
    """A stored event as `events.k8s.io/v1` shows it."""
    return _renamed(obj, _CORE_TO_NEW, "events.k8s.io/v1")


def _renamed(obj: JSON, names: dict[str, str], api_version: str) -> JSON:
    renamed = {names.get(key, key): value for key, value in obj.items()}
    return {**renamed, "apiVersion": api_version} if "apiVersion" in renamed else renamed
