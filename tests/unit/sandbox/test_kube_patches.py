"""The three kinds of patch that merge into an object."""

from __future__ import annotations

from typing import Any

import pytest

from sandbox.kubernetes.meta.errors import ApiError
from sandbox.kubernetes.meta.patches import json_patch, merge_patch, strategic_merge_patch
from sandbox.kubernetes.meta.schemas import Type, built_in_type


def deployment() -> Type:
    kind = built_in_type("apps/v1", "Deployment")
    assert kind is not None
    return kind


def with_containers(*containers: dict[str, Any]) -> dict[str, Any]:
    return {"spec": {"template": {"spec": {"containers": list(containers)}}}}


def containers_of(obj: Any) -> Any:
    return obj["spec"]["template"]["spec"]["containers"]


def test_merge_patch_merges_objects_replaces_lists_and_removes_nulls() -> None:
    # Given an object and a patch that does all three
    target = {"a": {"b": 1, "c": 2}, "l": [1, 2], "n": 1}
    # When it is applied
    patched = merge_patch(target, {"a": {"b": None, "d": 3}, "l": [9], "n": None})
    # Then so it is, and the original is as it was
    assert patched == {"a": {"c": 2, "d": 3}, "l": [9]}
    assert target == {"a": {"b": 1, "c": 2}, "l": [1, 2], "n": 1}


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        ({"op": "add", "path": "/l/-", "value": 3}, {"l": [1, 2, 3], "a/b": {"~": 0}}),
        ({"op": "add", "path": "/l/0", "value": 3}, {"l": [3, 1, 2], "a/b": {"~": 0}}),
        ({"op": "remove", "path": "/l/0"}, {"l": [2], "a/b": {"~": 0}}),
        ({"op": "replace", "path": "/a~1b/~0", "value": 5}, {"l": [1, 2], "a/b": {"~": 5}}),
        ({"op": "move", "from": "/l/0", "path": "/m"}, {"l": [2], "a/b": {"~": 0}, "m": 1}),
        ({"op": "copy", "from": "/l", "path": "/m"}, {"l": [1, 2], "a/b": {"~": 0}, "m": [1, 2]}),
        ({"op": "test", "path": "/l/1", "value": 2}, {"l": [1, 2], "a/b": {"~": 0}}),
    ],
)
def test_json_patch_operations(operation: dict[str, Any], expected: dict[str, Any]) -> None:
    assert json_patch({"l": [1, 2], "a/b": {"~": 0}}, [operation]) == expected


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "remove", "path": "/none"},
        {"op": "replace", "path": "/none", "value": 1},
        {"op": "test", "path": "/a", "value": 2},
        {"op": "add", "path": "/l/7", "value": 1},
        {"op": "explode", "path": "/a"},
        {"path": "/a"},
    ],
)
def test_json_patch_that_does_not_fit_is_unprocessable(operation: dict[str, Any]) -> None:
    target = {"a": 1, "l": [1]}
    with pytest.raises(ApiError) as caught:
        json_patch(target, [operation])
    assert caught.value.code == 422
    assert target == {"a": 1, "l": [1]}


def test_strategic_merge_finds_list_items_by_their_key() -> None:
    # Given a template with two containers
    target = with_containers({"name": "a", "image": "a:1", "env": [{"name": "X", "value": "1"}]}, {"name": "b", "image": "b:1"})
    # When a patch names one of them, and one that is new
    patch = with_containers({"name": "a", "image": "a:2", "env": [{"name": "Y", "value": "2"}]}, {"name": "c", "image": "c:1"})
    patched = strategic_merge_patch(target, patch, deployment())
    # Then that one is merged, the other left, and the new one added
    assert containers_of(patched) == [
        {"name": "a", "image": "a:2", "env": [{"name": "X", "value": "1"}, {"name": "Y", "value": "2"}]},
        {"name": "b", "image": "b:1"},
        {"name": "c", "image": "c:1"},
    ]
    assert containers_of(target)[0]["image"] == "a:1"


def test_strategic_merge_deletes_and_replaces_on_demand() -> None:
    target = with_containers({"name": "a"}, {"name": "b"})
    assert containers_of(strategic_merge_patch(target, with_containers({"name": "a", "$patch": "delete"}), deployment())) == [{"name": "b"}]
    replaced = strategic_merge_patch(target, with_containers({"$patch": "replace"}, {"name": "z"}), deployment())
    assert containers_of(replaced) == [{"name": "z"}]


def test_strategic_merge_keeps_the_order_that_the_patch_asks_for() -> None:
    target = with_containers({"name": "a"}, {"name": "b"})
    patch = with_containers({"name": "b", "image": "x"})
    patch["spec"]["template"]["spec"]["$setElementOrder/containers"] = [{"name": "b"}, {"name": "a"}]
    assert [item["name"] for item in containers_of(strategic_merge_patch(target, patch, deployment()))] == ["b", "a"]


def test_strategic_merge_drops_what_retain_keys_does_not_name() -> None:
    target = {"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}}
    patch = {"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}
    assert strategic_merge_patch(target, patch, deployment()) == {"spec": {"strategy": {"type": "Recreate"}}}


def test_strategic_merge_replaces_lists_without_a_key() -> None:
    target = with_containers({"name": "a", "args": ["--one"]})
    patched = strategic_merge_patch(target, with_containers({"name": "a", "args": ["--two"]}), deployment())
    assert containers_of(patched)[0]["args"] == ["--two"]


def test_strategic_merge_item_without_its_key_is_refused() -> None:
    with pytest.raises(ApiError, match="does not contain declared merge key: name"):
        strategic_merge_patch(with_containers({"name": "a"}), with_containers({"image": "x"}), deployment())
