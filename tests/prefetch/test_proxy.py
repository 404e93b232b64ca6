"""Where a node reaches the world through a proxy only, bytes come through it as names do; with its user and password, and for TLS."""

from __future__ import annotations

import http.server
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from blocks.errors import HubRejected
from flows.node.http import Connections
from tests.prefetch.conftest import Node, shards
from tests.support.proxy import Proxy

#: With signs that an address has to quote.
USER = ("release bot", "p@ss:w/ord%")


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    with Proxy(USER).served() as proxy:
        yield proxy


@pytest.mark.parametrize("bypassed", [False, True], ids=["through", "around"])
def test_the_proxy_of_the_environment_is_used_unless_it_is_to_be_gone_around(node: Node, proxy: Proxy, bypassed: bool) -> None:
    wanted = node.want(shards(1))
    node.variables = {"http_proxy": proxy.url, **({"no_proxy": "127.0.0.1"} if bypassed else {})}

    ended = wanted.fetch()

    assert ended.code == 0, ended.message
    assert wanted.is_whole()
    assert set(proxy.asked) == (set() if bypassed else {node.hub.url, node.hub.cdn_url})
    assert proxy.refused == 0


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("http://release:wrong@127.0.0.1:{port}", "wants another user or password (HTTP 407): correct http_proxy"),
        ("http://127.0.0.1:{port}", "wants another user or password (HTTP 407)"),
        ("socks5://u:secret@127.0.0.1:1", "that http_proxy names speaks 'socks5': give one that speaks http"),
        ("https://u:secret@127.0.0.1:1", "that http_proxy names speaks 'https'"),
        ("http://u:secret@[127:1", "that http_proxy names has no address"),
    ],
)
def test_a_proxy_that_lets_nobody_through_is_one_sentence_without_its_password(node: Node, proxy: Proxy, address: str, says: str) -> None:
    wanted = node.want(shards(1))
    node.variables = {"http_proxy": address.format(port=proxy.server_address[1])}

    ended = wanted.fetch()

    assert (ended.code, ended.error) == (1, "HubRejected")
    assert says in ended.message
    assert "secret" not in ended.message


class _Bytes(http.server.BaseHTTPRequestHandler):
    """A CDN behind TLS that has a thousand bytes."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.server.heard.append(dict(self.headers))  # type: ignore[attr-defined]
        first, last = (int(part) for part in self.headers["Range"].removeprefix("bytes=").split("-"))
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {first}-{last}/1000")
        self.send_header("Content-Length", str(last - first + 1))
        self.end_headers()
        self.wfile.write(bytes(index % 251 for index in range(first, last + 1)))

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def tls(tmp_path: Path) -> Iterator[tuple[str, ssl.SSLContext, list[dict[str, str]]]]:
    authority = trustme.CA()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Bytes)
    server.heard = []  # type: ignore[attr-defined]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    yield f"https://127.0.0.1:{server.server_address[1]}", trusting, server.heard  # type: ignore[attr-defined]
    server.shutdown()
    server.server_close()


def test_bytes_come_through_a_tunnel_that_wants_a_password(
    proxy: Proxy, tls: tuple[str, ssl.SSLContext, list[dict[str, str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, context, heard = tls
    monkeypatch.setenv("https_proxy", proxy.url)
    monkeypatch.delenv("no_proxy", raising=False)
    connections = Connections(url, "hf_secret", context, 5)
    view = memoryview(bytearray(500))

    assert sum(connections.read(f"{url}/x", 100, view, 1000)) == sum(connections.read(f"{url}/x", 100, view, 1000)) == 500

    assert bytes(view) == bytes(index % 251 for index in range(100, 600))
    # one tunnel for both, and its password stays with the proxy
    assert proxy.asked == [url.removeprefix("https://")]
    assert [headers.get("Authorization") for headers in heard] == ["Bearer hf_secret"] * 2
    assert not [name for headers in heard for name in headers if name.lower().startswith("proxy-")]
    connections.close()


@pytest.mark.parametrize("trusted", [True, False], ids=["password", "certificate"])
def test_a_tunnel_that_does_not_open_is_one_sentence(
    proxy: Proxy, tls: tuple[str, ssl.SSLContext, list[dict[str, str]]], monkeypatch: pytest.MonkeyPatch, trusted: bool
) -> None:
    url, context, _ = tls
    monkeypatch.setenv("https_proxy", proxy.url if not trusted else proxy.url.replace("release", "other"))
    connections = Connections(url, None, context if trusted else ssl.create_default_context(), 5)

    says = r"proxy of https_proxy wants another user or password \(HTTP 407\)" if trusted else "certificate of 127.0.0.1 is not trusted"
    with pytest.raises(HubRejected, match=says):
        list(connections.read(f"{url}/x", 0, memoryview(bytearray(10)), 1000))
