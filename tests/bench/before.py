"""An earlier build of the project, checked out beside this one for as long as it is measured."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

#: The commit before the layout by concern, on Prefect 3.8.8: a box for whatever a run did, and every import at the start.
BEFORE = "8a72898"


@contextmanager
def checkout(revision: str) -> Iterator[Path]:
    """A worktree of the commit.

    Raises:
        CalledProcessError: There is no such commit, or no Git.
    """
    with tempfile.TemporaryDirectory(prefix="slipway-before-") as name:
        folder = Path(name) / "before"
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "--detach", "--quiet", str(folder), revision], check=True)
        try:
            yield folder
        finally:
            subprocess.run([*git, "remove", "--force", str(folder)], check=True)
