"""Field ownership: what an update takes over, and what an apply claims, gives up and refuses to take."""

from __future__ import annotations

from typing import Any

import pytest

from sandbox.kubernetes.admission.apply import Manager, apply, track_update
from sandbox.kubernetes.meta.errors import ApiError
from sandbox.kubernetes.meta.fieldsets import as_text, from_json, to_json
from sandbox.kubernetes.meta.schemas import Type, built_in_type

JSON = dict[str, Any]
EMPTY: JSON = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {}}


def kind() -> Type:
    found = built_in_type("apps/v1", "Deployment")
    assert found is not None
    return found


def config(replicas: int | None = None, *containers: JSON, labels: dict[str, str] | None = None) -> JSON:
    spec: JSON = {} if replicas is None else {"replicas": replicas}
    if containers:
        spec["template"] = {"spec": {"containers": list(containers)}}
    return {**EMPTY, "metadata": {"name": "d", **({"labels": labels} if labels else {})}, **({"spec": spec} if spec else {})}


def applied(live: JSON, wanted: JSON, name: str, *, force: bool = False) -> JSON:
    manager = Manager(name=name, operation="Apply", api_version="apps/v1")
    return apply(live, wanted, kind(), manager, time="2026-01-01T00:00:00Z", status_apart=True, force=force)


def updated(before: JSON, after: JSON, name: str, subresource: str = "") -> JSON:
    manager = Manager(name=name, operation="Update", api_version="apps/v1", subresource=subresource)
    return track_update(before, after, kind(), manager, time="2026-01-01T00:00:01Z", status_apart=True)


def owned(obj: JSON) -> dict[str, JSON]:
    return {entry["manager"]: entry["fieldsV1"] for entry in obj["metadata"].get("managedFields", ())}


def test_apply_owns_exactly_what_it_names() -> None:
    obj = applied(EMPTY, config(1, {"name": "c", "image": "i"}), "one")
    container = {'k:{"name":"c"}': {".": {}, "f:image": {}, "f:name": {}}}
    assert owned(obj) == {"one": {"f:spec": {"f:replicas": {}, "f:template": {"f:spec": {"f:containers": container}}}}}


def test_apply_of_another_value_conflicts_and_names_the_owner() -> None:
    # Given a field that one manager applied
    live = applied(EMPTY, config(1), "one")
    # When another applies another value
    with pytest.raises(ApiError) as caught:
        applied(live, config(3), "two")
    # Then it is refused, with the owner and the field
    assert caught.value.code == 409
    assert caught.value.message == 'Apply failed with 1 conflict: conflict with "one": .spec.replicas'


def test_apply_of_the_same_value_shares_the_field() -> None:
    live = applied(applied(EMPTY, config(1), "one"), config(1), "two")
    assert owned(live) == {"one": {"f:spec": {"f:replicas": {}}}, "two": {"f:spec": {"f:replicas": {}}}}


def test_forced_apply_takes_the_field_away() -> None:
    live = applied(applied(EMPTY, config(1, labels={"a": "b"}), "one"), config(3), "two", force=True)
    assert live["spec"]["replicas"] == 3
    assert owned(live) == {"one": {"f:metadata": {"f:labels": {"f:a": {}}}}, "two": {"f:spec": {"f:replicas": {}}}}


def test_scaling_takes_the_replicas_so_that_the_next_apply_conflicts() -> None:
    # Given an applied deployment that was scaled through the subresource
    live = applied(EMPTY, config(1), "helm")
    scaled = updated(live, {**live, "spec": {"replicas": 2}}, "kubectl", "scale")
    # When it is applied again
    with pytest.raises(ApiError) as caught:
        applied(scaled, config(1), "helm")
    # Then the words are Kubernetes'
    expected = 'Apply failed with 1 conflict: conflict with "kubectl" with subresource "scale" using apps/v1: .spec.replicas'
    assert caught.value.message == expected


