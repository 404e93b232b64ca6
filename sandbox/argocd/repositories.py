"""Git repositories, as Argo CD's repository server sees them: mirrors, what branches point to, and the files of commits.

Real `git` does the work, so every address that it knows will do: a folder, `file://`, HTTP. Not emulated: credentials, submodules,
large files, signatures, tags by range.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import re
import subprocess
import tarfile
import tempfile
from pathlib import Path

_COMMIT = re.compile(r"^[0-9a-f]{40}$")


class SourceError(Exception):
    """Manifests cannot be had; the message is what Argo CD shows in its condition."""


class Repositories:
    """All repositories that Applications name.

    Args:
        folder: Where mirrors and files are kept.

    Attributes:
        down: Whether no repository can be reached; what was fetched before is still known.
    """

    def __init__(self, folder: Path) -> None:
        self.down = False
        self._folder = folder
        self._resolved: dict[tuple[str, str], str] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def resolve(self, url: str, target: str, *, fresh: bool) -> str:
        """The commit that a branch, a tag or a commit stands for.

        Args:
            url: The repository.
            target: What to resolve; empty for the default branch.
            fresh: Whether to ask the repository; otherwise what it said last is good enough, as in Argo CD's cache of revisions.

        Raises:
            SourceError: The repository or the revision cannot be found.
        """
        known = self._resolved.get((url, target))
        if known is not None and not fresh:
            return known
        async with self._locks.setdefault(url, asyncio.Lock()):
            # A commit does not move: one that is there needs no fetch.
            if not _COMMIT.match(target) or not await self._has(url, target):
                await self._fetch(url)
            try:
                found = await self._git(self._mirror(url), "rev-parse", "--verify", "--quiet", f"{target or 'HEAD'}^{{commit}}")
            except SourceError as exc:
                raise SourceError(f"rpc error: code = Unknown desc = unable to resolve '{target or 'HEAD'}' to a commit SHA") from exc
        commit = self._resolved[url, target] = found.decode().strip()
        return commit

    async def files(self, url: str, commit: str) -> Path:
        """The folder with the files of a commit that was resolved.

        Raises:
            SourceError: The commit is not in the repository.
        """
        folder = self._folder / "files" / _key(url) / commit
        async with self._locks.setdefault(url, asyncio.Lock()):
            if not folder.exists():
                mirror = self._mirror(url)
                if await self._git(mirror, "ls-tree", commit):
                    await asyncio.to_thread(_unpack, await self._git(mirror, "archive", "--format=tar", commit), folder)
                else:  # tarfile takes an archive without files for none
                    folder.mkdir(parents=True)
        return folder

    async def _has(self, url: str, commit: str) -> bool:
        if not self._mirror(url).exists():
            return False
        try:
            await self._git(self._mirror(url), "cat-file", "-e", f"{commit}^{{commit}}")
        except SourceError:
            return False
        return True

    async def _fetch(self, url: str) -> None:
        if self.down:
            raise SourceError(f'rpc error: code = Unknown desc = failed to list refs: Get "{url}": dial tcp: connect: connection refused')
        mirror = self._mirror(url)
        if mirror.exists():
            await self._git(mirror, "fetch", "--quiet", "--prune", "--force", url, "+refs/*:refs/*")
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        await self._git(None, "clone", "--quiet", "--mirror", url, str(mirror))

    def _mirror(self, url: str) -> Path:
        return self._folder / f"{_key(url)}.git"

    async def _git(self, mirror: Path | None, *arguments: str) -> bytes:
        where = [] if mirror is None else ["--git-dir", str(mirror)]
        environment = {**os.environ, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
        done = await asyncio.to_thread(
            subprocess.run, ["git", *where, *arguments], stdin=subprocess.DEVNULL, capture_output=True, env=environment, check=False
        )
        if done.returncode != 0:
            said = " ".join(done.stderr.decode(errors="replace").split())
            raise SourceError(f"rpc error: code = Unknown desc = failed to list refs: {said or f'git {arguments[0]} failed'}")
        return done.stdout


def _key(url: str) -> str:
    return hashlib.sha256(url.encode()).hexdigest()[:16]


def _unpack(archive: bytes, folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".partial-"))
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        # As an attribute: before 3.11.4 there are no filters, and an argument for one is an error. What git wrote leaves no folder.
        tar.extraction_filter = getattr(tarfile, "data_filter", lambda member, path: member)
        tar.extractall(partial)  # noqa: S202  # filtered above
    # Under its name when it is whole: whoever finds the folder uses it.
    partial.rename(folder)
