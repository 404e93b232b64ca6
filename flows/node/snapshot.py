"""What is wanted on the node, and the manifest that says that it is there."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from flows.errors import SpecInvalid
from flows.node.layout import snapshot_digest, snapshot_folder

#: The file that makes a folder a snapshot; written last.
MANIFEST = ".manifest.json"

#: Hexadecimal digits of a digest, by its algorithm.
DIGITS = {"sha256": 64, "git-sha1": 40}


@dataclass(frozen=True, kw_only=True)
class WantedFile:
    """One file, as the hub lists it: `digest` is the SHA-256 of large files, git's blob SHA-1 of the others."""

    path: str
    size_bytes: int
    digest: str
    algorithm: str

    @property
    def key(self) -> str:
        """What names its content, whatever the file is called."""
        return f"{self.algorithm}-{self.digest}"


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A snapshot: the files of one commit that the engine needs."""

    repository: str
    commit: str
    files: tuple[WantedFile, ...]

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Wanted:
        """The snapshot that a request or a manifest describes.

        Raises:
            SpecInvalid: It describes none, or a name in it would leave the snapshot's folder.
        """
        try:
            files = tuple(
                WantedFile(path=line["path"], size_bytes=int(line["size_bytes"]), digest=line["digest"], algorithm=line["algorithm"])
                for line in document["files"]
            )
            made = cls(repository=document["repository"], commit=document["commit"], files=files)
        except (KeyError, TypeError, ValueError) as exc:
            raise SpecInvalid(f"The list of the snapshot's files cannot be read ({exc!r}); it comes from the prefetch task.") from exc
        if not re.fullmatch(r"[\w.-]+/[\w.-]+", made.repository) or not re.fullmatch(r"[0-9a-f]{40}", made.commit):
            raise SpecInvalid(f"{made.repository!r} at {made.commit!r} names no commit of a repository.")
        # The list is the hub's, and its names become paths on the node.
        for file in files:
            _require_safe(made.repository, file)
        return made

    @property
    def folder(self) -> str:
        """Its folder below the store."""
        return snapshot_folder(self.repository, self.commit)

    @property
    def size_bytes(self) -> int:
        """Bytes of all its files."""
        return sum(file.size_bytes for file in self.files)

    @property
    def digest(self) -> str:
        """The hash that names exactly these files of this commit."""
        return snapshot_digest(self.repository, self.commit, ((file.path, file.size_bytes, file.digest) for file in self.files))


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The folder's manifest as it was written; none if the folder is no snapshot."""
    try:
        document = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return document if isinstance(document, dict) else None


def described(folder: Path) -> Wanted | None:
    """The snapshot that the folder's manifest describes; none if there is no manifest, or it makes no sense."""
    try:
        return Wanted.of(read_manifest(folder) or {})
    except SpecInvalid:
        return None


def faults(folder: Path, snapshot: Wanted) -> list[str]:
    """What is wrong with the folder by names and sizes; empty if it holds exactly the snapshot's files. Costs one `stat` a file."""
    # Not is_file(): a link that leads nowhere should not be there either.
    found = {str(path.relative_to(folder)): path for path in folder.rglob("*") if not path.is_dir()}
    wanted = {file.path: file.size_bytes for file in snapshot.files}
    wrong = [f"{path} should not be there" for path in sorted(found.keys() - wanted.keys() - {MANIFEST})]
    for path, size_bytes in wanted.items():
        if path not in found:
            wrong.append(f"{path} is missing")
        elif (has := found[path].stat().st_size) != size_bytes:
            wrong.append(f"{path} has {has:,} bytes instead of {size_bytes:,}")
    return wrong


def is_complete(folder: Path, wanted: Wanted) -> bool:
    """Whether the folder holds the snapshot by its manifest, names and sizes."""
    snapshot = described(folder)
    return snapshot is not None and snapshot.digest == wanted.digest and not faults(folder, snapshot)


def _require_safe(repository: str, file: WantedFile) -> None:
    path = PurePosixPath(file.path)
    # PurePosixPath tidies `a//b`, `./a` and `a/` up: a name that comes back otherwise has two spellings of one place.
    if path.is_absolute() or str(path) != file.path or {"..", "."} & set(path.parts) or "\\" in file.path or "\0" in file.path:
        raise SpecInvalid(f"{repository} holds a file whose path leaves its folder: {file.path!r}; do not use this repository.")
    if file.path == MANIFEST:
        raise SpecInvalid(f"{repository} holds a file {MANIFEST}, which is Slipway's own name; do not use this repository.")
    # An algorithm that nobody knows has 0 digits, which an empty digest would match.
    if not re.fullmatch(rf"[0-9a-f]{{{DIGITS.get(file.algorithm, 0)}}}", file.digest) or not file.digest:
        raise SpecInvalid(f"{repository}: {file.path} has no {file.algorithm} digest: {file.digest!r}.")
