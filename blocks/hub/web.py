"""GETs from the hub: bounded in bytes, redirects and time, the token to the hub's own origin only.

A client of our own, as the hub's (huggingface_hub 2.4.0) has no such bounds: it sleeps for as long as `Retry-After` says, and reads an
answer to its end however long that is.
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.request import getproxies, proxy_bypass

import httpx2

from blocks.errors import HubRejected, HubUnreachable
from blocks.hub.errors import refusal, unreachable
from blocks.hub.token import sendable_token
from blocks.hub.waits import stated_wait

#: From the hub to its CDN is one redirect; a mirror may add some.
_MOST_REDIRECTS = 5

#: One answer may take so many times what its next bytes may: a server that sends a byte now and then must not hold a release up.
_PATIENCE = 3

#: What an answer must not be, as it is asked for as it is. Other words come with plain bytes (`aws-chunked` of object stores).
_COMPRESSED = frozenset({"gzip", "x-gzip", "deflate", "br", "zstd", "compress"})

#: A limit of the hub is over after five minutes at most (its `RateLimit-Policy` says `w=300`); what asks for longer is not waited for.
LONGEST_WAIT_SECONDS = 330.0


@dataclass(frozen=True, kw_only=True)
class About:
    """What a request is for, as messages call it.

    Attributes:
        repository: `organisation/name`.
        revision: Branch, tag or commit.
        file: The file of it; none if none is asked for.
    """

    repository: str
    revision: str
    file: str | None = None

    def __str__(self) -> str:
        return f"{self.file} of {self.repository}" if self.file else self.repository


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What came.

    Attributes:
        url: The address that sent it, after redirects.
        headers: Its headers.
        body: Its body; for a stretch of a file, that stretch.
        commits: Commits that the hub named on the way there.
    """

    url: str
    headers: Mapping[str, str]
    body: bytes
    commits: frozenset[str]


