"""A Git repository that says what runs where: read, and changed by commits or pull requests. Drives the `git` command.

Not a library: `git` is the only one that signs with SSH keys, verifies known hosts and speaks to every forge, and it is tested by all of
them. It is run without a shell, and without the configuration of the machine and of the user.
"""

from blocks.gitops.block import GitOps
from blocks.gitops.checkout import Checkout
from blocks.gitops.client import GitOpsClient
from blocks.gitops.message import CommitMessage

__all__ = ["Checkout", "CommitMessage", "GitOps", "GitOpsClient"]
