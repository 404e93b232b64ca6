"""Runs `git` for one repository: its environment, its credentials, its time limit, and what its errors mean to us."""

from __future__ import annotations

import base64
import os
import re
import shlex
import signal
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

from blocks.errors import GitRejected, GitUnreachable, PipelineError
from blocks.gitops.settings import GitSettings

#: Of the process's own environment, only where programs are and which proxy to take.
_PASSED_ON = ("PATH", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY")

#: What `git`, curl and ssh print when the other side is not to be had, in lower case.
_UNREACHABLE = (
    "could not resolve host",
    "connection refused",
    "connection timed out",
    "operation timed out",
    "failed to connect",
    "couldn't connect",
    "connection reset",
    "connection closed",
    "network is unreachable",
    "no route to host",
    "temporary failure in name resolution",
    "the remote end hung up",
    "early eof",
    "unexpected eof",
    "unexpected disconnect",
    "non-properly terminated",
    "ssl_error_syscall",
    "recv failure",
    "send failure",
    "was not closed cleanly",
    "empty reply from server",
    "returned error: 429",
    "returned error: 5",
)

#: What they print when the credentials are the trouble.
_REFUSED = (
    "authentication failed",
    "could not read username",
    "permission denied",
    "returned error: 401",
    "returned error: 403",
    "unprotected private key",
    "error in libcrypto",
    "invalid format",
)
_NO_REPOSITORY = ("does not appear to be a git repository", "not found", "does not exist", "returned error: 404")
_BAD_CERTIFICATE = ("certificate verification failed", "ssl certificate problem", "no alternative certificate")


def read_token(settings: GitSettings) -> str | None:
    """The token, wherever it is kept; none if it has none.

    Raises:
        GitRejected: Its file cannot be read.
    """
    if settings.token is not None:
        return settings.token
    if settings.token_file is None:
        return None
    try:
        return settings.token_file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as exc:
        raise GitRejected(f"The token file {settings.token_file} of the GitOps block cannot be read: mount the Secret there.") from exc


class GitFailed(Exception):
    """`git` ended with an error that only the caller can read; `stdout` and `stderr` are what it printed."""

    def __init__(self, stdout: str, stderr: str) -> None:
        super().__init__(stderr)
        self.stdout = stdout
        self.stderr = stderr


class Git:
    """`git` in one folder.

    Args:
        settings: Whose repository.
        folder: Where the working copy is (or will be); it must exist.
    """

    def __init__(self, settings: GitSettings, folder: Path) -> None:
        self._settings = settings
        self._folder = folder
        for path, what in (
            (settings.ssh_key_file, "SSH key"),
            (settings.signing_key_file, "signing key"),
            (settings.known_hosts_file, "known hosts"),
        ):
            if path is not None and not path.is_file():
                raise GitRejected(f"The {what} file {path} of the GitOps block is not there: mount the Secret there.")
        self._environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ} | _environment(settings, folder)

    def run(self, *arguments: str, stdin: str = "") -> str:
        """Run it; what it printed.

        Raises:
            GitUnreachable: The repository did not answer.
            GitRejected: It refuses; the message says what to do.
        """
        try:
            return self.attempt(*arguments, stdin=stdin)
        except GitFailed as exc:
            raise self.error(exc) from exc

    def attempt(self, *arguments: str, stdin: str = "") -> str:
        """Run it; what it printed.

        Raises:
            GitFailed: It ended with an error.
            GitUnreachable: It did not end in time, or was killed.
            GitRejected: There is no `git`.
        """
        try:
            process = subprocess.Popen(
                ["git", *arguments],
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                encoding="utf-8",
                errors="replace",
                start_new_session=True,
            )
        except FileNotFoundError as exc:
            raise GitRejected("The git command is not there: install git where the flows run.") from exc
        try:
            stdout, stderr = process.communicate(stdin, timeout=self._settings.timeout_seconds)
        except BaseException as exc:
            # With its helpers (ssh, git-remote-https), which hold its pipes.
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            if isinstance(exc, subprocess.TimeoutExpired):
                raise GitUnreachable(f"{self._settings.url} did not answer within {self._settings.timeout_seconds:g} s.") from None
            raise
        if process.returncode < 0:
            raise GitUnreachable(f"git was ended by signal {-process.returncode} while it spoke with {self._settings.url}.")
        if process.returncode:
            raise GitFailed(stdout, stderr)
        return stdout

    def error(self, failed: GitFailed) -> PipelineError:
        """What an error of `git` means to us."""
        text = " ".join(failed.stderr.split())
        lowered, url, branch = text.lower(), self._settings.url, self._settings.branch
        if missing := re.search(r"remote branch \S+ not found|couldn't find remote ref ", lowered):
            return GitRejected(f"{url} has no branch {branch!r} ({missing[0]}): create it, or set the GitOps block's branch.")
        if "host key verification failed" in lowered:
            return GitRejected(f"The host of {url} does not show the key that is known of it: put its key into known_hosts_file.")
        if any(sign in lowered for sign in _BAD_CERTIFICATE):
            return GitRejected(f"The certificate of {url} is of nobody that is trusted: set the GitOps block's ca_file.")
        if any(sign in lowered for sign in _REFUSED):
            return GitRejected(f"{url} refuses the credentials of the GitOps block ({_last(failed)}): {self._credentials()}.")
        if any(sign in lowered for sign in _UNREACHABLE):
            return GitUnreachable(f"{url} cannot be reached: {_last(failed)}.")
        if any(sign in lowered for sign in _NO_REPOSITORY):
            return GitRejected(f"There is no Git repository at {url}: check the GitOps block's URL, and that its account may read it.")
        return GitRejected(f"git refused: {_last(failed)}.")

    def _credentials(self) -> str:
        if self._settings.url.startswith("https://"):
            has_token = self._settings.token is not None or self._settings.token_file is not None
            return "set a token that may write there" if has_token else "it has no token; set one"
        return "set ssh_key_file to a key that may write there, readable by its owner alone"


