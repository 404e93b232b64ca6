"""The stand-in hub as one object: two HTTP servers over a folder of repositories."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from sandbox.hub.faults import Faults
from sandbox.hub.log import RequestLog
from sandbox.hub.origin import OriginApp
from sandbox.hub.replies import HubRequest, Reply, file_reply
from sandbox.hub.repositories import Gate, Repositories, Repository, StoredFile
from sandbox.hub.routes import HubRoutes
from sandbox.hub.xet import Xet
from sandbox.serving import HttpServer, LoopThread


class Hub:
    """A hub on this machine. Addresses are known from the beginning; requests are answered between `start` and `close`.

    Args:
        folder: Where it keeps the files' contents.
        loop: The loop to serve on.
        page_size: How many entries a page of a tree has (1000 on the real hub).
        below: A path that all addresses of the hub lie below, as a mirror's may: `/hub`.
        host: The address that it listens on.

    Attributes:
        tokens: Each known token with the gated and private repositories that it may read. A test changes it at will.
        requests: What was asked.
        faults: What goes wrong.
    """

    def __init__(self, folder: Path, loop: LoopThread, *, page_size: int = 1000, below: str = "", host: str = "127.0.0.1") -> None:
        self.tokens: dict[str, set[str]] = {}
        self.requests = RequestLog()
        self.faults = Faults()
        self._repositories = Repositories(folder)
        self._secret = secrets.token_bytes(16)
        self._link_age = 0
        self._cdn = HttpServer(OriginApp("cdn", self._large_file, self.faults, self.requests), loop, host=host)
        self._hub = HttpServer(OriginApp("hub", self._answer, self.faults, self.requests), loop, host=host)
        self._cas = HttpServer(OriginApp("cas", lambda request: xet.answer(request), self.faults, self.requests), loop, host=host)
        self._has_cas = False
        self.url = f"{self._hub.url}{below}"
        self.cdn_url = self._cdn.url
        xet = Xet(self._cas.url, self._repositories.large_file)
        self._routes = HubRoutes(self._repositories, self.tokens, url=self.url, below=below, link=self._link, xet=xet, page_size=page_size)

    def start(self) -> None:
        """Begin to serve on both origins."""
        self._cdn.start()
        self._hub.start()

    def close(self) -> None:
        """Stop serving and remove the contents. Safe to call twice."""
        for origin in (self._hub, self._cdn, self._cas):
            origin.close()
        self._repositories.clear()

    def add(
        self,
        repo_id: str,
        files: Mapping[str, bytes | Path],
        *,
        branch: str = "main",
        tag: str | None = None,
        gated: Gate = False,
        private: bool = False,
        disabled: bool = False,
        licence: str | None = None,
        xet: bool = False,
    ) -> str:
        """Add a commit to a repository, made if there is none, and move the branch to it; earlier commits stay.

        Args:
            repo_id: `organisation/name`.
            files: All files of the commit: contents, or paths of files to copy.
            branch: The branch that moves; `refs/pr/1` is a pull request's.
            tag: A tag that is set on the commit.
            gated: From now on access must be granted: `auto` on asking, `manual` after a review.
            private: From now on only tokens that are granted the repository see it.
            disabled: From now on the repository answers 403.
            licence: Overrides the licence in the model card's front matter.
            xet: From now on the hub offers its own protocol for the repository's large files, beside plain HTTP.

        Returns:
            The commit's SHA, 40 hexadecimal digits.

        Raises:
            ValueError: A path leads out of the repository.
        """
        if xet and not self._has_cas:
            self._cas.start()
            self._has_cas = True
        return self._repositories.add(
            repo_id, files, branch=branch, tag=tag, gated=gated, private=private, disabled=disabled, licence=licence, xet=xet
        )

    def rename(self, repo_id: str, new_id: str) -> None:
        """Give a repository another name; requests for the old one are redirected from now on."""
        self._repositories.rename(repo_id, new_id)

    def expire_links(self) -> None:
        """Make every CDN address handed out so far answer 403; the hub hands out fresh ones."""
        self._link_age += 1

    def _answer(self, request: HubRequest) -> Reply:
        return self._routes.handle(request)

    def _link(self, repository: Repository, file: StoredFile) -> str:
        place = f"/repos/{repository.id}/{file.sha256}/{quote(file.path)}"
        return f"{self.cdn_url}{place}?age={self._link_age}&signature={self._signature(place, self._link_age)}"

    def _signature(self, place: str, age: int) -> str:
        return hmac.new(self._secret, f"{place}?{age}".encode(), hashlib.sha256).hexdigest()[:32]

    def _large_file(self, request: HubRequest) -> Reply:
        signature = request.query.get("signature", [""])[0]
        if not hmac.compare_digest(signature, self._signature(request.raw_path, self._link_age)):
            return Reply(status=403, headers={"content-type": "application/xml"}, body=b"<Error><Code>AccessDenied</Code></Error>")
        _, owner, name, sha256, *path = request.segments
        repository = self._repositories.get(f"{owner}/{name}")
        files = (commit.files.get("/".join(path)) for commit in repository.commits.values()) if repository else ()
        file = next((file for file in files if file and file.sha256 == sha256), None)
        if file is None:
            return Reply(status=404)
        return file_reply(file.content, file.size_bytes, request.headers.get("range"), {"etag": f'"{sha256}"'})

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
