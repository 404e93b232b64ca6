"""Compares an answer with a recorded one: what differs from run to run is made equal first, all the rest must be the same."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

_PATTERNS = (
    (re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"), "<uid>"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"), "<time>"),
    (re.compile(r"eyJ[\w-]+\.[\w-]+\.[\w-]+"), "<token>"),
    (re.compile(r"\b10\.\d+\.\d+\.\d+\b"), "<address>"),
    (re.compile(r"\b(kube-api-access|prefetch-(?:ok|fail))-[a-z0-9]{5}\b"), r"\1-<random>"),
    (re.compile(r"\bd-[a-z0-9]{6,10}-[a-z0-9]{5}\b"), "d-<hash>-<random>"),
    (re.compile(r"\bd-[bcdfghjklmnpqrstvwxz0-9]{6,10}\b"), "d-<hash>"),
    # Go prints the internal form of the object here, which is no part of the API.
    (
        re.compile(r"spec\.template: Invalid value: \{.*\}: field is immutable"),
        "spec.template: Invalid value: <object>: field is immutable",
    ),
    (re.compile(r"^Invalid value: \{.*\"Spec\".*\}: field is immutable|^Invalid value: \{.*\"spec\".*\}: field is immutable"), "<object>"),
)
_ANYTHING = {"resourceVersion", "continue", "pod-template-hash", "ca.crt", "f:pod-template-hash"}
# A field without a value counts as absent; the recorded cluster writes and owns this one without a value.
_DROPPED = {"f:lastProbeTime"}
# Added by the controller manager of the recorded cluster, which was built for OpenShift.
_FOREIGN = "openshift-service-ca.crt"
_NAMING = ("metadata", "configMap", "object")


def normal(value: Any, key: str = "") -> Any:
    """The value with all that changes from run to run replaced by placeholders."""
    if isinstance(value, dict):
        return {
            _text(name): normal(item, name)
            for name, item in value.items()
            if item is not None and name not in _DROPPED and not (name == "metadata" and item == {})
        }
    if isinstance(value, list):
        items = [normal(item) for item in value if not _foreign(item)]
        if key == "managedFields":
            return sorted(items, key=lambda item: json.dumps(item, sort_keys=True))
        # The order of conditions is the order in which they last changed.
        return sorted(items, key=lambda item: str(item["type"])) if key == "conditions" else items
    if key in _ANYTHING and value is not None:
        return f"<{key}>"
    return _text(value) if isinstance(value, str) else value


def _text(text: str) -> str:
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def _foreign(item: Any) -> bool:
    if not isinstance(item, dict):
        return False
    return any(isinstance(item.get(key), dict) and (item[key].get("name") == _FOREIGN or _foreign(item[key])) for key in _NAMING)


def differences(recorded: Any, answered: Any, path: str = "") -> Iterator[str]:
    """Where two normalised values differ, one line each."""
    if isinstance(recorded, dict) and isinstance(answered, dict):
        for key in sorted({*recorded, *answered}):
            if key not in answered:
                yield f"{path}.{key}: recorded {_short(recorded[key])}, absent here"
            elif key not in recorded:
                yield f"{path}.{key}: not recorded, {_short(answered[key])} here"
            else:
                yield from differences(recorded[key], answered[key], f"{path}.{key}")
    elif isinstance(recorded, list) and isinstance(answered, list) and len(recorded) == len(answered):
        for position, (old, new) in enumerate(zip(recorded, answered, strict=True)):
            yield from differences(old, new, f"{path}[{position}]")
    elif recorded != answered:
        yield f"{path}: recorded {_short(recorded)}, {_short(answered)} here"


def _short(value: Any) -> str:
    text = json.dumps(value, sort_keys=True)
    return text if len(text) < 600 else text[:600] + "…"


def without(value: Any, paths: tuple[str, ...]) -> Any:
    """The normalised value without the parts at the given dotted paths."""
    for path in paths:
        value = _without(value, path.split("."))
    return value


def _without(value: Any, steps: list[str]) -> Any:
    if isinstance(value, list):
        return [_without(item, steps) for item in value]
    if not isinstance(value, dict) or steps[0] not in value:
        return value
    rest = {key: item for key, item in value.items() if key != steps[0]}
    return rest if len(steps) == 1 else {**rest, steps[0]: _without(value[steps[0]], steps[1:])}
