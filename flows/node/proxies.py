"""The proxy of the environment (`http_proxy`, `https_proxy`, `all_proxy`, `no_proxy`), with its user and password."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from blocks.errors import HubRejected
from flows.node.patience import Trouble


@dataclass(frozen=True, kw_only=True)
class Proxy:
    """Where connections go instead, and what is sent to it alone.

    Attributes:
        host: Its host.
        port: Its port.
        headers: Its user and password, if it wants some; never shown.
    """

    host: str
    port: int
    headers: Mapping[str, str]

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def proxy_for(scheme: str, host: str, port: int | None) -> Proxy | None:
    """The proxy that leads to an origin; none if it is reached directly.

    Raises:
        HubRejected: The environment names one that cannot be used.
    """
    proxies = getproxies()
    address = proxies.get(scheme) or proxies.get("all")
    if not address or proxy_bypass(f"{host}:{port}" if port else host):
        return None
    variable = f"{scheme if proxies.get(scheme) else 'all'}_proxy"
    try:
        parts = urlsplit(address if "://" in address else f"http://{address}")
        found_host, found_port = parts.hostname, parts.port or 80
    except ValueError:
        found_host, found_port = None, 0
    # The address may hold a password: no part of it is shown.
    if not found_host:
        raise HubRejected(f"The proxy that {variable} names has no address: give http://HOST:PORT.")
    if parts.scheme != "http":
        raise HubRejected(f"The proxy that {variable} names speaks {parts.scheme[:20]!r}: give one that speaks http, as http://HOST:PORT.")
    if parts.username is None:
        return Proxy(host=found_host, port=found_port, headers={})
    known = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
    return Proxy(host=found_host, port=found_port, headers={"Proxy-Authorization": f"Basic {base64.b64encode(known).decode()}"})


def refusal_of_proxy(exc: BaseException) -> HubRejected | Trouble | None:
    """What a proxy said that would not let a tunnel through, which `http.client` tells in words only."""
    _, found, said = str(exc).partition("Tunnel connection failed: ")
    if not found:
        return None
    status = said[:3]
    if status == "407":
        return HubRejected("The proxy of https_proxy wants another user or password (HTTP 407): correct https_proxy.")
    if status.startswith("4") and status not in ("408", "425", "429"):
        return HubRejected(
            f"The proxy of https_proxy refuses to lead there (HTTP {status}): have the hub and its CDN allowed, or set no_proxy."
        )
    return Trouble(f"the proxy of https_proxy answered HTTP {status if status.isdecimal() else 'nothing'}")
