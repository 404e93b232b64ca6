"""What the hub says of a repository."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class HubFile:
    """A file of a hub commit: its path, size, and the hash that the hub states (SHA-256 of large files, git's blob SHA-1 of others)."""

    path: str
    size_bytes: int
    digest: str
    algorithm: Literal["sha256", "git-sha1"]


@dataclass(frozen=True, kw_only=True)
class HubCommit:
    """One commit of a hub repository with all its files.

    Attributes:
        repository: `organisation/name`, as it is called now.
        commit: Its SHA.
        files: All its files.
        licences: What its model card names, in lower case; the licence's own name where the card says `other`. Empty if it names none.
        gated: Whether its terms must be accepted first (they were, if this could be read).
        notes: What people should know of how it was found, a sentence each: a new name of the repository, a name of two revisions.
    """

    repository: str
    commit: str
    files: tuple[HubFile, ...]
    licences: tuple[str, ...]
    gated: bool
    notes: tuple[str, ...] = ()
