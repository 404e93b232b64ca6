"""The hub's own origin: model information, trees, references, access checks, and where each file is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import quote, urlencode

from sandbox.hub.replies import HubRequest, Reply, error_reply, file_reply, json_reply
from sandbox.hub.repositories import Commit, Repositories, Repository, StoredFile
from sandbox.hub.xet import Xet

USER_NAME = "slipway-demo-user"


class HubRoutes:
    """Answers requests to the hub.

    Args:
        repositories: What there is.
        tokens: Each known token with the gated and private repositories that it may read.
        url: The hub's own address, for links to next pages.
        below: The path that this ends in.
        link: Returns the CDN address of a large file.
        xet: The store of repositories that are xet-backed.
        page_size: How many entries a page of a tree has.
    """

    def __init__(
        self,
        repositories: Repositories,
        tokens: Mapping[str, set[str]],
        *,
        url: str,
        below: str,
        link: Callable[[Repository, StoredFile], str],
        xet: Xet,
        page_size: int,
    ) -> None:
        self._repositories = repositories
        self._tokens = tokens
        self._url = url
        self._below = below
        self._link = link
        self._xet = xet
        self._page_size = page_size

    def handle(self, request: HubRequest) -> Reply:
        """Answer one request."""
        if not request.raw_path.startswith(f"{self._below}/"):
            return error_reply(404, "Not Found")
        request = replace(request, raw_path=request.raw_path.removeprefix(self._below))
        token = _token(request)
        # On public repositories, too, as the real hub does.
        if token is not None and token not in self._tokens:
            return error_reply(401, "Invalid credentials in Authorization header")
        match request.segments:
            case ["api", "models", owner, name, *_] | [owner, name, "resolve", *_] if new := self._repositories.renamed(f"{owner}/{name}"):
                query = urlencode({key: values[0] for key, values in request.query.items()})
                path = request.raw_path.replace(f"/{owner}/{name}", f"/{new}", 1)
                return Reply(status=307, headers={"location": f"{self._below}{path}{f'?{query}' if query else ''}"})
            case ["api", "whoami-v2"]:
                return self._whoami(token)
            case ["api", "resolve-cache", "models", owner, name, sha, *path]:
                return self._with_repository(f"{owner}/{name}", token, lambda found: self._small_file(request, found, sha, "/".join(path)))
            case ["api", "models", owner, name, *rest]:
                return self._with_repository(f"{owner}/{name}", token, lambda found: self._api(request, found, token, rest))
            case [owner, name, "resolve", revision, *path] if path:
                return self._with_repository(
                    f"{owner}/{name}", token, lambda found: self._resolve(request, found, token, revision, "/".join(path))
                )
        return error_reply(404, "Not Found")

    def _whoami(self, token: str | None) -> Reply:
        if token is None:
            return error_reply(401, "Invalid username or password.")
        access = {"type": "access_token", "accessToken": {"displayName": "sandbox", "role": "read"}}
        return json_reply({"type": "user", "name": USER_NAME, "fullname": USER_NAME, "orgs": [], "auth": access})

    def _with_repository(self, repo_id: str, token: str | None, answer: Callable[[Repository], Reply]) -> Reply:
        repository = self._repositories.get(repo_id)
        if repository is None or (repository.private and repo_id not in self._tokens.get(token or "", ())):
            # The hub tells strangers nothing: a missing and a private repository look alike.
            return error_reply(401 if token is None else 404, "Repository not found", "RepoNotFound")
        if repository.disabled:
            return error_reply(403, "Access to this resource is disabled.")
        return answer(repository)

    def _gate(self, repository: Repository, token: str | None) -> Reply | None:
        """Return the refusal of a gated repository, None where access is granted."""
        if not repository.gated or repository.id in self._tokens.get(token or "", ()):
            return None
        if token is None:
            return error_reply(401, f"Access to model {repository.id} is restricted. You must be authenticated to access it.", "GatedRepo")
        waiting = "is awaiting a review from the repo authors" if repository.gated == "manual" else "must be asked for on its page"
        return error_reply(403, f"Access to model {repository.id} {waiting}.", "GatedRepo")

    def _api(self, request: HubRequest, repository: Repository, token: str | None, rest: list[str]) -> Reply:
        # Of a gated repository the files are kept back, and what is told of them is not.
        match rest:
            case ["auth-check"]:
                return self._gate(repository, token) or json_reply({})
            case ["xet-read-token", _] if repository.xet:
                return self._gate(repository, token) or self._xet.read_token()
            case ["refs"]:
                return json_reply(_references(repository))
            case [] | ["revision", _]:
                return self._with_commit(repository, rest[1] if rest else "main", lambda commit: _information(request, repository, commit))
            case ["tree", revision, *path]:
                folder = "/".join(path).strip("/")
                return self._with_commit(repository, revision, lambda commit: self._tree(request, repository, commit, folder))
        return error_reply(404, "Not Found")

    def _with_commit(self, repository: Repository, revision: str, answer: Callable[[Commit], Reply]) -> Reply:
        commit = repository.commit(revision)
        return answer(commit) if commit else error_reply(404, f"Invalid rev id: {revision}", "RevisionNotFound")

    def _resolve(self, request: HubRequest, repository: Repository, token: str | None, revision: str, path: str) -> Reply:
        refusal = self._gate(repository, token)
        if refusal:
            return refusal

        def answer(commit: Commit) -> Reply:
            file = commit.files.get(path)
            if file is None:
                return error_reply(404, "Entry not found", "EntryNotFound", {"x-repo-commit": commit.sha})
            headers = {"x-repo-commit": commit.sha, "x-linked-size": str(file.size_bytes), "etag": f'"{file.etag}"'}
            if file.large:
                location = self._link(repository, file)
                if repository.xet:
                    token_url = f"{self._url}/api/models/{repository.id}/xet-read-token/{commit.sha}"
                    headers |= {"x-xet-hash": file.sha256, "link": f'<{token_url}>; rel="xet-auth"'}
                return Reply(status=302, headers={**headers, "x-linked-etag": f'"{file.sha256}"', "location": location})
            # Relative, as the real hub's: on the same origin clients follow it by themselves, and with their token.
            location = f"{self._below}/api/resolve-cache/models/{repository.id}/{commit.sha}/{quote(path)}"
            return Reply(status=307, headers={**headers, "location": location})

        return self._with_commit(repository, revision, answer)

    def _small_file(self, request: HubRequest, repository: Repository, sha: str, path: str) -> Reply:
        refusal = self._gate(repository, _token(request))
        commit = repository.commits.get(sha)
        file = commit.files.get(path) if commit else None
        if refusal or file is None or file.large:
            return refusal or error_reply(404, "Entry not found", "EntryNotFound")
        headers = {"x-repo-commit": sha, "etag": f'"{file.etag}"'}
        return file_reply(file.content, file.size_bytes, request.headers.get("range"), headers)

    def _tree(self, request: HubRequest, repository: Repository, commit: Commit, folder: str) -> Reply:
        entries = _tree_entries(commit, folder, recursive=request.flag("recursive"), xet=repository.xet)
        if folder and not entries:
            return error_reply(404, f"{folder} does not exist", "EntryNotFound", {"x-repo-commit": commit.sha})
        start = int(request.query.get("cursor", ["0"])[0])
        limit = min(int(request.query.get("limit", [str(self._page_size)])[0]), self._page_size)
        headers = {"x-repo-commit": commit.sha}
        if start + limit < len(entries):
            kept = {name: values[0] for name, values in request.query.items()}
            following = urlencode({**kept, "cursor": str(start + limit)})
            headers["link"] = f'<{self._url}{request.raw_path}?{following}>; rel="next"'
        return json_reply(entries[start : start + limit], headers)


def _token(request: HubRequest) -> str | None:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token if scheme.lower() == "bearer" and token else None


def _references(repository: Repository) -> dict[str, Any]:
    def listed(names: Mapping[str, str], kind: str) -> list[dict[str, str]]:
        return [{"name": name, "ref": f"refs/{kind}/{name}", "targetCommit": sha} for name, sha in names.items()]

    branches = {name: sha for name, sha in repository.branches.items() if not name.startswith("refs/")}
    return {"branches": listed(branches, "heads"), "converts": [], "tags": listed(repository.tags, "tags")}


def _information(request: HubRequest, repository: Repository, commit: Commit) -> Reply:
    licence = commit.card.get("license")
    stamp = commit.created_at.strftime("%Y-%m-%dT%H:%M:%S.000Z")
    blobs = request.flag("blobs")
    whole: dict[str, Any] = {
        "_id": commit.sha[:24],
        "id": repository.id,
        "modelId": repository.id,
        "author": repository.id.split("/")[0],
        "sha": commit.sha,
        "lastModified": stamp,
        "createdAt": stamp,
        "private": repository.private,
        "gated": repository.gated,
        "disabled": repository.disabled,
        "downloads": 0,
        "likes": 0,
        "tags": [*([f"license:{licence}"] if licence else []), *(["safetensors"] if commit.parameters else [])],
        "library_name": commit.card.get("library_name"),
        "pipeline_tag": commit.card.get("pipeline_tag"),
        "cardData": dict(commit.card),
        "siblings": [_sibling(file, blobs=blobs) for file in commit.files.values()],
        "usedStorage": sum(file.size_bytes for file in commit.files.values()),
    }
    if commit.parameters:
        whole["safetensors"] = {"parameters": dict(commit.parameters), "total": sum(commit.parameters.values())}
    wanted = request.query.get("expand") or request.query.get("expand[]")
    if wanted:
        whole = {name: value for name, value in whole.items() if name in ("_id", "id", *wanted)}
    return json_reply(whole, {"x-repo-commit": commit.sha})


def _sibling(file: StoredFile, *, blobs: bool) -> dict[str, Any]:
    if not blobs:
        return {"rfilename": file.path}
    entry: dict[str, Any] = {"rfilename": file.path, "size": file.size_bytes, "blobId": file.oid}
    if file.large:
        entry["lfs"] = {"sha256": file.sha256, "size": file.size_bytes, "pointerSize": file.pointer_size_bytes}
    return entry


def _tree_entries(commit: Commit, folder: str, *, recursive: bool, xet: bool) -> list[dict[str, Any]]:
    prefix = f"{folder}/" if folder else ""
    folders: dict[str, dict[str, Any]] = {}
    files: list[dict[str, Any]] = []
    for path, file in commit.files.items():
        if not path.startswith(prefix):
            continue
        parents = path.removeprefix(prefix).split("/")[:-1]
        for depth in range(len(parents) if recursive else min(1, len(parents))):
            name = prefix + "/".join(parents[: depth + 1])
            folders[name] = {"type": "directory", "oid": commit.sha, "size": 0, "path": name}
        if recursive or not parents:
            entry: dict[str, Any] = {"type": "file", "oid": file.oid, "size": file.size_bytes, "path": path}
            if file.large:
                # Here the hash is called `oid`; in the model's information it is called `sha256`.
                entry["lfs"] = {"oid": file.sha256, "size": file.size_bytes, "pointerSize": file.pointer_size_bytes}
                if xet:
                    entry["xetHash"] = file.sha256
            files.append(entry)
    return [*folders.values(), *files]