def test_several_conflicts_are_listed_by_owner() -> None:
    live = applied(EMPTY, config(1, {"name": "c", "image": "i:1"}), "one")
    with pytest.raises(ApiError) as caught:
        applied(live, config(2, {"name": "c", "image": "i:2"}), "two")
    lines = caught.value.message.splitlines()
    assert lines[0] == 'Apply failed with 2 conflicts: conflicts with "one":'
    assert set(lines[1:]) == {"- .spec.replicas", '- .spec.template.spec.containers[name="c"].image'}


def test_dropped_fields_are_removed_with_their_empty_containers() -> None:
    # Given labels and two containers that one manager applied
    live = applied(EMPTY, config(1, {"name": "a", "image": "i"}, {"name": "b", "image": "i"}, labels={"x": "1"}), "one")
    # When it applies without the labels and one container
    live = applied(live, config(1, {"name": "a", "image": "i"}), "one")
    # Then they are gone
    assert "labels" not in live["metadata"]
    assert live["spec"]["template"]["spec"]["containers"] == [{"name": "a", "image": "i"}]


def test_dropped_fields_stay_where_another_owns_them_too() -> None:
    live = applied(applied(EMPTY, config(1, labels={"x": "1"}), "one"), config(None, labels={"x": "1"}), "two")
    live = applied(live, config(1), "one")
    assert live["metadata"]["labels"] == {"x": "1"}
    assert owned(live)["two"] == {"f:metadata": {"f:labels": {"f:x": {}}}}


def test_a_container_stays_while_another_owns_a_field_in_it() -> None:
    live = applied(EMPTY, config(None, {"name": "a", "image": "i"}, {"name": "b", "image": "i"}), "one")
    live = applied(live, config(None, {"name": "b", "workingDir": "/w"}), "two")
    live = applied(live, config(None, {"name": "a", "image": "i"}), "one")
    assert live["spec"]["template"]["spec"]["containers"] == [{"name": "a", "image": "i"}, {"name": "b", "workingDir": "/w"}]


def test_apply_does_not_change_the_object_it_was_given() -> None:
    live = applied(EMPTY, config(1, {"name": "a", "image": "i"}, labels={"x": "1"}), "one")
    before = repr(live)
    applied(live, config(2, {"name": "b", "image": "i"}), "one")
    assert repr(live) == before


def test_update_owns_what_it_changed_and_no_more() -> None:
    live = applied(EMPTY, config(1, labels={"x": "1"}), "one")
    after = {**live, "metadata": {**live["metadata"], "labels": {"x": "1", "y": "2"}}}
    assert owned(updated(live, after, "hand"))["hand"] == {"f:metadata": {"f:labels": {"f:y": {}}}}


def test_update_that_removes_a_field_ends_its_ownership() -> None:
    live = applied(EMPTY, config(1, labels={"x": "1"}), "one")
    after = updated(live, {**live, "metadata": {"name": "d", "managedFields": live["metadata"]["managedFields"]}}, "hand")
    assert owned(after) == {"one": {"f:spec": {"f:replicas": {}}}}


def test_update_of_the_whole_object_does_not_own_the_status() -> None:
    after = updated(EMPTY, {**EMPTY, "spec": {"replicas": 1}, "status": {"replicas": 1}}, "hand")
    assert owned(after) == {"hand": {"f:spec": {"f:replicas": {}}}}


def test_field_sets_survive_being_written_and_read() -> None:
    fields = {"f:metadata": {"f:labels": {".": {}, "f:a": {}}}, "f:spec": {'k:{"name":"c"}': {".": {}, "f:image": {}}}}
    assert to_json(from_json(fields)) == fields


def test_paths_are_written_for_people() -> None:
    path = ("f:spec", "f:ports", 'k:{"containerPort":80,"protocol":"TCP"}', "f:name")
    assert as_text(path) == '.spec.ports[containerPort=80,protocol="TCP"].name'
    assert as_text(("f:metadata", "f:finalizers", 'v:"x"')) == '.metadata.finalizers[="x"]'
