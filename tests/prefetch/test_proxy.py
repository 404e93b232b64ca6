"""Where a node reaches the world through a proxy only, bytes come through it as names do."""

from __future__ import annotations

import http.client
import http.server
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from tests.prefetch.conftest import Node, shards


class Proxy(http.server.ThreadingHTTPServer):
    """A forward proxy for plain HTTP, that notes what it was asked for."""

    daemon_threads = True

    def __init__(self) -> None:
        self.asked: list[str] = []
        super().__init__(("127.0.0.1", 0), _Forward)


class _Forward(http.server.BaseHTTPRequestHandler):
    server: Proxy

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        self.server.asked.append(f"{address.scheme}://{address.netloc}")
        onward = http.client.HTTPConnection(address.netloc, timeout=10)
        onward.request(self.command, f"{address.path}?{address.query}", headers=dict(self.headers.items()))
        answer = onward.getresponse()
        body = answer.read()
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            if name.lower() not in ("connection", "date", "server"):
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    do_HEAD = do_GET

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    with Proxy() as proxy:
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        yield proxy
        proxy.shutdown()


@pytest.mark.parametrize("bypassed", [False, True], ids=["through", "around"])
def test_the_proxy_of_the_environment_is_used_unless_it_is_to_be_gone_around(node: Node, proxy: Proxy, bypassed: bool) -> None:
    wanted = node.want(shards(1))
    node.variables = {"http_proxy": f"http://127.0.0.1:{proxy.server_port}", **({"no_proxy": "127.0.0.1"} if bypassed else {})}

    assert wanted.fetch().code == 0

    assert wanted.is_whole()
    assert set(proxy.asked) == (set() if bypassed else {node.hub.url, node.hub.cdn_url})
