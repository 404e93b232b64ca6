"""Requests that kubectl sends as protobuf, read as the JSON that they stand for.

Newer kubectl encodes what it creates through its typed clients this way. Only the messages that are listed here are understood: for
other kinds the server answers 415. Answers are always JSON, which these clients accept.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sandbox.kubernetes.meta.errors import bad_request, unsupported_media_type

_MAGIC = b"k8s\x00"
_FIXED64 = 1


@dataclass(frozen=True)
class _Field:
    name: str
    kind: str = "string"
    message: Mapping[int, _Field] = field(default_factory=dict)
    repeated: bool = False


_Message = Mapping[int, _Field]


def _message(name: str, message: _Message) -> _Field:
    return _Field(name, "message", message)


_OWNER: _Message = {
    5: _Field("apiVersion"),
    1: _Field("kind"),
    3: _Field("name"),
    4: _Field("uid"),
    6: _Field("controller", "boolean"),
    7: _Field("blockOwnerDeletion", "boolean"),
}
_METADATA: _Message = {
    1: _Field("name"),
    2: _Field("generateName"),
    3: _Field("namespace"),
    5: _Field("uid"),
    6: _Field("resourceVersion"),
    7: _Field("generation", "integer"),
    8: _Field("creationTimestamp", "time"),
    11: _Field("labels", "map"),
    12: _Field("annotations", "map"),
    13: _Field("ownerReferences", "message", _OWNER, repeated=True),
    14: _Field("finalizers", repeated=True),
}
_META = _message("metadata", _METADATA)
_PRECONDITIONS: _Message = {1: _Field("uid"), 2: _Field("resourceVersion")}
_DELETE_OPTIONS: _Message = {
    1: _Field("gracePeriodSeconds", "integer"),
    2: _message("preconditions", _PRECONDITIONS),
    4: _Field("propagationPolicy"),
    5: _Field("dryRun", repeated=True),
}
_RESOURCE_ATTRIBUTES: _Message = {
    number: _Field(name) for number, name in enumerate(("namespace", "verb", "group", "version", "resource", "subresource", "name"), 1)
}
_ATTRIBUTES: _Message = {
    1: _message("resourceAttributes", _RESOURCE_ATTRIBUTES),
    2: _message("nonResourceAttributes", {1: _Field("path"), 2: _Field("verb")}),
}
_BOUND: _Message = {1: _Field("kind"), 2: _Field("apiVersion"), 3: _Field("name"), 4: _Field("uid")}
_TOKEN: _Message = {1: _Field("audiences", repeated=True), 3: _message("boundObjectRef", _BOUND), 4: _Field("expirationSeconds", "integer")}
_RULE: _Message = {
    number: _Field(name, repeated=True)
    for number, name in enumerate(("verbs", "apiGroups", "resources", "resourceNames", "nonResourceURLs"), 1)
}
_SUBJECT: _Message = {number: _Field(name) for number, name in enumerate(("kind", "apiGroup", "name", "namespace"), 1)}
_ROLE_REF: _Message = {number: _Field(name) for number, name in enumerate(("apiGroup", "kind", "name"), 1)}
_ROLE: _Message = {1: _META, 2: _Field("rules", "message", _RULE, repeated=True)}
_ROLE_BINDING: _Message = {1: _META, 2: _Field("subjects", "message", _SUBJECT, repeated=True), 3: _message("roleRef", _ROLE_REF)}
_QUOTA_SPEC: _Message = {1: _Field("hard", "quantities")}

# The numbers are those of the published .proto files.
_KINDS: Mapping[str, _Message] = {
    "ConfigMap": {1: _META, 2: _Field("data", "map"), 3: _Field("binaryData", "bytes-map"), 4: _Field("immutable", "boolean")},
    "Secret": {
        1: _META,
        2: _Field("data", "bytes-map"),
        3: _Field("type"),
        4: _Field("stringData", "map"),
        5: _Field("immutable", "boolean"),
    },
    "Namespace": {1: _META},
    "ServiceAccount": {1: _META, 4: _Field("automountServiceAccountToken", "boolean")},
    "ResourceQuota": {1: _META, 2: _message("spec", _QUOTA_SPEC)},
    "Role": _ROLE,
    "ClusterRole": _ROLE,
    "RoleBinding": _ROLE_BINDING,
    "ClusterRoleBinding": _ROLE_BINDING,
    "DeleteOptions": _DELETE_OPTIONS,
    "Eviction": {1: _META, 2: _message("deleteOptions", _DELETE_OPTIONS)},
    "TokenRequest": {1: _META, 2: _message("spec", _TOKEN)},
    "SelfSubjectAccessReview": {1: _META, 2: _message("spec", _ATTRIBUTES)},
    "SubjectAccessReview": {1: _META, 2: _message("spec", {**_ATTRIBUTES, 3: _Field("user"), 4: _Field("groups", repeated=True)})},
    "SelfSubjectRulesReview": {1: _META, 2: _message("spec", {1: _Field("namespace")})},
    "SelfSubjectReview": {1: _META},
}


def decode_protobuf(raw: bytes) -> dict[str, Any]:
    """The object that a request's protobuf body holds.

    Raises:
        ApiError: 400 if it is malformed; 415 for a kind that is not listed.
    """
    if not raw.startswith(_MAGIC):
        raise bad_request("the object provided is unrecognized: not protobuf of Kubernetes")
    try:
        envelope = dict(_fields(raw[len(_MAGIC) :]))
        names = {number: bytes(value).decode() for number, value in _fields(envelope.get(1, b""))}
        kind = names.get(2, "")
        if kind not in _KINDS:
            raise unsupported_media_type("application/vnd.kubernetes.protobuf", ["application/json", "application/yaml"])
        return {"kind": kind, "apiVersion": names.get(1, ""), **_decode(envelope.get(2, b""), _KINDS[kind])}
    except (IndexError, UnicodeDecodeError, ValueError) as exc:
        raise bad_request(f"the protobuf body cannot be read: {exc}") from exc


def _varint(raw: bytes, position: int) -> tuple[int, int]:
    value, shift = 0, 0
    while True:
        byte = raw[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if not byte & 0x80:
            return value, position


def _fields(raw: bytes | int) -> Iterator[tuple[int, Any]]:
    """The fields of a message: numbers with integers or bytes."""
    if isinstance(raw, int):
        raise ValueError("a message was expected")
    position = 0
    while position < len(raw):
        tag, position = _varint(raw, position)
        match tag & 7:
            case 0:
                value, position = _varint(raw, position)
                yield tag >> 3, value
            case 2:
                size, position = _varint(raw, position)
                yield tag >> 3, raw[position : position + size]
                position += size
            case 1 | 5 as wire:
                width = 8 if wire == _FIXED64 else 4
                yield tag >> 3, int.from_bytes(raw[position : position + width], "little")
                position += width
            case wire:
                raise ValueError(f"wire type {wire}")


def _decode(raw: bytes, message: _Message) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for number, value in _fields(raw):
        known = message.get(number)
        if known is None:
            continue
        decoded = _value(value, known)
        if known.repeated:
            result.setdefault(known.name, []).append(decoded)
        elif isinstance(decoded, dict) and known.kind != "message":
            result.setdefault(known.name, {}).update(decoded)
        elif decoded not in ("", {}, None):
            result[known.name] = decoded
    return result


def _value(value: Any, known: _Field) -> Any:
    match known.kind:
        case "message":
            return _decode(value, known.message)
        case "integer":
            return value - 2**64 if value >= 2**63 else value
        case "boolean":
            return bool(value)
        case "time":
            seconds = dict(_fields(value)).get(1, 0)
            return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if 0 < seconds < 2**40 else None
        case "map" | "bytes-map" | "quantities":
            entry = dict(_fields(value))
            content = entry.get(2, b"")
            if known.kind == "quantities":
                content = dict(_fields(content)).get(1, b"")
            text = base64.b64encode(content).decode() if known.kind == "bytes-map" else content.decode()
            return {entry.get(1, b"").decode(): text}
    return value.decode()
