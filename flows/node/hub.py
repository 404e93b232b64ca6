"""Where the files of a commit are: asked of the hub as the plan asks it, so that what was planned can be fetched.

Not by the hub's own client, which refuses mirrors that name no commit and compares no hashes (huggingface_hub 2.4.0).
"""

from __future__ import annotations

import os
import re
import threading
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import httpx2

from blocks.errors import HubRejected, HubUnreachable, PipelineError
from blocks.hub.errors import refusal
from blocks.hub.token import sendable_token
from blocks.hub.waits import stated_wait
from flows.node.http import Answered, Connections
from flows.node.patience import Trouble
from flows.node.snapshot import Wanted
from flows.node.xet import Xet, XetFile, offered

#: Where people set the node's token, for messages; the plan's is the hub block's.
_HOLDER = "the Secret that prefetch.token_secret of the environment names"


@dataclass(frozen=True, kw_only=True)
class Location:
    """Where a file's bytes are now.

    Attributes:
        url: Its address; it may hold a signature, so it never enters a message.
        size_bytes: What the hub says is there; none if it does not.
        xet: What the hub's own store has of it; none if it does not offer that.
    """

    url: str
    size_bytes: int | None
    xet: XetFile | None


class Hub:
    """One commit on the hub that the environment names (`HF_ENDPOINT`), read with its token (`HF_TOKEN_PATH`).

    Args:
        wanted: The commit.
        timeout_seconds: Longest silence.

    Attributes:
        xet: The hub's own store.

    Raises:
        HubRejected: The token cannot be read, or cannot be sent.
    """

    def __init__(self, wanted: Wanted, timeout_seconds: float) -> None:
        self._wanted = wanted
        self._timeout = timeout_seconds
        self._endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
        self._token = _token()
        self._context = httpx2.create_ssl_context()
        self._known: dict[str, Location] = {}
        self._lock = threading.Lock()
        self.xet = Xet(self._token)

    def connections(self) -> Connections:
        """Connections for one thread; they trust the certificates that the plan trusts."""
        return Connections(self._endpoint, self._token, self._context, self._timeout)

    def locate(self, path: str, connections: Connections) -> Location:
        """Where the file is; asked once, until the answer is forgotten.

        Raises:
            Trouble: The hub did not answer.
            HubRejected: The hub refuses, or answers for another commit.
        """
        # One HEAD for a file, not one for each of its segments.
        known = self._known.get(path)
        if known is not None:
            return known
        location = self._ask(path, connections)
        with self._lock:
            # Several threads ask at once in the beginning; all go on with one answer, as `forget` compares it.
            return self._known.setdefault(path, location)

    def forget(self, path: str, location: Location) -> None:
        """Ask anew next time, unless somebody already has."""
        with self._lock:
            if self._known.get(path) is location:
                del self._known[path]

    def _ask(self, path: str, connections: Connections) -> Location:
        wanted = self._wanted
        url = f"{self._endpoint}/{wanted.repository}/resolve/{wanted.commit}/{quote(path)}"
        said = connections.ask(url)
        if said.status in (405, 501):  # a mirror that knows GET alone: that finds its way, too
            return Location(url=url, size_bytes=None, xet=None)
        if said.status >= 400:
            headers, has_token = said.hops[-1], self._token is not None
            error = refusal(
                said.status, headers, self._endpoint, wanted.repository, wanted.commit, has_token=has_token, holder=_HOLDER, file=path
            )
            raise self._passing(error, stated_wait(headers))
        # Whoever names a commit must name that one; a mirror that names none is held to the hashes alone, as all are in the end.
        commit = said.said("X-Repo-Commit")
        if commit is not None and commit != wanted.commit:
            raise HubRejected(
                f"The hub {self._endpoint} answered for commit {commit[:40]} of {wanted.repository} where {wanted.commit} was asked for: "
                "it "
                "may be a proxy that does not keep commits apart."
            )
        return Location(url=said.url, size_bytes=_size(said), xet=offered(said, self._endpoint))

    def _passing(self, error: PipelineError, wait: float | None) -> Trouble | PipelineError:
        """Trouble that may pass, or an error of ours."""
        return (
            Trouble(error.message.removesuffix("; try again later."), retry_after_seconds=wait)
            if isinstance(error, HubUnreachable)
            else error
        )


def _size(said: Answered) -> int | None:
    """What the hub says the file's size is; what a redirect says of its own body is not that."""
    value = said.said("X-Linked-Size") or (None if said.away else said.hops[-1].get("Content-Length"))
    # None or nothing: empty files are not asked for, and there are mirrors that state the length of what they send for a HEAD.
    return (int(value) or None) if value is not None and re.fullmatch(r"\d{1,18}", value) else None


def _token() -> str | None:
    """The token of the environment: the file that `HF_TOKEN_PATH` names, as a mounted Secret is one."""
    path = os.environ.get("HF_TOKEN_PATH")
    if not path:
        return sendable_token(os.environ.get("HF_TOKEN"), "HF_TOKEN")
    try:
        text = Path(path).read_text(encoding="latin-1")
    except FileNotFoundError:
        return None
    return sendable_token(text, "HF_TOKEN_PATH")
