"""Reads the beginnings of a commit's files by range requests, and whole small files, held to what the listing says of them."""

from __future__ import annotations

import hashlib
from urllib.parse import quote

from blocks.errors import HubRejected
from blocks.facts import HubCommit, HubFile
from blocks.hub.web import About, Web


class HubReader:
    """Reads stretches of files of one commit. Threads may share it.

    Args:
        web: The hub.
        commit: The commit.
    """

    def __init__(self, web: Web, commit: HubCommit) -> None:
        self._web = web
        self._commit = commit
        self._files = {file.path: file for file in commit.files}

    @property
    def repository(self) -> str:
        """The repository, as messages call it."""
        return self._commit.repository

    def file(self, path: str) -> HubFile | None:
        """What the listing says of a file; none if it has none of that path."""
        return self._files.get(path)

    def named(self, path: str) -> str:
        """The file as messages call it."""
        return f"{path} of {self._commit.repository}"

    def read(self, path: str, begin: int, end: int) -> bytes:
        """The file's bytes from `begin` until before `end`, or until the file's end.

        Raises:
            HubRejected: The file is not there, may not be read, or another commit's was sent.
            HubUnreachable: The hub or its CDN did not answer, or not in time.
        """
        if begin >= end:
            return b""
        repository, commit = self._commit.repository, self._commit.commit
        url = f"{self._web.endpoint}/{repository}/resolve/{commit}/{quote(path)}"
        answer = self._web.get(url, About(repository=repository, revision=commit, file=path), end - begin, stretch=(begin, end))
        # Whoever names a commit must name that one. A CDN names none, and not every mirror does: what comes is held to the listing's
        # hashes.
        if wrong := sorted(answer.commits - {commit}):
            raise HubRejected(f"The hub {self._web.endpoint} sent {path} of commit {wrong[0][:40]}, not of {commit}; it may not be a hub.")
        return answer.body

    def whole(self, path: str, most_bytes: int, what: str) -> bytes:
        """All of a small file, the very one that the listing names.

        Args:
            path: The file; it must be listed.
            most_bytes: How large it may be.
            what: What it is, for messages: `a configuration`.

        Raises:
            HubRejected: It is larger, or not the one that the listing names.
            HubUnreachable: The hub or its CDN did not answer, or not in time.
        """
        file = self._files[path]
        if file.size_bytes > most_bytes:
            raise HubRejected(f"{self.named(path)} has {file.size_bytes:,} bytes; {what} has {most_bytes:,} at most.")
        content = self.read(path, 0, file.size_bytes)
        git = hashlib.sha1(f"blob {len(content)}\0".encode() + content, usedforsecurity=False)
        if file.digest != (hashlib.sha256(content) if file.algorithm == "sha256" else git).hexdigest():
            # What is decided by it must be what the nodes will get, and they get what the listing says.
            raise HubRejected(
                f"The hub sent another {self.named(path)} than its own list of files says; try again, or use another revision."
            )
        return content
