"""What the console is told by its environment; every variable is named as it is in docs/console.md."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from urllib.parse import urlsplit

from cryptography.fernet import Fernet

from flows.errors import SpecInvalid

Network = IPv4Network | IPv6Network

#: A host with or without a port, as a browser sends it.
_HOST = re.compile(r"([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]*)?")

#: Fewest characters of a secret that a proxy proves itself by: of 64 signs, 192 bits.
SHORTEST_SECRET = 32


@dataclass(frozen=True, kw_only=True)
class OidcSettings:
    """Where people sign in.

    Attributes:
        issuer: The provider, as its tokens name it, to the letter; its configuration is at `/.well-known/openid-configuration` below.
        client_id: Who the console is there.
        client_secret: By what it proves that; a secret.
        name_claim: What of a token says who somebody is. An `email` must be verified.
        groups_claim: What of it lists the groups that somebody is in.
        scope: What is asked for.
    """

    issuer: str
    client_id: str
    client_secret: str = field(repr=False)
    name_claim: str = "preferred_username"
    groups_claim: str = "groups"
    scope: str = "openid profile email"


@dataclass(frozen=True, kw_only=True)
class ConsoleSettings:
    """How the console is reached and whom it believes.

    Attributes:
        url: Its address as people type it, without a path: what cookies, redirects and the check of origins go by.
        keys: What cookies are sealed with, as Fernet has them; the first seals, the others are of before. Secrets.
        oidc: Where people sign in; none where a proxy says who they are.
        proxies: Addresses from which a proxy's headers are believed.
        proxy_secret: What such a proxy proves itself by when it says who somebody is; none where none may. A secret.
        session_hours: How long a sign-in holds.
    """

    url: str
    keys: tuple[str, ...] = field(repr=False)
    oidc: OidcSettings | None = None
    proxies: tuple[Network, ...] = ()
    proxy_secret: str | None = field(default=None, repr=False)
    session_hours: float = 8.0

    @property
    def secure(self) -> bool:
        """Whether people reach it over TLS."""
        return self.url.startswith("https:")

    @property
    def host(self) -> str:
        """Its name and port, as a request's `Host` has them."""
        return urlsplit(self.url).netloc

    def is_proxy(self, address: str) -> bool:
        """Whether that is one of the configured proxies."""
        try:
            asked = ip_address(address)
        except ValueError:
            return False
        asked = getattr(asked, "ipv4_mapped", None) or asked
        return any(asked in network for network in self.proxies)


def console_settings(variables: Mapping[str, str] = os.environ) -> ConsoleSettings:
    """The settings of this process.

    Args:
        variables: The environment's.

    Raises:
        SpecInvalid: One is missing or wrong; the message names it, and never says a secret.
    """
    oidc = _oidc(variables)
    proxies, secret = _networks(variables), _secret(variables, "SLIPWAY_CONSOLE_PROXY_SECRET_FILE")
    if secret is not None and len(secret) < SHORTEST_SECRET:
        raise SpecInvalid(f"SLIPWAY_CONSOLE_PROXY_SECRET_FILE: the secret must have {SHORTEST_SECRET} characters or more.")
    if secret is not None and not proxies:
        raise SpecInvalid("SLIPWAY_CONSOLE_PROXIES is not set: name the addresses from which a proxy may say who somebody is.")
    if oidc is None and secret is None:
        raise SpecInvalid(
            "Nobody could sign in: set SLIPWAY_OIDC_ISSUER, or SLIPWAY_CONSOLE_PROXIES and SLIPWAY_CONSOLE_PROXY_SECRET_FILE."
        )
    return ConsoleSettings(
        url=_origin(variables),
        keys=_keys(variables),
        oidc=oidc,
        proxies=proxies,
        proxy_secret=secret,
        session_hours=_hours(variables),
    )


