"""The hub block resolves revisions, and says in one sentence why it cannot."""

from __future__ import annotations

import http.server
import ssl
import threading
import time
from pathlib import Path

import pytest
import trustme
from pydantic import SecretStr, ValidationError

from blocks.errors import HubRejected, HubUnreachable
from blocks.hub import Hub
from sandbox import hub as stand_in
from sandbox import models
from sandbox.hub.faults import Fault
from sandbox.serving import LoopThread
from tests.support.proxy import Proxy
from tests.support.waiting import HANGS_SECONDS

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


@pytest.mark.parametrize("status", [404, 405])
def test_a_mirror_that_cannot_be_asked_for_access_is_read(hub: stand_in.Hub, status: int) -> None:
    hub.tokens["a-token"] = {REPOSITORY}
    sha = hub.add(REPOSITORY, FILES, gated="manual")
    hub.faults.add(Fault(path="*/auth-check", status=status))

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


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_mirror_below_a_path_is_a_hub(tmp_path: Path, slash: str) -> None:
    with LoopThread() as loop, stand_in.Hub(tmp_path, loop, below="/models/hub", page_size=2) as mirror:
        sha = mirror.add(REPOSITORY, models.make_model())
        mirror.faults.add(Fault(times=None, headers={"x-repo-commit": ""}))

        with Hub(endpoint=f"{mirror.url}{slash}").client() as client:
            found = client.commit(REPOSITORY, "main")
            about = client.describe(found, ["model.safetensors"])

    assert found.commit == sha
    assert len(found.files) == 7
    assert about.parameters


@pytest.mark.parametrize(
    "endpoint",
    [
        "",
        "hub",
        "ftp://hub",
        "https://",
        "https://hub:99999",
        "https://hub?x",
        "https://hub#x",
        "https://h b",
        "https://[x",
    ],
)
def test_an_address_that_is_none_is_refused_by_the_block(endpoint: str) -> None:
    with pytest.raises(ValidationError, match=r"address of a hub"):
        Hub(endpoint=endpoint)


def test_an_address_with_a_password_is_refused_without_showing_it() -> None:
    with pytest.raises(HubRejected, match="holds a user or a password") as caught:
        Hub(endpoint="https://user:secret@hub.test").client()
    assert "secret" not in caught.value.message


