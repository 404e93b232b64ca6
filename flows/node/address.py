"""Addresses as servers give them: the one that is meant, and whose origin it is."""

from __future__ import annotations

from urllib.parse import SplitResult, quote, urljoin, urlsplit

from blocks.errors import HubRejected

#: The port of each scheme where an address names none.
PORTS = {"http": 80, "https": 443}


def web_address(url: str, base: str = "") -> SplitResult:
    """The address that a server gave, in the characters that may be sent.

    Args:
        url: The address, or what of it differs from `base`.
        base: Where the server is.

    Raises:
        HubRejected: It is none.
    """
    try:
        # What a server leaves unquoted, such as a space or a letter of another script, is quoted as browsers do.
        address = urlsplit(quote(urljoin(base, url), safe="%/:=&?~#+!$,;'@()*[]"))
        whole = address.scheme in ("http", "https") and bool(address.hostname) and (address.port or 1) > 0
    except ValueError:
        whole = False
    if not whole or "@" in address.netloc:
        raise HubRejected("The hub leads to what is no web address: it may not be a hub.")
    return address


def origin(address: SplitResult) -> tuple[str, str, int | None]:
    """Scheme, host and port, which tell whether two addresses are of one server: `HTTPS://Hub.test` and `https://hub.test:443` are.

    Raises:
        ValueError: Its port is none.
    """
    return address.scheme, address.hostname or "", address.port or PORTS.get(address.scheme)


def header_text(value: str) -> str:
    """What a header says in letters beyond ASCII: UTF-8, which `http.client` takes for Latin-1, or else Latin-1."""
    try:
        return value.encode("latin-1").decode()
    except UnicodeError:
        return value
