"""The hub block resolves revisions, and says in one sentence why it cannot."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from blocks.errors import HubRejected, HubUnreachable
from blocks.hub import Hub
from sandbox import hub as stand_in
from sandbox.hub.faults import Fault

REPOSITORY = "slipway-demo/tiny"
FILES = {"config.json": b"{}", "model.safetensors": b"x" * 5000, "README.md": b"---\nlicense: apache-2.0\n---\n"}


def test_a_revision_becomes_a_commit_with_the_hash_of_every_file(hub: stand_in.Hub) -> None:
    first = hub.add(REPOSITORY, FILES, tag="v1")
    second = hub.add(REPOSITORY, {**FILES, "config.json": b'{"a": 1}'})

    with Hub(endpoint=hub.url).client() as client:
        by_branch, by_tag = client.commit(REPOSITORY, "main"), client.commit(REPOSITORY, "v1")
        by_sha = client.commit(REPOSITORY, first)

    assert (by_branch.commit, by_tag.commit, by_sha.commit) == (second, first, first)
    files = {file.path: file for file in by_branch.files}
    assert files["model.safetensors"].algorithm == "sha256"
    assert files["model.safetensors"].size_bytes == 5000
    assert files["config.json"].algorithm == "git-sha1"
    assert by_branch.licences == ("apache-2.0",)
    # names only: nothing was fetched
    assert not [request for request in hub.requests if "/resolve/" in request.path]


@pytest.mark.parametrize(
    ("options", "token", "says"),
    [
        ({"gated": "manual"}, None, "is gated and no token is set"),
        ({"gated": "manual"}, "a-token", "is gated and its token has not been granted access"),
        ({"private": True}, None, "has no repository 'slipway-demo/tiny': check the name, or set a token"),
        ({"disabled": True}, None, "is disabled on the hub"),
        ({}, "stale", "does not accept the token of the hub block (HTTP 401)"),
    ],
)
def test_a_repository_that_may_not_be_read_is_explained(
    hub: stand_in.Hub, options: dict[str, object], token: str | None, says: str
) -> None:
    hub.tokens["a-token"] = set()
    hub.add(REPOSITORY, FILES, **options)  # type: ignore[arg-type]
    block = Hub(endpoint=hub.url, token=SecretStr(token) if token else None)

    with block.client() as client, pytest.raises(HubRejected) as caught:
        client.commit(REPOSITORY, "main")

    assert says in caught.value.message
    assert token is None or token not in caught.value.message


def test_a_granted_token_opens_a_gated_repository(hub: stand_in.Hub) -> None:
    hub.tokens["a-token"] = {REPOSITORY}
    sha = hub.add(REPOSITORY, FILES, gated="manual")

    with Hub(endpoint=hub.url, token=SecretStr("a-token")).client() as client:
        assert client.commit(REPOSITORY, "main").commit == sha


@pytest.mark.parametrize(
    ("repository", "revision", "says"),
    [
        ("slipway-demo/nope", "main", "has no repository 'slipway-demo/nope'"),
        (REPOSITORY, "nope", "slipway-demo/tiny has no revision 'nope'"),
        ("a//b", "main", "is not a repository name"),
    ],
)
def test_what_does_not_exist_is_named(hub: stand_in.Hub, repository: str, revision: str, says: str) -> None:
    hub.add(REPOSITORY, FILES)

    with Hub(endpoint=hub.url).client() as client, pytest.raises(HubRejected) as caught:
        client.commit(repository, revision)

    assert says in caught.value.message


def test_a_hub_in_trouble_is_worth_another_try(hub: stand_in.Hub) -> None:
    hub.add(REPOSITORY, FILES)
    hub.faults.add(Fault(path="/api/models/*", status=503))

    with Hub(endpoint=hub.url).client() as client:
        with pytest.raises(HubUnreachable, match="HTTP 503"):
            client.commit(REPOSITORY, "main")
        assert client.commit(REPOSITORY, "main").files


def test_a_hub_that_is_not_there_is_named() -> None:
    nowhere = "http://127.0.0.1:9"

    with Hub(endpoint=nowhere).client() as client, pytest.raises(HubUnreachable, match=nowhere):
        client.commit(REPOSITORY, "main")
