"""What the hub keeps in its own store (xet): had by plain HTTP, or by its library, with the same promises."""

from __future__ import annotations

import pytest

from sandbox.hub.faults import Fault
from tests.prefetch.conftest import CONNECTIONS, REPOSITORY, SEGMENT, Node, shards
from tests.support.waiting import until

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
    assert "xet" in [line["event"] for line in ended.lines]
    assert wanted.is_whole()
    assert node.hub.requests.bytes_sent("cas") >= len(wanted.files["model-1.safetensors"])


def test_wrong_bytes_of_the_store_are_found_and_deleted(node: Node) -> None:
    # given a store that sends a byte another way round, which the library takes for right
    wanted = node.want(shards(1), xet=True)
    node.hub.faults.add(Fault(origin="cas", path="/xorbs/*", flip_byte_at=30_000, times=None))

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
    assert "model-1.safetensors could not be fetched: the hub's store (xet)" in ended.message
    assert not wanted.folder.exists()


def test_a_kill_loses_a_segment_of_each_connection_at_most(node: Node) -> None:
    # given a store that is slow enough to be killed in the middle
    wanted = node.want(shards(1, size=40 * SEGMENT), xet=True)
    node.hub.faults.add(Fault(origin="cas", path="/xorbs/*", times=None, delay_seconds=0.2))
    process = node.start(*wanted.command(plain_limit_bytes=100_000))
    journal = node.store / ".parts"
    until(lambda: any(len(path.read_text().splitlines()) > 12 for path in journal.glob("*.journal")))
    process.kill()
    process.communicate()

    node.hub.faults.clear()
    node.hub.requests.clear()
    ended = wanted.fetch(plain_limit_bytes=100_000)

    assert ended.code == 0, ended.message
    assert "resuming" in [line["event"] for line in ended.lines]
    assert wanted.is_whole()
    # twelve segments were there; of those on their way, each connection fetches one again
    assert node.hub.requests.bytes_sent("cas") < (40 - 12 + CONNECTIONS) * (SEGMENT + 1000)


def test_a_token_goes_to_the_hub_and_not_to_where_it_says_it_should(node: Node) -> None:
    # given a hub that sends for the read token to another origin
    node.token = "hf_secret"
    node.hub.tokens["hf_secret"] = {REPOSITORY}
    wanted = node.want(shards(1), xet=True)
    link = f'<{node.hub.cdn_url}/api/models/x/xet-read-token/main>; rel="xet-auth"'
    node.hub.faults.add(Fault(origin="hub", method="HEAD", path=WEIGHTS, times=None, headers={"link": link}))

    ended = wanted.fetch(plain_limit_bytes=100_000)

    # then the bytes come by plain HTTP, and the token stays
    assert ended.code == 0, ended.message
    assert node.hub.requests.leaks() == []
    assert node.hub.requests.bytes_sent("cas") == 0
