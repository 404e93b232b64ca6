"""Ranged GETs into a buffer, by the standard library.

Into one buffer of its own, `http.client` was measured at 2.1 GB/s from this machine to itself; the hub client's own transport reaches
0.4 to 0.9 GB/s, as it makes new objects of every chunk.
"""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import SplitResult, urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

from blocks.errors import HubRejected
from flows.node.patience import Trouble

#: Bytes that are asked of the socket at a time.
_CHUNK_BYTES = 1 << 18

#: Redirects that one request may lead through.
_MOST_REDIRECTS = 5


class NoRanges(Exception):
    """The server sends the whole file where a part was asked for."""


@dataclass(frozen=True, kw_only=True)
class Location:
    """Where a file's bytes are now.

    Attributes:
        url: Its address; it may hold a signature, so it never enters a message.
        size_bytes: What the hub says is there; none if it does not.
        by_hub_client: Whether the hub client has a way of its own to the bytes.
    """

    url: str
    size_bytes: int | None
    by_hub_client: bool


class Connections:
    """One connection for each origin, kept open between requests. Not for several threads.

    Args:
        hub: The hub's address: the only origin that is sent the token.
        token: The hub token; none for public models.
        context: How TLS servers are verified.
        timeout_seconds: Longest silence.
    """

    def __init__(self, hub: str, token: str | None, context: ssl.SSLContext, timeout_seconds: float) -> None:
        self._hub = urlsplit(hub)
        self._token = token
        self._context = context
        self._timeout = timeout_seconds
        self._open: dict[tuple[str, str], http.client.HTTPConnection] = {}

    def read(self, url: str, start: int, view: memoryview, size_bytes: int) -> Iterator[int]:
        """Read the bytes from `start` on into the whole view; yield how many came, each time some did.

        Args:
            url: Where the file is.
            start: Offset in the file.
            view: Where they go; as long as what is wanted.
            size_bytes: The file's size.

        Raises:
            Trouble: Not all of them came.
            NoRanges: The server sends the whole file instead.
            HubRejected: The address leads where bytes must not come from.
        """
        address = urlsplit(url)
        # All that errors name: the rest of a CDN's address is a signature.
        name = address.hostname or ""
        try:
            answer = self._get(address, start, start + len(view) - 1)
            self._require_part(answer, name, start, len(view), size_bytes)
            got = 0
            while got < len(view):
                count = answer.readinto(view[got : got + _CHUNK_BYTES])
                if not count:
                    raise Trouble(f"{name} closed the connection after {got:,} of {len(view):,} bytes")
                got += count
                yield count
            answer.read()  # the end of the body: only then may the connection be used again
        except TimeoutError as exc:
            self.close()
            raise Trouble(f"{name} sent nothing for {self._timeout:g} s") from exc
        # Among them a reset in mid-body, for which the hub's own client (2.4.0) gives the file up at once.
        except (OSError, http.client.HTTPException) as exc:
            self.close()
            raise Trouble(f"the connection to {name} broke ({type(exc).__name__})") from exc
        # GeneratorExit: the caller stops in mid-body, and what is left of it would be taken for the next answer.
        except (Trouble, NoRanges, GeneratorExit):
            self.close()
            raise

    def close(self) -> None:
        """Close all connections."""
        for connection in self._open.values():
            connection.close()
        self._open.clear()

    def _get(self, address: SplitResult, first: int, last: int) -> http.client.HTTPResponse:
        for _ in range(_MOST_REDIRECTS):
            if self._hub.scheme == "https" and address.scheme != "https":
                raise HubRejected(f"The hub leads from https to {address.scheme or 'nowhere'}: bytes are not fetched without TLS.")
            # Identity: a compressed body has other offsets than the file.
            headers = {"Range": f"bytes={first}-{last}", "Accept-Encoding": "identity", "User-Agent": "slipway"}
            # The CDN's link is signed and needs no token, and another origin must not see it.
            if self._token is not None and (address.scheme, address.netloc) == (self._hub.scheme, self._hub.netloc):
                headers["Authorization"] = f"Bearer {self._token}"
            connection, target = self._connection(address)
            connection.request("GET", target, headers=headers)
            answer = connection.getresponse()
            if answer.status not in (301, 302, 303, 307, 308):
                return answer
            # To its end, or the connection cannot be used again.
            answer.read()
            address = urlsplit(urljoin(address.geturl(), answer.headers.get("Location", "")))
        raise Trouble(f"{address.hostname} redirects in a circle", stale=True)

    def _connection(self, address: SplitResult) -> tuple[http.client.HTTPConnection, str]:
        """The connection to the address's origin, and the request's target on it: through the environment's proxy, if there is one."""
        host, port = address.hostname or "", address.port
        path = f"{address.path or '/'}{'?' if address.query else ''}{address.query}"
        # http.client takes no proxy from the environment by itself.
        proxy = None if proxy_bypass(host) else getproxies().get(address.scheme)
        origin = (address.scheme, address.netloc)
        connection = self._open.get(origin)
        if connection is None:
            through = urlsplit(proxy) if proxy else None
            place = (through.hostname or "", through.port) if through else (host, port)
            if address.scheme == "https":
                connection = http.client.HTTPSConnection(*place, timeout=self._timeout, context=self._context)
                if through:
                    connection.set_tunnel(host, port or 443)
            else:
                connection = http.client.HTTPConnection(*place, timeout=self._timeout)
            self._open[origin] = connection
        # A proxy is told the whole address; through a tunnel (https) the server itself is asked for a path.
        return connection, address.geturl() if proxy and address.scheme == "http" else path

    def _require_part(self, answer: http.client.HTTPResponse, name: str, start: int, length: int, size_bytes: int) -> None:
        status = answer.status
        if status == 206:
            # With the total: a file that was replaced under its name has another.
            wanted = f"bytes {start}-{start + length - 1}/{size_bytes}"
            if (given := answer.headers.get("Content-Range", "")) != wanted:
                raise Trouble(f"{name} sent {given or 'an unnamed part'} where {wanted} was asked for", stale=True)
            return
        if status == 200:
            # All of it was asked for: the whole file is that part.
            if (start, length) == (0, size_bytes):
                return
            raise NoRanges
        if status in (408, 425, 429) or status >= 500:
            raise Trouble(f"{name} answered HTTP {status}", retry_after_seconds=retry_after(answer.headers.get("Retry-After")))
        # A signed link that has expired is answered so; a fresh one may do.
        raise Trouble(f"{name} answered HTTP {status}, also to fresh links", stale=True, kind=HubRejected)


def retry_after(value: str | None) -> float | None:
    """Seconds that a `Retry-After` header asks for: a number, or a date; none if it says neither."""
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    # TypeError: a date in the zone -0000 is read without a zone.
    except (TypeError, ValueError):
        return None
