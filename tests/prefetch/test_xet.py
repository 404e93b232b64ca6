"""What the hub keeps in its own store (xet): had by plain HTTP, or by the hub client, with the same promises."""

from __future__ import annotations

import pytest

from sandbox.hub.faults import Fault
from tests.prefetch.conftest import REPOSITORY, Node, shards

WEIGHTS = "*.safetensors"


def test_plain_http_is_the_way_also_where_the_hub_has_another(node: Node) -> None:
    wanted = node.want(shards(1), xet=True)

    assert wanted.fetch().code == 0

    assert wanted.is_whole()
    assert node.hub.requests.bytes_sent("cas") == 0


@pytest.mark.parametrize("why", ["size", "refusal"])
def test_what_plain_http_does_not_give_comes_by_the_hubs_own_protocol(node: Node, why: str) -> None:
    # given files that are too large for plain HTTP, or that the CDN does not give; and a token
    node.token = "hf_secret"
    node.hub.tokens["hf_secret"] = {REPOSITORY}
    wanted = node.want(shards(1), xet=True)
    if why == "refusal":
        node.hub.faults.add(Fault(origin="cdn", path=WEIGHTS, status=403, times=None))

    ended = wanted.fetch(**({"plain_limit_bytes": 100_000} if why == "size" else {}))

    assert ended.code == 0, ended.message
    assert "hub_client" in [line["event"] for line in ended.lines]
    assert wanted.is_whole()
    assert node.hub.requests.bytes_sent("cas") >= len(wanted.files["model-1.safetensors"])


def test_wrong_bytes_of_the_store_are_found_and_deleted(node: Node) -> None:
    # given a store that sends a byte another way round, which the client itself takes for right
    wanted = node.want(shards(1), xet=True)
    node.hub.faults.add(Fault(origin="cas", path="/xorbs/*", flip_byte_at=70_000, times=None))

    ended = wanted.fetch(plain_limit_bytes=100_000)

    assert (ended.code, ended.error) == (1, "SnapshotCorrupt"), ended.message
    assert not wanted.folder.exists()
    node.hub.faults.clear()
    assert wanted.fetch(plain_limit_bytes=100_000).code == 0
    assert wanted.is_whole()


def test_a_store_in_trouble_is_one_sentence(node: Node) -> None:
    wanted = node.want(shards(1), xet=True)
    node.hub.faults.add(Fault(origin="cas", status=404, times=None))

    ended = wanted.fetch(plain_limit_bytes=100_000, attempts=2)

    assert (ended.code, ended.error) == (1, "HubUnreachable")
    assert "model-1.safetensors could not be fetched: the hub client gave up" in ended.message
    assert not wanted.folder.exists()
