"""A stand-in for a Git forge: repositories over HTTPS by git's own `http-backend`, and the pull requests of GitHub, GitLab and Gitea.

Not emulated: accounts and rights (one token may do everything), reviews, pages for people, paging of lists.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote

import trustme
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sandbox.git import BareRepository
from sandbox.serving import HttpServer, LoopThread

Kind = Literal["github", "gitlab", "gitea"]

#: Where each kind has its API, on one host with the repositories.
_API = {"github": "/api/v3", "gitlab": "/api/v4", "gitea": "/api/v1"}


@dataclass(kw_only=True)
class PullRequest:
    """A proposal to merge a branch.

    Attributes:
        number: Its number.
        head: The branch.
        title: Its title.
        body: Its text.
        state: What became of it.
    """

    number: int
    head: str
    title: str
    body: str
    state: Literal["open", "closed", "merged"] = "open"


@dataclass
class Forge:
    """One repository, `platform/models`, on a server of its own.

    Attributes:
        kind: Whose API it speaks.
        repository: The repository.
        token: The only token that may read or write; an empty one lets everybody in.
        pull_requests: The proposals, in order.
        api_requests: What was asked of the API: method and path with query.
        status: Answer git with this HTTP status instead; 0 for the right answers.
        api_status: The same for the API.
    """

    folder: Path
    loop: LoopThread
    kind: Kind = "gitea"
    token: str = ""
    pull_requests: list[PullRequest] = field(default_factory=list)
    api_requests: list[str] = field(default_factory=list)
    status: int = 0
    api_status: int = 0

    def __post_init__(self) -> None:
        self.repository = BareRepository(self.folder / "git" / "platform" / "models.git")
        authority = trustme.CA()
        identity = authority.issue_cert("127.0.0.1")
        self.ca_file = self.folder / "ca.pem"
        authority.cert_pem.write_to_path(self.ca_file)
        chain, key = self.folder / "chain.pem", self.folder / "key.pem"
        key.touch(mode=0o600)
        identity.private_key_pem.write_to_path(key)
        for number, blob in enumerate(identity.cert_chain_pems):
            blob.write_to_path(chain, append=number > 0)
        routes = [
            Route(f"{_API[self.kind]}/{{path:path}}", self._api, methods=["GET", "POST"]),
            Route("/{path:path}", self._git, methods=["GET", "POST"]),
        ]
        self._server = HttpServer(Starlette(routes=routes), self.loop, certificate=(chain, key))
        self._server.start()
        self.url = f"{self._server.url}/platform/models.git"
        self.host = self._server.url

    def close(self) -> None:
        """Stop serving."""
        self._server.close()

    def merge(self, number: int) -> str:
        """Merge a proposal as a person does; the commit on the main branch."""
        wanted = self.pull_requests[number - 1]
        wanted.state = "merged"
        return self.repository.merge(wanted.head)

    async def _git(self, request: Request) -> Response:
        if self.status:
            return Response(status_code=self.status)
        given = request.headers.get("authorization", "").removeprefix("Basic ")
        if self.token and not base64.b64decode(given).endswith(f":{self.token}".encode()):
            return Response(status_code=401, headers={"www-authenticate": "Basic realm=forge"})
        environment = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(self.folder / "git"),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": request.url.path,
            "QUERY_STRING": request.url.query,
            "REQUEST_METHOD": request.method,
            "CONTENT_TYPE": request.headers.get("content-type", ""),
            "HTTP_CONTENT_ENCODING": request.headers.get("content-encoding", ""),
            "GIT_PROTOCOL": request.headers.get("git-protocol", ""),
            "REMOTE_USER": "slipway",
        }
        body = await request.body()
        command = ["git", "http-backend"]
        done = await asyncio.to_thread(subprocess.run, command, env=environment, input=body, capture_output=True, check=True)
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        return Response(content, status_code=int(headers.pop("Status", "200").split()[0]), headers=headers)

    async def _api(self, request: Request) -> Response:
        raw = request.scope["raw_path"].decode().removeprefix(_API[self.kind])
        self.api_requests.append(f"{request.method} {raw}{'?' if request.url.query else ''}{request.url.query}")
        if self.api_status:
            return JSONResponse({"message": "told to fail"}, self.api_status)
        shown = request.headers.get("private-token") if self.kind == "gitlab" else request.headers.get("authorization", "").split(" ")[-1]
        if self.token and shown != self.token:
            return JSONResponse({"message": "401 Unauthorized"}, 401)
        root = "/projects/platform%2Fmodels/merge_requests" if self.kind == "gitlab" else "/repos/platform/models/pulls"
        if not raw.startswith(root):
            return JSONResponse({"message": "404 Project Not Found"}, 404)
        rest = [unquote(part) for part in raw.removeprefix(root).strip("/").split("/") if part]
        return self._answer(request.method, rest, dict(request.query_params), json.loads(await request.body() or "{}"))

    def _answer(self, method: str, rest: list[str], query: Mapping[str, str], body: Mapping[str, Any]) -> Response:
        if method == "POST":
            return self._made(body)
        if len(rest) == 1:
            return JSONResponse(self._document(self.pull_requests[int(rest[0]) - 1]))
        if self.kind == "gitea":
            found = [one for one in self.pull_requests if rest[1:] == [one.head]]
            return JSONResponse(self._document(found[-1])) if found else JSONResponse({"message": "Not Found"}, 404)
        head = query["source_branch"] if self.kind == "gitlab" else query["head"].removeprefix("platform:")
        return JSONResponse([self._document(one) for one in reversed(self.pull_requests) if one.head == head])

    def _made(self, body: Mapping[str, Any]) -> Response:
        source, target, text = {
            "github": ("head", "base", "body"),
            "gitea": ("head", "base", "body"),
            "gitlab": ("source_branch", "target_branch", "description"),
        }[self.kind]
        if body[source] not in self.repository.branches() or body[target] != self.repository.branch:
            return JSONResponse({"message": "Validation Failed"}, 422)
        made = PullRequest(number=len(self.pull_requests) + 1, head=body[source], title=body["title"], body=body[text])
        self.pull_requests.append(made)
        return JSONResponse(self._document(made), 201)

    def _document(self, one: PullRequest) -> dict[str, Any]:
        page = f"{self.host}/platform/models/pulls/{one.number}"
        if self.kind == "gitlab":
            return {"iid": one.number, "state": {"open": "opened"}.get(one.state, one.state), "web_url": page, "merged_at": None}
        merged_at = "2026-01-01T00:00:00Z" if one.state == "merged" else None
        # GitHub and Gitea call a merged one closed, and say elsewhere that it was merged.
        known = {"number": one.number, "state": "open" if one.state == "open" else "closed", "html_url": page, "merged_at": merged_at}
        return known | {"merged": one.state == "merged"}
