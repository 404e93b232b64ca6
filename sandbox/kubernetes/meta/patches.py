"""JSON patch (RFC 6902), JSON merge patch (RFC 7386) and Kubernetes' strategic merge patch. Pure: the object given is not changed.

Not emulated: `$deleteFromPrimitiveList` outside of lists that merge, and three-way merges (clients compute those).
"""

from __future__ import annotations

from typing import Any

from sandbox.kubernetes.meta.errors import ApiError, bad_request
from sandbox.kubernetes.meta.schemas import ANY, Type
from sandbox.kubernetes.meta.values import clone


def merge_patch(target: Any, patch: Any) -> Any:
    """The target with a JSON merge patch applied: objects merge, null deletes, anything else replaces."""
    if not isinstance(patch, dict):
        return clone(patch)
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge_patch(result.get(key), value)
    return result


def json_patch(target: Any, operations: Any) -> Any:
    """The target with the operations of a JSON patch applied in order.

    Raises:
        ApiError: 400 for a malformed patch; 422 for one that does not fit the object, such as a `test` that fails.
    """
    if not isinstance(operations, list):
        raise bad_request("error decoding patch: a JSON patch is a list of operations")
    result = clone(target)
    for operation in operations:
        try:
            result = _operate(result, operation)
        except (KeyError, IndexError, ValueError, TypeError) as exc:
            path = operation.get("path") if isinstance(operation, dict) else operation
            message = f"the server rejected our request due to an error in our request: {path}: {exc}"
            raise ApiError(422, "Invalid", message, details={}) from exc
    return result


def _operate(document: Any, operation: dict[str, Any]) -> Any:
    path = _pointer(operation["path"])
    match operation["op"]:
        case "add":
            return _add(document, path, clone(operation["value"]))
        case "remove":
            return _remove(document, path)
        case "replace":
            _read(document, path)
            return _add(_remove(document, path), path, clone(operation["value"])) if path else clone(operation["value"])
        case "move":
            source = _pointer(operation["from"])
            value = _read(document, source)
            return _add(_remove(document, source), path, value)
        case "copy":
            return _add(document, path, clone(_read(document, _pointer(operation["from"]))))
        case "test":
            if _read(document, path) != operation["value"]:
                raise ValueError("testing value failed")
            return document
        case unknown:
            raise ValueError(f"unexpected kind: {unknown}")


def _pointer(text: str) -> list[str]:
    if text == "":
        return []
    if not text.startswith("/"):
        raise ValueError("a JSON pointer begins with /")
    return [step.replace("~1", "/").replace("~0", "~") for step in text[1:].split("/")]


def _index(items: list[Any], step: str, end: int) -> int:
    index = len(items) if step == "-" else int(step)
    if not 0 <= index < end:
        raise IndexError("index out of bounds")
    return index


def _read(document: Any, path: list[str]) -> Any:
    for step in path:
        document = document[_index(document, step, len(document))] if isinstance(document, list) else document[step]
    return document


def _add(document: Any, path: list[str], value: Any) -> Any:
    if not path:
        return value
    parent = _read(document, path[:-1])
    if isinstance(parent, list):
        parent.insert(_index(parent, path[-1], len(parent) + 1), value)
    else:
        parent[path[-1]] = value
    return document


def _remove(document: Any, path: list[str]) -> Any:
    if not path:
        raise ValueError("the whole document cannot be removed")
    parent = _read(document, path[:-1])
    if isinstance(parent, list):
        del parent[_index(parent, path[-1], len(parent))]
    else:
        del parent[path[-1]]
    return document


def strategic_merge_patch(target: Any, patch: Any, kind: Type) -> Any:
    """The target with a strategic merge patch applied: as a merge patch, but lists with a merge key merge by it.

    Understands the directives `$patch: replace|delete|merge`, `$retainKeys`, `$setElementOrder/…` and `$deleteFromPrimitiveList/…`.

    Raises:
        ApiError: 400; an item lacks the merge key, or a directive is not known.
    """
    if not isinstance(patch, dict):
        return clone(patch)
    directive = patch.get("$patch")
    if directive == "replace":
        return {key: clone(value) for key, value in patch.items() if key != "$patch"}
    if directive == "delete":
        return {}
    if directive not in (None, "merge"):
        raise bad_request(f'error decoding patch: unknown patch type "{directive}" found')
    result = dict(target) if isinstance(target, dict) else {}
    if "$retainKeys" in patch:
        result = {key: value for key, value in result.items() if key in patch["$retainKeys"]}
    for key, value in patch.items():
        if key.startswith("$deleteFromPrimitiveList/"):
            name = key.partition("/")[2]
            result[name] = [item for item in result.get(name) or [] if item not in value]
        elif not key.startswith("$"):
            _merge_field(result, key, value, kind.child(key) or ANY, patch.get(f"$setElementOrder/{key}"))
    return result


def _merge_field(result: dict[str, Any], key: str, value: Any, kind: Type, order: list[Any] | None) -> None:
    if value is None:
        result.pop(key, None)
    elif isinstance(value, list) and kind.merges:
        result[key] = _merge_list(result.get(key) or [], value, kind, order)
    elif isinstance(value, dict) and value.get("$patch") == "delete":
        result.pop(key, None)
    else:
        result[key] = strategic_merge_patch(result.get(key), value, kind)


def _merge_list(current: list[Any], patch: list[Any], kind: Type, order: list[Any] | None) -> list[Any]:
    if not kind.merge_key:
        merged = [*current, *(item for item in patch if item not in current)]
        return _ordered(merged, order or [], lambda item: item)
    key = kind.merge_key
    if any(item.get("$patch") == "replace" for item in patch):
        return [clone(item) for item in patch if item.get("$patch") != "replace"]
    result = list(current)
    for item in patch:
        if key not in item:
            raise bad_request(f"map: {item} does not contain declared merge key: {key}")
        position = next((i for i, existing in enumerate(result) if existing.get(key) == item[key]), None)
        if item.get("$patch") == "delete":
            result = [existing for existing in result if existing.get(key) != item[key]]
        elif position is None:
            result.append(strategic_merge_patch({}, item, kind.items()))
        else:
            result[position] = strategic_merge_patch(result[position], item, kind.items())
    return _ordered(result, [item.get(key) for item in order or []], lambda item: item.get(key))


def _ordered(items: list[Any], order: list[Any], identity: Any) -> list[Any]:
    """The items in the wanted order; those that it does not name keep their places after the one they followed."""
    if not order:
        return items
    named = iter(sorted((item for item in items if identity(item) in order), key=lambda item: order.index(identity(item))))
    return [next(named) if identity(item) in order else item for item in items]
