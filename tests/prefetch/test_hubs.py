"""Hubs as they are: mirrors, limits, redirects, tokens. Whatever the plan reads a node can fetch; what leads nowhere is one sentence."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from blocks.hub import Hub as HubBlock
from sandbox.hub import Hub
from sandbox.hub.faults import Fault
from sandbox.serving import LoopThread
from tests.prefetch.conftest import REPOSITORY, Node, shards


@pytest.fixture
def mirror(tmp_path: Path, node: Node) -> Iterator[Node]:
    """A node whose hub lies below a path, and names no commits."""
    with LoopThread() as loop, Hub(tmp_path / "mirror", loop, below="/hub/v1") as hub:
        hub.faults.add(Fault(origin="hub", times=None, headers={"x-repo-commit": ""}))
        node.hub = hub
        yield node


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_mirror_below_a_path_that_names_no_commits_is_planned_and_fetched(mirror: Node, slash: str) -> None:
    mirror.variables = {"HF_ENDPOINT": mirror.hub.url + slash}
    wanted = mirror.want(shards(1))

    ended = wanted.fetch(plain_limit_bytes=100_000)

    assert ended.code == 0, ended.message
    assert wanted.is_whole()
    assert HubBlock(endpoint=mirror.hub.url + slash).endpoint == mirror.hub.url


@pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308])
def test_a_hub_that_redirects_is_followed(node: Node, status: int) -> None:
    node.token = "hf_secret"
    node.hub.tokens["hf_secret"] = {REPOSITORY}
    wanted = node.want(shards(1))
    path = f"/{REPOSITORY}/resolve/{wanted.candidate.commit}/config.json"
    node.hub.faults.add(Fault(origin="hub", path=path, method="HEAD", status=status, headers={"location": f"{node.hub.url}{path}?again"}))

    ended = wanted.fetch()

    assert ended.code == 0, ended.message
    assert wanted.is_whole()
    assert node.hub.requests.leaks() == []


def test_a_hub_that_writes_its_own_address_otherwise_gets_its_token(node: Node) -> None:
    # given a gated repository of a hub that is named in capitals, and redirects to itself by the name that it has
    node.token = "hf_secret"
    node.hub.tokens["hf_secret"] = {REPOSITORY}
    wanted = node.want(shards(1))
    assert node.hub.add(REPOSITORY, wanted.files, gated="manual")
    node.variables = {"HF_ENDPOINT": node.hub.url.replace("127.0.0.1", "LOCALHOST")}
    path = f"/{REPOSITORY}/resolve/{wanted.candidate.commit}/config.json"
    location = node.hub.url.replace("127.0.0.1", "localhost") + f"{path}?again"
    node.hub.faults.add(Fault(origin="hub", path=path, method="HEAD", status=302, headers={"location": location}))

    ended = wanted.fetch()

    assert ended.code == 0, ended.message
    assert wanted.is_whole()
    assert {request.authorized for request in node.hub.requests if request.query.startswith("again")} == {True}


def test_a_mirror_that_states_no_length_for_a_head_is_read_all_the_same(node: Node) -> None:
    wanted = node.want(shards(1))
    head = Fault(origin="hub", path="*/config.json", method="HEAD", status=200, headers={"content-length": "0"}, times=None)
    node.hub.faults.add(head)

    ended = wanted.fetch()

    assert ended.code == 0, ended.message
    assert wanted.is_whole()


def test_a_gated_repository_without_the_nodes_token_says_where_that_is_set(node: Node) -> None:
    wanted = node.want(shards(1))
    assert node.hub.add(REPOSITORY, wanted.files, gated="manual")

    ended = wanted.fetch()

    assert f"{REPOSITORY} is gated and no token is set" in ended.message
    assert "token in the Secret that prefetch.token_secret of the environment names" in ended.message


def test_a_mirror_that_knows_no_head_is_asked_by_get(node: Node) -> None:
    wanted = node.want(shards(1))
    node.hub.faults.add(Fault(origin="hub", method="HEAD", status=405, times=None))

    ended = wanted.fetch()

    assert ended.code == 0, ended.message
    assert wanted.is_whole()


@pytest.mark.parametrize(
    ("location", "says"),
    [
        ("", "does not say where the file is"),
        ("http://[bad/", "leads to what is no web address"),
        ("ftp://127.0.0.1/x", "leads to what is no web address"),
        ("http://127.0.0.1:99999/x", "leads to what is no web address"),
        ("http://user:secret@127.0.0.1/x", "leads to what is no web address"),
        ("config.json", "redirects in a circle"),
    ],
)
def test_a_redirect_to_nowhere_is_one_sentence(node: Node, location: str, says: str) -> None:
    wanted = node.want({"config.json": b"{}"})
    node.hub.faults.add(Fault(origin="hub", path="*/config.json", status=302, headers={"location": location}, times=None))

    ended = wanted.fetch(attempts=2)

    assert (ended.code, ended.event) == (1, "failed")
    assert says in ended.message
    assert "secret" not in ended.message


def test_what_comes_behind_the_bytes_is_not_waited_for(node: Node) -> None:
    # given a redirect whose body does not end, and a file whose answer does not either
    wanted = node.want({"config.json": b"{}", "model.safetensors": b"x" * 3000})
    target = f"/api/resolve-cache/models/{REPOSITORY}/{wanted.candidate.commit}/config.json"
    stalls = Fault(origin="hub", method="GET", status=302, body=b"x" * 1_000_000, stall_after_bytes=1000, headers={"location": target})
    node.hub.faults.add(stalls)
    node.hub.faults.add(Fault(origin="hub", method="HEAD", path="*/config.json", status=405, times=None))
    node.hub.faults.add(Fault(origin="cdn", times=None, headers={"content-length": ""}, stall_after_bytes=3000))

    ended = wanted.fetch(attempts=1)

    assert ended.code == 0, ended.message
    assert wanted.is_whole()


def test_a_limit_of_the_hub_is_waited_for_however_many_ask(node: Node) -> None:
    # given a hub whose window is used up for two seconds, and a program that gives up after two failures
    wanted = node.want(shards(1))
    limit = {"ratelimit": '"api";r=0;t=1', "ratelimit-policy": '"fixed window";"api";q=500;w=300'}
    node.hub.faults.add(Fault(origin="hub", method="HEAD", status=429, times=3, headers=limit))

    begin = time.monotonic()
    ended = wanted.fetch(attempts=2)

    assert ended.code == 0, ended.message
    assert time.monotonic() - begin >= 2
    assert wanted.is_whole()


@pytest.mark.parametrize("headers", [{"ratelimit": '"api";r=0;t=299'}, {"retry-after": "1000000000"}])
def test_a_wait_beyond_the_jobs_end_is_refused_at_once(node: Node, headers: dict[str, str]) -> None:
    wanted = node.want(shards(1))
    node.hub.faults.add(Fault(origin="hub", method="HEAD", status=429, times=None, headers=headers))

    begin = time.monotonic()
    ended = wanted.fetch(deadline_seconds=250, budget_seconds=250)

    assert (ended.code, ended.error) == (1, "HubUnreachable")
    assert "would come after the 250 s that are allowed for it" in ended.message
    assert time.monotonic() - begin < 200, "nothing is waited for"


@pytest.mark.parametrize("token", ["hf_secret\n", "  hf_secret\r\n\n", "hf_secret"])
def test_a_token_with_a_line_end_is_used_without_it(node: Node, token: str) -> None:
    node.token = token
    node.hub.tokens["hf_secret"] = {REPOSITORY}
    wanted = node.want(shards(1))
    assert node.hub.add(REPOSITORY, wanted.files, gated="manual")

    ended = wanted.fetch()

    assert ended.code == 0, ended.message
    assert wanted.is_whole()


@pytest.mark.parametrize("token", ["hf_sec\nret", "hf_secr\x00et", "hf_secrét", "hf_sec ret"])
def test_a_token_that_cannot_be_sent_is_named_and_not_shown(node: Node, token: str) -> None:
    node.token = token
    wanted = node.want(shards(1))

    ended = wanted.fetch()

    assert (ended.code, ended.error) == (1, "HubRejected")
    assert "The token of HF_TOKEN_PATH cannot be sent: its character" in ended.message
    assert "hf_sec" not in ended.message
    assert len(node.hub.requests) == 0


def test_a_renamed_repository_is_fetched_by_either_name(node: Node) -> None:
    wanted = node.want(shards(1))
    node.hub.rename(REPOSITORY, "slipway-demo/new-name")

    ended = wanted.fetch()

    assert ended.code == 0, ended.message
    assert wanted.is_whole()