@pytest.mark.parametrize("proxy", ["socks5://u:secret@127.0.0.1:1", "ftp://u:secret@127.0.0.1"])
def test_a_proxy_that_cannot_be_used_is_one_sentence_without_its_password(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", proxy)

    with pytest.raises(HubRejected, match="proxy that http_proxy, https_proxy or all_proxy names cannot be used") as caught:
        Hub(endpoint="https://hub.test").client()
    assert "secret" not in caught.value.message


@pytest.mark.parametrize(("variable", "named"), [("https_proxy", "https_proxy"), ("ALL_PROXY", "all_proxy")])
def test_a_proxy_that_the_nodes_cannot_speak_to_is_refused_by_the_plan(variable: str, named: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, "https://u:secret@proxy.corp:3129")

    with pytest.raises(HubRejected, match=f"{named} names speaks 'https', which the nodes cannot: give one that speaks http") as caught:
        Hub(endpoint="https://hub.example").client()
    assert "secret" not in str(caught.value)

    monkeypatch.setenv("no_proxy", "hub.example")
    with Hub(endpoint="https://hub.example").client():
        pass  # it goes around


def test_the_plan_asks_through_a_proxy_with_a_password(hub: stand_in.Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add(REPOSITORY, models.make_model())
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with Proxy(("release bot", "p@ss:w/ord%")).served() as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        with Hub(endpoint=hub.url).client() as client:
            assert client.describe(client.commit(REPOSITORY, "main"), ["model.safetensors"]).parameters

    assert set(proxy.asked) == {hub.url, hub.cdn_url}


@pytest.mark.parametrize("token", ["a-token\n", "\r\n a-token \n"])
def test_a_token_with_a_line_end_is_used_without_it(hub: stand_in.Hub, token: str) -> None:
    hub.tokens["a-token"] = {REPOSITORY}
    hub.add(REPOSITORY, FILES, gated="auto")

    with Hub(endpoint=hub.url, token=SecretStr(token)).client() as client:
        assert client.commit(REPOSITORY, "main").gated


@pytest.mark.parametrize("token", ["a\ntoken", "a\x00token", "tokén", "a token"])
def test_a_token_that_cannot_be_sent_is_named_and_not_shown(hub: stand_in.Hub, token: str) -> None:
    with pytest.raises(HubRejected, match="token of the hub block cannot be sent: its character") as caught:
        Hub(endpoint=hub.url, token=SecretStr(token)).client()

    assert token not in caught.value.message


def test_the_next_page_of_a_listing_takes_the_token_nowhere(hub: stand_in.Hub) -> None:
    hub.tokens["a-token"] = {REPOSITORY}
    hub.add(REPOSITORY, FILES)
    link = f'<{hub.cdn_url.replace("127.0.0.1", "localhost")}/api/models/x/tree/main>; rel="next"'
    hub.faults.add(Fault(path="*/tree/*", headers={"link": link}, times=None))

    with Hub(endpoint=hub.url, token=SecretStr("a-token")).client() as client, pytest.raises(HubRejected) as caught:
        client.commit(REPOSITORY, "main")

    assert "sends the listing of slipway-demo/tiny on to another host ('localhost')" in caught.value.message
    assert hub.requests.leaks() == []


def test_a_listing_in_circles_ends(hub: stand_in.Hub) -> None:
    sha = hub.add(REPOSITORY, {**FILES, **{f"{number}.json": b"{}" for number in range(100)}})
    link = f'<{hub.url}/api/models/{REPOSITORY}/tree/{sha}?recursive=true>; rel="next"'
    hub.faults.add(Fault(path="*/tree/*", headers={"link": link}, times=None))

    with (
        Hub(endpoint=hub.url).client() as client,
        pytest.raises(HubRejected, match=r"(0|1)\.json is there twice|config.json is there twice"),
    ):
        client.commit(REPOSITORY, "main")


def test_a_listing_that_takes_too_long_ends(hub: stand_in.Hub) -> None:
    hub.add(REPOSITORY, {f"{number}.json": b"{}" for number in range(100)})  # ten minutes of it
    hub.faults.add(Fault(path="*/tree/*", bytes_per_second=20, times=None))

    begin = time.monotonic()
    with Hub(endpoint=hub.url, timeout_seconds=1).client() as client, pytest.raises(HubUnreachable, match="comes too slowly"):
        client.commit(REPOSITORY, "main")
    assert time.monotonic() - begin < HANGS_SECONDS


@pytest.mark.parametrize("headers", [{"retry-after": "1"}, {"ratelimit": '"api";r=0;t=0'}])
def test_a_pause_that_the_hub_asks_for_is_made(hub: stand_in.Hub, headers: dict[str, str]) -> None:
    hub.add(REPOSITORY, FILES)
    hub.faults.add(Fault(path="*/revision/*", status=429, headers=headers))

    begin = time.monotonic()
    with Hub(endpoint=hub.url).client() as client:
        assert client.commit(REPOSITORY, "main").files
    assert time.monotonic() - begin >= 1


@pytest.mark.parametrize("headers", [{"retry-after": "1000000000"}, {"ratelimit": '"api";r=0;t=3000'}])
def test_a_pause_without_end_is_not_made(hub: stand_in.Hub, headers: dict[str, str]) -> None:
    hub.add(REPOSITORY, FILES)
    hub.faults.add(Fault(path="*/tree/*", status=429, headers=headers, times=None))

    with Hub(endpoint=hub.url).client() as client, pytest.raises(HubUnreachable, match=r"wants [\d,]+ s of pause"):
        client.commit(REPOSITORY, "main")


def test_a_renamed_repository_is_found_and_told(hub: stand_in.Hub) -> None:
    sha = hub.add("slipway-demo/old", FILES)
    hub.rename("slipway-demo/old", "slipway-demo/new")

    with Hub(endpoint=hub.url).client() as client:
        found = client.commit("slipway-demo/old", "main")

    assert (found.repository, found.commit) == ("slipway-demo/new", sha)
    assert "slipway-demo/old is called slipway-demo/new on the hub now" in found.notes[0]


def test_a_pull_request_and_a_name_of_two_revisions_are_resolved(hub: stand_in.Hub) -> None:
    repository = "slipway-demo/two"
    request = hub.add(repository, FILES, branch="refs/pr/1")
    tagged = hub.add(repository, {**FILES, "config.json": b'{"a": 1}'}, tag="v1")
    branch = hub.add(repository, {**FILES, "config.json": b'{"a": 2}'}, branch="v1")

    with Hub(endpoint=hub.url).client() as client:
        assert client.commit(repository, "refs/pr/1").commit == request
        found = client.commit(repository, "v1")

    assert found.commit == branch
    assert f"v1 names a branch ({branch[:12]}) and a tag ({tagged[:12]})" in found.notes[0]
    assert "the branch was taken" in found.notes[0]


def test_three_thousand_files_take_as_many_pages_as_they_need(hub: stand_in.Hub) -> None:
    hub.add(REPOSITORY, {**FILES, **{f"data/{number}.json": b"" for number in range(3000)}})

    with Hub(endpoint=hub.url).client() as client:
        found = client.commit(REPOSITORY, "main")

    assert len(found.files) == 3003
    assert len([request for request in hub.requests if "/tree/" in request.path]) == 4


def test_a_proxy_that_opens_no_tunnel_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with Proxy(("release", "right")).served() as proxy:
        monkeypatch.setenv("https_proxy", proxy.url.replace("right", "wrong"))
        with Hub(endpoint="https://hub.invalid").client() as client, pytest.raises(HubRejected) as caught:
            client.commit(REPOSITORY, "main")

    assert "The proxy before the hub https://hub.invalid wants another user or password (HTTP 407)" in caught.value.message


def test_a_certificate_that_is_not_trusted_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("https_proxy", raising=False)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    server = http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.handle_request, daemon=True).start()

    with server, Hub(endpoint=f"https://127.0.0.1:{server.server_port}").client() as client, pytest.raises(HubRejected) as caught:
        client.commit(REPOSITORY, "main")

    assert "or of where it leads, is not trusted" in caught.value.message
    assert "SSL_CERT_FILE" in caught.value.message


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd"])
def test_an_answer_that_is_compressed_is_said_to_be(hub: stand_in.Hub, coding: str) -> None:
    hub.add(REPOSITORY, FILES)
    hub.faults.add(Fault(path="*/revision/*", headers={"content-encoding": coding}))

    with (
        Hub(endpoint=hub.url).client() as client,
        pytest.raises(HubRejected, match=rf"slipway-demo/tiny with what is compressed \({coding}\)"),
    ):
        client.commit(REPOSITORY, "main")