class Web:
    """Requests to one hub. Threads may share it.

    Args:
        endpoint: The hub's address, which may lie below a path.
        token: The hub's token; it is sent to that origin and to no other.
        timeout_seconds: How long connecting, or the next bytes of an answer, may take.

    Raises:
        HubRejected: The token is one that cannot be sent, or the environment's proxy one that cannot be used.
    """

    def __init__(self, endpoint: str, token: str | None, timeout_seconds: float) -> None:
        self.endpoint = endpoint
        self.seconds = timeout_seconds
        self._token = sendable_token(token, "the hub block")
        self._own = httpx2.URL(endpoint)
        # Redirects are gone through by hand, as each has to be asked about TLS and about the token.
        try:
            self._client = httpx2.Client(timeout=timeout_seconds, follow_redirects=False, headers={"User-Agent": "slipway"})
        # Of the environment's proxies; the address may hold a password, and is not shown.
        except (ImportError, ValueError, httpx2.InvalidURL) as exc:
            raise HubRejected(
                "The proxy that http_proxy, https_proxy or all_proxy names cannot be used: give it as http://HOST:PORT, with "
                "user and password before the host if it wants them, and networks in no_proxy as 10.0.0.0/8."
            ) from exc
        self._refuse_proxy()

    def _refuse_proxy(self) -> None:
        """Refuse a proxy that this client could speak TLS to, and the nodes cannot: what is planned must be fetched."""
        proxies = getproxies()
        scheme = self._own.scheme if proxies.get(self._own.scheme) else "all"
        spoken, marked, _ = proxies.get(scheme, "").partition("://")
        if marked and spoken.lower() != "http" and not proxy_bypass(self._own.host, proxies):
            raise HubRejected(
                f"The proxy that {scheme}_proxy names speaks {spoken[:20]!r}, which the nodes cannot: give one that speaks http, as "
                "http://HOST:PORT."
            )

    def close(self) -> None:
        """Close its connections."""
        self._client.close()

    def get(self, url: str, about: About, most_bytes: int, *, stretch: tuple[int, int] | None = None) -> Answer:
        """What the address answers.

        Args:
            url: The address.
            about: What for.
            most_bytes: The longest body that is read.
            stretch: Offsets of the first byte and behind the last one, where a part of a file is wanted.

        Raises:
            HubRejected: It is not there, may not be read, is too long, or leads nowhere.
            HubUnreachable: It was not answered, or not in time.
        """
        until = time.monotonic() + LONGEST_WAIT_SECONDS
        while True:
            try:
                return self._follow(url, about, most_bytes, stretch)
            except _Later as later:
                # Not slept out first: a wait beyond the limit ends now, and says so.
                if time.monotonic() + later.seconds > until:
                    raise later.error from None
                time.sleep(later.seconds + random.uniform(0, 0.1) * later.seconds)  # noqa: S311  # many runs must not come back together
            except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as exc:
                raise unreachable(exc, self.endpoint) from exc

    def next_page(self, answer: Answer, about: About) -> str | None:
        """The address of the page behind that one, at the hub itself; none if it was the last.

        Raises:
            HubRejected: The hub names another host for it.
        """
        try:
            links = httpx2.Response(200, headers={"Link": answer.headers.get("link", "")}).links
            target = links.get("next", {}).get("url")
            if target is None:
                return None
            url = httpx2.URL(answer.url).join(target)
        except (httpx2.InvalidURL, ValueError) as exc:
            raise HubRejected(
                f"The hub {self.endpoint} names no address for the next page of {about}; check the hub block's address."
            ) from exc
        if url.host != self._own.host:
            raise HubRejected(
                f"The hub {self.endpoint} sends the listing of {about} on to another host ({url.host[:80]!r}), which gets neither the "
                "token "
                "nor our trust: set the hub block to the address of the hub itself."
            )
        # A hub behind a proxy does not know its own scheme and port.
        return str(url.copy_with(scheme=self._own.scheme, netloc=self._own.netloc))

    def _follow(self, url: str, about: About, most_bytes: int, stretch: tuple[int, int] | None) -> Answer:
        deadline = time.monotonic() + _PATIENCE * self.seconds
        target, commits = httpx2.URL(url), set[str]()
        for _ in range(_MOST_REDIRECTS + 1):
            with self._client.stream("GET", target, headers=self._headers(target, stretch)) as response:
                if "x-repo-commit" in response.headers:
                    commits.add(response.headers["x-repo-commit"])
                if response.status_code < 300 or response.status_code == 416:
                    body = self._body(response, about, most_bytes, stretch, deadline)
                    return Answer(url=str(target), headers=response.headers, body=body, commits=frozenset(commits))
                if response.status_code >= 400:
                    raise self._refused(response, about)
                target = self._redirected(target, response, about)
        raise HubRejected(f"The hub {self.endpoint} redirects {about} in circles; check the hub block's address.")

    def _headers(self, target: httpx2.URL, stretch: tuple[int, int] | None) -> dict[str, str]:
        headers = {"Accept-Encoding": "identity"}  # what is compressed has other offsets, and may be endless when it is unpacked
        if stretch is not None:
            headers["Range"] = f"bytes={stretch[0]}-{stretch[1] - 1}"
        if self._token is not None and _origin(target) == _origin(self._own):
            headers["Authorization"] = f"Bearer {self._token}"
        return headers

    def _body(self, response: httpx2.Response, about: About, most_bytes: int, stretch: tuple[int, int] | None, deadline: float) -> bytes:
        begin, end = stretch or (0, most_bytes)
        if response.status_code == 416:
            return b""  # the file ends before
        coding = response.headers.get("content-encoding", "").strip().lower()
        if coding in _COMPRESSED:
            raise HubRejected(
                f"The hub {self.endpoint} answers for {about} with what is compressed ({coding}), which was not asked for: have the "
                "proxy or mirror that does so leave answers as they are."
            )
        skip = 0 if response.status_code == 206 else begin  # a server without ranges sends the file from its beginning
        content = bytearray()
        for chunk in response.iter_raw():  # as it comes: a chunk size would make it wait for that much
            content += chunk
            if len(content) >= skip + end - begin:
                break
            if time.monotonic() > deadline:
                raise HubUnreachable(f"{about} comes too slowly from the hub {self.endpoint}; try again later.")
        if stretch is None and len(content) > most_bytes:
            raise HubRejected(f"The hub {self.endpoint} answers for {about} with more than {most_bytes:,} bytes; it may not be a hub.")
        return bytes(content[skip : skip + end - begin])

    def _refused(self, response: httpx2.Response, about: About) -> Exception:
        headers, status = response.headers, response.status_code
        error = refusal(
            status,
            headers,
            self.endpoint,
            about.repository,
            about.revision,
            has_token=self._token is not None,
            holder="the hub block",
            file=about.file,
        )
        wait = stated_wait(headers) if status in (429, 503) else None
        if wait is None:
            return error
        return _Later(
            wait, HubUnreachable(f"The hub {self.endpoint} answered HTTP {status} and wants {wait:,.0f} s of pause; try again then.")
        )

    def _redirected(self, url: httpx2.URL, response: httpx2.Response, about: About) -> httpx2.URL:
        location = response.headers.get("location", "")
        if not location:
            raise HubRejected(f"The hub {self.endpoint} answers HTTP {response.status_code} for {about}, and does not say where it is.")
        try:
            target = url.join(location)
        except (httpx2.InvalidURL, ValueError) as exc:
            raise HubRejected(f"The hub {self.endpoint} redirects {about} to what is no address; check the hub block's address.") from exc
        if target.scheme not in ("http", "https") or (url.scheme == "https" and target.scheme != "https"):
            raise HubRejected(f"The hub {self.endpoint} redirects {about} to an address without TLS.")
        return target


class _Later(Exception):
    """The hub wants a pause before the same is asked again."""

    def __init__(self, seconds: float, error: HubUnreachable) -> None:
        super().__init__()
        self.seconds = seconds
        self.error = error


def _origin(url: httpx2.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port
