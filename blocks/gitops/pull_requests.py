"""Proposes a branch for merging on GitHub, GitLab or Gitea, and waits until somebody has merged it."""

from __future__ import annotations

import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote, urlsplit

import httpx

from blocks.errors import GitRejected, GitUnreachable
from blocks.gitops.command import read_token
from blocks.gitops.message import CommitMessage
from blocks.gitops.settings import ForgeKind, GitSettings

State = Literal["open", "merged", "closed"]


@dataclass(frozen=True, kw_only=True)
class _Forge:
    """What differs between the kinds: GitHub's REST API of 2022-11-28, GitLab's v4, Gitea's v1.

    Attributes:
        api: Path of the API on the repository's host.
        root: Path of a repository's pull requests, with `{owner}` and `{name}`, or `{project}` as one quoted part.
        number: The field by which a pull request is addressed.
        page: The field with the address that people open.
        called: What people call it.
    """

    api: str
    root: str
    number: str
    page: str
    called: str


_FORGES: dict[ForgeKind, _Forge] = {
    "github": _Forge(api="/api/v3", root="/repos/{owner}/{name}/pulls", number="number", page="html_url", called="Pull request"),
    "gitlab": _Forge(api="/api/v4", root="/projects/{project}/merge_requests", number="iid", page="web_url", called="Merge request"),
    "gitea": _Forge(api="/api/v1", root="/repos/{owner}/{name}/pulls", number="number", page="html_url", called="Pull request"),
}


def merge_requested(settings: GitSettings, kind: ForgeKind, branch: str, message: CommitMessage) -> str:
    """Propose the branch, unless that was done before, and wait until it is merged; return how people call the proposal.

    Raises:
        GitUnreachable: The forge did not answer; retried.
        GitRejected: It refuses, somebody closed the proposal, or nobody merged it in time.
    """
    requests = _PullRequests(settings, kind)
    with requests.client:
        found = requests.find(branch) or requests.propose(branch, message)
        shown = f"{requests.forge.called} {found[requests.forge.page]}"
        deadline = time.monotonic() + settings.merge_timeout_seconds
        while (state := requests.state(found)) == "open":
            if time.monotonic() > deadline:
                raise GitRejected(
                    f"{shown} was not merged within {settings.merge_timeout_seconds:g} s: merge it, then run this again; it will be found."
                )
            time.sleep(settings.poll_seconds)
            found = requests.read(found)
    if state == "closed":
        raise GitRejected(f"{shown} was closed without merging; run this again for a new one.")
    return shown


class _PullRequests:
    def __init__(self, settings: GitSettings, kind: ForgeKind) -> None:
        self.forge = _FORGES[kind]
        self._kind = kind
        self._settings = settings
        # `git@host:path` is no URL; as one, its host and path are found in the same way.
        place = urlsplit(settings.url if "://" in settings.url else f"ssh://{settings.url.replace(':', '/', 1)}")
        path = place.path.strip("/").removesuffix(".git")
        self._owner, _, name = path.rpartition("/")
        self._root = self.forge.root.format(owner=self._owner, name=name, project=quote(path, safe=""))
        token = read_token(settings)
        if token is None:
            raise GitRejected("The GitOps block asks for pull requests, but has no token for the forge's API: set one.")
        self.client = httpx.Client(
            base_url=settings.api_url or _usual_api(place.hostname or "", self.forge),
            headers=_headers(kind, token),
            timeout=settings.timeout_seconds,
            verify=ssl.create_default_context(cafile=str(settings.ca_file)) if settings.ca_file else True,
        )

    def find(self, branch: str) -> dict[str, Any] | None:
        """The newest proposal of the branch; none if there is none, or it was closed without merging."""
        # Gitea finds a proposal by its two branches, and says 404 where there is none.
        if self._kind == "gitea":
            listed = self._ask("GET", f"{self._root}/{quote(self._settings.branch, safe='')}/{quote(branch, safe='')}", missing=True)
        elif self._kind == "gitlab":
            listed = self._ask("GET", self._root, params={"source_branch": branch, "state": "all"})
        else:
            listed = self._ask("GET", self._root, params={"head": f"{self._owner}:{branch}", "state": "all"})
        found: list[dict[str, Any]] = listed if isinstance(listed, list) else [listed] if listed else []
        return next((one for one in found if self.state(one) != "closed"), None)

    def propose(self, branch: str, message: CommitMessage) -> dict[str, Any]:
        """Propose it for merging."""
        if self._kind == "gitlab":
            body = {
                "source_branch": branch,
                "target_branch": self._settings.branch,
                "description": message.description(),
                "remove_source_branch": True,
            }
        else:
            body = {"head": branch, "base": self._settings.branch, "body": message.description()}
        made: dict[str, Any] = self._ask("POST", self._root, json={"title": message.title(), **body})
        return made

    def read(self, found: Mapping[str, Any]) -> dict[str, Any]:
        """The same proposal as it is now."""
        now: dict[str, Any] = self._ask("GET", f"{self._root}/{found[self.forge.number]}")
        return now

    def state(self, found: Mapping[str, Any]) -> State:
        """What became of it: GitLab has a state of its own for merged ones, the others a field."""
        if found.get("state") == "merged" or found.get("merged") or found.get("merged_at"):
            return "merged"
        return "closed" if found.get("state") == "closed" else "open"

    def _ask(self, method: str, path: str, *, missing: bool = False, **more: Any) -> Any:
        host = self.client.base_url.host
        try:
            response = self.client.request(method, path, **more)
        except httpx.HTTPError as exc:
            raise GitUnreachable(f"The forge at {host} cannot be reached ({type(exc).__name__}).") from exc
        if missing and response.status_code == 404:
            return None
        if response.status_code == 429 or response.status_code >= 500:
            raise GitUnreachable(f"The forge at {host} answered HTTP {response.status_code}; try again later.")
        if response.status_code in (401, 403):
            raise GitRejected(
                f"The forge at {host} refuses the GitOps block's token (HTTP {response.status_code}): it must propose merges."
            )
        try:
            answer = response.json()
        except ValueError:
            answer = None
        if not response.is_success or answer is None:
            said = answer.get("message") if isinstance(answer, dict) else None
            why = f"{said}" if said else "no reason given"
            raise GitRejected(
                f"The forge at {host} refused {method} {path} (HTTP {response.status_code}: {why[:200]}): check the GitOps block's "
                "pull_requests, api_url and URL."
            )
        return answer


def _usual_api(host: str, forge: _Forge) -> str:
    return "https://api.github.com" if host == "github.com" else f"https://{host}{forge.api}"


def _headers(kind: ForgeKind, token: str) -> dict[str, str]:
    if kind == "gitlab":
        return {"PRIVATE-TOKEN": token}
    if kind == "gitea":
        return {"Authorization": f"token {token}"}
    return {"Authorization": f"Bearer {token}", "Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"}
