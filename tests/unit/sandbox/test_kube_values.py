"""Quantities, decoding and the store: the small parts that everything else stands on."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import pytest

from sandbox.kubernetes.admission.store import Store
from sandbox.kubernetes.meta.decoding import decode
from sandbox.kubernetes.meta.errors import ApiError
from sandbox.kubernetes.meta.protobuf import decode_protobuf
from sandbox.kubernetes.meta.schemas import built_in_type
from sandbox.kubernetes.meta.values import format_quantity, quantity


@pytest.mark.parametrize(
    ("text", "number", "canonical"),
    [
        ("1", "1", "1"),
        (2, "2", "2"),
        ("500m", "0.5", "500m"),
        ("0.5", "0.5", "500m"),
        ("1024Mi", str(2**30), "1Gi"),
        ("1500Mi", str(1500 * 2**20), "1500Mi"),
        ("1e3", "1000", "1k"),
        ("2G", "2000000000", "2G"),
        ("0", "0", "0"),
    ],
)
def test_quantity(text: Any, number: str, canonical: str) -> None:
    assert quantity(text) == Decimal(number)
    assert format_quantity(quantity(text), str(text)) == canonical


@pytest.mark.parametrize("text", ["", "1 Gi", "Gi", "1GiB", "one"])
def test_not_a_quantity(text: str) -> None:
    with pytest.raises(ValueError, match="quantities must match"):
        quantity(text)


def decoded(spec: dict[str, Any], validation: str = "Strict") -> tuple[Any, list[str]]:
    kind = built_in_type("v1", "Service")
    assert kind is not None
    return decode({"spec": spec}, kind, 'Service in version "v1"', validation)


def test_unknown_fields_are_refused_warned_about_or_dropped() -> None:
    with pytest.raises(ApiError, match=r'strict decoding error: unknown field "spec\.portz"'):
        decoded({"portz": 1})
    assert decoded({"portz": 1, "type": "ClusterIP"}, "Warn") == ({"spec": {"type": "ClusterIP"}}, ['unknown field "spec.portz"'])
    assert decoded({"portz": 1}, "Ignore") == ({"spec": {}}, [])


def test_wrong_types_are_refused_whatever_the_validation() -> None:
    with pytest.raises(ApiError, match="cannot unmarshal string into Go struct field") as caught:
        decoded({"ports": [{"port": "http"}]}, "Ignore")
    assert caught.value.code == 400


def test_nulls_count_as_absent() -> None:
    assert decoded({"clusterIP": None, "ports": [{"port": 1, "name": None}]})[0] == {"spec": {"ports": [{"port": 1}]}}


def test_protobuf_of_a_token_request() -> None:
    # Given what a typed client sends for `kubectl create token --duration=10m`
    spec = b"\x20\xd8\x04"
    request = b"\x0a\x00\x12" + bytes([len(spec)]) + spec
    names = b"\x0a\x18authentication.k8s.io/v1" + b"\x12\x0cTokenRequest"
    envelope = b"\x0a" + bytes([len(names)]) + names + b"\x12" + bytes([len(request)]) + request
    # Then it is read as the JSON that it stands for
    assert decode_protobuf(b"k8s\x00" + envelope) == {
        "kind": "TokenRequest",
        "apiVersion": "authentication.k8s.io/v1",
        "spec": {"expirationSeconds": 600},
    }


def test_protobuf_of_another_kind_is_not_supported() -> None:
    names = b"\x0a\x02v1" + b"\x12\x03Pod"
    with pytest.raises(ApiError) as caught:
        decode_protobuf(b"k8s\x00\x0a" + bytes([len(names)]) + names)
    assert caught.value.code == 415


def stored(name: str, **labels: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "n", "labels": labels}}


def test_store_shows_the_past_as_long_as_it_remembers() -> None:
    # Given a store that remembers three changes, and an object changed twice
    store = Store(history=3)
    store.put("/things", "n", "a", stored("a", x="1"))
    first = store.revision
    store.put("/things", "n", "a", stored("a", x="2"))
    store.put("/things", "n", "b", stored("b"))
    # Then its first state can be read at its revision
    past = store.objects_at("/things", first)
    assert {key: obj["metadata"]["labels"] for key, obj in past.items()} == {("n", "a"): {"x": "1"}}
    # When more changes push the history out
    for name in ("c", "d", "e"):
        store.put("/things", "n", name, stored(name))
    # Then that revision is too old
    with pytest.raises(ApiError) as caught:
        store.objects_at("/things", first)
    assert caught.value.code == 410


def test_subscription_begins_after_a_revision_and_misses_nothing() -> None:
    async def story() -> list[tuple[str, bool]]:
        store = Store()
        store.put("/things", "n", "a", stored("a"))
        since = store.revision
        store.put("/things", "n", "b", stored("b"))
        store.put("/others", "n", "x", stored("x"))
        subscription = store.subscribe("/things", since)
        store.delete("/things", "n", "a")
        store.end_subscriptions()
        seen = []
        while (change := await subscription.next()) is not None:
            seen.append((change.key[1], change.after is None))
        return seen

    assert asyncio.run(story()) == [("b", False), ("a", True)]
