"""A Git repository that says what runs where: read, and changed by commits or pull requests. Drives the `git` command.

Not a library: `git` is the only one that signs with SSH keys, verifies known hosts and speaks to every forge, and it is tested by all of
them. It is run without a shell, and without the configuration of the machine and of the user.

The block is imported when it is asked for, so that what only reads does not wait for Prefect.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from blocks.gitops.checkout import Checkout
from blocks.gitops.client import GitOpsClient
from blocks.gitops.message import CommitMessage

if TYPE_CHECKING:
    from blocks.gitops.block import GitOps

__all__ = ["Checkout", "CommitMessage", "GitOps", "GitOpsClient"]


def __getattr__(name: str) -> object:
    if name == "GitOps":
        from blocks.gitops.block import GitOps

        return GitOps
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
