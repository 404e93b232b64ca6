"""Bare Git repositories as on a server, with the people who push to them. Drives the real `git`."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

#: Refuses every push to the branches of the file `protected`, as forges do.
_HOOK = """#!/bin/sh
while read -r old new name; do
  if grep -qx "$name" protected 2>/dev/null; then
    echo "error: GH006: Protected branch update failed for $name." >&2
    exit 1
  fi
done
"""


def git(folder: Path, *arguments: str, stdin: str = "") -> str:
    """What `git` printed, run in the folder as somebody called `somebody`.

    Raises:
        RuntimeError: It ended with an error; the message is what it said.
    """
    who = {f"GIT_{role}_NAME": "somebody" for role in ("AUTHOR", "COMMITTER")}
    where = {f"GIT_{role}_EMAIL": "some@body" for role in ("AUTHOR", "COMMITTER")}
    environment = {"PATH": os.environ["PATH"], "HOME": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "LC_ALL": "C", **who, **where}
    done = subprocess.run(["git", *arguments], cwd=folder, env=environment, input=stdin, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return done.stdout


class BareRepository:
    """A repository without a working copy, as a server keeps it.

    Args:
        folder: Where it is; made if it is not there.
        branch: Its only branch at first, with one empty commit.
    """

    def __init__(self, folder: Path, branch: str = "main") -> None:
        self.folder = folder
        self.branch = branch
        if not folder.exists():
            folder.mkdir(parents=True)
            git(folder, "init", "--quiet", "--bare", f"--initial-branch={branch}")
            git(folder, "config", "http.receivepack", "true")
            hook = folder / "hooks" / "pre-receive"
            hook.parent.mkdir(exist_ok=True)
            hook.write_text(_HOOK)
            hook.chmod(0o755)
            self.commit({}, "the beginning")

    @property
    def url(self) -> str:
        """Its address on this machine."""
        return f"file://{self.folder}"

    @property
    def head(self) -> str:
        """The branch's newest commit."""
        return git(self.folder, "rev-parse", self.branch).strip()

    def commit(self, files: Mapping[str, str | None], message: str = "somebody's work") -> str:
        """Put a commit on the branch; a file without a text is removed. Its SHA."""
        with tempfile.TemporaryDirectory() as scratch:
            work = Path(scratch)
            if self._has(self.branch):
                git(work, "clone", "--quiet", "--branch", self.branch, self.url, ".")
            else:
                git(work, "init", "--quiet", f"--initial-branch={self.branch}")
                git(work, "remote", "add", "origin", self.url)
            for path, text in files.items():
                target = work / path
                target.parent.mkdir(parents=True, exist_ok=True)
                if text is None:
                    target.unlink()
                else:
                    target.write_text(text)
            git(work, "add", "--all")
            git(work, "commit", "--quiet", "--allow-empty", "--message", message)
            # Not by a push: whoever owns the server may do what its hooks refuse.
            git(self.folder, "fetch", "--quiet", str(work), f"+{self.branch}:{self.branch}")
        return self.head

    def read(self, path: str, commit: str | None = None) -> str:
        """The file's text at the commit, or at the branch's newest."""
        return git(self.folder, "show", f"{commit or self.branch}:{path}")

    def log(self, branch: str | None = None) -> list[tuple[str, str]]:
        """The branch's commits, newest first: SHA and message."""
        entries = git(self.folder, "log", "--format=%H%n%B%x00", branch or self.branch).split("\0")
        return [(sha, message.strip()) for sha, _, message in (entry.strip().partition("\n") for entry in entries) if sha]

    def branches(self) -> list[str]:
        """The names of all branches."""
        return git(self.folder, "for-each-ref", "--format=%(refname:short)", "refs/heads").split()

    def protect(self, *branches: str) -> None:
        """Refuse pushes to these branches and no others."""
        (self.folder / "protected").write_text("".join(f"refs/heads/{branch}\n" for branch in branches))

    def merge(self, branch: str, *, squash: bool = False) -> str:
        """Merge a branch as a person does on the server; the commit on the main branch."""
        tree = git(self.folder, "merge-tree", "--write-tree", self.branch, branch).split()[0]
        parents = ["-p", self.branch] if squash else ["-p", self.branch, "-p", branch]
        commit = git(self.folder, "commit-tree", tree, *parents, "-m", f"Merge {branch}").strip()
        git(self.folder, "update-ref", f"refs/heads/{self.branch}", commit)
        return commit

    def _has(self, branch: str) -> bool:
        return bool(git(self.folder, "for-each-ref", f"refs/heads/{branch}"))
