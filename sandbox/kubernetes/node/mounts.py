"""Mount paths as local folders, since a local process has no mount namespace of its own.

A container's arguments and environment values are rewritten: every mount path in them that stands at the beginning, or after one of
`= : ,` a quote, a bracket or a space, becomes the local folder, the longest mount path first. A program that composes a path by itself
can look it up in `SANDBOX_MOUNTS` (JSON, mount path → {"path": …, "readOnly": …}).

A container that mounts anything read-only, or whose root file system is, may write only to its other mounts, to the folder that plays
its root file system (unless that is read-only) and to devices, if the kernel has Landlock (see `confine.py`); elsewhere `SANDBOX_MOUNTS`
says what is read-only and nothing stops a process from writing there. It is refused with EACCES where a real mount says EROFS. What is
mounted read-only within a writable mount of the same container stays writable.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

VARIABLE = "SANDBOX_MOUNTS"
_BEFORE = r"(?:^|(?<=[=:,\s\"'\[({]))"
_AFTER = r"(?=$|[/:,=\s\"'\])};|&])"


@dataclass(frozen=True, kw_only=True)
class Mount:
    """One volume mount of a container: where the container sees it, and where it is."""

    mount_path: str
    local: Path
    read_only: bool


class Rewriter:
    """Points texts at local folders.

    Args:
        mounts: The container's mounts.
    """

    def __init__(self, mounts: Iterable[Mount]) -> None:
        self._mounts = sorted(mounts, key=lambda mount: len(mount.mount_path), reverse=True)
        self._local = {mount.mount_path.rstrip("/") or "/": str(mount.local) for mount in self._mounts}
        paths = "|".join(re.escape(path) for path in self._local)
        self._pattern = re.compile(f"{_BEFORE}({paths}){_AFTER}") if paths else None

    @property
    def mounts(self) -> Sequence[Mount]:
        """The mounts, longest mount path first."""
        return self._mounts

    def rewrite(self, text: str) -> str:
        """The text with every mount path in it replaced."""
        return self._pattern.sub(lambda match: self._local[match[1]], text) if self._pattern is not None else text

    def described(self) -> str:
        """The value of `SANDBOX_MOUNTS`."""
        return json.dumps({mount.mount_path: {"path": str(mount.local), "readOnly": mount.read_only} for mount in self._mounts})


_REFERENCE = re.compile(r"\$\$|\$\(([^)]*)\)")


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Replace `$(NAME)` by the variable's value as Kubernetes does: unknown ones stay, `$$(NAME)` is a literal `$(NAME)`."""

    def replace(match: re.Match[str]) -> str:
        return "$" if match[0] == "$$" else variables.get(match[1], match[0])

    return _REFERENCE.sub(replace, text)
