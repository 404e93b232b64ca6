"""Ranged GETs into a buffer, by the standard library.

Into one buffer of its own, `http.client` was measured at 2.1 GB/s from this machine to itself; the hub client's own transport reaches
0.4 to 0.9 GB/s, as it makes new objects of every chunk.
"""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from urllib.parse import SplitResult

from blocks.errors import HubRejected
from flows.node.address import header_text, origin, web_address
from flows.node.bodies import NoRanges, fill, refused, require_part
from flows.node.patience import Trouble
from flows.node.proxies import proxy_for, refusal_of_proxy

#: Redirects that one request may lead through, and what is read of their bodies to use the connection again.
_MOST_REDIRECTS = 6
_MOST_REST_BYTES = 1 << 16

#: How long the end of a body is waited for when all that was wanted of it is there, in seconds.
_REST_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True)
class Answered:
    """What a server says of a file.

    Attributes:
        status: HTTP status of the last answer.
        url: Where that came from, or where the hub's own origin leads to.
        hops: The headers of all answers of the hub's own origin, the last one's last.
        away: Whether another origin is the next to ask.
    """

    status: int
    url: str
    hops: Sequence[Message]
    away: bool

    def said(self, name: str) -> str | None:
        """What the first answer that has this header says."""
        return next((headers[name] for headers in self.hops if name in headers), None)


