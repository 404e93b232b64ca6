"""Reading an object as its type: unknown and duplicate fields, wrong types, and what decoding drops.

Not emulated: `enum` values (semantic validation covers the ones that clients meet) and the exact Go type in a type error's message.
"""

from __future__ import annotations

from typing import Any

from sandbox.kubernetes.meta.errors import bad_request
from sandbox.kubernetes.meta.schemas import Type
from sandbox.kubernetes.meta.values import format_quantity, quantity

_GO_TYPES = {"string": "string", "integer": "int32", "number": "float64", "boolean": "bool"}


class DuplicateKeys(dict[str, Any]):
    """A decoded JSON object that remembers that its text named a field twice."""

    duplicates: tuple[str, ...] = ()


def decode(obj: Any, kind: Type, described: str, validation: str) -> tuple[Any, list[str]]:
    """The object as the server understands it, and the warnings for its client.

    Nulls and unknown fields are dropped, as Go's decoder does.

    Args:
        obj: The decoded JSON.
        kind: Its type.
        described: The start of error messages: `Service in version "v1"`.
        validation: `Strict`, `Warn` or `Ignore`: what to do about unknown fields.

    Raises:
        ApiError: 400; a value has a wrong type, or a field is unknown and validation is strict.
    """
    strict: list[str] = []
    what = described.partition(" ")[0]
    try:
        decoded = _decode(obj, kind, "", strict, what)
    except _WrongTypeError as exc:
        raise bad_request(f"{described} cannot be handled as a {what}: {exc}") from exc
    if strict and validation == "Strict":
        raise bad_request(f"{described} cannot be handled as a {what}: strict decoding error: {', '.join(strict)}")
    return decoded, strict if validation == "Warn" else []


class _WrongTypeError(Exception):
    """A value that the field's type does not allow."""


def _decode(value: Any, kind: Type, path: str, strict: list[str], owner: str) -> Any:
    if kind.kind in ("struct", "map"):
        return _decode_object(value, kind, path, strict, owner)
    if kind.kind in ("list", "set", "keyed"):
        if not isinstance(value, list):
            raise _WrongTypeError(_message(value, owner, path, "[]"))
        items = kind.items()
        return [_decode(item, items, f"{path}[{i}]", strict, owner) for i, item in enumerate(value) if item is not None]
    if not _fits(value, kind.kind):
        raise _WrongTypeError(_message(value, owner, path, _GO_TYPES.get(kind.kind, kind.kind)))
    if kind.kind == "quantity":
        return _canonical(value, owner, path)
    return _decode_any(value) if kind.kind == "any" else value


def _canonical(value: Any, owner: str, path: str) -> str:
    """A quantity in its canonical form, as it is read back: `1024Mi` becomes `1Gi`, 1 becomes `"1"`."""
    try:
        return format_quantity(quantity(value), str(value))
    except ValueError as exc:
        raise _WrongTypeError(f"{exc} in {owner}.{path}") from exc


def _decode_object(value: Any, kind: Type, path: str, strict: list[str], owner: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _WrongTypeError(_message(value, owner, path, "map[string]" if kind.kind == "map" else kind.name))
    result = {}
    strict.extend(f'duplicate field "{_join(path, key)}"' for key in getattr(value, "duplicates", ()))
    for key, item in value.items():
        child = kind.child(key)
        if child is None:
            strict.append(f'unknown field "{_join(path, key)}"')
        elif item is not None:
            result[key] = _decode(item, child, _join(path, key), strict, kind.name or owner)
    return result


def _decode_any(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _decode_any(item) for key, item in value.items()}
    return [_decode_any(item) for item in value] if isinstance(value, list) else value


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _fits(value: Any, kind: str) -> bool:
    match kind:
        case "string" | "time":
            return isinstance(value, str)
        case "boolean":
            return isinstance(value, bool)
        case "integer":
            return isinstance(value, int) and not isinstance(value, bool)
        case "number" | "quantity":
            return (isinstance(value, int | float) and not isinstance(value, bool)) or (kind == "quantity" and isinstance(value, str))
        case "int-or-string":
            return isinstance(value, int | str) and not isinstance(value, bool)
    return True


def _message(value: Any, owner: str, path: str, wanted: str) -> str:
    names = {bool: "bool", int: "number", float: "number", str: "string", list: "array", dict: "object"}
    return f"json: cannot unmarshal {names.get(type(value), 'null')} into Go struct field {owner}.{path} of type {wanted}"
