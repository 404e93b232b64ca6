"""A working copy of the branch: what it says, what it said before, and one commit more."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from blocks.errors import GitConflict, GitRejected
from blocks.gitops.command import Git, GitFailed
from blocks.gitops.message import CommitMessage
from blocks.gitops.pull_requests import merge_requested
from blocks.gitops.settings import ForgeKind, GitSettings

#: How often a commit is made anew on top of what others pushed meanwhile.
ATTEMPTS = 8

#: How much history is fetched when it is asked for; all of it after the last step.
_DEEPER = (100, 1000)

#: A push that lost a race, in git's words and in those of servers that take pushes one by one.
_OVERTAKEN = ("[rejected]", "cannot lock ref", "failed to update ref", "incorrect old value", "is at ")


class Checkout:
    """A working copy in a folder of its own. Paths are `/`-separated, from the top of the repository."""

    def __init__(self, settings: GitSettings, git: Git, folder: Path) -> None:
        self.folder = folder
        self._settings = settings
        self._git = git

    @property
    def head(self) -> str:
        """The commit that is checked out: the branch's newest, or the one that was made on top of it."""
        return self._git.run("rev-parse", "HEAD").strip()

    def read(self, path: str) -> str | None:
        """The file's text; none if there is no such file.

        Raises:
            GitRejected: It is not text.
        """
        try:
            return self._inside(path).read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as exc:
            raise GitRejected(f"{path} on {self._settings.branch} of {self._settings.url} is no text file: mend it there.") from exc

    def read_at(self, commit: str, path: str) -> str | None:
        """The file's text at a commit of the repository; none if there was no such file.

        Raises:
            GitUnreachable: The repository did not answer; retried.
            GitRejected: It has no such commit any longer.
        """
        self._fetched(commit)
        return self._at(commit, path) or None

    def files(self, folder: str) -> dict[str, bytes]:
        """The files below the folder as they are checked out, by their paths in it."""
        top = self._inside(folder)
        return {str(path.relative_to(top)): path.read_bytes() for path in sorted(top.rglob("*")) if path.is_file()}

    def replace(self, folder: str, files: Mapping[str, bytes]) -> None:
        """Make the folder hold these files and no others."""
        self._remove(folder)
        self._put({f"{folder}/{name}": content for name, content in files.items()})

    def write(self, path: str, text: str) -> None:
        """Make the file hold this text."""
        self._put({path: text.encode()})

    def restore(self, paths: list[str], commit: str) -> None:
        """Make files and folders what they were at a commit of the repository; those that were not there go.

        Raises:
            GitUnreachable: The repository did not answer; retried.
            GitRejected: It has no such commit any longer.
        """
        self._fetched(commit)
        for path in paths:
            self._remove(path)
        # Asked first: `git checkout` fails for a path that the commit does not have.
        there = self._git.run("ls-tree", "-z", "--name-only", commit, "--", *paths).split("\0")[:-1]
        if there:
            self._git.run("checkout", "--quiet", commit, "--", *there)

    def changed(self, folder: str) -> bool:
        """Whether the folder is no longer what the branch says."""
        # Status alone would not tell new files one by one, and the commit takes what was added.
        self._git.run("add", "--all", "--", folder)
        return bool(self._git.run("status", "--porcelain", "--", folder))

    def last_with(self, path: str, text: str) -> str | None:
        """The newest commit of the branch at which the file contained the text; none in all of its history."""
        for _ in self._deeper():
            # The branch's own line: what lies inside a merged proposal was never what Argo CD followed.
            commits = self._git.run("log", "--first-parent", "--format=%H", "--", path).split()
            for commit in commits:
                if text in self._at(commit, path):
                    return commit
        return None

    def last_change(self, folder: str) -> str | None:
        """The newest commit that changed the folder; none if it is not on the branch."""
        sha = ""
        for _ in self._deeper():
            sha = self._git.run("log", "-1", "--first-parent", "--format=%H", "--", folder).strip()
            # Where the known history ends, a commit seems to have made everything that was there.
            if sha and sha not in self._ends():
                return sha
        return sha or None

    def changes(self, paths: Sequence[str], since: str) -> tuple[str, ...]:
        """What is different in files and folders since a commit of the repository: the lines of a diff, without the lines around them.

        Empty lines and comments are not different.

        Raises:
            GitUnreachable: The repository did not answer; retried.
            GitRejected: It has no such commit any longer.
        """
        self._fetched(since)
        lines = self._git.run("diff", "--unified=0", "--no-color", "--no-renames", since, "HEAD", "--", *paths).splitlines()
        shown = [line for line in lines if not re.match(r"(diff|index|@@|---|new file|deleted file) |[+-]\s*(#.*)?$", line)]
        return tuple(shown) if any(not line.startswith("+++ ") for line in shown) else ()

    def publish(self, folder: str, message: CommitMessage, *, topic: str) -> str:
        """Bring what was done to the folder onto the branch as one commit; return the branch's commit that has it.

        Nothing is ever forced. Where nothing was changed, no commit is made. What others push meanwhile stays, and the commit is made
        anew on top of it. With pull requests, it is pushed to a branch of its own, and the merge is waited for.

        Args:
            folder: The only folder that the commit touches.
            message: Its message, and that of the pull request.
            topic: What a branch of its own is called after, a DNS label.

        Raises:
            GitUnreachable: The repository did not answer; retried, and then what was done is found.
            GitConflict: Others pushed first each time; retried.
            GitRejected: Somebody else changed the folder, the branch is protected, nobody merged in time, or the key cannot sign.
        """
        if not self.changed(folder):
            return self._known(folder)
        base = self.head
        self._git.run("commit", "--quiet", "--file=-", stdin=message.text())
        if (kind := self._settings.pull_requests) is not None:
            return self._ask_for_merge(kind, folder, message, topic)
        for _ in range(ATTEMPTS):
            if self._push("HEAD", self._settings.branch):
                return self.head
            theirs = self._fetch()
            # Their change of this very folder may be our own: pushed by a process that was killed before it could tell.
            if self._differ(base, theirs, folder):
                if self._differ("HEAD", theirs, folder):
                    raise GitRejected(
                        f"Somebody else changed {folder} on {self._settings.branch} of {self._settings.url} meanwhile "
                        f"(now at {theirs[:12]}): look at it there, then run this again."
                    )
                return self._take(theirs, folder)
            # --onto: in a clone of depth 1 git sees no common ancestor.
            self._git.run("rebase", "--quiet", "--onto", theirs, base)
            base = theirs
        raise GitConflict(f"Others pushed to {self._settings.branch} of {self._settings.url} first, {ATTEMPTS} times in a row.")

    def _fetched(self, commit: str) -> None:
        try:
            self._git.attempt("cat-file", "-e", commit)
        except GitFailed:
            self._git.run("fetch", "--quiet", "--depth=1", "--no-tags", "origin", commit)

    def _inside(self, path: str) -> Path:
        """Where the file or folder is: below the working copy, whatever the path says.

        Raises:
            GitRejected: It would be elsewhere, or be the working copy itself or Git's own folder.
        """
        parts = path.split("/")
        here, top = self.folder.joinpath(*parts), self.folder.resolve()
        if not all(parts) or {".", "..", ".git"} & set(parts) or top not in here.parent.resolve().joinpath(here.name).parents:
            raise GitRejected(f"{path!r} is no path of a file or folder in {self._settings.url}.")
        return here

    def _remove(self, path: str) -> None:
        here = self._inside(path)
        if here.is_dir() and not here.is_symlink():
            shutil.rmtree(here)
        else:
            here.unlink(missing_ok=True)

    def _put(self, files: Mapping[str, bytes]) -> None:
        for path, content in files.items():
            here = self._inside(path)
            try:
                here.parent.mkdir(parents=True, exist_ok=True)
                here.write_bytes(content)
            except OSError as exc:
                raise GitRejected(
                    f"{path} cannot be written in {self._settings.url} ({exc.strerror}): look at what is in its place."
                ) from exc

    def _push(self, what: str, branch: str) -> bool:
        """Push it; whether the branch has it now. It has not if somebody else was first."""
        try:
            # --porcelain: a line for each ref on stdout, with `!` in front of what was refused.
            self._git.attempt("push", "--porcelain", "--quiet", "origin", f"{what}:refs/heads/{branch}")
        except GitFailed as exc:
            refused = next((line for line in exc.stdout.splitlines() if line.startswith("!")), None)
            if refused is None:
                raise self._git.error(exc) from exc
            if any(sign in refused for sign in _OVERTAKEN):
                return False
            said = [line.removeprefix("remote:").strip() for line in exc.stderr.splitlines() if line.startswith("remote:")]
            why = next((line for line in said if re.search(r"[A-Za-z]", line)), refused.rpartition("(")[2].rstrip(")"))[:200].rstrip(".")
            raise GitRejected(
                f"{self._settings.url} does not take a commit on {branch} ({why}): let the GitOps block's account push there, or set its "
                "pull_requests so that the commit is proposed for merging."
            ) from exc
        return True

    def _ask_for_merge(self, kind: ForgeKind, folder: str, message: CommitMessage, topic: str) -> str:
        # The name tells the content: a branch that is there already is this very change.
        content = self._git.run("rev-parse", f"HEAD:{folder}").strip()
        branch = f"slipway-{topic}-{content[:12]}"
        if not self._git.run("ls-remote", "--heads", "origin", f"refs/heads/{branch}"):
            self._push("HEAD", branch)
        shown = merge_requested(self._settings, kind, branch, message)
        theirs = self._fetch()
        if self._differ("HEAD", theirs, folder):
            error = GitRejected(
                f"{shown} was merged, but {folder} on {self._settings.branch} is not what it proposed: look at it, then try again."
            )
            # It was merged: Argo CD follows it, whatever becomes of the run.
            error.untouched = False
            raise error
        return self._take(theirs, folder)

    def _take(self, theirs: str, folder: str) -> str:
        self._git.run("reset", "--quiet", "--hard", theirs)
        return self._known(folder)

    def _known(self, folder: str) -> str:
        return self.last_change(folder) or self.head

    def _fetch(self) -> str:
        self._git.run("fetch", "--quiet", "--depth=1", "--no-tags", "origin", f"refs/heads/{self._settings.branch}")
        return self._git.run("rev-parse", "FETCH_HEAD").strip()

    def _differ(self, one: str, other: str, folder: str) -> bool:
        return bool(self._git.run("diff", "--name-only", one, other, "--", folder))

    def _ends(self) -> set[str]:
        # Git's own list of the commits whose parents were not fetched.
        shallow = self.folder / ".git" / "shallow"
        return set(shallow.read_text(encoding="ascii").split()) if shallow.is_file() else set()

    def _at(self, commit: str, path: str) -> str:
        try:
            return self._git.attempt("show", f"{commit}:{path}")
        except GitFailed:  # the commit took the file away
            return ""

    def _deeper(self) -> Iterator[None]:
        """Goes round once with the history that is here, and once more each time after more of it was fetched."""
        yield
        for depth in (*(f"--depth={depth}" for depth in _DEEPER), "--unshallow"):
            if not self._ends():
                return
            self._git.run("fetch", "--quiet", depth, "--no-tags", "origin", f"refs/heads/{self._settings.branch}")
            yield
