"""Reads the beginnings of a commit's files by range requests: bounded in bytes and in time, the token to the hub's own origin only.

The hub's own client could read safetensors headers, but without a time limit, and it writes into its cache folder.
"""

from __future__ import annotations

import time
from typing import Self
from urllib.parse import quote

import httpx2
from huggingface_hub.utils import build_hf_headers, hf_raise_for_status  # type: ignore[attr-defined]  # exported lazily

from blocks.errors import HubRejected, HubUnreachable
from blocks.hub.errors import HUB_FAULTS, hub_error

#: From the hub to its CDN is one redirect; a mirror may add one.
_MOST_REDIRECTS = 4

#: One read may take so many times what one answer may: a server that sends a byte now and then must not hold a release up.
_PATIENCE = 3


class HubReader:
    """Reads stretches of files of one commit. Threads may share it.

    Args:
        endpoint: The hub's address.
        token: The hub's token; it is sent to that address and to no other.
        repository: `organisation/name`.
        commit: The commit's SHA.
        timeout_seconds: How long connecting, or the next bytes of an answer, may take.
    """

    def __init__(self, endpoint: str, token: str | None, repository: str, commit: str, timeout_seconds: float) -> None:
        self._endpoint, self._repository, self._commit = endpoint, repository, commit
        self._has_token = token is not None
        self._seconds = timeout_seconds
        self._own = httpx2.URL(endpoint)
        self._headers = build_hf_headers(token=token or False, library_name="slipway")
        # Redirects are gone through by hand, as each has to be asked about TLS and about the token.
        self._client = httpx2.Client(timeout=timeout_seconds, follow_redirects=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def read(self, path: str, begin: int, end: int) -> bytes:
        """The file's bytes from `begin` until before `end`, or until the file's end.

        Raises:
            HubRejected: The file is not there, may not be read, or another commit's was sent.
            HubUnreachable: The hub or its CDN did not answer, or not in time.
        """
        url = self._own.join(f"/{self._repository}/resolve/{self._commit}/{quote(path)}")
        deadline = time.monotonic() + _PATIENCE * self._seconds
        try:
            for _ in range(_MOST_REDIRECTS + 1):
                headers = dict(self._headers) if _origin(url) == _origin(self._own) else {"User-Agent": self._headers["user-agent"]}
                headers |= {"Range": f"bytes={begin}-{end - 1}", "Accept-Encoding": "identity"}
                with self._client.stream("GET", url, headers=headers) as response:
                    self._same_commit(response, path)
                    if not response.is_redirect:
                        return self._body(response, path, begin, end, deadline)
                    url = self._next(url, response, path)
        except (*HUB_FAULTS, httpx2.InvalidURL) as exc:
            raise hub_error(exc, self._endpoint, self._repository, self._commit, has_token=self._has_token) from exc
        raise HubRejected(f"The hub {self._endpoint} redirects {path} of {self._repository} in circles; check the hub block's address.")

    def _body(self, response: httpx2.Response, path: str, begin: int, end: int, deadline: float) -> bytes:
        if response.status_code == 416:
            return b""  # the file ends before
        if response.status_code >= 400:
            # Only the headers tell; an error's body may be as long as its sender likes.
            hf_raise_for_status(httpx2.Response(response.status_code, headers=_marks(response), request=response.request))
        skip = 0 if response.status_code == 206 else begin  # a server without ranges sends the file from its beginning
        content = bytearray()
        for chunk in response.iter_raw():  # as it comes: a chunk size would make it wait for that much
            content += chunk
            if len(content) >= skip + end - begin:
                break
            if time.monotonic() > deadline:
                raise HubUnreachable(f"{path} of {self._repository} comes too slowly from the hub {self._endpoint}; try again later.")
        return bytes(content[skip : skip + end - begin])

    def _next(self, url: httpx2.URL, response: httpx2.Response, path: str) -> httpx2.URL:
        target = url.join(response.headers.get("location", ""))
        if target.scheme not in ("http", "https") or (url.scheme == "https" and target.scheme != "https"):
            raise HubRejected(f"The hub {self._endpoint} redirects {path} of {self._repository} to an address without TLS.")
        return target

    def _same_commit(self, response: httpx2.Response, path: str) -> None:
        # A CDN's answer does not name the commit; the hub's own, which led there, did.
        sent = response.headers.get("x-repo-commit", self._commit)
        if sent != self._commit:
            raise HubRejected(f"The hub {self._endpoint} sent {path} of commit {sent[:40]}, not of {self._commit}; it may not be a hub.")


def _marks(response: httpx2.Response) -> dict[str, str]:
    return {name: value for name, value in response.headers.items() if name in ("x-error-code", "x-error-message")}


def _origin(url: httpx2.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port