def _oidc(variables: Mapping[str, str]) -> OidcSettings | None:
    issuer = variables.get("SLIPWAY_OIDC_ISSUER")
    if not issuer:
        return None
    wrong = SpecInvalid(f"SLIPWAY_OIDC_ISSUER is {issuer[:200]!r}: it must be an address such as https://login.example.com/realm.")
    try:
        parts = urlsplit(issuer)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and "@" not in parts.netloc
    except ValueError:
        raise wrong from None
    if not usable or parts.query or parts.fragment or not issuer.isascii() or not issuer.isprintable() or " " in issuer:
        raise wrong
    if parts.scheme == "http" and not _is_here(str(parts.hostname)):
        raise SpecInvalid("SLIPWAY_OIDC_ISSUER must be an https address: what it answers decides who somebody is.")
    client_id, secret = variables.get("SLIPWAY_OIDC_CLIENT_ID"), _secret(variables, "SLIPWAY_OIDC_CLIENT_SECRET_FILE")
    if not client_id or not secret:
        raise SpecInvalid("SLIPWAY_OIDC_CLIENT_ID and SLIPWAY_OIDC_CLIENT_SECRET_FILE must say who the console is at SLIPWAY_OIDC_ISSUER.")
    if "openid" not in (variables.get("SLIPWAY_OIDC_SCOPE") or "openid").split():
        raise SpecInvalid("SLIPWAY_OIDC_SCOPE must hold openid: without it, no provider signs who somebody is.")
    found = OidcSettings(issuer=issuer, client_id=client_id, client_secret=secret)
    return OidcSettings(
        issuer=issuer,
        client_id=client_id,
        client_secret=secret,
        name_claim=variables.get("SLIPWAY_OIDC_NAME_CLAIM") or found.name_claim,
        groups_claim=variables.get("SLIPWAY_OIDC_GROUPS_CLAIM") or found.groups_claim,
        scope=variables.get("SLIPWAY_OIDC_SCOPE") or found.scope,
    )


def _origin(variables: Mapping[str, str]) -> str:
    url = variables.get("SLIPWAY_CONSOLE_URL", "")
    wrong = SpecInvalid(
        f"SLIPWAY_CONSOLE_URL is {url[:200]!r}: it must be the console's address without a path, https://slipway.example.com."
    )
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and parts.path in ("", "/")
    except ValueError:
        raise wrong from None
    if not usable or parts.query or parts.fragment or "@" in parts.netloc or not _HOST.fullmatch(parts.netloc):
        raise wrong
    if parts.scheme == "http" and not _is_here(str(parts.hostname)):
        raise SpecInvalid("SLIPWAY_CONSOLE_URL must be an https address: over http, sessions could be read on the way.")
    # A browser leaves the port out that everybody means, and writes names in lower case.
    port = f":{parts.port}" if parts.port not in (None, 443 if parts.scheme == "https" else 80) else ""
    host = f"[{parts.hostname}]" if ":" in str(parts.hostname) else parts.hostname
    return f"{parts.scheme}://{host}{port}"


def _is_here(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _keys(variables: Mapping[str, str]) -> tuple[str, ...]:
    name = "SLIPWAY_CONSOLE_KEYS_FILE"
    text = _secret(variables, name)
    if text is None:
        raise SpecInvalid(f"{name} is not set: name a file of keys, one a line, made by `slipway serve --new-key`.")
    keys = tuple(text.split())
    for number, key in enumerate(keys, start=1):
        try:
            Fernet(key)
        except ValueError:
            raise SpecInvalid(f"{name}: line {number} is no key; `slipway serve --new-key` makes one.") from None
    return keys


def _networks(variables: Mapping[str, str]) -> tuple[Network, ...]:
    found: list[Network] = []
    for text in variables.get("SLIPWAY_CONSOLE_PROXIES", "").replace(",", " ").split():
        try:
            found.append(_network(text))
        except ValueError:
            raise SpecInvalid(f"SLIPWAY_CONSOLE_PROXIES: {text[:100]!r} is no address or network, such as 10.0.3.0/24.") from None
    if any(network.prefixlen == 0 for network in found):
        raise SpecInvalid("SLIPWAY_CONSOLE_PROXIES: a network of all addresses would believe everybody; name the proxy's own.")
    return tuple(found)


def _network(text: str) -> Network:
    network = ip_network(text)
    # An address of version 4 that is written as one of version 6 is met as one of version 4 (`is_proxy`).
    mapped = network.network_address.ipv4_mapped if isinstance(network, IPv6Network) and network.prefixlen >= 96 else None
    return network if mapped is None else IPv4Network(f"{mapped}/{network.prefixlen - 96}")


def _hours(variables: Mapping[str, str]) -> float:
    text = variables.get("SLIPWAY_CONSOLE_SESSION_HOURS") or "8"
    try:
        hours = float(text)
    except ValueError:
        hours = 0.0
    if not 0.1 <= hours <= 24:
        raise SpecInvalid(f"SLIPWAY_CONSOLE_SESSION_HOURS is {text[:50]!r}: it must be a number of hours, 0.1 to 24.")
    return hours


def _secret(variables: Mapping[str, str], name: str) -> str | None:
    """What the file holds that the variable names; none where it names none."""
    path = variables.get(name)
    if not path:
        return None
    try:
        text = Path(path).read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as exc:
        raise SpecInvalid(f"{name}: {path[:200]} cannot be read: {getattr(exc, 'strerror', None) or 'it is no text'}.") from exc
    if not text:
        raise SpecInvalid(f"{name}: {path[:200]} is empty.")
    return text
