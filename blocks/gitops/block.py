"""The block: which repository and branch, and how to sign in, to sign, and to ask for a merge."""

from __future__ import annotations

from pathlib import Path

from prefect.blocks.core import Block
from pydantic import Field, SecretStr

from blocks.gitops.client import GitOpsClient
from blocks.gitops.settings import ForgeKind, GitSettings

#: No user and password in it, and no transport without encryption but for a repository on this machine.
URL_PATTERN = r"^(https://[^@\s]+|ssh://\S+|[A-Za-z0-9_.-]+@[A-Za-z0-9.-]+:\S+|file:///\S+)$"


class GitOps(Block):
    """A Git repository that Argo CD follows, and the branch that the pipeline commits to. Secrets never enter an argument or a log."""

    _block_type_name = "Slipway GitOps"
    _block_type_slug = "slipway-gitops"

    url: str = Field(
        title="URL", pattern=URL_PATTERN, description="https://…, ssh://… or git@host:path; as in the Applications. No credentials in it."
    )
    branch: str = Field(default="main", pattern=r"^[A-Za-z0-9][\w./-]*$", description="The branch that Argo CD follows.")
    username: str = Field(default="slipway", description="User of the token; most forges take any.")
    token: SecretStr | None = Field(default=None, description="For HTTPS, and for the forge's API.")
    token_file: Path | None = Field(default=None, description="A file with the token (a mounted Secret), instead of the field above.")
    ssh_key_file: Path | None = Field(default=None, description="For SSH: a private key without a passphrase, mode 0400.")
    known_hosts_file: Path | None = Field(default=None, description="For SSH: the host's keys; empty takes those of the machine.")
    ca_file: Path | None = Field(default=None, title="CA file", description="For HTTPS: certificate authorities of your own, in PEM.")
    signing_key_file: Path | None = Field(default=None, description="Commits are signed with this SSH key; a private key, mode 0400.")
    author_name: str = Field(default="Slipway", min_length=1, description="Author of the commits.")
    author_email: str = Field(default="slipway@localhost", pattern=r"^[^\s<>@]+@[^\s<>@]+$", description="The author's e-mail address.")
    pull_requests: ForgeKind | None = Field(
        default=None, description="Ask for a merge on this kind of forge instead of pushing to the branch, which may then be protected."
    )
    api_url: str | None = Field(
        default=None,
        title="API URL",
        pattern=r"^https://[^@\s]+[^/\s]$",
        description="The forge's API, such as https://api.github.com; empty takes the usual one of the repository's host.",
    )
    merge_timeout_seconds: float = Field(default=3600.0, gt=0, description="How long a run waits for a merge.")
    poll_seconds: float = Field(default=10.0, gt=0, description="How often it looks for that.")
    timeout_seconds: float = Field(default=60.0, gt=0, description="How long one git command or one request may take.")

    def client(self) -> GitOpsClient:
        """A client for this repository."""
        return GitOpsClient(self.settings())

    def settings(self) -> GitSettings:
        """What the client needs to know, with the token in clear text."""
        return GitSettings(
            url=self.url,
            branch=self.branch,
            username=self.username,
            token=self.token.get_secret_value() if self.token is not None else None,
            token_file=self.token_file,
            ssh_key_file=self.ssh_key_file,
            known_hosts_file=self.known_hosts_file,
            ca_file=self.ca_file,
            signing_key_file=self.signing_key_file,
            author_name=self.author_name,
            author_email=self.author_email,
            pull_requests=self.pull_requests,
            api_url=self.api_url,
            merge_timeout_seconds=self.merge_timeout_seconds,
            poll_seconds=self.poll_seconds,
            timeout_seconds=self.timeout_seconds,
        )
