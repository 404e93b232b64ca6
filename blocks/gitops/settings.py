"""What the parts of the client need to know of a repository; free of Prefect, and of the other parts."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

#: The forges that can be asked for a merge.
ForgeKind = Literal["github", "gitlab", "gitea"]


@dataclass(frozen=True, kw_only=True)
class GitSettings:
    """A repository and its branch, and how to sign in, to sign, and to ask for a merge. The fields are those of the block.

    Attributes:
        url: `https://…`, `ssh://…`, `git@host:path` or `file:///…`; no credentials in it.
        branch: The branch that Argo CD follows.
        username: User of the token.
        token: For HTTPS, and for the forge's API.
        token_file: A file with the token.
        ssh_key_file: For SSH: a private key without a passphrase.
        known_hosts_file: For SSH: the host's keys; none takes those of the machine.
        ca_file: For HTTPS: certificate authorities, in PEM.
        signing_key_file: The SSH key that signs commits.
        author_name: Author of the commits.
        author_email: The author's e-mail address.
        pull_requests: The kind of forge that is asked for a merge; none pushes to the branch.
        api_url: The forge's API; none takes the usual one of the repository's host.
        merge_timeout_seconds: How long to wait for a merge.
        poll_seconds: How often to look for that.
        timeout_seconds: How long one git command or one request may take.
    """

    url: str
    branch: str
    username: str
    token: str | None = field(repr=False)
    token_file: Path | None
    ssh_key_file: Path | None
    known_hosts_file: Path | None
    ca_file: Path | None
    signing_key_file: Path | None
    author_name: str
    author_email: str
    pull_requests: ForgeKind | None
    api_url: str | None
    merge_timeout_seconds: float
    poll_seconds: float
    timeout_seconds: float
