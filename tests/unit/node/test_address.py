"""Addresses as servers write them."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest

from flows.node.address import header_text, origin, web_address


@pytest.mark.parametrize("other", ["HTTPS://Hub.Test/x", "https://hub.test:443", "https://hub.test:/y", "https://hub.test"])
def test_one_origin_may_be_written_in_many_ways(other: str) -> None:
    assert origin(urlsplit(other)) == origin(urlsplit("https://hub.test/a"))


@pytest.mark.parametrize("other", ["http://hub.test", "https://hub.test:444", "https://hub.test.x", "https://xhub.test"])
def test_another_origin_is_another(other: str) -> None:
    assert origin(urlsplit(other)) != origin(urlsplit("https://hub.test"))


@pytest.mark.parametrize("sent", ["/模型 é.json".encode(), "/é".encode("latin-1"), b"/a%20b"])
def test_letters_of_a_location_are_those_that_the_server_meant(sent: bytes) -> None:
    heard = web_address(header_text(sent.decode("latin-1")), "https://hub.test/x").path

    assert heard in ("/%E6%A8%A1%E5%9E%8B%20%C3%A9.json", "/%C3%A9", "/a%20b")
