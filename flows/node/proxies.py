"""The proxy of the environment (`http_proxy`, `https_proxy`, `all_proxy`, `no_proxy`), with its user and password."""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies

from blocks.errors import HubRejected
from flows.node.address import PORTS
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
    if not address or goes_around(proxies.get("no", ""), scheme, host, port):
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


def goes_around(no_proxy: str, scheme: str, host: str, port: int | None) -> bool:
    """Whether an origin is reached without the proxy, by the forms that the plan's client knows (httpx2 2.16.2, `_utils.py`).

    Args:
        no_proxy: `*`, or with commas between: `hub.corp` (and what is below it), `.corp` and `*.corp` (what is below it), `10.0.0.0/8`,
            `::1`; a name may end in `:PORT`, and begin with `http://` or `https://`.
        scheme: `http` or `https`.
        host: Its host.
        port: Its port; none for the scheme's own.
    """
    return any(_names(entry.strip().lower(), scheme, host.lower(), port or PORTS[scheme]) for entry in no_proxy.split(","))


def _names(entry: str, scheme: str, host: str, port: int) -> bool:
    if entry == "*":
        return True
    of, _, name = entry.rpartition("://")
    if not name or of not in ("", "all", scheme):
        return False
    try:
        network = ipaddress.ip_network(name.replace("[", "").replace("]", ""), strict=False)
    except ValueError:
        pass
    else:
        return _is_address(host) and ipaddress.ip_address(host) in network
    before, colon, digits = name.rpartition(":")
    if colon and digits.isdecimal():
        if digits.lstrip("0") != str(port):
            return False
        name = before.strip("[]")
    below = name.removeprefix("*")
    if below.startswith("."):
        return host.endswith(below)
    return host == name or (not of and bool(name) and not _is_address(host) and host.endswith(f".{name}"))


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


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