def _environment(settings: GitSettings, folder: Path) -> dict[str, str]:
    configuration = {
        "user.name": settings.author_name,
        "user.email": settings.author_email,
        # No program of the repository or the machine runs beside git.
        "core.hooksPath": os.devnull,
        # A link in the repository must not lead a write out of the working copy.
        "core.symlinks": "false",
        "core.autocrlf": "false",
        # A collection in the background would go on in a folder that is being deleted.
        "gc.auto": "0",
        # The token goes where the block says, and nowhere else.
        "http.followRedirects": "false",
        # Less than a byte a second for 30 s: the connection is given up.
        "http.lowSpeedLimit": "1",
        "http.lowSpeedTime": "30",
    }
    token = read_token(settings)
    if token is not None and settings.url.startswith("https://"):
        # In the environment, not in an argument: only this user can read it. Only for this host.
        host = urlsplit(settings.url)
        basic = base64.b64encode(f"{settings.username}:{token}".encode()).decode()
        configuration[f"http.{host.scheme}://{host.netloc}/.extraHeader"] = f"Authorization: Basic {basic}"
    if settings.ca_file is not None:
        configuration["http.sslCAInfo"] = str(settings.ca_file)
    if settings.signing_key_file is not None:
        configuration |= {"gpg.format": "ssh", "user.signingKey": str(settings.signing_key_file), "commit.gpgSign": "true"}
    environment = {
        # Not the worker's home: its .gitconfig and .netrc are not ours.
        "HOME": str(folder),
        # What git prints is read (above), and it speaks the user's language otherwise.
        "LC_ALL": "C",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        # Others run commands (`ext::`), or go unencrypted.
        "GIT_ALLOW_PROTOCOL": "https:ssh:file",
        "GIT_SSH_VARIANT": "ssh",
        "GIT_SSH_COMMAND": ssh_command(settings),
        "GIT_CONFIG_COUNT": str(len(configuration)),
    }
    for number, (key, value) in enumerate(configuration.items()):
        environment |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    return environment


def ssh_command(settings: GitSettings) -> str:
    """How `git` runs ssh: with the repository's key and known hosts, and never asking anybody."""
    command = ["ssh", "-F", os.devnull, "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", "-o", "ConnectTimeout=15"]
    if settings.known_hosts_file is not None:
        command += ["-o", f"UserKnownHostsFile={settings.known_hosts_file}", "-o", f"GlobalKnownHostsFile={os.devnull}"]
    if settings.ssh_key_file is not None:
        command += ["-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none", "-i", str(settings.ssh_key_file)]
    return shlex.join(command)


def _last(failed: GitFailed) -> str:
    """Of all that was printed, the line that says why: git's own words come before the helpers' advice."""
    lines = [line.strip() for line in failed.stderr.splitlines() if line.strip()]
    said = [line for line in lines if re.match(r"(fatal|error|remote|ssh|[^ ]+@[^ ]+): ", line)] or lines or ["no reason given"]
    return re.sub(r"^(fatal|error|remote): *", "", said[0])[:300].rstrip(".")
