"""The client: working copies of the repository, each in a temporary folder of its own."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from blocks.gitops.checkout import Checkout
from blocks.gitops.command import Git
from blocks.gitops.settings import GitSettings


class GitOpsClient:
    """Opens working copies. A shallow clone of a repository of values takes well under a second on a near network."""

    def __init__(self, settings: GitSettings) -> None:
        self._settings = settings

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    @property
    def url(self) -> str:
        """The repository's address, as Applications name it."""
        return self._settings.url

    @property
    def branch(self) -> str:
        """The branch that Argo CD follows."""
        return self._settings.branch

    @contextmanager
    def checkout(self) -> Iterator[Checkout]:
        """A shallow working copy of the branch as it is now; it goes at the end.

        Raises:
            GitUnreachable: The repository did not answer; retried.
            GitRejected: The repository or branch does not exist, or the credentials are refused.
        """
        with self._scratch() as (git, folder):
            branch, url = f"--branch={self._settings.branch}", self._settings.url
            git.run("clone", "--quiet", "--depth=1", "--single-branch", "--no-tags", branch, url, ".")
            yield Checkout(self._settings, git, folder)

    def holds_same(self, folder: str, one: str, other: str) -> bool:
        """Whether two commits of the repository hold the very same in the folder.

        Raises:
            GitUnreachable: The repository did not answer; retried.
            GitRejected: It has no such commit, or does not give one by its name.
        """
        with self._scratch() as (git, _):
            git.run("init", "--quiet")
            git.run("fetch", "--quiet", "--depth=1", "--no-tags", self._settings.url, one, other)
            return not git.run("diff", "--name-only", one, other, "--", folder)

    @contextmanager
    def _scratch(self) -> Iterator[tuple[Git, Path]]:
        with tempfile.TemporaryDirectory(prefix="slipway-gitops-", ignore_cleanup_errors=True) as scratch:
            folder = Path(scratch, "work")
            folder.mkdir()
            yield Git(self._settings, folder), folder
