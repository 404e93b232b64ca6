"""What the hub says of a revision: which commit it is, and which files that has. Names and sizes only; nothing of the files is read."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from blocks.errors import HubRejected, HubUnreachable
from blocks.facts import HubCommit, HubFile
from blocks.hub.answers import MODEL_INFO, PAGE, REFERENCES, ListedFile, ModelInfo, is_commit, is_repository, validated
from blocks.hub.web import About, Web

#: The most that a listing may be: entries, pages, bytes of a page, and how many times one answer's patience. The largest repositories
#: have some ten thousand files, 1,000 on a page of some 300 kB.
_MOST_ENTRIES = 250_000
_MOST_PAGES = 2_000
_MOST_PAGE_BYTES = 32 * 2**20
_PATIENCE = 15

#: The most that the information on a revision may be; it names every file once more.
_MOST_INFO_BYTES = 64 * 2**20

#: Of a model card's licences, so many are kept, and so much of a name.
_MOST_LICENCES, _MOST_LICENCE = 10, 80


def read_commit(web: Web, repository: str, revision: str) -> HubCommit:
    """The commit that a revision (branch, tag or commit) is now, with its files.

    Raises:
        HubRejected: The repository or revision does not exist, may not be read, or the answer is not what a hub says.
        HubUnreachable: The hub did not answer.
    """
    if not is_repository(repository):
        raise HubRejected(f"{repository[:200]!r} is not a repository name: give organisation/name.")
    if not revision.isprintable() or not 0 < len(revision) <= 255 or revision in (".", ".."):
        raise HubRejected(f"{revision[:200]!r} is not a revision of {repository}: give a branch, a tag or all 40 digits of a commit.")
    about = About(repository=repository, revision=revision)
    api = f"{web.endpoint}/api/models/{repository}"
    answer = web.get(f"{api}/revision/{quote(revision, safe='')}", about, _MOST_INFO_BYTES)
    info = validated(MODEL_INFO, answer.body, _shown(web, about, "revision"))
    if is_commit(revision) and info.sha != revision:
        raise HubRejected(
            f"The hub {web.endpoint} answers with commit {info.sha} of {repository} where {revision} was asked for; it may not be a hub."
        )
    notes = _renamed(info, repository)
    if info.id is not None:
        # From here on by its name of today: under the old one somebody else may make another repository.
        about, api = replace(about, repository=info.id), f"{web.endpoint}/api/models/{info.id}"
    if info.gated:
        # A gated repository shows its listing to everybody: only this tells whether its files may be had.
        _require_access(web, f"{api}/auth-check", about)
    notes += _two_meanings(web, info, about)
    # By the commit: a branch may move between the two requests.
    entries = _entries(web, f"{api}/tree/{info.sha}?recursive=true&expand=false", about)
    return HubCommit(
        repository=about.repository,
        commit=info.sha,
        files=tuple(_files(entries, _shown(web, about, "list of files"))),
        licences=_licences(info.cardData or {}),
        gated=bool(info.gated),
        notes=tuple(notes),
    )


def _require_access(web: Web, url: str, about: About) -> None:
    try:
        web.get(url, about, _MOST_INFO_BYTES)
    except HubRejected as exc:
        # A mirror that repeats what the hub says of the gate, and knows no such question: the files themselves will tell.
        if exc.facts.get("status") not in (404, 405):
            raise


def _entries(web: Web, url: str, about: About) -> Iterator[ListedFile]:
    deadline = time.monotonic() + _PATIENCE * web.seconds
    entries, pages = 0, 0
    following: str | None = url
    while following is not None:
        answer = web.get(following, about, _MOST_PAGE_BYTES)
        page = validated(PAGE, answer.body, _shown(web, about, "list of files"))
        yield from (entry for entry in page if isinstance(entry, ListedFile))
        entries, pages = entries + len(page), pages + 1
        if entries > _MOST_ENTRIES or pages >= _MOST_PAGES:
            raise HubRejected(
                f"The hub {web.endpoint} lists more than {_MOST_ENTRIES:,} files or {_MOST_PAGES:,} pages of them for {about.repository}; "
                "no model has so many."
            )
        if time.monotonic() > deadline:
            raise HubUnreachable(
                f"The hub {web.endpoint} listed {entries:,} files of {about.repository} in {_PATIENCE * web.seconds:g} s and was not done; "
                "try again later."
            )
        following = web.next_page(answer, about)


def _files(entries: Iterator[ListedFile], shown: str) -> Iterator[HubFile]:
    seen: set[str] = set()
    folders: set[str] = set()
    for entry in entries:
        if entry.path in seen:
            raise HubRejected(f"{shown}: {entry.path} is there twice. Use another revision, or check that it is a hub.")
        seen.add(entry.path)
        folder = entry.path.rpartition("/")[0]
        while folder and folder not in folders:
            folders.add(folder)
            folder = folder.rpartition("/")[0]
        if entry.lfs is None:
            # Of small files, which git itself holds, the hub states git's hash alone.
            yield HubFile(path=entry.path, size_bytes=entry.size, digest=entry.oid, algorithm="git-sha1")
        elif entry.lfs.size != entry.size:
            raise HubRejected(f"{shown}: {entry.path} has two sizes, {entry.size:,} and {entry.lfs.size:,} bytes. Use another revision.")
        else:
            yield HubFile(path=entry.path, size_bytes=entry.size, digest=entry.lfs.oid, algorithm="sha256")
    if both := sorted(seen & folders):
        raise HubRejected(f"{shown}: {both[0]} is a file and a folder. Use another revision, or check that it is a hub.")


def _renamed(info: ModelInfo, repository: str) -> list[str]:
    if info.id is None or info.id == repository:
        return []
    return [f"{repository} is called {info.id} on the hub now, and is recorded as that: change `repository` in the model's file."]


def _two_meanings(web: Web, info: ModelInfo, about: About) -> list[str]:
    """Say which one was taken where a branch and a tag have the revision's name."""
    name = about.revision
    if is_commit(name) or name.startswith("refs/"):
        return []
    try:
        answer = web.get(f"{web.endpoint}/api/models/{about.repository}/refs", about, _MOST_INFO_BYTES)
    except HubRejected:
        return []  # a mirror that knows no references; what was taken is known by its commit all the same
    found = validated(REFERENCES, answer.body, _shown(web, about, "list of branches and tags"))
    branch = next((each.targetCommit for each in found.branches if each.name == name), None)
    tag = next((each.targetCommit for each in found.tags if each.name == name), None)
    if branch is None or tag is None or branch == tag:
        return []
    taken = {branch: "branch", tag: "tag"}.get(info.sha, "one that moved meanwhile")
    return [
        f"{name} names a branch ({branch[:12]}) and a tag ({tag[:12]}) of {about.repository}: the {taken} was taken, commit "
        f"{info.sha[:12]}; "
        "give the commit to choose."
    ]


def _shown(web: Web, about: About, what: str) -> str:
    return f"The hub {web.endpoint} answers wrongly for {about.repository}: its {what}"


def _licences(card: dict[str, Any]) -> tuple[str, ...]:
    """The licences that a model card names; `other` is replaced by the name that the card gives it."""
    named = card.get("license")
    other = card.get("license_name")
    names = [name for name in (named if isinstance(named, list) else [named]) if isinstance(name, str) and name][:_MOST_LICENCES]
    return tuple((other if name == "other" and isinstance(other, str) and other else name).lower()[:_MOST_LICENCE] for name in names)
