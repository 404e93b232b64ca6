"""Which origins are reached without the proxy: as the plan's client goes, so that what was planned can be fetched."""

from __future__ import annotations

import itertools
from urllib.parse import urlsplit

import httpx2
import pytest

from flows.node.proxies import goes_around

ORIGINS = [
    "http://hub.corp:8080", "http://hub.corp", "https://hub.corp", "https://xhub.corp", "https://a.hub.corp", "https://corp",
    "http://10.1.2.3", "http://10.1.2.3:8080", "http://11.1.2.3", "http://[::1]", "http://[::1]:8080", "http://localhost:1",
]  # fmt: skip
FORMS = [
    "", " ", "*", "a, *", "hub.corp", ".corp", "corp", "*.corp", "HUB.CORP", " x , hub.corp", "hub.corp:8080", "hub.corp:9", "10.0.0.0/8",
    "10.1.2.3", "10.1.2.3/32", "::1", "[::1]", "::/64", "localhost", "http://hub.corp", "https://hub.corp", "all://hub.corp", "10.*",
]  # fmt: skip


@pytest.mark.parametrize("no_proxy", FORMS)
def test_the_node_goes_around_the_proxy_where_the_plan_does(no_proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, scheme in itertools.product(("http_proxy", "https_proxy", "no_proxy"), (str.lower, str.upper)):
        monkeypatch.delenv(scheme(name), raising=False)
    monkeypatch.setenv("http_proxy", "http://proxy:3128")
    monkeypatch.setenv("https_proxy", "http://proxy:3128")
    monkeypatch.setenv("no_proxy", no_proxy)

    with httpx2.Client() as plan:
        for url in ORIGINS:
            parts = urlsplit(url)
            direct = plan._transport_for_url(httpx2.URL(url)) is plan._transport  # it tells it by nothing else
            assert goes_around(no_proxy, parts.scheme, parts.hostname or "", parts.port) == direct, url


@pytest.mark.parametrize("no_proxy", ["hub.corp:443", "[::1]:443,hub.corp:0443"])
def test_the_schemes_own_port_may_be_named(no_proxy: str) -> None:
    assert goes_around(no_proxy, "https", "hub.corp", None)
    assert not goes_around(no_proxy, "http", "hub.corp", None)


@pytest.mark.parametrize("no_proxy", ["://", ":", "[", "]:1", "1.2.3.4/99", "x:٣", "/", ",,,", "a" * 10_000])
def test_what_is_no_form_names_nothing(no_proxy: str) -> None:
    assert not goes_around(no_proxy, "https", "hub.corp", None)