class Connections:
    """One connection for each origin, kept open between requests. Not for several threads.

    Args:
        hub: The hub's address: the only origin that is sent the token.
        token: The hub token; none for public models.
        context: How TLS servers are verified.
        timeout_seconds: Longest silence.
    """

    def __init__(self, hub: str, token: str | None, context: ssl.SSLContext, timeout_seconds: float) -> None:
        self._hub = web_address(hub)
        self._own = origin(self._hub)
        self._token = token
        self._context = context
        self._timeout = timeout_seconds
        self._open: dict[tuple[str, str], http.client.HTTPConnection] = {}

    def ask(self, url: str) -> Answered:
        """What the hub's own origin says of a file, without its bytes; where it leads to another origin, that is not asked.

        Raises:
            Trouble: It did not answer.
            HubRejected: The address leads where bytes must not come from.
        """
        hops: list[Message] = []
        with self._troubles(url) as address:
            for _ in range(_MOST_REDIRECTS):
                answer = self._send("HEAD", address, {})
                hops.append(answer.headers)
                self._finish(answer, address)
                if not _redirects(answer):
                    return Answered(status=answer.status, url=address.geturl(), hops=hops, away=False)
                address = self._next(address, answer)
                if not self._is_hub(address):
                    return Answered(status=answer.status, url=address.geturl(), hops=hops, away=True)
        raise Trouble(f"{address.hostname} redirects in a circle", stale=True)

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
        with self._troubles(url) as address:
            answer, address = self._get(address, {"Range": f"bytes={start}-{start + len(view) - 1}"})
            require_part(answer, address.hostname or "", start, len(view), size_bytes)
            yield from fill(answer, view, address.hostname or "")
            self._finish(answer, address)

    def read_whole(self, url: str, buffer: memoryview, size_bytes: int) -> Iterator[memoryview]:
        """Read a whole file from a server that sends no parts; yield what came, which the next bytes overwrite.

        Raises:
            Trouble: Not all of it came.
            HubRejected: The address leads where bytes must not come from.
        """
        with self._troubles(url) as address:
            answer, address = self._get(address, {})
            name = address.hostname or ""
            if answer.status != 200:
                raise refused(answer, name)
            left = size_bytes
            while left:
                view = buffer[: min(left, len(buffer))]
                for _ in fill(answer, view, name):
                    pass
                left -= len(view)
                yield view
            self._finish(answer, address)

    def close(self) -> None:
        """Close all connections."""
        for connection in self._open.values():
            connection.close()
        self._open.clear()

    @contextmanager
    def _troubles(self, url: str) -> Iterator[SplitResult]:
        """Turn what a connection can meet into trouble of ours; after any of it, no connection is used again."""
        address = web_address(url)
        # All that errors name: the rest of a CDN's address is a signature.
        name = address.hostname or ""
        try:
            yield address
        except TimeoutError as exc:
            self.close()
            raise Trouble(f"{name} sent nothing for {self._timeout:g} s") from exc
        except ssl.SSLCertVerificationError as exc:
            self.close()
            raise HubRejected(
                f"The certificate of {name} is not trusted ({exc.verify_message}): give the authority that signed it in SSL_CERT_FILE."
            ) from exc
        # Among them a reset in mid-body, for which the hub's own client (2.4.0) gives the file up at once.
        except (OSError, http.client.HTTPException) as exc:
            self.close()
            if (proxy := refusal_of_proxy(exc)) is not None:
                raise proxy from exc
            raise Trouble(f"the connection to {name} broke ({type(exc).__name__})") from exc
        # GeneratorExit: the caller stops in mid-body, and what is left of it would be taken for the next answer.
        except (Trouble, NoRanges, HubRejected, GeneratorExit):
            self.close()
            raise

    def _get(self, address: SplitResult, headers: Mapping[str, str]) -> tuple[http.client.HTTPResponse, SplitResult]:
        for _ in range(_MOST_REDIRECTS):
            answer = self._send("GET", address, headers)
            if not _redirects(answer):
                return answer, address
            following = self._next(address, answer)
            self._finish(answer, address)
            address = following
        raise Trouble(f"{address.hostname} redirects in a circle", stale=True)

    def _send(self, method: str, address: SplitResult, headers: Mapping[str, str]) -> http.client.HTTPResponse:
        if self._hub.scheme == "https" and address.scheme != "https":
            raise HubRejected(f"The hub leads from https to {address.scheme or 'nowhere'}: bytes are not fetched without TLS.")
        # Identity: a compressed body has other offsets than the file.
        headers = {"Accept-Encoding": "identity", "User-Agent": "slipway", **headers}
        # The CDN's link is signed and needs no token, and another origin must not see it.
        if self._token is not None and self._is_hub(address):
            headers["Authorization"] = f"Bearer {self._token}"
        connection, target, proxy_headers = self._connection(address)
        connection.request(method, target, headers={**headers, **proxy_headers})
        answer = connection.getresponse()
        if answer.status == 407:
            raise HubRejected(
                f"The proxy before {address.hostname} wants another user or password (HTTP 407): correct {address.scheme}_proxy."
            )
        return answer

    def _is_hub(self, address: SplitResult) -> bool:
        return origin(address) == self._own

    def _connection(self, address: SplitResult) -> tuple[http.client.HTTPConnection, str, Mapping[str, str]]:
        """The connection to the address's origin, the request's target on it, and what the environment's proxy is to be told."""
        host, port = address.hostname or "", address.port
        path = f"{address.path or '/'}{'?' if address.query else ''}{address.query}"
        # http.client takes no proxy from the environment by itself.
        proxy = proxy_for(address.scheme, host, port)
        origin = (address.scheme, address.netloc)
        connection = self._open.get(origin)
        if connection is None:
            place = (proxy.host, proxy.port) if proxy else (host, port)
            if address.scheme == "https":
                connection = http.client.HTTPSConnection(*place, timeout=self._timeout, context=self._context)
                if proxy:
                    connection.set_tunnel(host, port or 443, headers=dict(proxy.headers))
            else:
                connection = http.client.HTTPConnection(*place, timeout=self._timeout)
            self._open[origin] = connection
        # A proxy is told the whole address, and its password; through a tunnel (https) the server itself is asked for a path.
        if proxy and address.scheme == "http":
            return connection, address.geturl(), proxy.headers
        return connection, path, {}

    def _next(self, address: SplitResult, answer: http.client.HTTPResponse) -> SplitResult:
        location = answer.headers.get("Location", "")
        if not location:
            raise HubRejected(f"{address.hostname} answers HTTP {answer.status} and does not say where the file is: it may not be a hub.")
        return web_address(header_text(location), address.geturl())

    def _finish(self, answer: http.client.HTTPResponse, address: SplitResult) -> None:
        """Read what is left of a body, so that its connection can be used again; close that if it is more than a little."""
        connection = self._open.get((address.scheme, address.netloc))
        if answer.isclosed() or connection is None:
            return
        try:
            if connection.sock is not None:
                connection.sock.settimeout(min(_REST_SECONDS, self._timeout))
            answer.read(_MOST_REST_BYTES)
            if not answer.isclosed() and answer.read(1):
                raise http.client.HTTPException
            if connection.sock is not None:
                connection.sock.settimeout(self._timeout)
        except (OSError, http.client.HTTPException):
            connection.close()
            del self._open[(address.scheme, address.netloc)]


def _redirects(answer: http.client.HTTPResponse) -> bool:
    """Whether it leads elsewhere; by any such status, as the plan goes by."""
    return 300 <= answer.status < 400
